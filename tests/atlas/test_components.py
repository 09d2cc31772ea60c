"""The questions of component pages, asked of a tiny model with an atlas collected from a few sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clew
from clew.atlas.atlas import Atlas
from clew.atlas.collect import collect
from clew.atlas.components import Components
from clew.debug import Model
from clew.errors import (
    BadNode,
    BadText,
    EmptyPrompt,
    NoAtlas,
    NotOneToken,
    PositionOutOfRange,
    UsageError,
    WrongAtlas,
)
from clew.nodes import parse

from ..tiny import tiny_model_folder

PROMPT = "Then John gave Mary a drink, and went to the park."
MARY = " Mary"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("components")


@pytest.fixture(scope="module")
def atlas(model: Model, sentences: str, folder: Path) -> Atlas:
    return collect(model, sentences, out=folder / "atlas", tokens=800, context=16, window=8)


@pytest.fixture(scope="module")
def part(model: Model, sentences: str, folder: Path) -> Atlas:
    """An atlas of some blocks only."""
    return collect(
        model, sentences, out=folder / "part", tokens=400, context=16, window=8, sites=["neuron.1", "attn.0"]
    )


@pytest.fixture(scope="module")
def bare(model: Model) -> Components:
    return Components(model)


@pytest.fixture(scope="module")
def known(model: Model, atlas: Atlas) -> Components:
    return Components(model, atlas)


def ids(components: Components) -> list[str]:
    """Every component, in the order that equal search results have."""
    anatomy = components.subject.anatomy
    found = []
    for layer in anatomy.layers:
        found += [f"attn.{layer.index}.{head}" for head in range(anatomy.n_heads)]
        found += [f"neuron.{layer.index}.{neuron}" for neuron in range(anatomy.n_neurons)]
    return found


@pytest.mark.parametrize("kind", ["attn", "neuron"])
def test_arrows_visit_every_component_of_a_kind(known: Components, kind: str) -> None:
    visited, at = [], f"{kind}.0.0"
    before = None
    while at is not None:
        found = known.component(at)
        assert (found.id, found.previous) == (at, before)
        visited.append(at)
        before, at = at, found.next
    assert visited == [name for name in ids(known) if name.startswith(kind)]


def test_a_component_is_what_the_atlas_holds(known: Components, bare: Components, atlas: Atlas) -> None:
    for name in ("neuron.1.7", "attn.2.3"):
        expected = atlas.component(parse(name))
        found = known.component(name)
        assert replace(found, previous=None, next=None) == expected
        assert found.stats is not None and found.top
        nothing = bare.component(name)
        assert (nothing.id, nothing.next, nothing.previous) == (name, found.next, found.previous)
        assert nothing.stats is None and nothing.types is None
        assert not (nothing.top or nothing.bottom or nothing.bands or nothing.random)


def test_a_card_is_the_page_in_short(known: Components, bare: Components) -> None:
    for name in ("neuron.1.7", "attn.2.3"):
        page, weights, card = known.component(name), known.weights(name), known.card(name)
        assert page.stats is not None
        assert (card.density, card.maximum) == pytest.approx((page.stats.density, page.stats.maximum))
        assert card.example == page.top[0]
        assert card.up == weights.up
    assert bare.card("neuron.1.7").up == bare.weights("neuron.1.7").up == known.weights("neuron.1.7").up
    card = bare.card("attn.2.3")
    assert (card.density, card.maximum, card.example, card.up) == (None, None, None, [])
    assert bare.weights("attn.2.3").up is None


def test_the_weights_of_a_component_are_worked_out_once(known: Components) -> None:
    assert known.weights("attn.1.1") is known.weights(parse("attn.1.1"))


def test_pairs_and_co_firing_are_the_atlas_s(known: Components, atlas: Atlas) -> None:
    head, neuron = parse("attn.1.2"), parse("neuron.1.2")
    assert known.pairs(head, "top", 0) == atlas.pairs(head, "top", 0, None)
    assert known.cofiring(neuron) == atlas.cofiring(neuron)
    with pytest.raises(BadNode, match="not a head"):
        known.pairs(neuron, "top", 0)


def test_a_prompt_is_compared_with_the_corpus(known: Components) -> None:
    for name in ("neuron.2.5", "attn.1.3"):
        found, stats = known.on_prompt(name, PROMPT), known.component(name).stats
        assert stats is not None and found.z is not None and found.below is not None
        values = found.activations if found.writes is None else found.writes
        expected = [(value - stats.mean) / math.sqrt(stats.variance) for value in values]
        assert found.z == pytest.approx(expected, rel=1e-5)
        assert stats.histogram is not None
        total = sum(stats.histogram.counts)
        for value, share in zip(values, found.below, strict=True):
            bins = list(zip(stats.histogram.edges, stats.histogram.counts, strict=False))
            under = sum(n for (_, n), top in zip(bins, stats.histogram.edges[1:], strict=True) if top <= value)
            within = sum(n for low, n in bins if low <= value)
            assert under / total - 1e-9 <= share <= within / total + 1e-9
    start = known.on_prompt("attn.1.3", PROMPT, bos=True)
    assert [token.text for token in start.tokens[:2]] == ["<|start|>", "Then"]


@pytest.mark.parametrize("position", [None, 0, 6])
@pytest.mark.parametrize("sort", ["z", "activation", "ratio", "density", "strong"])
@pytest.mark.parametrize("ascending", [False, True])
def test_a_search_by_prompt_finds_what_every_component_does(
    known: Components, everything: dict[str, dict[str, Any]], position: int | None, sort: str, ascending: bool
) -> None:
    rows = []
    for name in ids(known):
        values, stats = everything[name]["values"], everything[name]["stats"]
        at = values.index(max(values[1:]), 1) if position is None else position
        rows.append({
            "id": name, "position": at, "activation": values[at],
            "z": (values[at] - stats.mean) / math.sqrt(stats.variance),
            "ratio": values[at] / stats.maximum if stats.maximum > 0 else None,
            "density": stats.density, "strong": stats.strong,
        })  # fmt: skip
    missing = [row for row in rows if row[sort] is None]
    there = sorted((row for row in rows if row[sort] is not None), key=lambda row: row[sort], reverse=not ascending)
    expected = there + missing
    found = known.search_prompt(PROMPT, position, sort=sort, ascending=ascending, limit=1000)
    assert found.total == len(found) == len(rows)
    assert [getattr(firing, sort) for firing in found] == pytest.approx([row[sort] for row in expected], rel=1e-4)
    by_id = {row["id"]: row for row in rows}
    for firing in found:
        got, row = firing.to_dict(), by_id[firing.id]
        assert got.pop("id") == firing.id
        assert got == pytest.approx({key: value for key, value in row.items() if key != "id"}, rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def everything(known: Components) -> dict[str, dict[str, Any]]:
    """What every component does on the prompt and in the corpus, asked one by one."""
    found = {}
    for name in ids(known):
        read = known.on_prompt(name, PROMPT)
        values = list(read.activations if read.writes is None else read.writes)
        found[name] = {"values": values, "stats": known.component(name).stats}
    return found


def test_pages_kinds_layers_and_density(known: Components) -> None:
    whole = known.search_prompt(PROMPT, limit=1000)
    paged = [row for offset in range(0, 150, 40) for row in known.search_prompt(PROMPT, offset=offset, limit=40)]
    assert paged == list(whole)
    some = known.search_prompt(PROMPT, kinds=["attn"], layers=[0, 2, 7], limit=1000)
    assert list(some) == [row for row in whole if row.id.startswith(("attn.0", "attn.2"))]
    bound = sorted(row.strong for row in whole if row.strong is not None)[60]
    rare = known.search_prompt(PROMPT, max_density=bound, limit=5)
    expected = [row for row in whole if row.strong is not None and row.strong <= bound]
    assert rare.total == len(expected) < whole.total
    assert list(rare) == expected[:5]
    assert known.search_prompt(PROMPT, kinds=[]).total == known.search_prompt(PROMPT, layers=[]).total == 0
    assert list(known.search_prompt(PROMPT, offset=10_000)) == []


def test_without_an_atlas_a_prompt_still_tells_activations(known: Components, bare: Components) -> None:
    found = bare.search_prompt(PROMPT, 4, sort="activation", limit=1000)
    expected = known.search_prompt(PROMPT, 4, sort="activation", limit=1000)
    assert [(row.id, row.activation) for row in found] == [(row.id, row.activation) for row in expected]
    assert {(row.z, row.ratio, row.density, row.strong) for row in found} == {(None,) * 4}
    pushed = bare.search_pushed(MARY, limit=1000)
    assert [(row.id, row.push) for row in pushed] == [
        (row.id, row.push) for row in known.search_pushed(MARY, limit=1000)
    ]


@pytest.mark.parametrize("ascending", [False, True])
def test_what_an_atlas_of_some_blocks_does_not_know_comes_last(model: Model, part: Atlas, ascending: bool) -> None:
    components = Components(model, part)
    known = {"neuron.1", "attn.0"}
    found = components.search_prompt(PROMPT, limit=1000, ascending=ascending)
    there = [row.id.rpartition(".")[0] in known for row in found]
    assert there == sorted(there, reverse=True)
    assert sum(there) == 44
    assert [row.z is None for row in found] == [not known for known in there]
    rare = components.search_prompt(PROMPT, max_density=1, limit=1000)
    assert rare.total == 44
    assert components.component("attn.2.1").stats is None
    assert components.card("attn.2.1").example is None
    assert components.weights("attn.2.1").up is None
    assert components.weights("attn.0.1").up
    assert components.on_prompt("attn.2.1", PROMPT).z is None


@pytest.mark.parametrize("sort", ["share", "examples", "activation", "density", "strong"])
def test_a_search_by_token_counts_top_examples(known: Components, sort: str) -> None:
    expected = {}
    (token,) = known.subject.encode(MARY, special=False)
    for name in ids(known):
        top = known.component(name).top
        on = [example for example in top if example.ids[example.peak] == token]
        if on:
            expected[name] = len(on), len(on) / len(top), max(example.activation for example in on)
    found = known.search_token(MARY, sort=sort, limit=1000)
    assert {row.id: (row.examples, row.share, row.activation) for row in found} == expected
    assert 0 < found.total == len(expected) < 132
    keys = [getattr(row, sort) for row in found]
    assert keys == sorted(keys, reverse=True)
    (second,) = known.search_token(MARY, sort=sort, offset=1, limit=1)
    assert second == found[1]
    assert known.search_token(MARY, kinds=["neuron"], layers=[1]).total == sum(
        name.startswith("neuron.1.") for name in expected
    )


def test_equal_results_come_in_the_order_of_the_model(known: Components) -> None:
    found = known.search_token(MARY, sort="examples", limit=1000)
    places = [(-row.examples, ids(known).index(row.id)) for row in found]
    assert places == sorted(places)


def test_a_search_by_pushed_token_agrees_with_the_pages(known: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.models.vocabulary.PUSHED", 1000)
    found = known.search_pushed(MARY, limit=1000)
    assert found.total == 132
    pushes = [row.push for row in found]
    assert pushes == sorted(pushes, reverse=True)
    fresh = Components(known.subject, known.atlas)
    for row in found[::9]:
        stats = known.component(row.id).stats
        assert stats is not None
        assert (row.density, row.strong) == pytest.approx((stats.density, stats.strong))
        if row.id.startswith("neuron"):
            (score,) = [token.score for token in fresh.weights(row.id).up or () if token.text == MARY]
            assert row.push == pytest.approx(score, abs=1e-5)
        else:
            assert row.push > 0
    rarest = known.search_pushed(MARY, sort="strong", ascending=True, kinds=["neuron"], limit=3)
    strong = sorted(row.strong for row in found if row.strong is not None and row.id.startswith("neuron"))
    assert [row.strong for row in rarest] == strong[:3]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("neuron.3.0", "there are 3 layers"),
        ("neuron.0.40", "there are 40 neurons a layer"),
        ("attn.2.4", "there are 4 heads"),
        ("latent.mlp_out.0.0", "none is attached"),
        ("bias.attn.0", "is not a component"),
        ("direct", "is not a component"),
        ("embed@0", "is not a component"),
        ("neuron.0.1@2", "Write neuron.0.1"),
        ("attn.0.1@2<-1", "Write attn.0.1"),
        ("head.0.1", "is not a node id"),
        ("", "is not a node id"),
    ],
)
def test_components_that_there_are_not(known: Components, name: str, said: str) -> None:
    asked: list[Callable[[], object]] = [
        lambda: known.component(name),
        lambda: known.card(name),
        lambda: known.weights(name),
        lambda: known.pairs(name, "top", 0),
        lambda: known.cofiring(name),
        lambda: known.on_prompt(name, PROMPT),
    ]
    for ask in asked:
        with pytest.raises(BadNode, match=said):
            ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda bare: bare.pairs("attn.0.1", "top", 0),
        lambda bare: bare.cofiring("neuron.0.1"),
        lambda bare: bare.search_token(MARY),
        lambda bare: bare.search_prompt(PROMPT),
        lambda bare: bare.search_prompt(PROMPT, sort="density"),
        lambda bare: bare.search_prompt(PROMPT, sort="activation", max_density=0.5),
        lambda bare: bare.search_pushed(MARY, sort="strong"),
        lambda bare: bare.search_pushed(MARY, max_density=0.5),
    ],
)
def test_what_only_an_atlas_can_answer(bare: Components, ask: Callable[[Components], object]) -> None:
    with pytest.raises(NoAtlas, match="clew collect"):
        ask(bare)


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda c: c.search_prompt(""), EmptyPrompt, "empty"),
        (lambda c: c.search_prompt("a\ud800"), BadText, "surrogate"),
        (lambda c: c.search_prompt(PROMPT, 99), PositionOutOfRange, "Position 99"),
        (lambda c: c.search_prompt(PROMPT, -1), PositionOutOfRange, "Position -1"),
        (lambda c: c.search_prompt(PROMPT, sort="loudness"), UsageError, "'loudness'"),
        (lambda c: c.search_prompt(PROMPT, kinds=["latent"]), UsageError, "no autoencoder is attached"),
        (lambda c: c.search_prompt(PROMPT, offset=-1), UsageError, "A page"),
        (lambda c: c.search_prompt(PROMPT, limit=0), UsageError, "A page"),
        (lambda c: c.search_token(" Mary and"), NotOneToken, "2 tokens"),
        (lambda c: c.search_token(""), NotOneToken, "not one token"),
        (lambda c: c.search_token(MARY, sort="push"), UsageError, "'push'"),
        (lambda c: c.search_token(MARY, kinds=["head"]), UsageError, "'head'"),
        (lambda c: c.search_pushed("\ud800"), BadText, "surrogate"),
        (lambda c: c.search_pushed("x" * 1000), NotOneToken, "1,000"),
        (lambda c: c.on_prompt("attn.0.0", ""), EmptyPrompt, "empty"),
    ],
)
def test_questions_that_cannot_be_asked(
    known: Components, ask: Callable[[Components], object], error: type[UsageError], said: str
) -> None:
    with pytest.raises(error, match=said):
        ask(known)
    assert not known.subject.lock.locked()


def test_an_atlas_of_another_model_is_refused(folder: Path, atlas: Atlas) -> None:
    other = clew.load(str(tiny_model_folder(folder / "other", seed=1)))
    with pytest.raises(WrongAtlas, match="other weights"):
        Components(other, atlas)
