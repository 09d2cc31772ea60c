"""Text from files: plain text, JSON lines and Parquet, one file or a folder of them."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import BadCorpus
from .documents import Document, LeftOut, pieces, shuffled, text_column

_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet",)
_HEAD = 65_536  # bytes a file is judged by, and characters of text read at once
_LINE = 2**26  # bytes of the longest line of JSON
_ROWS = 64  # of a Parquet file, decoded at once


@dataclass(frozen=True)
class TextFiles:
    """A file, or all files in a folder and its subfolders, hidden ones left out.

    Files come in the order of the seed, their documents mixed by a buffer (`documents.shuffled`). Memory does not grow
    with their size. Raises BadCorpus when there is no text, when a column is named and no file has columns, and for
    files that cannot be read.
    """

    path: Path
    column: str | None = None
    _left_out: LeftOut = field(default_factory=LeftOut, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not any(size for _, size, _ in self._files):
            what = "holds no text file" if self.path.is_dir() else "is empty"
            raise BadCorpus(f"{self.path} {what}.", "Give text, .jsonl or .parquet files.")
        if self.column is not None and not any(_has_columns(path) for path, _, _ in self._files):
            raise BadCorpus(
                f"{self.path} is plain text, so it has no column {self.column!r}.",
                "Leave the column out, or give .jsonl or .parquet files.",
            )

    @property
    def description(self) -> str:
        files = len(self._files)
        return self._name if self.path.is_file() else f"{self._name} ({files:,} file{'s' if files > 1 else ''})"

    @property
    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for path, size, changed in self._files:
            digest.update(f"{self._origin(path)}\0{size}\0{changed}\n".encode())
        return {"kind": "files", "name": self._name, "column": self.column, "digest": digest.hexdigest()}

    def documents(self, seed: int, skip: int = 0) -> Iterator[Document]:
        return islice(self._documents(seed), skip, None)

    def notes(self) -> list[str]:
        return self._left_out.notes()

    @cached_property
    def _files(self) -> list[tuple[Path, int, int]]:
        """Every file with its size and the time of its last change, sorted by path."""
        try:
            paths = [self.path] if self.path.is_file() else _below(self.path)
            return [(path, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths]
        except OSError as error:
            raise _unreadable(str(self.path), error) from error

    @property
    def _name(self) -> str:
        return _printable(self.path.resolve().name)

    def _origin(self, path: Path) -> str:
        if path == self.path:
            return self._name
        return _printable(f"{self._name}/{path.relative_to(self.path).as_posix()}")

    def _documents(self, seed: int) -> Iterator[Document]:
        self._left_out.clear()
        random = Random(seed)
        paths = [path for path, _, _ in self._files]
        random.shuffle(paths)
        some = False
        for document in shuffled((document for path in paths for document in self._read(path)), random):
            some = True
            yield document
        if not some:
            raise BadCorpus(f"{self._name} holds no text.", " ".join(self.notes()))

    def _read(self, path: Path) -> Iterator[Document]:
        origin = self._origin(path)
        try:
            if path.stat().st_size == 0:
                self._left_out.empty_files += 1
            elif path.suffix.lower() in _PARQUET:
                yield from self._rows(_parquet(path, origin, self.column))
            elif _is_binary(path):
                if path == self.path:
                    raise BadCorpus(f"{origin} is not UTF-8 text.", "Convert it, or give another file.")
                self._left_out.binary_files += 1
            elif path.suffix.lower() in _JSON_LINES:
                yield from self._rows(_json_lines(path, origin, self.column))
            else:
                yield from self._plain(path, origin)
        except OSError as error:
            raise _unreadable(origin, error) from error

    def _rows(self, rows: Iterator[tuple[str | None, str]]) -> Iterator[Document]:
        for text, origin in rows:
            if text is None or not text.strip():
                self._left_out.empty_texts += 1
            else:
                yield from (Document(piece, origin) for piece in pieces([self._left_out.sound(text)]))

    def _plain(self, path: Path, origin: str) -> Iterator[Document]:
        """A text file's pieces. One that stops being text further in is read up to there, if it is not alone."""
        blank = True
        try:
            with path.open(encoding="utf-8-sig") as file:
                for piece in pieces(_chunks(file)):
                    if piece.strip():
                        blank = False
                        yield Document(piece, origin)
        except UnicodeError as error:
            if path == self.path:
                raise BadCorpus(
                    f"{origin} begins as UTF-8 text and does not go on as such.", "Convert or repair it."
                ) from error
            self._left_out.others.append(f"{origin} was read up to its first byte that is not text.")
        else:
            self._left_out.empty_files += blank


def _below(folder: Path) -> list[Path]:
    """The files in a folder, links followed, every folder once. Raises OSError for one that cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    found, entered = [], set()
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and real not in entered)
        if real in entered:
            continue
        entered.add(real)
        found += [path for name in files if not name.startswith(".") and (path := Path(parent, name)).is_file()]
    return sorted(found)


def _has_columns(path: Path) -> bool:
    return path.suffix.lower() in (*_JSON_LINES, *_PARQUET)


def _printable(name: str) -> str:
    """A file's name with the bytes that are not UTF-8 replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_binary(path: Path) -> bool:
    """Whether the head of a file has a zero byte or is not UTF-8."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _HEAD)
    except UnicodeDecodeError:
        return True
    return b"\0" in head


def _chunks(file: Any) -> Iterator[str]:
    while chunk := file.read(_HEAD):
        if "\0" in chunk:
            raise UnicodeError("a zero byte")
        yield chunk


def _json_lines(path: Path, origin: str, column: str | None) -> Iterator[tuple[str | None, str]]:
    """Each line's text, and its origin: file:line, lines counted from 1."""
    number = 0
    with path.open("rb") as file:
        while line := file.readline(_LINE + 1):
            number += 1
            where = f"{origin}:{number}"
            if len(line) > _LINE:
                raise BadCorpus(f"{where} is longer than {_LINE // 2**20} MB.", "Cut it into several lines.")
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                raise BadCorpus(f"{where} is not a line of JSON.", "Each line must be one JSON object.") from error
            if not isinstance(row, dict):
                raise BadCorpus(f"{where} is not a JSON object.", 'Each line must look like {"text": "…"}.')
            if column is None or not isinstance(row.get(column), str):
                # Null is a string that is missing.
                columns = {name: value is None or isinstance(value, str) for name, value in row.items()}
                column = text_column(columns, column, where)
            yield row[column], where


def _parquet(path: Path, origin: str, column: str | None) -> Iterator[tuple[str | None, str]]:
    """Each row's text, and its origin: file:row, rows counted from 1."""
    number = 0
    try:
        # Without a buffer of the whole row group, which may be gigabytes.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20, page_checksum_verification=True) as file:
            columns = {entry.name: _is_text(entry.type) for entry in file.schema_arrow}
            chosen = text_column(columns, column, origin)
            for batch in file.iter_batches(_ROWS, columns=[chosen], use_threads=False):
                for text in batch.column(0).to_pylist():
                    number += 1
                    yield text, f"{origin}:{number}"
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadCorpus(f"{origin} is not a whole Parquet file ({reason}).", "Copy or download it again.") from error


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _unreadable(what: str, error: OSError) -> BadCorpus:
    return BadCorpus(f"{what} cannot be read: {error.strerror or error}.", "Check that it is there and yours to read.")
