"""A finished atlas on disk.

    atlas.json               what it is of, how it was made, and every other file's size and SHA-256
    contexts.arrow           the text, a row a context: its tokens and the document it begins in
    vocabulary.parquet       the text of every token
    components/SITE.parquet  a row a component of one layer: its statistics
    examples/SITE.parquet    the examples of these components, sorted by component, then kind, band and rank

docs/atlas.md documents every column. Nothing in these files depends on when the collection was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..corpus.contexts import Contexts, joined
from ..disk import digest
from ..models.subject import SubjectModel
from . import sums
from .blocks import lowest_of
from .partial import Partial, State
from .plan import VERSION, Plan
from .tally import SIDE, moments, strong_share

MANIFEST = "atlas.json"
CONTEXTS = "contexts.arrow"
VOCABULARY = "vocabulary.parquet"
KINDS = ("top", "bottom", "band", "random")

BAND = pa.struct(
    {
        "low": pa.float64(),
        "high": pa.float64(),
        "quantile_low": pa.float64(),
        "quantile_high": pa.float64(),
        "contexts": pa.int64(),
    }
)
COMPONENT_SCHEMA = pa.schema(
    {
        "component": pa.int32(),
        "tokens": pa.int64(),
        "density": pa.float64(),
        "strong": pa.float64(),
        "mean": pa.float64(),
        "variance": pa.float64(),
        "skewness": pa.float64(),
        "kurtosis": pa.float64(),
        "minimum": pa.float32(),
        "maximum": pa.float32(),
        "histogram": pa.list_(pa.int64()),
        "bands": pa.list_(BAND),
        "types": pa.list_(pa.float64()),
        "mean_mixed": pa.list_(pa.float32()),
    }
)
EXAMPLE_SCHEMA = pa.schema(
    {
        "component": pa.int32(),
        "kind": pa.dictionary(pa.int8(), pa.string()),
        "band": pa.int8(),
        "rank": pa.int16(),
        "context": pa.int32(),
        "start": pa.int16(),
        "position": pa.int16(),
        "source": pa.int16(),
        "activation": pa.float32(),
        "token": pa.int32(),
        "site": pa.int64(),
        "scale": pa.float32(),
        "values": pa.list_(pa.float16()),
    }
)
_COMPRESSION: Mapping[str, Any] = {"compression": "zstd", "compression_level": 1}
_GROUP = 131_072  # values in a row group: what one page has to decode
_CHUNK = 4096  # contexts read at once


def write_text(folder: Path, subject: SubjectModel, texts: Path) -> None:
    """The text that was read, and that of every token."""
    joined(texts, folder / CONTEXTS)
    write_vocabulary(folder, [subject.text(token) for token in range(subject.anatomy.embed_weight.shape[0])])


def write(
    folder: Path, plan: Plan, whole: Partial, collected: Sequence[str], carried: Mapping[str, int], contexts: Contexts
) -> Iterator[int]:
    """Write the blocks of one partial that covers all contexts, and then atlas.json; gives how many components are
    done, block by block. The files of `carried` blocks, which have so many components each, are there already."""
    sizes: dict[str, int] = {}
    with whole.opened() as source:
        for site in collected:
            state = source.block(site)
            statistics = _components(state)
            write_components(folder, site, statistics)
            write_examples(folder, site, _examples(state, contexts, heads=site.startswith("attn")))
            sizes[site] = statistics.num_rows
            yield sum(sizes.values())
    sizes |= carried
    write_manifest(
        folder,
        {
            "version": VERSION,
            "model": plan.to_dict()["model"],
            "corpus": plan.corpus["description"],
            "tokens": len(contexts) * contexts.length,
            "contexts": len(contexts),
            "context_length": contexts.length,
            "window": plan.keep.window,
            "skip": plan.keep.skip,
            "seed": plan.seed,
            "bos": plan.bos,
            "sites": {site: sizes[site] for site in plan.sites},
            "autoencoders": plan.to_dict()["autoencoders"],
            "imported": None,
            "plan": plan.to_dict(),
        },
    )


def write_vocabulary(folder: Path, texts: list[str]) -> None:
    """The text of token 0, 1, 2 …"""
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / VOCABULARY, **_COMPRESSION)


def components_of(site: str) -> str:
    """The file with the statistics of a block."""
    return f"components/{site}.parquet"


def examples_of(site: str) -> str:
    """The file with the examples of a block."""
    return f"examples/{site}.parquet"


def write_components(folder: Path, site: str, table: pa.Table) -> None:
    """The statistics of one block, one row a component, in order."""
    path = folder / components_of(site)
    path.parent.mkdir(exist_ok=True)
    # Reading one row costs the decoding of its group, and a look at every group of the file.
    pq.write_table(table.cast(COMPONENT_SCHEMA), path, row_group_size=256, **_COMPRESSION)


def write_examples(folder: Path, site: str, table: pa.Table) -> None:
    """The examples of one block, sorted."""
    width = len(table["values"][0]) if table.num_rows else 1
    path = folder / examples_of(site)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(
        table,
        path,
        row_group_size=max(64, _GROUP // max(1, width)),
        use_dictionary=["kind"],  # pyright: ignore[reportArgumentType] - its stubs know of True and False only
        **_COMPRESSION,
    )


def write_manifest(folder: Path, document: dict[str, Any]) -> None:
    """atlas.json, last of all: with it the atlas is whole."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({**document, "files": files}, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _components(state: State) -> pa.Table:
    """The statistics of one block."""
    count = int(state["count"])
    mean, variance, skewness, kurtosis = moments(sums.value(state["sums"]), count)
    histogram = state["histogram"]
    n = len(mean)
    strong = strong_share(histogram, state["minimum"], state["maximum"], count)
    heads = "mixed" in state
    types = sums.value(state["types"]) / state["rows"][:, None] if heads else None
    mixed = sums.value(state["mixed"]) / count if heads else None

    def column(values: Tensor) -> pa.Array:
        return pa.array(values.numpy(), from_pandas=True)  # NaN is null

    def lists(values: Tensor | None, kind: pa.DataType) -> pa.Array:
        if values is None:
            return pa.nulls(n, pa.list_(kind))
        flat = pa.array(values.reshape(-1).numpy(), from_pandas=True).cast(kind)
        return pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * values.shape[1], flat)

    return pa.table(
        {
            "component": np.arange(n, dtype=np.int32),
            "tokens": pa.array([count] * n),
            "density": column(histogram[:, SIDE + 1 :].sum(1).double() / count),
            "strong": column(strong),
            "mean": column(mean),
            "variance": column(variance),
            "skewness": column(skewness),
            "kurtosis": column(kurtosis),
            "minimum": column(state["minimum"]),
            "maximum": column(state["maximum"]),
            "histogram": lists(histogram, pa.int64()),
            "bands": _bands(state),
            "types": lists(None if types is None else types.T, pa.float64()),
            "mean_mixed": lists(mixed, pa.float32()),
        },
        schema=COMPONENT_SCHEMA,
    )


