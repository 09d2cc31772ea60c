"""What is exported is what the atlas says, number for number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from clew.atlas import Atlas, collect
from clew.atlas.blocks import TYPES
from clew.atlas.export import beside, export
from clew.atlas.openai import import_openai
from clew.atlas.records import AtlasInfo, Component
from clew.debug import Model
from clew.errors import BadAtlas, BadNode, ClewError, NoSpace, UsageError
from clew.nodes import Node, parse

from .published import small, write


@pytest.fixture(scope="module")
def collected(tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """An atlas of two of three layers: 4 heads and 40 neurons each."""
    return collect(
        tiny("llama"), corpus, out=tmp_path_factory.mktemp("atlases") / "collected", sites=["attn.0-1", "neuron.1-2"],
        tokens=480, context=24, window=16, top=4, bottom=2, band=2, random=2, batch=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """An atlas of published records, two of which are missing."""
    root = tmp_path_factory.mktemp("published")
    records = small()
    write(root, {path: record for path, record in records.items() if not path.endswith(("/1/1.json", "/0/2.json"))})
    return import_openai(root, tmp_path_factory.mktemp("atlases") / "imported", model="small")


@pytest.fixture(params=["collected", "imported"])
def atlas(request: pytest.FixtureRequest) -> Atlas:
    return request.getfixturevalue(request.param)


def nodes(atlas: Atlas) -> list[Node]:
    return [parse(f"{site}.{index}") for site, size in atlas.sizes.items() for index in range(size)]


def with_pairs(atlas: Atlas, node: Node) -> dict[str, Any]:
    """A component as a document, the examples of a head with their pairs."""
    document = atlas.component(node).to_dict()
    if node.kind == "attn":
        for examples in [document[name] for name in ("top", "bottom", "random")] + [
            band["examples"] for band in document["bands"]
        ]:
            for example in examples:
                pairs = atlas.pairs(node, example["kind"], example["rank"], example["band"])
                example["pairs"] = pairs.to_dict()["rows"]
    return document


def test_lines_are_the_components_of_the_atlas(atlas: Atlas, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    out = tmp_path / "new" / "all.jsonl"
    n = len(nodes(atlas))
    assert export(atlas, out, progress=lambda done, total: told.append((done, total))) == n
    assert told == [(done, n) for done in range(1, n + 1)]
    content = out.read_bytes()
    assert content.endswith(b"}\n")
    assert b"\r" not in content
    lines = [json.loads(line) for line in content.decode().split("\n")[:-1]]
    assert lines == [with_pairs(atlas, node) for node in nodes(atlas)]
    assert [path.name for path in out.parent.iterdir()] == ["all.jsonl"]


def check_statistics(row: dict[str, Any], component: Component) -> None:
    assert (row["component"], row["kind"], row["layer"], row["index"]) == (
        component.id,
        component.kind,
        component.layer,
        component.index,
    )
    stats, types = component.stats, component.types
    for name in ("tokens", "density", "strong", "mean", "variance", "skewness", "kurtosis", "minimum", "maximum"):
        assert row[name] == (None if stats is None else getattr(stats, name))
    histogram = None if stats is None else stats.histogram
    assert row["histogram_edges"] == (None if histogram is None else list(histogram.edges))
    assert row["histogram_counts"] == (None if histogram is None else list(histogram.counts))
    assert [row[f"type_{name}"] for name in TYPES] == [
        None if types is None else getattr(types, name) for name in TYPES
    ]
    bands = [{**band.to_dict()} for band in component.bands]
    for band in bands:
        del band["examples"]
    assert row["bands"] == bands


def check_example(row: dict[str, Any], example: dict[str, Any]) -> None:
    for name in ("kind", "band", "rank", "text", "tokens", "ids", "activation", "peak", "source", "context", "start"):
        assert row[name] == example[name]
    assert row["origin"] == example["origin"]
    for name in ("activations", "attended"):
        values = example[name]
        assert row[name] == (None if values is None else np.float32(values).tolist())
    pairs = example.get("pairs")
    assert row["pairs"] == (None if pairs is None else [np.float32(values).tolist() for values in pairs])


def test_parquet_says_the_same(atlas: Atlas, tmp_path: Path) -> None:
    out = tmp_path / "all.parquet"
    assert export(atlas, out, format="parquet") == len(nodes(atlas))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.components.parquet", "all.parquet"]
    examples, components = pq.read_table(out), pq.read_table(beside(out))
    for table in (examples, components):
        assert AtlasInfo(**{**json.loads(table.schema.metadata[b"clew"]), "model": atlas.info().model}) == atlas.info()
    rows = iter(examples.to_pylist())
    for node, statistics in zip(nodes(atlas), components.to_pylist(), strict=True):
        check_statistics(statistics, atlas.component(node))
        document = with_pairs(atlas, node)
        for example in [*document["top"], *document["bottom"]]:
            row = next(rows)
            assert (row["component"], row["low"], row["high"]) == (str(node), None, None)
            check_example(row, example)
        for band in document["bands"]:
            for example in band["examples"]:
                row = next(rows)
                assert (row["component"], row["low"], row["high"]) == (str(node), band["low"], band["high"])
                check_example(row, example)
        for example in document["random"]:
            check_example(next(rows), example)
    assert next(rows, None) is None


def test_every_sort_of_example_is_exported(collected: Atlas, tmp_path: Path) -> None:
    export(collected, tmp_path / "all.parquet", format="parquet")
    table = pq.read_table(tmp_path / "all.parquet", columns=["component", "kind"])
    found = {(row["component"].partition(".")[0], row["kind"]) for row in table.to_pylist()}
    kinds = {("neuron", kind) for kind in ("top", "bottom", "band", "random")}
    assert found == kinds | {("attn", kind) for kind in ("top", "band", "random")}


@pytest.mark.parametrize(
    ("components", "ids"),
    [
        (["neuron.1.7"], ["neuron.1.7"]),
        (["attn.1.3", " attn.0.0 "], ["attn.0.0", "attn.1.3"]),
        (["neuron.2.3-5"], ["neuron.2.3", "neuron.2.4", "neuron.2.5"]),
        (["neuron.2.38-99"], ["neuron.2.38", "neuron.2.39"]),
        (["attn.*.2"], ["attn.0.2", "attn.1.2"]),
        (["attn.0-1.1-2", "attn.0.1"], ["attn.0.1", "attn.0.2", "attn.1.1", "attn.1.2"]),
        (["attn.0.*"], [f"attn.0.{head}" for head in range(4)]),
        (["attn.0"], [f"attn.0.{head}" for head in range(4)]),
        (["attn"], [f"attn.{layer}.{head}" for layer in (0, 1) for head in range(4)]),
        ([], []),
    ],
)
def test_components_are_named_by_ids_and_patterns(
    components: list[str], ids: list[str], collected: Atlas, tmp_path: Path
) -> None:
    out = tmp_path / "some.jsonl"
    assert export(collected, out, components) == len(ids)
    assert [json.loads(line)["id"] for line in out.read_text(encoding="utf-8").splitlines()] == ids


@pytest.mark.parametrize(
    ("components", "error"),
    [
        (["neuron.2.40"], BadNode),
        (["neuron.0.1"], BadNode),
        (["attn.7"], BadNode),
        (["neuron.2.9-3"], BadNode),
        (["neuron.2.1", "neuron.9.*"], BadNode),
        (["latent.mlp_out.1.2"], UsageError),
        (["neuron.2.x"], UsageError),
        (["neuron.2.1@3"], UsageError),
        ([""], UsageError),
    ],
)
def test_what_the_atlas_does_not_have_is_told(
    components: list[str], error: type[ClewError], collected: Atlas, tmp_path: Path
) -> None:
    with pytest.raises(error) as told:
        export(collected, tmp_path / "some.jsonl", components)
    assert components[-1] in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_be_written(collected: Atlas, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        export(collected, tmp_path)
    with pytest.raises(UsageError, match="'csv' is no format"):
        export(collected, tmp_path / "some", format="csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(NoSpace):
        export(collected, tmp_path / "file" / "some.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_an_export_that_fails_leaves_the_older_one(format: str, tmp_path: Path) -> None:
    write(tmp_path / "root", small())
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="small")
    damaged = atlas.folder / "examples" / "neuron.1.parquet"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    out = tmp_path / "out" / "all.file"
    out.parent.mkdir()
    out.write_text("older")
    with pytest.raises(BadAtlas, match=r"neuron\.1\.parquet"):
        export(atlas, out, format=format)
    assert out.read_text() == "older"
    assert [path.name for path in out.parent.iterdir()] == ["all.file"]
