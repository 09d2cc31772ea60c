"""Components of an atlas, written for other programs to read.

**JSON lines**: one object a component, in the order of the atlas; UTF-8, numbers in full. It is `Component.to_dict()`:

    id, kind, layer, index   which component, such as neuron.5.200 or latent.mlp_out.10.117
    previous, next           null
    autoencoder              of a latent: name, reads, writes, architecture, latents, fingerprint; else null
    stats                    tokens, density, strong, mean, variance, skewness, kurtosis, minimum, maximum, and
                             histogram with edges and counts; null where the atlas has none
    types                    of a head: previous, current, first, same, induction, entropy; else null
    top, bottom, random      lists of examples, best first (random: as drawn)
    bands                    low, high, quantile_low, quantile_high, contexts and examples, highest first

    an example               kind, band, rank, text, tokens, ids, activations, attended (of a head), activation, peak,
                             source (of a head), context, start, origin
    of a head besides        pairs: row i holds the value of i ← j for j from 0 to i

**Parquet**: `OUT` has one row an example:

    component                string          its id
    kind, band, rank         string, int8, int16: top, bottom, band or random; band is null but for `band`
    low, high                float64         ends of the band; null for other kinds, and where open
    activation               float32         the score
    peak, source             int16           the token of the score, and the one that a head reads there; else null
    text, tokens, ids        string, list of strings, list of int32
    activations, attended    list of float32, a number a token; attended is null but for heads
    pairs                    list of lists of float32, as above; null but for heads
    context, start, origin   int32, int16, string: where the piece is from

and `OUT` with .components.parquet at its end one row a component, also of those without examples:

    component, kind          string: attn, neuron or latent
    layer, index             int32
    tokens                   int64
    density … maximum        float64, the numbers of stats by their names
    histogram_edges          list of float64, one more than
    histogram_counts         list of int64
    type_previous … _entropy float64, of a head
    bands                    list of {low, high, quantile_low, quantile_high: float64, contexts: int64}, highest first

Both say in their metadata, under `clew`, which atlas they are of: `AtlasInfo.to_dict()` as JSON. What is not known is
null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..disk import written
from ..errors import BadNode, UsageError
from ..nodes import SITES, Node
from .atlas import Atlas
from .blocks import TYPES
from .plan import KINDS, block_of
from .records import Band, Component, Example
from .store import BAND

Progress = Callable[[int, int], None]  # components done, and how many there are

FORMATS = ("jsonl", "parquet")
_PART = r"(\*|\d+(?:-\d+)?)"
_PATTERN = re.compile(
    rf"({'|'.join(KINDS)})(?:(?<=latent)\.({'|'.join(SITES)}|\*))?(?:\.{_PART}(?:\.{_PART})?)?", re.ASCII
)
_BUFFERED = 1_000_000  # numbers held before a row group is written
_STATS = ("density", "strong", "mean", "variance", "skewness", "kurtosis", "minimum", "maximum")

_EXAMPLES = pa.schema(
    {
        "component": pa.string(),
        "kind": pa.string(),
        "band": pa.int8(),
        "rank": pa.int16(),
        "low": pa.float64(),
        "high": pa.float64(),
        "activation": pa.float32(),
        "peak": pa.int16(),
        "source": pa.int16(),
        "text": pa.string(),
        "tokens": pa.list_(pa.string()),
        "ids": pa.list_(pa.int32()),
        "activations": pa.list_(pa.float32()),
        "attended": pa.list_(pa.float32()),
        "pairs": pa.list_(pa.list_(pa.float32())),
        "context": pa.int32(),
        "start": pa.int16(),
        "origin": pa.string(),
    }
)
_COMPONENTS = pa.schema(
    {
        "component": pa.string(),
        "kind": pa.string(),
        "layer": pa.int32(),
        "index": pa.int32(),
        "tokens": pa.int64(),
        **{name: pa.float64() for name in _STATS},
        "histogram_edges": pa.list_(pa.float64()),
        "histogram_counts": pa.list_(pa.int64()),
        **{f"type_{name}": pa.float64() for name in TYPES},
        "bands": pa.list_(BAND),
    }
)


def export(
    atlas: Atlas,
    out: Path | str,
    components: Sequence[str] | None = None,
    format: str = "jsonl",
    progress: Progress | None = None,
) -> int:
    """Write components to the file `out`, whole or not at all, and give how many they are.

    `components` are ids and patterns: neuron.5.200, neuron.5.0-199, neuron.5.* or neuron.5, attn.*.3, attn,
    latent.mlp_out.10.117, latent.*.10, latent; None: all. Each is written once, in the order of the atlas. A component
    at a time is held in memory, for Parquet a row group.
    Parquet makes two files, `out` and `beside(out)`.
    Raises UsageError, BadNode for an id that the atlas does not have, BadAtlas or NoSpace.
    """
    out = Path(out)
    if format not in FORMATS:
        raise UsageError(f"{format!r} is no format to export.", f"Choose {' or '.join(FORMATS)}.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder.", "Name a file to write.")
    nodes = _named(atlas, components)
    write = _write_lines if format == "jsonl" else _write_parquet
    return write(out, atlas, _counted(nodes, progress))


def beside(out: Path) -> Path:
    """The file of statistics that a Parquet export writes besides `out`."""
    return out.with_name(f"{out.name.removesuffix('.parquet')}.components.parquet")


def _named(atlas: Atlas, components: Sequence[str] | None) -> list[Node]:
    """The components that ids and patterns name. Raises UsageError or BadNode."""
    chosen: dict[str, set[int]] = {site: set() for site in atlas.sizes}
    for text in KINDS if components is None else components:
        match = _PATTERN.fullmatch(text.strip())
        if match is None:
            raise UsageError(
                f"{text!r} names no components.", "Write neuron.5.200, neuron.5.0-199, neuron.5.* or attn."
            )
        kind, part, layer, index = match.groups()
        found = False
        for site, size in atlas.sizes.items():
            block = block_of(site)
            assert block.layer is not None
            named = block.kind == kind and part in (None, "*", block.part)
            if named and block.layer in _range(layer, block.layer + 1):
                numbers = _range(index, size)
                found |= bool(numbers)
                chosen[site].update(numbers)
        if not found and components is not None:
            raise BadNode(f"The atlas {atlas.folder.name} has no {text.strip()}.", f"It has {', '.join(atlas.sizes)}.")
    return [replace(block_of(site), index=index) for site in chosen for index in sorted(chosen[site])]


def _range(part: str | None, size: int) -> range:
    """The numbers below `size` that a part of a pattern names."""
    if part in (None, "*"):
        return range(size)
    first, _, last = str(part).partition("-")
    return range(int(first), min(int(last or first) + 1, size))


def _counted(nodes: list[Node], progress: Progress | None) -> Iterator[Node]:
    for done, node in enumerate(nodes, 1):
        yield node
        if progress is not None:
            progress(done, len(nodes))


def _write_lines(out: Path, atlas: Atlas, nodes: Iterable[Node]) -> int:
    count = 0
    with written(out) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for node in nodes:
            document = atlas.component(node).to_dict()
            bands = [example for band in document["bands"] for example in band["examples"]]
            for example in [*document["top"], *document["bottom"], *bands, *document["random"]]:
                if node.kind == "attn":
                    example["pairs"] = _pairs(atlas, node, example)
            file.write(json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")
            count += 1
    return count


def _write_parquet(out: Path, atlas: Atlas, nodes: Iterable[Node]) -> int:
    count = 0
    told = {b"clew": json.dumps(atlas.info().to_dict()).encode()}
    with (
        written(out) as examples_file,
        written(beside(out)) as components_file,
        _Table(examples_file, _EXAMPLES.with_metadata(told)) as examples,
        _Table(components_file, _COMPONENTS.with_metadata(told)) as components,
    ):
        for node in nodes:
            component = atlas.component(node)
            row = _statistics(component)
            components.add(row, len(row) + len(row["histogram_counts"] or []))
            for example in _examples(atlas, node, component):
                examples.add(example, len(example["tokens"]) + sum(map(len, example["pairs"] or [])))
            count += 1
    return count


def _pairs(atlas: Atlas, node: Node, example: dict[str, Any]) -> list[list[float]]:
    rows = atlas.pairs(node, example["kind"], example["rank"], example["band"]).rows
    return [list(row) for row in rows]


def _statistics(component: Component) -> dict[str, Any]:
    """A component's row of statistics."""
    document = component.to_dict()
    stats, types = document["stats"] or {}, document["types"] or {}
    histogram = stats.get("histogram") or {}
    return {
        "component": component.id,
        **{name: document[name] for name in ("kind", "layer", "index")},
        **{name: stats.get(name) for name in ("tokens", *_STATS)},
        **{f"histogram_{name}": histogram.get(name) for name in ("edges", "counts")},
        **{f"type_{name}": types.get(name) for name in TYPES},
        "bands": [{name: band[name] for name in BAND.names} for band in document["bands"]],
    }


def _examples(atlas: Atlas, node: Node, component: Component) -> Iterator[dict[str, Any]]:
    """A component's rows of examples."""
    groups: list[tuple[Band | None, Sequence[Example]]] = [(None, component.top), (None, component.bottom)]
    groups += [(band, band.examples) for band in component.bands]
    groups += [(None, component.random)]
    for band, examples in groups:
        for example in examples:
            row = example.to_dict()
            yield {
                "component": component.id,
                **row,
                "low": None if band is None else band.low,
                "high": None if band is None else band.high,
                "pairs": _pairs(atlas, node, row) if node.kind == "attn" else None,
            }


class _Table:
    """Rows that are written to a Parquet file a group at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._held = 0

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, row: dict[str, Any], numbers: int) -> None:
        """A row, and how many numbers it holds."""
        self._rows.append(row)
        self._held += numbers
        if self._held >= _BUFFERED:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._held = [], 0
