"""An atlas of the records that OpenAI published of GPT-2's neurons and heads (Bills et al. 2023; Transformer Debugger).

    …/collated-activations/{layer}/{neuron}.json
    …/attn_write_norm/collated-activations-by-token-pair/{layer}/{head}.json

below a folder or an http(s) address; `openai_records` has the schema of a file. Everything that a record says is kept:
its top and random pieces, those of quantiles as bands with their boundaries, and its moments. What it does not say is
null. Moments of a head are over its pairs of tokens. A text shorter than the longest ends in −1 in `contexts.arrow`,
equal ones are kept once, and tokens get ids of the atlas's own vocabulary, in the order they are met in: two imports
of the same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from jaxtyping import Int32

from ..corpus.contexts import write_joined
from ..disk import on_disk, sync
from ..errors import AtlasExists, Busy, Cancelled, UsageError
from ..models.tape import Stop
from . import store
from .atlas import Atlas
from .openai_records import MOMENTS, Piece, Published, read_record
from .openai_source import Source, source_of
from .plan import VERSION
from .records import AtlasModel

Progress = Callable[[int, int], None]  # records done, and how many there can be

# Layers, heads, neurons and d_model.
SIZES = {
    "gpt2": (12, 12, 3072, 768),
    "gpt2-medium": (24, 16, 4096, 1024),
    "gpt2-large": (36, 20, 5120, 1280),
    "gpt2-xl": (48, 25, 6400, 1600),
}
_NEURONS, _HEADS = "collated-activations", "collated-activations-by-token-pair"
# Where the published bucket keeps the records of a model.
_BUCKET = {
    ("gpt2", "neuron"): f"gpt2_small_data/{_NEURONS}",
    ("gpt2", "attn"): f"gpt2_small/attn_write_norm/{_HEADS}",
    ("gpt2-xl", "neuron"): f"data/{_NEURONS}",
}


def import_openai(
    root: str | Path,
    out: Path | str,
    *,
    model: str,
    layers: Sequence[int] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Atlas:
    """Make an atlas in the folder `out` of the published records below `root`, and open it.

    `root` is the bucket's, or any folder or address below it. `model` is gpt2, gpt2-xl or another name; a model that is
    no GPT-2 has the sizes of what is there, which takes a folder. `layers`: only these; `limit`: only so many
    components of each block, from 0. A record that is not there leaves its component without data; the notes of the
    atlas's contexts count them. Nothing is left of an import that fails or is stopped.
    Raises UsageError, AtlasExists, Busy, BadRecord, Offline, NoSpace or Cancelled.
    """
    out = Path(out)
    if limit is not None and limit < 1:
        raise UsageError("At least one component of each block is imported.", "Leave the limit out for all.")
    work = out.with_name(f".importing-{out.name}")
    with on_disk(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The lock of collections: either way the folder is one's own.
        with (
            source_of(root) as source,
            FileLock(out.with_name(f".collecting-{out.name}.lock")).acquire(blocking=False),
            on_disk(out.parent),
        ):
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise AtlasExists(f"{out} holds an atlas or other things.", "Take another --out.")
            shutil.rmtree(work, ignore_errors=True)
            try:
                built = work / "atlas"
                built.mkdir(parents=True)
                _Import(source, model, layers, limit, str(root)).run(work, built, progress, stop)
                for path in built.rglob("*"):
                    sync(path)
                if out.exists():
                    out.rmdir()
                built.rename(out)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except Timeout as error:
        raise Busy(f"Another process is writing to {out.name}.", "Wait for it, or take another --out.") from error
    return Atlas.open(out)


@dataclass(frozen=True)
class _Block:
    """The components of one layer, `prefix` the place of their records; `read` of all `size` of them are read."""

    kind: str
    layer: int
    prefix: str
    size: int
    read: int

    @property
    def site(self) -> str:
        return f"{self.kind}.{self.layer}"

    def path(self, index: int) -> str:
        """Of a component's record, below the root."""
        return f"{self.prefix}/{self.layer}/{index}.json".lstrip("/")


