"""The questions of component pages, asked of latents."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import clew
from clew.atlas import Atlas, Components, collect
from clew.atlas.collect import collecting
from clew.atlas.export import export
from clew.debug import Model
from clew.errors import BadNode, UsageError, WrongAtlas
from clew.nodes import parse
from clew.sae import save
from clew.sae.autoencoder import Autoencoder

from .dictionaries import random_autoencoder

PROMPT = "Then John gave Mary a drink, and went to the park."
MARY = " Mary"
SETTINGS: dict[str, Any] = {"tokens": 800, "context": 16, "window": 8}
BLOCKS = ["resid.0", "mlp_out.1", "mlp_out.2"]
N = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("latents")


@pytest.fixture(scope="module")
def autoencoders(model: Model) -> list[Autoencoder]:
    anatomy = model.subject.anatomy
    return [
        random_autoencoder(anatomy, "mlp_out.1", n=N, seed=1, activation="jumprelu"),
        random_autoencoder(anatomy, "resid.0", n=N, seed=2, activation="topk"),
        random_autoencoder(anatomy, "mlp_in.2", "mlp_out.2", n=N, seed=3),
    ]


@pytest.fixture(scope="module")
def atlas(model: Model, sentences: str, folder: Path, autoencoders: list[Autoencoder]) -> Atlas:
    return collect(model, sentences, out=folder / "atlas", autoencoders=autoencoders, **SETTINGS)


@pytest.fixture(scope="module")
def known(model: Model, atlas: Atlas, autoencoders: list[Autoencoder]) -> Components:
    return Components(model, atlas, autoencoders)


@pytest.fixture(scope="module")
def unattached(model: Model, atlas: Atlas) -> Components:
    return Components(model, atlas)


def latents() -> list[str]:
    return [f"latent.{block}.{j}" for block in BLOCKS for j in range(N)]


@pytest.mark.parametrize("which", ["known", "unattached"])
def test_arrows_visit_every_latent(which: str, request: pytest.FixtureRequest) -> None:
    components: Components = request.getfixturevalue(which)
    visited, at, before = [], "latent.resid.0.0", None
    while at is not None:
        found = components.component(at)
        assert (found.id, found.previous) == (at, before)
        visited.append(at)
        before, at = at, found.next
    assert visited == latents()


def test_a_latent_is_what_the_atlas_holds_attached_or_not(
    known: Components, unattached: Components, atlas: Atlas, autoencoders: list[Autoencoder]
) -> None:
    found = known.component("latent.mlp_out.2.7")
    assert replace(found, previous=None, next=None) == atlas.component(parse(found.id))
    assert found == unattached.component(found.id)
    assert found.stats is not None and found.top and found.bands and found.bottom == []
    assert found.autoencoder is not None
    told = found.autoencoder.to_dict()
    assert len(told.pop("fingerprint")) == 16
    assert told == {
        "name": autoencoders[2].name, "reads": "mlp_in.2", "writes": "mlp_out.2", "architecture": "relu", "latents": N,
    }  # fmt: skip
    assert known.cofiring(found.id) == atlas.cofiring(parse(found.id))
    assert any(row.id.startswith("latent.") for row in known.cofiring(found.id))
    assert any(row.id.startswith("neuron.") for row in known.cofiring(found.id))
    card, weights = known.card(found.id), known.weights(found.id)
    assert (card.density, card.maximum, card.example) == (found.stats.density, found.stats.maximum, found.top[0])
    assert card.up == weights.up and weights.note is None and weights.excited_by
    assert weights is known.weights(found.id)


def test_of_an_autoencoder_that_is_not_attached_weights_are_not_known(unattached: Components) -> None:
    name = "latent.mlp_out.1.3"
    weights = unattached.weights(name)
    assert (weights.up, weights.down, weights.excited_by) == (None, None, None)
    assert not (weights.fed_by or weights.feeds or weights.alike)
    assert weights.note is not None and "mlp_out.1-jumprelu-1, which is not attached" in weights.note
    card = unattached.card(name)
    assert card.up == [] and card.example is not None
    with pytest.raises(UsageError, match="which is not attached"):
        unattached.on_prompt(name, PROMPT)
    with pytest.raises(UsageError, match="no autoencoder is attached"):
        unattached.search_prompt(PROMPT, kinds=["latent"])
    with pytest.raises(UsageError, match="no autoencoder is attached"):
        unattached.search_pushed(MARY, kinds=["latent"])
    found = unattached.search_token(MARY, kinds=["latent"])
    assert found and all(row.id.startswith("latent.") for row in found)
    assert {row.id.split(".")[0] for row in unattached.search_prompt(PROMPT, limit=1000)} == {"attn", "neuron"}


@pytest.mark.parametrize("position", [None, 6])
def test_a_search_by_prompt_finds_what_every_latent_does(known: Components, position: int | None) -> None:
    expected = {}
    for name in latents():
        read, stats = known.on_prompt(name, PROMPT), known.component(name).stats
        assert stats is not None and read.pairs is None and read.writes is None
        values = list(read.activations)
        at = values.index(max(values[1:]), 1) if position is None else position
        z = (values[at] - stats.mean) / math.sqrt(stats.variance) if stats.variance else None
        ratio = values[at] / stats.maximum if stats.maximum else None
        expected[name] = (at, values[at], z, ratio, stats.density, stats.strong)
    found = known.search_prompt(PROMPT, position, kinds=["latent"], limit=1000)
    assert found.total == len(expected) == 3 * N
    for row in found:
        got = (row.position, row.activation, row.z, row.ratio, row.density, row.strong)
        assert got == pytest.approx(expected[row.id], rel=1e-4, abs=1e-6)
    everyone = known.search_prompt(PROMPT, position, limit=1000)
    assert everyone.total == 132 + 3 * N
    assert {row.id: row for row in everyone}.items() >= {row.id: row for row in found}.items()
    rare = known.search_prompt(PROMPT, position, kinds=["latent"], layers=[1], max_density=0.2, limit=1000)
    assert {row.id for row in rare} == {
        row.id for row in found if row.id.startswith("latent.mlp_out.1.") and (row.strong or 0) <= 0.2
    }


def test_a_latent_that_does_not_fire_is_above_no_token(known: Components) -> None:
    rows = [known.on_prompt(name, PROMPT) for name in latents()]
    pairs = [pair for row in rows for pair in zip(row.activations, row.below or (), strict=True)]
    assert len(pairs) == len(rows) * len(rows[0].tokens)
    assert {share for value, share in pairs if value == 0} == {0.0}
    for row in rows:
        stats = known.component(row.id).stats
        assert stats is not None and stats.density is not None
        fired = [share for value, share in zip(row.activations, row.below or (), strict=True) if value >= 2.0**-14]
        assert all(share >= 1 - stats.density - 1e-9 for share in fired)


def test_latents_are_found_by_token_and_by_what_they_push(known: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    (token,) = known.subject.encode(MARY, special=False)
    expected = {}
    for name in latents():
        top = known.component(name).top
        on = [example for example in top if example.ids[example.peak] == token]
        if on:
            expected[name] = len(on), len(on) / len(top), max(example.activation for example in on)
    found = known.search_token(MARY, kinds=["latent"], limit=1000)
    assert {row.id: (row.examples, row.share, row.activation) for row in found} == expected != {}
    monkeypatch.setattr("clew.models.vocabulary.PUSHED", 1000)
    fresh = Components(known.subject, known.atlas, list(known.autoencoders.values()))
    pushing = fresh.search_pushed(MARY, kinds=["latent"], limit=1000)
    assert pushing.total == 3 * N
    for row in pushing[::7]:
        (score,) = [one.score for one in fresh.weights(row.id).up or () if one.text == MARY]
        assert row.push == pytest.approx(score, abs=1e-5)


def test_latents_attached_to_the_model_are_components(
    model: Model, sentences: str, atlas: Atlas, autoencoders: list[Autoencoder], tmp_path: Path
) -> None:
    """Given themselves, by the folder that they were saved to, or attached to the model: all the same."""
    save(autoencoders[0], tmp_path / "one")
    for components in (
        Components(model, atlas, [tmp_path / "one"]),
        Components(model, atlas, [str(tmp_path / "one")]),
        Components(model.attach(autoencoders[0]), atlas),
        clew.components(model.attach(str(tmp_path / "one")), atlas),
        clew.components(model, atlas.folder, autoencoders[:1]),
    ):
        assert [str(one.writes) for one in components.autoencoders.values()] == ["mlp_out.1"]
        assert components.weights("latent.mlp_out.1.4").up
        assert components.weights("latent.mlp_out.2.4").up is None
    attached = model.attach(autoencoders[0])
    made = collect(attached, sentences, out=tmp_path / "atlas", sites=["latent"], **SETTINGS)
    assert made.info().sites == ["latent.mlp_out.1"]
    assert made.component(parse("latent.mlp_out.1.4")) == atlas.component(parse("latent.mlp_out.1.4"))


def test_an_atlas_of_another_autoencoder_is_refused(model: Model, atlas: Atlas) -> None:
    other = random_autoencoder(model.subject.anatomy, "mlp_out.1", n=N, seed=9)
    with pytest.raises(
        WrongAtlas, match=r"another autoencoder at mlp_out\.1, mlp_out\.1-jumprelu-1, than mlp_out\.1-relu-9"
    ):
        Components(model, atlas, [other])
    without = Components(model, atlas.without(["latent.mlp_out.1"]), [other])
    assert without.component("latent.mlp_out.1.3").stats is None
    assert without.component("latent.mlp_out.2.3").stats is not None
    assert without.weights("latent.mlp_out.1.3").up
    # Another one at a site of which the atlas has nothing is fine.
    free = random_autoencoder(model.subject.anatomy, "attn_out.1", n=N, seed=9)
    assert Components(model, atlas, [free]).component("latent.attn_out.1.3").stats is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("latent.mlp_out.1.20", "has 20 latents"),
        ("latent.resid.2.0", r"an autoencoder of resid\.2, and none is attached"),
        ("latent.mlp_out.9.0", "there are 3 layers"),
        ("latent.mlp_out.1.3@2", r"Write latent\.mlp_out\.1\.3"),
        ("latent.mlp_in.2.0", "is not a node id"),
        ("error.mlp_out.1@0", "is not a component"),
    ],
)
def test_latents_that_there_are_not(known: Components, name: str, said: str) -> None:
    asked: list[Callable[[], object]] = [
        lambda: known.component(name),
        lambda: known.card(name),
        lambda: known.weights(name),
        lambda: known.cofiring(name),
        lambda: known.on_prompt(name, PROMPT),
    ]
    for ask in asked:
        with pytest.raises(BadNode, match=said):
            ask()


def test_pairs_are_of_heads_only(known: Components) -> None:
    with pytest.raises(BadNode, match="not a head"):
        known.pairs("latent.mlp_out.1.3", "top", 0)


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["latent"], latents()),
        (["latent.mlp_out"], latents()[N:]),
        (["latent.*.2"], latents()[2 * N :]),
        (
            ["latent.mlp_out.1.3-4", "latent.resid.0.19"],
            ["latent.resid.0.19", "latent.mlp_out.1.3", "latent.mlp_out.1.4"],
        ),
    ],
)
def test_latents_are_exported_by_pattern(atlas: Atlas, tmp_path: Path, patterns: list[str], wanted: list[str]) -> None:
    out = tmp_path / "out.jsonl"
    assert export(atlas, out, patterns) == len(wanted)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == wanted
    assert lines[0] == json.loads(json.dumps(atlas.component(parse(wanted[0])).to_dict()))
    assert export(atlas, tmp_path / "out.parquet", patterns, format="parquet") == len(wanted)


def test_an_atlas_from_before_latents_is_read_and_left_alone(model: Model, sentences: str, tmp_path: Path) -> None:
    out = tmp_path / "old"
    collect(model, sentences, out=out, sites=["neuron.0"], **SETTINGS)
    manifest = json.loads((out / "atlas.json").read_text())
    assert manifest.pop("autoencoders") == manifest["plan"].pop("autoencoders") == []
    (out / "atlas.json").write_text(json.dumps(manifest))
    assert Atlas.open(out).info().autoencoders == []
    assert list(collecting(model, sentences, out=out, sites=["neuron.0"], **SETTINGS)) == []
