"""Contexts: a corpus as pieces of a fixed number of tokens, kept in Arrow files.

Reading writes `contexts-00000.arrow` and so on, one after another and each whole or not at all. A file's metadata says
of what it is and where in the stream of tokens it ends, so that an interrupted reading goes on after the last whole
file and leaves the same bytes as an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int, Int32
from torch import Tensor

from ..errors import BadCorpus, CorpusTooShort, UsageError
from ..models.subject import SubjectModel
from .disk import PARTIAL, written
from .documents import Corpus

_VERSION = 1
_METADATA = b"clew"
_BATCH = 1024  # contexts in a record batch of the joined file


@dataclass(frozen=True)
class Place:
    """Where the next token is: so many documents were used up, and so many tokens of the one after them."""

    documents: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Context:
    """`tokens` without the start token; `origin` of the document that the first is from; `end` is after the last."""

    tokens: Int32[np.ndarray, " n"]
    origin: str
    end: Place


def pack(documents: Iterable[tuple[Int32[np.ndarray, " t"], str]], size: int, start: Place) -> Iterator[Context]:
    """The tokens of documents, each with its origin, one after another in pieces of `size`.

    `documents` begin with the one that `start` is in. What is left at the end and shorter than `size` is dropped.
    """
    waiting: deque[tuple[Int32[np.ndarray, " t"], str]] = deque()
    place, count = start, 0
    for number, (ids, origin) in enumerate(documents):
        unread = ids[start.tokens :] if number == 0 else ids
        waiting.append((unread, origin))
        count += len(unread)
        while count >= size:
            parts: list[Int32[np.ndarray, " t"]] = []
            first, missing = "", size
            while missing:
                ids, origin = waiting.popleft()
                part, rest = ids[:missing], ids[missing:]
                if len(part) and missing == size:
                    first = origin
                parts.append(part)
                missing -= len(part)
                if len(rest):
                    waiting.appendleft((rest, origin))
                    place = Place(place.documents, place.tokens + len(part))
                else:
                    place = Place(place.documents + 1, 0)
            count -= size
            yield Context(np.concatenate(parts), first, place)


def read_contexts(
    folder: Path,
    subject: SubjectModel,
    corpus: Corpus,
    *,
    tokens: int,
    length: int,
    bos: bool,
    seed: int,
    shard: int,
) -> Iterator[int]:
    """Reads ⌈tokens/length⌉ contexts of `length` tokens into `folder`, `shard` contexts a file; the tokens done so far,
    after each file.

    Documents are separated by the end token (by a line's end for a model without one); with `bos` every context begins
    with the start token. Goes on where an earlier reading of the same was interrupted, after the last whole file, and
    writes anew what is damaged. A corpus that ends early gives fewer contexts, which `Contexts.notes` says.
    Raises UsageError for numbers that cannot be, and when the folder holds contexts of something else; CorpusTooShort
    when not one context is full; NoSpace; and what the corpus raises.
    """
    if tokens < 1 or shard < 1:
        raise UsageError("There is nothing to read: tokens and contexts a file start at 1.", "Ask for at least one.")
    if bos and subject.bos_id is None:
        raise UsageError(f"{subject.name} has no start token.", "Read without it.")
    if not 1 + bos <= length <= subject.max_length:
        raise UsageError(
            f"Contexts of {length:,} tokens cannot be read: {subject.name} takes {1 + bos} to {subject.max_length:,}.",
            "Choose another context length.",
        )
    end = subject.tokenizer.eos_token_id
    separator = [end] if isinstance(end, int) else subject.encode("\n", special=False)
    start = [subject.bos_id] if bos else []
    reading = {
        "version": _VERSION,
        "corpus": corpus.identity,
        "seed": seed,
        "length": length,
        "start": start,
        "separator": separator,
        "vocabulary": _fingerprint(subject),
        "shard": shard,
    }

    def contexts(place: Place) -> Iterator[Context]:
        documents = corpus.documents(seed, skip=place.documents)
        ids = ((subject.encode(document.text, special=False), document.origin) for document in documents)
        # A text that the vocabulary cannot spell at all leaves no mark.
        streams = ((np.array([*text, *separator] if text else [], dtype=np.int32), origin) for text, origin in ids)
        return pack(streams, length - bos, place)

    return _read(folder, reading, contexts, corpus, wanted=-(-tokens // length))


def _read(
    folder: Path,
    reading: dict[str, Any],
    contexts: Callable[[Place], Iterator[Context]],
    corpus: Corpus,
    wanted: int,
) -> Iterator[int]:
    index, done, place = 0, 0, Place()
    while (kept := _kept(_path(folder, index), reading, index, wanted)) is not None:
        index, done, place = index + 1, done + kept.contexts, kept.end
        yield done * reading["length"]
        if kept.is_last:
            _remove_from(folder, index)
            return
    _remove_from(folder, index)

    held: list[Context] = []
    for context in contexts(place):
        if len(held) == reading["shard"]:  # and there is more: not the last file
            _write(folder, reading, index, held, last=None)
            index, done, held = index + 1, done + len(held), []
            yield done * reading["length"]
        held.append(context)
        if done + len(held) == wanted:
            break
    done += len(held)
    if not done:
        raise CorpusTooShort(
            f"The corpus ended before one context of {reading['length']:,} tokens was full.",
            "Give more text, or choose a shorter context.",
        )
    if not held:
        raise BadCorpus("The corpus is shorter than it was when this reading began.", "Read it anew elsewhere.")
    notes = corpus.notes()
    if done < wanted:
        length = reading["length"]
        notes.append(f"The corpus ended after {done * length:,} of the {wanted * length:,} tokens asked for.")
    _write(folder, reading, index, held, last={"wanted": wanted, "notes": notes})
    yield done * reading["length"]


@dataclass(frozen=True)
class _Kept:
    contexts: int
    end: Place
    is_last: bool


def _kept(path: Path, reading: dict[str, Any], index: int, wanted: int) -> _Kept | None:
    """A file of an earlier reading that is whole and that this reading would write as it is.

    Raises UsageError when it is of another reading.
    """
    try:
        batches, metadata = _open(path)
        [batch] = batches
        theirs = metadata["reading"]
        whole = (
            batch.num_rows == metadata["contexts"]
            and metadata["index"] == index
            and metadata["digest"] == _digest(_rows(batch), batch.column(1).to_pylist())
        )
        end, last = Place(**metadata["end"]), metadata["last"]
        fits = (
            (batch.num_rows == reading["shard"] and (index + 1) * reading["shard"] < wanted)
            if last is None
            else (last["wanted"] == wanted)
        )
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, UnicodeError):
        return None
    if theirs != reading:
        raise UsageError(
            f"{path.parent} holds text that was read from another corpus or in another way.",
            "Name another folder, or delete that one.",
        )
    return _Kept(batch.num_rows, end, last is not None) if whole and fits else None


def _write(
    folder: Path, reading: dict[str, Any], index: int, contexts: list[Context], last: dict[str, Any] | None
) -> None:
    start = np.array(reading["start"], dtype=np.int32)
    rows = np.stack([np.concatenate([start, context.tokens]) for context in contexts])
    origins = [context.origin for context in contexts]
    metadata = {
        "reading": reading,
        "index": index,
        "contexts": len(contexts),
        "end": asdict(contexts[-1].end),
        "digest": _digest(rows, origins),
        "last": last,
    }
    _save(_path(folder, index), reading["length"], metadata, [(rows, origins)])


def _path(folder: Path, index: int) -> Path:
    return folder / f"contexts-{index:05d}.arrow"


def _remove_from(folder: Path, index: int) -> None:
    """Removes the files from `index` on, and what an interrupted writing left."""
    for path in [*folder.glob("contexts-*.arrow"), *folder.glob(f"contexts-*.arrow{PARTIAL}")]:
        if path.suffix == PARTIAL or path >= _path(folder, index):
            path.unlink()


def _fingerprint(subject: SubjectModel) -> str:
    vocabulary = json.dumps(sorted(subject.tokenizer.get_vocab().items()))
    return hashlib.sha256(vocabulary.encode()).hexdigest()[:16]


def _digest(rows: Int32[np.ndarray, "n length"], origins: list[str]) -> str:
    return hashlib.sha256(rows.astype("<i4").tobytes() + json.dumps(origins).encode()).hexdigest()


def _save(
    path: Path,
    length: int,
    metadata: dict[str, Any],
    batches: Iterable[tuple[Int32[np.ndarray, "n length"], list[str]]],
) -> None:
    schema = pa.schema(
        [
            pa.field("tokens", pa.list_(pa.field("item", pa.int32(), nullable=False), length), nullable=False),
            pa.field("origin", pa.string(), nullable=False),
        ],
        metadata={_METADATA: json.dumps(metadata, sort_keys=True)},
    )
    with written(path) as partial, partial.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        for rows, origins in batches:
            tokens = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=schema.field("tokens").type)
            writer.write_batch(pa.record_batch([tokens, pa.array(origins, pa.string())], schema=schema))


def _open(path: Path) -> tuple[list[pa.RecordBatch], dict[str, Any]]:
    """A file's record batches, mapped into memory as they are used, and its metadata. Raises what Arrow raises."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        metadata = json.loads(reader.schema.metadata[_METADATA])
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    for batch in batches:
        batch.validate(full=True)
    return batches, metadata


def _rows(batch: pa.RecordBatch) -> Int32[np.ndarray, "n length"]:
    column = batch.column(0)
    return column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), column.type.list_size)


