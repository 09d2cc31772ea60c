"""Where published records are read from: a folder, or an http address with the same layout below it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import httpx2

from ..errors import BadRecord, Offline, UsageError

ENDING = ".json"  # of a record's name
CONNECTIONS = 8  # requests under way at once: a record takes a round trip, and there are thousands
ATTEMPTS = 3  # of one record, before the import is given up
_WAIT = 0.2  # seconds before the second attempt, twice that before the third
_TIMEOUT = 60.0  # seconds
_PASSING = (429, 500, 502, 503, 504)
_PROBED = 4  # layers, and records of each, that are asked for to see whether an address has any


class Source(Protocol):
    """Files by their path below a root."""

    name: str  # the last part of the root

    def read(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        """The files in the order of `paths`; None for one that is not there. Raises BadRecord or Offline."""
        ...

    def where(self, path: str) -> str:
        """The whole name of a file, for messages."""
        ...

    def holds(self, prefix: str, layers: Iterable[int], ending: str = ENDING) -> bool:
        """Whether there are records below `prefix`."""
        ...

    def sizes(self, prefix: str, ending: str = ENDING) -> tuple[int, int] | None:
        """One more than the largest number of a layer, and of a record of any; None where names cannot be listed."""
        ...


class Folder:
    """Records on this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = root.resolve().name

    def read(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        for path in paths:
            try:
                yield (self._root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                yield None
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise BadRecord(f"{self._root / path} cannot be read: {reason}.", "Look at that file.") from error

    def where(self, path: str) -> str:
        return str(self._root / path)

    def holds(self, prefix: str, layers: Iterable[int], ending: str = ENDING) -> bool:
        return any((self._root / prefix / str(layer)).is_dir() for layer in layers)

    def sizes(self, prefix: str, ending: str = ENDING) -> tuple[int, int] | None:
        folder = self._root / prefix
        layers = (
            [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()] if folder.is_dir() else []
        )
        records = [int(path.stem) for layer in layers for path in layer.glob(f"*{ending}") if path.stem.isdecimal()]
        return 1 + max((int(layer.name) for layer in layers), default=-1), 1 + max(records, default=-1)


class Address:
    """Records behind an http or https address, some at once; a failing request is tried again."""

    def __init__(self, root: str, client: httpx2.Client) -> None:
        self._root, self._client = root.rstrip("/"), client
        self.name = self._root.rpartition("/")[2]

    def read(self, paths: Iterable[str]) -> Iterator[bytes | None]:
        left = iter(paths)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            while window := list(islice(left, 4 * CONNECTIONS)):
                yield from pool.map(self._get, window)

    def where(self, path: str) -> str:
        return f"{self._root}/{quote(path.lstrip('/'))}"

    def holds(self, prefix: str, layers: Iterable[int], ending: str = ENDING) -> bool:
        probed = (f"{prefix}/{layer}/{n}{ending}" for layer in islice(layers, _PROBED) for n in range(_PROBED))
        return any(map(self._get, probed))

    def sizes(self, prefix: str, ending: str = ENDING) -> tuple[int, int] | None:
        return None

    def _get(self, path: str) -> bytes | None:
        url = self.where(path)
        failure: Exception | int = 0
        for attempt in range(ATTEMPTS):
            time.sleep(_WAIT * attempt)
            try:
                answer = self._client.get(url)
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
                raise UsageError(f"{self._root} is not an address.", "Write http:// or https:// and a host.") from error
            except httpx2.HTTPError as error:
                failure = error
                continue
            if answer.status_code == 200:
                return answer.content
            if answer.status_code in (404, 410):
                return None
            failure = answer.status_code
            if failure not in _PASSING:
                raise Offline(
                    f"{url} was refused (status {failure}).", "Check the address; anyone must be able to read it."
                )
        reason = f"status {failure}" if isinstance(failure, int) else type(failure).__name__
        raise Offline(
            f"{url} could not be read, {ATTEMPTS} times over ({reason}).",
            "Check the network, then import again, fewer layers at a time if need be.",
        ) from (failure if isinstance(failure, Exception) else None)


@contextmanager
def source_of(root: str | Path) -> Iterator[Source]:
    """Opens a folder or an address. Raises UsageError when it is neither."""
    if isinstance(root, str) and root.startswith(("http://", "https://")):
        with httpx2.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
            yield Address(root, client)
        return
    folder = Path(root)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {root}.", "Name a folder of records, or an http(s) address.")
    yield Folder(folder)
