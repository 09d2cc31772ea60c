"""Contexts: a corpus as pieces of a fixed number of tokens, kept in Arrow files.

Reading writes `contexts-00000.arrow` and so on, one after another and each whole or not at all. A file's metadata says
of what it is and where in the stream of tokens it ends, so that an interrupted reading goes on after the last whole
file and leaves the same bytes as an undisturbed one.
"""

from __future__ import annotations

import hashlib
import io
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int, Int32
from torch import Tensor

from ..disk import PARTIAL, on_disk, written
from ..errors import BadCorpus, CorpusTooShort, UsageError
from ..models.subject import SubjectModel
from .documents import Corpus
from .packing import Context, Place, pack

_VERSION = 1
_METADATA, _DIGEST = b"clew", b"sha256"
_BATCH = 1024  # contexts in a record batch of the joined file

# What a file that is cut short or edited can raise.
_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)

_Part = tuple[Int32[np.ndarray, "n length"], list[str]]  # tokens and origins of some contexts


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
        parts = [(_rows(batch), batch.column(1).to_pylist()) for batch, _ in batches]
        [(rows, _)] = parts
        end, last = Place(**metadata["end"]), metadata["last"]
        is_whole = metadata["index"] == index and _content(metadata, parts) == path.read_bytes()
        if last is None:
            is_whole &= len(rows) == reading["shard"] and (index + 1) * reading["shard"] < wanted
        else:
            is_whole &= last["wanted"] == wanted
        theirs = metadata["reading"]
    except _DAMAGE:
        return None
    if theirs != reading:
        raise UsageError(
            f"{path.parent} holds text that was read from another corpus or in another way.",
            "Name another folder, or delete that one.",
        )
    return _Kept(len(rows), end, last is not None) if is_whole else None


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
        "last": last,
    }
    with written(_path(folder, index)) as partial:
        partial.write_bytes(_content(metadata, [(rows, origins)]))


def _path(folder: Path, index: int) -> Path:
    return folder / f"contexts-{index:05d}.arrow"


def _paths(folder: Path) -> list[Path]:
    """The files there are, in order; their numbers may outgrow five digits."""
    return sorted(folder.glob("contexts-*.arrow"), key=lambda path: (len(path.name), path.name))


def _remove_from(folder: Path, index: int) -> None:
    """Removes the files from `index` on, and what an interrupted writing left."""
    with on_disk(folder):
        for path in [*_paths(folder)[index:], *folder.glob(f"contexts-*.arrow{PARTIAL}")]:
            path.unlink()


def _fingerprint(subject: SubjectModel) -> str:
    vocabulary = json.dumps(sorted(subject.tokenizer.get_vocab().items()))
    return hashlib.sha256(vocabulary.encode()).hexdigest()[:16]


def _content(metadata: dict[str, Any], parts: Iterable[_Part]) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    _write_parts(file, metadata, parts)
    return file.getvalue()


def _schema(metadata: dict[str, Any]) -> pa.Schema:
    """The columns of a file, with its metadata and their digest."""
    described = json.dumps(metadata, sort_keys=True).encode()
    tokens = pa.list_(pa.field("item", pa.int32(), nullable=False), metadata["reading"]["length"])
    return pa.schema(
        [pa.field("tokens", tokens, nullable=False), pa.field("origin", pa.string(), nullable=False)],
        metadata={_METADATA: described, _DIGEST: hashlib.sha256(described).hexdigest()},
    )


def _write_parts(file: IO[bytes], metadata: dict[str, Any], parts: Iterable[_Part]) -> None:
    """Writes each part as a record batch, with its digest."""
    schema = _schema(metadata)
    with pa.ipc.new_file(file, schema) as writer:
        for rows, origins in parts:
            tokens = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=schema.field("tokens").type)
            batch = pa.record_batch([tokens, pa.array(origins, pa.string())], schema=schema)
            writer.write_batch(batch, custom_metadata={_DIGEST: _digest(rows, origins)})


def _digest(rows: Int32[np.ndarray, "n length"], origins: list[str]) -> str:
    return hashlib.sha256(rows.astype("<i4").tobytes() + json.dumps(origins).encode()).hexdigest()


def _open(path: Path) -> tuple[list[tuple[pa.RecordBatch, str]], dict[str, Any]]:
    """A file's record batches with their digests, mapped into memory as they are used, and its metadata.

    Raises what is in _DAMAGE.
    """
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        metadata = json.loads(reader.schema.metadata[_METADATA])
        if not reader.schema.equals(_schema(metadata), check_metadata=True):
            raise ValueError("edited")
        read = [reader.get_batch_with_custom_metadata(number) for number in range(reader.num_record_batches)]
        batches = [(batch, custom[_DIGEST].decode()) for batch, custom in read]
    for batch, _ in batches:
        batch.validate(full=True)
    if sum(batch.num_rows for batch, _ in batches) != metadata["contexts"]:
        raise ValueError("cut short")
    return batches, metadata