class _Import:
    """What is imported, and into which atlas."""

    def __init__(
        self, source: Source, model: str, layers: Sequence[int] | None, limit: int | None, imported: str
    ) -> None:
        self._source, self._imported = source, imported
        self._model, self._blocks = _plan(source, model, layers, limit, imported)
        self._asked = None if layers is None else set(layers)
        self._notes: list[str] = []
        self._unread: dict[str, int] = {}

    def run(self, work: Path, built: Path, progress: Progress | None, stop: Stop | None) -> None:
        done, total = 0, sum(block.read for block in self._blocks)
        sites: dict[str, int] = {}
        with _Texts(work / "tokens") as texts:
            for block in self._blocks:
                rows = _Rows(block)
                for index, content in enumerate(self._source.read(map(block.path, range(block.read)))):
                    if stop is not None and stop():
                        raise Cancelled("The import was cancelled, and nothing is left of it.")
                    if content is not None:
                        name = self._source.where(block.path(index))
                        record = read_record(content, name, block.layer, index, pairs=block.kind == "attn")
                        rows.add(index, record, texts)
                        for field in record.unread:
                            self._unread[field] = self._unread.get(field, 0) + 1
                    done += 1
                    if progress is not None:
                        progress(done, total)
                if rows.records:
                    store.write_examples(built, block.site, rows.examples(texts))
                    store.write_components(built, block.site, rows.components())
                    sites[block.site] = block.size
                    self._tell_missing(block, rows.records)
            self._check_found(sites, texts.count)
            self._notes += [
                f"{n:,} records have a field {name}, which is not read." for name, n in self._unread.items()
            ]
            texts.write(built, self._notes)
            store.write_manifest(
                built,
                {
                    "version": VERSION,
                    "model": self._model.to_dict(),
                    "corpus": "the texts of the published records",
                    "tokens": texts.tokens,
                    "contexts": texts.count,
                    "context_length": texts.longest,
                    "window": texts.longest,
                    "skip": 0,
                    "seed": 0,
                    "bos": False,
                    "sites": sites,
                    "imported": self._imported,
                },
            )

    def _tell_missing(self, block: _Block, records: int) -> None:
        if records < block.size:
            self._notes.append(f"{block.site} has records of {records:,} of its {block.size:,} components.")

    def _check_found(self, sites: dict[str, int], texts: int) -> None:
        layers = {int(site.partition(".")[2]) for site in sites}
        missing = sorted((self._asked or set()) - layers)
        if missing or not sites:
            what = f"layer {missing[0]}" if missing else self._model.name
            raise UsageError(f"{self._imported} has no records of {what}.", "Look at what is there, and at the model.")
        if not texts:
            raise UsageError(f"The records in {self._imported} hold no text at all.", "Look at what is there.")


def _plan(
    source: Source, model: str, layers: Sequence[int] | None, limit: int | None, root: str
) -> tuple[AtlasModel, list[_Block]]:
    """The model and its blocks, attention first. Raises UsageError."""
    sizes = SIZES.get(model.rpartition("/")[2])
    probed = sorted(set(layers)) if layers else range(sizes[0] if sizes else 1000)
    prefixes: dict[str, str] = {}
    for kind, own in (("attn", _HEADS), ("neuron", _NEURONS)):
        bucket = _BUCKET.get((model.rpartition("/")[2], kind))
        below = [f"attn_write_norm/{own}", own] if kind == "attn" else [own]
        # A folder of another name that holds numbered layers itself is taken for one of neurons.
        here = [""] if source.name == own or (kind == "neuron" and source.name != _HEADS) else []
        candidates = [*([bucket] if bucket else []), *below, *here]
        found = next((prefix for prefix in candidates if source.holds(prefix, probed)), None)
        if found is not None:
            prefixes[kind] = found
    if not prefixes:
        raise UsageError(
            f"There are no records of {model} in {root}.",
            f"They are looked for at {_NEURONS}/LAYER/NEURON.json and attn_write_norm/{_HEADS}/LAYER/HEAD.json.",
        )
    if sizes is None:
        there = {kind: source.sizes(prefix) for kind, prefix in prefixes.items()}
        known = [found for found in there.values() if found is not None]
        if not known:
            raise UsageError(f"The sizes of {model} are not known.", f"Name one of {', '.join(SIZES)}, or a folder.")
        of = {kind: found[1] for kind, found in there.items() if found is not None}
        sizes = max(n for n, _ in known), of.get("attn", 0), of.get("neuron", 0), None
    n_layers, n_heads, n_neurons, d_model = sizes
    wanted = range(n_layers) if layers is None else sorted(set(layers))
    outside = [layer for layer in wanted if not 0 <= layer < n_layers]
    if outside:
        raise UsageError(f"{model} has no layer {outside[0]}.", f"Its layers are 0 to {n_layers - 1}.")
    blocks = [
        _Block(kind, layer, prefixes[kind], size, min(size, limit or size))
        for kind, size in (("attn", n_heads), ("neuron", n_neurons))
        for layer in wanted
        if kind in prefixes
    ]
    return AtlasModel(model, None, "gpt2" if d_model else None, n_layers, n_heads, n_neurons, d_model, None), blocks