def _bands(state: State) -> pa.Array:
    """Each component's bands: the octave they span, and which share of contexts lies below either end and inside."""
    counts = state["octaves"]
    below = counts.cumsum(1)
    total = below[0, -1].item()
    bands = state["band.context"].shape[1]
    found = []
    for highest, count, under in zip(state["band.octave"].tolist(), counts.tolist(), below.tolist(), strict=True):
        octaves = range(highest, max(highest - bands, -1), -1)
        found.append(
            [
                {
                    "low": lowest_of(octave),
                    "high": lowest_of(octave + 1),
                    "quantile_low": under[octave] / total,
                    "quantile_high": under[octave + 1] / total,
                    "contexts": count[octave + 1],
                }
                for octave in octaves
            ]
        )
    return pa.array(found, pa.list_(BAND))


def _examples(state: State, contexts: Contexts, heads: bool) -> pa.Table:
    """All examples of a block, sorted by component, kind, band and rank."""
    n = len(state["minimum"])
    parts: list[tuple[str, int | None, State]] = []
    for kind in KINDS:
        fields = {name.partition(".")[2]: field for name, field in state.items() if name.startswith(f"{kind}.")}
        if not fields:
            continue
        if kind != "band":
            parts.append((kind, None, fields))
            continue
        fields.pop("octave")
        parts.extend(
            (kind, band, {name: field[:, band] for name, field in fields.items()})
            for band in range(fields["context"].shape[1])
        )
    together = {
        name: torch.cat([fields[name] for _, _, fields in parts], 1).numpy()
        for name in ("context", "start", "position", "source", "score", "scale", "values")
    }
    kinds, bands, ranks = (
        np.concatenate(values)
        for values in zip(
            *(
                (
                    np.full(fields["context"].shape[1], KINDS.index(kind), np.int8),
                    np.full(fields["context"].shape[1], -1 if band is None else band, np.int8),
                    np.arange(fields["context"].shape[1], dtype=np.int16),
                )
                for kind, band, fields in parts
            ),
            strict=True,
        )
    )
    there = together["context"] >= 0
    component = np.broadcast_to(np.arange(n, dtype=np.int32)[:, None], there.shape)[there]
    flat = {name: field[there] for name, field in together.items()}
    band = np.broadcast_to(bands, there.shape)[there]
    context, position = flat["context"], flat["position"]
    width = flat["values"].shape[1]
    return pa.table(
        {
            "component": component,
            "kind": pa.DictionaryArray.from_arrays(np.broadcast_to(kinds, there.shape)[there].copy(), pa.array(KINDS)),
            "band": pa.array(band, mask=band < 0),
            "rank": np.broadcast_to(ranks, there.shape)[there].copy(),
            "context": context,
            "start": flat["start"],
            "position": position,
            "source": pa.array(flat["source"], mask=np.full(len(context), not heads)),
            "activation": flat["score"],
            "token": _tokens(contexts, context, position),
            "site": (context.astype(np.int64) << 16) | position.astype(np.int64),
            "scale": flat["scale"],
            "values": pa.ListArray.from_arrays(
                np.arange(len(context) + 1, dtype=np.int32) * width, pa.array(flat["values"].reshape(-1))
            ),
        },
        schema=EXAMPLE_SCHEMA,
    )


def _tokens(contexts: Contexts, context: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The token at each position of each context, read a chunk at a time."""
    found = np.zeros(len(context), np.int32)
    for first in range(0, len(contexts), _CHUNK):
        size = min(_CHUNK, len(contexts) - first)
        at = np.flatnonzero((context >= first) & (context < first + size))
        if len(at):
            ids = contexts.batch(first, size).numpy()
            found[at] = ids[context[at] - first, position[at]]
    return found