def _rows(batch: pa.RecordBatch) -> Int32[np.ndarray, "n length"]:
    column = batch.column(0)
    return column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), column.type.list_size)


class Contexts:
    """The contexts that were read into a folder, or the one file of all (`joined`); any of them is read at once.

    `path` is that folder or file; `length` is in tokens; `notes` are sentences on what the corpus lacked; `reading` is
    all that decided what was read. A part that was edited is found when it is first used: BadCorpus.
    """

    def __init__(self, batches: list[tuple[pa.RecordBatch, str]], metadata: dict[str, Any], path: Path) -> None:
        self.length: int = metadata["reading"]["length"]
        self.notes: list[str] = metadata["last"]["notes"]
        self.reading: dict[str, Any] = metadata["reading"]
        self.path = path
        self._tokens = [_rows(batch) for batch, _ in batches]
        self._origins = [batch.column(1) for batch, _ in batches]
        self._digests: list[str | None] = [digest for _, digest in batches]
        self._starts = list(accumulate((len(rows) for rows in self._tokens), initial=0))

    @classmethod
    def open(cls, path: Path) -> Contexts:
        """Opens a folder that `read_contexts` filled, or a file that `joined` wrote. Raises BadCorpus."""
        paths = _paths(path) if path.is_dir() else [path]
        if not paths:
            raise BadCorpus(f"{path} holds no contexts.", "Collect again.")
        batches: list[tuple[pa.RecordBatch, str]] = []
        metadata: dict[str, Any] = {}
        for file in paths:
            try:
                found, metadata = _open(file)
            except _DAMAGE as error:
                raise _damaged(file) from error
            batches += found
        if metadata["last"] is None or (path.is_dir() and paths[-1] != _path(path, len(paths) - 1)):
            raise BadCorpus(f"The contexts in {path} are not complete.", "Collect again: what is missing is added.")
        return cls(batches, metadata, path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process as its place, and is opened there."""
        return Contexts.open, (self.path.absolute(),)

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
        begin, _ = self._find(first)
        end = min(first + n, len(self))
        rows = []
        for part in range(begin, len(self._tokens)):
            start = self._starts[part]
            if start >= end:
                break
            self._check(part)
            rows.append(self._tokens[part][max(first - start, 0) : end - start])
        return torch.from_numpy(np.concatenate(rows).astype(np.int64))

    def _find(self, i: int) -> tuple[int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"there are {len(self)} contexts, and no number {i}")
        part = bisect_right(self._starts, i) - 1
        self._check(part)
        return part, i - self._starts[part]

    def _check(self, part: int) -> None:
        """Makes sure that a part is as it was written, once, when it is first used."""
        digest = self._digests[part]
        if digest is None:
            return
        try:
            is_whole = _digest(self._tokens[part], self._origins[part].to_pylist()) == digest
        except UnicodeError:
            is_whole = False
        if not is_whole:
            raise _damaged(self.path)
        self._digests[part] = None


def joined(folder: Path, out: Path) -> None:
    """Writes the contexts in a folder as one file, the same bytes however they are cut. Raises BadCorpus or NoSpace."""
    contexts = Contexts.open(folder)
    reading = {key: value for key, value in contexts.reading.items() if key != "shard"}

    def parts() -> Iterator[_Part]:
        for first in range(0, len(contexts), _BATCH):
            rows = contexts.batch(first, _BATCH).numpy().astype(np.int32)
            yield rows, [contexts.origin(first + i) for i in range(len(rows))]

    _write_joined(out, reading, len(contexts), contexts.notes, parts())


def write_joined(out: Path, rows: Int32[np.ndarray, "n length"], origins: list[str], notes: list[str]) -> None:
    """Writes contexts that come from elsewhere as one file. Raises NoSpace."""
    starts = range(0, len(rows), _BATCH)
    parts = ((rows[first : first + _BATCH], origins[first : first + _BATCH]) for first in starts)
    _write_joined(out, {"length": rows.shape[1]}, len(rows), notes, parts)


def _write_joined(out: Path, reading: dict[str, Any], n: int, notes: list[str], parts: Iterable[_Part]) -> None:
    metadata = {"reading": reading, "contexts": n, "last": {"notes": notes}}
    with written(out) as partial, partial.open("wb") as file:
        _write_parts(file, metadata, parts)


def _damaged(path: Path) -> BadCorpus:
    return BadCorpus(
        f"{path} is damaged and cannot be read as contexts.", "Collect again: what is damaged is read anew."
    )
