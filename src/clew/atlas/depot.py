"""Where the machines of a cluster that share no disk leave things for each other: object storage, or any folder that
fsspec reaches."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..corpus.contexts import Contexts
from ..errors import NotShared, UsageError
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..pool import Desk
from .observation import Autoencoders
from .plan import Plan
from .shard import Collector

_TEXTS, _SHARDS = "contexts", "shards"


@dataclass(frozen=True)
class Depot:
    """A place by its URL, such as s3://bucket/folder or /shared/folder. Every method raises NotShared when it cannot be
    reached, and UsageError for what is no URL or needs a library that is not there."""

    url: str

    def send_texts(self, path: Path) -> None:
        """Leave contexts there: those of a folder, or the one file of all."""
        self._send(sorted(path.iterdir()) if path.is_dir() else [path], _TEXTS)

    def receive_texts(self, folder: Path) -> Contexts:
        """Take the contexts that lie there into an empty folder, and open them."""
        self._receive(_TEXTS, folder, "", remove=False)
        paths = list(folder.iterdir())
        # The one file of all has no number.
        return Contexts.open(paths[0] if len(paths) == 1 and "-" not in paths[0].stem else folder)

    def send_shards(self, folder: Path) -> None:
        """Leave the partial files of a folder there, in which none stays."""
        paths = sorted(folder.iterdir())
        self._send(paths, _SHARDS)
        for path in paths:
            path.unlink()

    def receive_shards(self, folder: Path, start: str = "") -> None:
        """Take the partial files there whose names begin so into a folder; none of them stays."""
        self._receive(_SHARDS, folder, start, remove=True)

    def clear(self) -> None:
        """Remove what was left there."""
        with self._reached() as (files, root):
            for part in (_TEXTS, _SHARDS):
                if files.exists(posixpath.join(root, part)):
                    files.rm(posixpath.join(root, part), recursive=True)

    def _send(self, paths: Sequence[Path], part: str) -> None:
        with self._reached() as (files, root):
            files.makedirs(posixpath.join(root, part), exist_ok=True)
            for path in paths:
                files.put_file(str(path), posixpath.join(root, part, path.name))

    def _receive(self, part: str, folder: Path, start: str, remove: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with self._reached() as (files, root):
            place = posixpath.join(root, part)
            files.invalidate_cache()
            for there in sorted(files.ls(place, detail=False)) if files.exists(place) else ():
                name = posixpath.basename(there)
                if name.startswith(start):
                    # Under another name until it is whole.
                    unfinished = folder / f"{name}.partial"
                    files.get_file(there, str(unfinished))
                    unfinished.rename(folder / name)
                    if remove:
                        files.rm_file(there)

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        from fsspec.core import url_to_fs

        try:
            yield url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"{self.url!r} cannot be used to store things: {error}",
                "Give the URL of a folder, such as s3://bucket/folder (with pip install 'clew[s3]') or /shared/folder.",
            ) from error
        except Exception as error:
            raise NotShared(
                f"The store at {self.url} cannot be used: {str(error) or type(error).__name__}",
                "See whether all machines of the cluster may read and write there.",
            ) from error


class Distant:
    """A Collector on a machine that shares nothing but a depot: takes the text from there, and leaves shards there."""

    def __init__(self, depot: Depot, subject: SubjectModel, plan: Plan, autoencoders: Autoencoders) -> None:
        self._depot, self._subject, self._plan, self._autoencoders = depot, subject, plan, autoencoders
        # They are mapped into memory once they are open, and a worker is ended without a word: nothing may be left.
        with _passing() as folder:
            self._contexts = depot.receive_texts(folder)

    def do(self, task: tuple[int, int], desk: Desk, stop: Stop) -> Iterator[int]:
        """See `Collector`. Raises NotShared too."""
        with _passing() as folder:
            collector = Collector(self._subject, self._plan, self._contexts, self._autoencoders, folder)
            yield from collector.do(task, desk, stop)
            self._depot.send_shards(folder)


@contextmanager
def _passing() -> Iterator[Path]:
    """A folder on this machine that is soon gone."""
    with tempfile.TemporaryDirectory(prefix="clew-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