class _Texts:
    """The tokens of the pieces, numbered, and the different texts that they make, in a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("wb")
        self._vocabulary: dict[str, int] = {}
        self._lengths: list[Int32[np.ndarray, " n"]] = []
        # Texts are told apart by 64 bits of BLAKE2: of 30 million, two are mixed up once in 40,000 imports.
        self._keys = np.empty(0, np.uint64)
        self._numbers = np.empty(0, np.int32)
        self.count = self.tokens = self.longest = 0

    def __enter__(self) -> _Texts:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def ids(self, tokens: Sequence[str]) -> Int32[np.ndarray, " n"]:
        """Tokens as numbers."""
        vocabulary = self._vocabulary
        return np.array([vocabulary.setdefault(token, len(vocabulary)) for token in tokens], np.int32)

    def number(self, pieces: list[Int32[np.ndarray, " n"]]) -> Int32[np.ndarray, " p"]:
        """The number of each text; new ones are numbered in their order."""
        digests = b"".join(hashlib.blake2b(ids.tobytes(), digest_size=8).digest() for ids in pieces)
        keys, first, each = np.unique(np.frombuffer(digests, np.uint64), return_index=True, return_inverse=True)
        at = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), bool)
        inside = at < len(self._keys)
        known[inside] = self._keys[at[inside]] == keys[inside]
        numbers = np.empty(len(keys), np.int32)
        numbers[known] = self._numbers[at[known]]
        new = np.flatnonzero(~known)
        new = new[np.argsort(first[new])]
        numbers[new] = self.count + np.arange(len(new), dtype=np.int32)
        lengths = np.array([len(pieces[piece]) for piece in first[new]], np.int32)
        for piece in first[new]:
            self._file.write(pieces[piece].tobytes())
        self._lengths.append(lengths)
        self.count += len(new)
        self.tokens += int(lengths.sum())
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        together = np.concatenate((self._keys, keys[new]))
        order = np.argsort(together)
        self._keys, self._numbers = together[order], np.concatenate((self._numbers, numbers[new]))[order]
        return numbers[each]

    def write(self, built: Path, notes: list[str]) -> None:
        """The files of texts and of the vocabulary."""
        self._file.flush()
        tokens = np.memmap(self._path, np.int32, "r")
        # Written as a file, not through a map: a full disk is then an error, and not the end of the process.
        padded, start = self._path.with_suffix(".rows"), 0
        with padded.open("wb") as file:
            for length in np.concatenate(self._lengths).tolist():
                row = np.full(self.longest, -1, np.int32)
                row[:length] = tokens[start : start + length]
                file.write(row.tobytes())
                start += length
        rows = np.memmap(padded, np.int32, "r", shape=(self.count, self.longest))
        # Which documents the texts are from, the records do not say.
        write_joined(built / store.CONTEXTS, rows, [""] * self.count, notes)
        store.write_vocabulary(built, list(self._vocabulary))


class _Rows:
    """The rows of one block's components and examples, as its records are read."""

    def __init__(self, block: _Block) -> None:
        self._block, self._heads = block, block.kind == "attn"
        self.records = 0
        self._columns: dict[str, list[Any]] = {name: [] for name in (*MOMENTS, "maximum", "bands")}
        self._examples: dict[str, list[Any]] = {
            name: []
            for name in ("component", "kind", "band", "rank", "position", "source", "activation", "token", "scale")
        }
        self._ids: list[Int32[np.ndarray, " n"]] = []
        self._values: list[np.ndarray] = []

    def add(self, index: int, record: Published, texts: _Texts) -> None:
        """A component's record; components come in order."""
        self.records += 1
        self._fill(index)
        top = sorted(record.top, key=lambda piece: -float(piece.values.max()))
        for kind, band, pieces in [
            ("top", None, top),
            *(("band", band, quantile.pieces) for band, quantile in enumerate(record.quantiles)),
            ("random", None, record.random),
        ]:
            for rank, piece in enumerate(pieces):
                self._example(index, kind, band, rank, piece, texts)
        for name in MOMENTS:
            self._columns[name].append(record.moments[name])
        self._columns["maximum"].append(float(top[0].values.max()) if top else None)
        nothing = {"quantile_low": None, "quantile_high": None, "contexts": None}
        bands = [{"low": quantile.low, "high": quantile.high, **nothing} for quantile in record.quantiles]
        self._columns["bands"].append(bands)

    def components(self) -> pa.Table:
        """A row a component."""
        size = self._block.size
        self._fill(size)
        given = {
            "component": pa.array(np.arange(size, dtype=np.int32)),
            **{
                name: pa.array(values, store.COMPONENT_SCHEMA.field(name).type)
                for name, values in self._columns.items()
            },
        }
        columns = [given.get(field.name, pa.nulls(size, field.type)) for field in store.COMPONENT_SCHEMA]
        return pa.table(columns, schema=store.COMPONENT_SCHEMA)

    def examples(self, texts: _Texts) -> pa.Table:
        """A row an example."""
        context = texts.number(self._ids)
        given = self._examples
        position = np.array(given["position"], np.int64)
        kinds = pa.array([store.KINDS.index(kind) for kind in given["kind"]], pa.int8())
        offsets = np.concatenate(([0], np.cumsum([len(values) for values in self._values], dtype=np.int64)))
        flat = pa.array(np.concatenate(self._values) if self._values else np.empty(0, np.float16))
        columns = {
            **given,
            "kind": pa.DictionaryArray.from_arrays(kinds, pa.array(store.KINDS)),
            "context": context,
            "start": np.zeros(len(context), np.int16),
            "site": (context.astype(np.int64) << 16) | position,
            "values": pa.LargeListArray.from_arrays(offsets, flat).cast(pa.list_(pa.float16())),
        }
        return pa.table({name: columns[name] for name in store.EXAMPLE_SCHEMA.names}, schema=store.EXAMPLE_SCHEMA)

    def _fill(self, index: int) -> None:
        """Rows without data for components before `index` that have none."""
        for values in self._columns.values():
            values.extend([None] * (index - len(values)))

    def _example(self, index: int, kind: str, band: int | None, rank: int, piece: Piece, texts: _Texts) -> None:
        values = piece.values
        ids = texts.ids(piece.tokens)
        best = int(values.argmax())
        position, source = _pair(best) if self._heads else (best, None)
        scale = float(np.abs(values).max())
        row = (index, kind, band, rank, position, source, float(values[best]), int(ids[position]), scale)
        for column, value in zip(self._examples.values(), row, strict=True):
            column.append(value)
        self._ids.append(ids)
        self._values.append((values / np.float32(scale or 1)).astype(np.float16))


def _pair(at: int) -> tuple[int, int]:
    """Row and column of a place in a lower triangle that is written row by row."""
    row = int((np.sqrt(8 * at + 1) - 1) // 2)
    return row, at - row * (row + 1) // 2
