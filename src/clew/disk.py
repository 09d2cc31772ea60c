"""Writing files: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import NoSpace

PARTIAL = ".partial"


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, put in its place and on disk at the end; removed when the writing fails.

    Makes the folder if need be. Raises NoSpace when the disk is full or the folder cannot be written to.
    """
    partial = path.with_name(path.name + PARTIAL)
    with on_disk(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            sync(partial)
            partial.replace(path)
            sync(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Says what is wrong with a disk that cannot be written to. Raises NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"The disk of {folder} is full; all that was complete is kept.",
                "Free some space and try again, or name a folder on another disk.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise NoSpace(f"{folder} cannot be written to.", "Name a folder that you may write to.") from error
        raise


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk before anything counts on them."""
    if path.is_dir() and os.name == "nt":  # Windows has no such thing for folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
