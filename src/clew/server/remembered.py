"""What was found in folders, remembered until a file there changes: a command may write where the server reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
_Stamp = tuple[int, int, int]


class Remembered(Generic[T]):
    """What `find` makes of folders, each until its `file` changes; with a `limit`, of as many as were asked for last.

    What `find` raises is not remembered.
    """

    def __init__(self, file: str, find: Callable[[Path], T], limit: int | None = None) -> None:
        self._file, self._find, self._limit = file, find, limit
        self._lock = Lock()
        self._found: OrderedDict[Path, tuple[_Stamp | None, T]] = OrderedDict()

    def of(self, folder: Path) -> T:
        """What was found in a folder, or is now."""
        with self._lock:
            stamp, kept = _stamp(folder / self._file), self._found.get(folder)
            if kept is None or kept[0] != stamp:
                kept = self._found[folder] = (stamp, self._find(folder))
            self._found.move_to_end(folder)
            if self._limit is not None and len(self._found) > self._limit:
                self._found.popitem(last=False)
        return kept[1]


def _stamp(path: Path) -> _Stamp | None:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
