"""What is imported of published records is what they hold; what they do not hold is nothing, never zero."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clew.atlas import Atlas
from clew.atlas.openai import import_openai
from clew.atlas.records import Component, Example
from clew.errors import UsageError
from clew.nodes import Node, parse

from .conftest import content
from .published import BOUNDARIES, HEADS, NEURONS, TOP, component, write

STRIP = 1 / 2048  # of its largest value: how exactly a strip is kept
ROUNDED = 0.5e-4  # of the power of ten below that value: how strips are rounded when they are read


@pytest.fixture(scope="module")
def imported(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return import_openai(root, tmp_path_factory.mktemp("atlases") / "small", model="small")


def check_example(found: Example, given: dict[str, Any], *, pairs: bool) -> None:
    values = np.array(given["activations"])
    assert list(found.tokens) == given["tokens"]
    assert found.text == "".join(given["tokens"])
    assert found.activation == np.float32(values.max())
    assert (found.start, found.origin) == (0, "")
    exact = STRIP * np.abs(values).max() + ROUNDED * np.abs(values).max()
    n = len(given["tokens"])
    if not pairs:
        np.testing.assert_allclose(found.activations, values, rtol=0, atol=exact)
        assert (found.peak, found.source, found.attended) == (int(values.argmax()), None, None)
        return
    square = np.full((n, n), -np.inf)
    square[np.tril_indices(n)] = values
    np.testing.assert_allclose(found.activations, square.max(1), rtol=0, atol=exact)
    assert found.attended is not None
    np.testing.assert_allclose(found.attended, square.max(0), rtol=0, atol=exact)
    assert (found.peak, found.source) == np.unravel_index(int(square.argmax()), square.shape)


def check_component(found: Component, given: dict[str, Any], *, pairs: bool) -> None:
    stats, top = found.stats, given["most_positive_activation_records"]
    assert stats is not None
    moments = (stats.mean, stats.variance, stats.skewness, stats.kurtosis)
    assert moments == tuple(given[name] for name in ("mean", "variance", "skewness", "kurtosis"))
    assert stats.maximum == np.float32(max(max(record["activations"]) for record in top))
    unsaid = (stats.tokens, stats.density, stats.strong, stats.minimum, stats.histogram, found.types)
    assert unsaid == (None,) * 6
    boundaries = given["quantile_boundaries"]
    samples = given["random_sample_by_quantile"]
    assert [(band.low, band.high) for band in found.bands] == list(itertools.pairwise(boundaries))[::-1]
    assert {(band.quantile_low, band.quantile_high, band.contexts) for band in found.bands} == {(None, None, None)}
    groups = [
        ("top", None, found.top, top),
        ("random", None, found.random, given["random_sample"]),
        *(("band", i, band.examples, samples[-1 - i]) for i, band in enumerate(found.bands)),
    ]
    for kind, band, examples, wanted in groups:
        assert [(example.kind, example.band, example.rank) for example in examples] == [
            (kind, band, rank) for rank in range(len(wanted))
        ]
        for example, record in zip(examples, wanted, strict=True):
            check_example(example, record, pairs=pairs)
    assert found.bottom == []


def test_all_that_records_say_is_read_back(imported: Atlas, records: dict[str, Any]) -> None:
    for path, given in records.items():
        *_, layer, name = path.split("/")
        pairs = path.startswith(HEADS)
        node = parse(f"{'attn' if pairs else 'neuron'}.{layer}.{name.removesuffix('.json')}")
        check_component(imported.component(node), given, pairs=pairs)


def test_the_pairs_of_a_head_are_read_back(imported: Atlas, records: dict[str, Any]) -> None:
    given = records[f"{HEADS}/1/2.json"]["random_sample_by_quantile"][4][1]
    found = imported.pairs(parse("attn.1.2"), "band", 1, 0)
    flat = [value for row in found.rows for value in row]
    assert [len(row) for row in found.rows] == list(range(1, 10))
    largest = max(given["activations"])
    np.testing.assert_allclose(flat, given["activations"], rtol=0, atol=(STRIP + ROUNDED) * largest)


def test_the_atlas_says_what_it_is(imported: Atlas, root: Path, records: dict[str, Any]) -> None:
    info = imported.info()
    assert info.imported == str(root)
    assert (info.model.n_layers, info.model.n_heads, info.model.n_neurons) == (2, 3, 5)
    assert (info.model.name, info.model.fingerprint, info.model.d_model) == ("small", None, None)
    assert list(info.sites) == ["attn.0", "attn.1", "neuron.0", "neuron.1"]
    assert (info.components, info.context_length, info.window, info.skip) == (16, 16, 16, 0)
    texts = {
        tuple(piece["tokens"])
        for record in records.values()
        for group in [record[TOP], record["random_sample"], *record["random_sample_by_quantile"]]
        for piece in group
    }
    # Texts of 16 tokens and of 9 that are equal are kept once; 10 neurons share one.
    assert info.contexts == len(texts)
    assert info.tokens == sum(len(text) for text in texts)
    assert imported.contexts.notes == []
    assert len(set(imported.vocabulary)) == len(imported.vocabulary)


def test_equal_texts_are_one_context(imported: Atlas) -> None:
    shared = {
        imported.component(parse(f"neuron.{layer}.{index}")).random[0].context for layer in (0, 1) for index in range(5)
    }
    assert len(shared) == 1


def test_what_is_usual_of_imported_heads_is_not_known(imported: Atlas) -> None:
    heads, neurons = imported.summary(Node("attn", 0)), imported.summary(Node("neuron", 0))
    assert heads is not None
    assert neurons is not None
    assert np.isnan([heads.mean, heads.deviation, heads.maximum, heads.density]).all()
    assert np.isfinite([neurons.mean, neurons.deviation, neurons.maximum]).all()
    assert np.isnan([neurons.density, neurons.strong]).all()
    assert imported.head_mean(0) is None
    assert imported.histogram(parse("neuron.0.0")) is None


def test_two_imports_give_the_same_bytes(imported: Atlas, root: Path, tmp_path: Path) -> None:
    import_openai(root, tmp_path / "again", model="small")
    assert content(tmp_path / "again") == content(imported.folder)


def test_top_records_are_ranked_by_their_largest_activation(tmp_path: Path) -> None:
    given = component(0, 0)
    given["most_positive_activation_records"].reverse()
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": given})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    scores = [example.activation for example in atlas.component(parse("neuron.0.0")).top]
    assert scores == sorted(scores, reverse=True)
    best = atlas.best(parse("neuron.0.0"))
    assert best is not None
    assert best.activation == scores[0]


def test_records_of_different_lengths(tmp_path: Path) -> None:
    lengths = [1, 2, 64, 33]
    given = [component(0, index, length=length) for index, length in enumerate(lengths)]
    write(tmp_path / "root", {f"{NEURONS}/0/{index}.json": record for index, record in enumerate(given)})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    assert atlas.info().context_length == 64
    for index, record in enumerate(given):
        found = atlas.component(parse(f"neuron.0.{index}"))
        check_component(found, record, pairs=False)
    short = atlas.component(parse("neuron.0.1")).top[0].context
    assert atlas.contexts.tokens(short).tolist()[2:] == [-1] * 62


def test_what_is_missing_has_no_data_and_is_told(tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/3/{index}.json": component(3, index) for index in (1, 4)})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="gpt2", layers=[3])
    info = atlas.info()
    assert (info.model.n_layers, info.model.n_heads, info.model.n_neurons, info.model.d_model) == (12, 12, 3072, 768)
    assert (list(info.sites), info.components) == (["neuron.3"], 3072)
    assert atlas.contexts.notes == ["neuron.3 has records of 2 of its 3,072 components."]
    for index in (0, 2, 3, 5, 3071):
        found = atlas.component(parse(f"neuron.3.{index}"))
        assert found.stats is None
        assert [*found.top, *found.bottom, *found.bands, *found.random] == []
    check_component(atlas.component(parse("neuron.3.4")), component(3, 4), pairs=False)
    assert atlas.component(parse("neuron.0.0")).stats is None


def test_limit_and_layers(root: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    atlas = import_openai(
        root,
        tmp_path / "atlas",
        model="small",
        layers=[1],
        limit=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert list(atlas.info().sites) == ["attn.1", "neuron.1"]
    assert told == [(n, 4) for n in range(1, 5)]
    assert atlas.component(parse("neuron.1.1")).stats is not None
    assert atlas.component(parse("neuron.1.2")).stats is None


@pytest.mark.parametrize(
    ("model", "places"),
    [
        ("gpt2", {"neuron": "gpt2_small_data/collated-activations", "attn": f"gpt2_small/{HEADS}"}),
        ("gpt2-xl", {"neuron": "data/collated-activations"}),
    ],
)
def test_the_layout_of_the_published_bucket(model: str, places: dict[str, str], tmp_path: Path) -> None:
    for kind, place in places.items():
        write(tmp_path / "root", {f"{place}/11/0.json": component(11, 0, pairs=kind == "attn")})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model=model, layers=[11], limit=1)
    assert list(atlas.info().sites) == [f"{kind}.11" for kind in sorted(places)]
    sizes = {"gpt2": (12, 12, 3072), "gpt2-xl": (48, 25, 6400)}[model]
    assert (atlas.info().model.n_layers, atlas.info().model.n_heads, atlas.info().model.n_neurons) == sizes


@pytest.mark.parametrize(("below", "site"), [(NEURONS, "neuron.0"), (HEADS, "attn.0")])
def test_the_folder_of_the_records_itself(below: str, site: str, root: Path, tmp_path: Path) -> None:
    atlas = import_openai(root / below, tmp_path / "atlas", model="small", layers=[0])
    assert list(atlas.info().sites) == [site]


def test_fields_that_mean_nothing_are_counted(tmp_path: Path) -> None:
    given = component(0, 0)
    given["notes"] = "?"
    given["random_sample"][0]["weight"] = 3
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": given, f"{NEURONS}/0/1.json": {**component(0, 1), "notes": 1}})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    assert sorted(atlas.contexts.notes) == [
        "1 records have a field weight, which is not read.",
        "2 records have a field notes, which is not read.",
    ]


def test_older_names_and_open_fields(tmp_path: Path) -> None:
    given = component(0, 0)
    given["neuron_id"] = {"layer": "0", "idx": 0}
    given["random_sample_by_quantile"] = given["quantile_boundaries"] = None
    given["skewness"] = given["kurtosis"] = None
    inner = {**component(0, 1), "quantile_boundaries": BOUNDARIES[1:-1]}
    unsaid = {**component(0, 2), "quantile_boundaries": None}
    silent = {**component(0, 3), "mean": None}
    write(tmp_path / "root", {f"{NEURONS}/0/{i}.json": found for i, found in enumerate([given, inner, unsaid, silent])})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    zero, one, two, three = (atlas.component(parse(f"neuron.0.{i}")) for i in range(4))
    assert zero.stats is not None
    assert (zero.bands, zero.stats.skewness, zero.stats.kurtosis) == ([], None, None)
    assert [(band.low, band.high) for band in one.bands] == list(itertools.pairwise(BOUNDARIES))[::-1]
    assert [(band.low, band.high) for band in two.bands] == [(None, None)] * 5
    assert three.stats is None
    assert len(three.top) == 6


def test_a_record_without_texts(tmp_path: Path) -> None:
    none = {TOP: [], "random_sample": [], "random_sample_by_quantile": [[]] * 5}
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": {**component(0, 0), **none}})
    with pytest.raises(UsageError, match="hold no text at all"):
        import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    write(tmp_path / "root", {f"{NEURONS}/0/1.json": component(0, 1)})
    found = import_openai(tmp_path / "root", tmp_path / "atlas", model="one").component(parse("neuron.0.0"))
    # Without its top texts its maximum is not known, and no other statistic is of use without it.
    assert (found.stats, found.top, found.random) == (None, [], [])
    assert [(band.high, band.examples) for band in found.bands] == [(high, []) for high in BOUNDARIES[:0:-1]]