class Contexts:
    """The contexts that were read into a folder, or the one file of all (`joined`); any of them is read at once.

    `length` is in tokens; `notes` are sentences on what the corpus lacked.
    """

    def __init__(self, batches: list[pa.RecordBatch], reading: dict[str, Any], notes: list[str]) -> None:
        self.length: int = reading["length"]
        self.notes = notes
        self._reading = reading
        self._tokens = [_rows(batch) for batch in batches]
        self._origins = [batch.column(1) for batch in batches]
        self._starts = list(accumulate((len(rows) for rows in self._tokens), initial=0))

    @classmethod
    def open(cls, path: Path) -> Contexts:
        """Opens a folder that `read_contexts` filled, or a file that `joined` wrote. Raises BadCorpus."""
        paths = sorted(path.glob("contexts-*.arrow")) if path.is_dir() else [path]
        if not paths:
            raise BadCorpus(f"{path} holds no contexts.", "Collect again.")
        batches: list[pa.RecordBatch] = []
        metadata: dict[str, Any] = {}
        for file in paths:
            try:
                found, metadata = _open(file)
                if sum(batch.num_rows for batch in found) != metadata["contexts"]:
                    raise ValueError("it is cut short")
            except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
                raise BadCorpus(
                    f"{file} is damaged and cannot be read as contexts.", "Collect again: what is damaged is redone."
                ) from error
            batches += found
        if metadata["last"] is None or (path.is_dir() and paths[-1] != _path(path, len(paths) - 1)):
            raise BadCorpus(f"The contexts in {path} are not complete.", "Collect again: what is missing is added.")
        return cls(batches, metadata["reading"], metadata["last"]["notes"])

    def __len__(self) -> int:
        return self._starts[-1]

    def tokens(self, i: int) -> Int32[np.ndarray, " length"]:
        """Context i's token ids, read-only. Raises IndexError."""
        part, row = self._find(i)
        return self._tokens[part][row]

    def origin(self, i: int) -> str:
        """Where the first token of context i is from. Raises IndexError."""
        part, row = self._find(i)
        return self._origins[part][row].as_py()

    def batch(self, first: int, n: int) -> Int[Tensor, "n length"]:
        """Contexts `first` to `first + n` (fewer at the end). Raises IndexError when there is none."""
        self._find(first)
        return torch.from_numpy(self._slice(first, n).astype(np.int64))

    def _find(self, i: int) -> tuple[int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"there are {len(self)} contexts, and no number {i}")
        part = bisect_right(self._starts, i) - 1
        return part, i - self._starts[part]

    def _slice(self, first: int, n: int) -> Int32[np.ndarray, "n length"]:
        parts, _ = self._find(first)
        end = min(first + n, len(self))
        rows = []
        for part in range(parts, len(self._tokens)):
            start = self._starts[part]
            if start >= end:
                break
            rows.append(self._tokens[part][max(first - start, 0) : end - start])
        return np.concatenate(rows)


def joined(folder: Path, out: Path) -> None:
    """Writes the contexts in a folder as one file, the same bytes however they are cut. Raises BadCorpus or NoSpace."""
    contexts = Contexts.open(folder)
    reading = {key: value for key, value in contexts._reading.items() if key != "shard"}
    metadata = {"reading": reading, "contexts": len(contexts), "last": {"notes": contexts.notes}}
    _save(
        out,
        contexts.length,
        metadata,
        (
            (
                contexts._slice(first, _BATCH),
                [contexts.origin(i) for i in range(first, min(first + _BATCH, len(contexts)))],
            )
            for first in range(0, len(contexts), _BATCH)
        ),
    )
