"""The pool: drawn by seed from the atlas's text, and read as plain hooks read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import clew.explain.pool
from clew.atlas import Atlas, Components, collect
from clew.atlas.openai import import_openai
from clew.debug import Model
from clew.errors import Cancelled, NotFinite
from clew.explain.pool import ALIKE, Pool
from clew.explain.selection import selected
from clew.nodes import parse, parse_site
from clew.sae.autoencoder import Autoencoder

from ..atlas.dictionaries import literal, random_autoencoder, read_by_hooks
from ..atlas.published import small, write

LENGTH, SKIP = 24, 2


@pytest.fixture(scope="module")
def autoencoder(model: Model) -> Autoencoder:
    return random_autoencoder(model.subject.anatomy, "mlp_out.1", n=20, activation="topk")


@pytest.fixture(scope="module")
def atlas(model: Model, corpus: str, autoencoder: Autoencoder, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    out = tmp_path_factory.mktemp("pool") / "atlas"
    return collect(
        model, corpus, out=out, autoencoders=[autoencoder], tokens=50 * LENGTH, context=LENGTH, window=12, skip=SKIP
    )


@pytest.fixture(scope="module")
def components(model: Model, atlas: Atlas, autoencoder: Autoencoder) -> Components:
    return Components(model, atlas, [autoencoder])


def drawn(components: Components, seed: int = 0, size: int = 40) -> Pool:
    pool = Pool.draw(components, seed, size)
    assert pool is not None
    return pool


def test_contexts_are_drawn_by_seed_and_are_the_atlass_own(components: Components, atlas: Atlas) -> None:
    pool, again, other = drawn(components), drawn(components), drawn(components, seed=1)
    assert pool.contexts.tolist() == again.contexts.tolist() != other.contexts.tolist()
    assert len(set(pool.contexts.tolist())) == 40 < len(atlas.contexts) == 50
    assert len(drawn(components, size=96).contexts) == 50
    for number, ids in zip(pool.contexts, pool.ids, strict=True):
        assert ids.tolist() == atlas.contexts.tokens(int(number)).tolist()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("held", [2**22, 7 * LENGTH * 20])  # latents at once: all of a batch, or of seven contexts
def test_activations_are_what_hooks_read(
    components: Components, model: Model, autoencoder: Autoencoder, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clew.atlas.blocks.HELD", held)
    pool = drawn(components)
    neurons = selected(["neuron.0.3,neuron.2.0-4"], components)
    latents = selected(["latent.mlp_out.1.*"], components)
    found = pool.read([*neurons, *latents])
    anatomy = model.subject.anatomy
    sites = [parse_site(name) for name in ("mlp_act.0", "mlp_act.2", "mlp_out.1")]
    with torch.no_grad(), read_by_hooks(anatomy, sites) as seen:
        model.subject.hf(torch.from_numpy(pool.ids))
    values = {site: torch.cat(seen[site]) for site in sites}
    fired = literal(autoencoder, values[sites[2]])
    for node in neurons:
        truth = values[parse_site(f"mlp_act.{node.layer}")][:, :, node.index]
        np.testing.assert_allclose(found[node].activations, truth, atol=2e-5)
    for node in latents:
        np.testing.assert_allclose(found[node].activations, fired[:, :, node.index], atol=2e-5)


@pytest.mark.usefixtures("one_thread")
def test_similar_components_are_those_that_correlate_most(components: Components) -> None:
    pool = drawn(components)
    for spec in ("neuron.1.*", "latent.mlp_out.1.*"):
        nodes = selected([spec], components)
        found = pool.read(nodes)
        fired = np.stack([np.maximum(found[node].activations[:, SKIP:], 0).ravel() for node in nodes]).astype(float)
        with np.errstate(invalid="ignore"):
            truth = np.nan_to_num(np.corrcoef(fired))
        np.fill_diagonal(truth, 0)
        for row, node in enumerate(nodes):
            best = np.sort(truth[row][truth[row] > 1e-9])[::-1][:ALIKE]
            similar = found[node].similar
            np.testing.assert_allclose([one.correlation for one in similar], best, atol=1e-4)
            for one in similar:
                other = found[one.component].activations[:, SKIP:]
                np.testing.assert_array_equal(one.peaks, other.max(1))
                np.testing.assert_array_equal(one.at, other.argmax(1) + SKIP)
        assert any(found[node].similar for node in nodes)
        # The same whoever else is asked for: what is known of one is known of it alone.
        (alone,) = pool.read(nodes[3:4]).values()
        assert [one.component for one in alone.similar] == [one.component for one in found[nodes[3]].similar]


def test_heads_and_latents_that_are_not_attached_are_not_read(model: Model, atlas: Atlas) -> None:
    unattached = Components(model, atlas)
    pool = drawn(unattached)
    nodes = [parse("attn.1.0"), parse("latent.mlp_out.1.3")]
    assert not any(pool.reads(node) for node in nodes)
    assert pool.read(nodes) == {}
    assert list(pool.lots(nodes)) == [nodes]


def test_there_is_no_pool_of_texts_that_are_not_the_models(model: Model, tmp_path: Path) -> None:
    anatomy = model.subject.anatomy
    write(tmp_path / "root", small(layers=len(anatomy.layers), neurons=anatomy.n_neurons, heads=anatomy.n_heads))
    imported = import_openai(tmp_path / "root", tmp_path / "imported", model="small")
    assert Pool.draw(Components(model, imported), 0) is None
    assert Pool.draw(Components(model), 0) is None


def test_lots_hold_what_memory_allows(components: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = drawn(components)
    nodes = selected(["neuron.*.*", "attn.*.*", "latent.*.*.*"], components)
    assert list(pool.lots(nodes)) == [nodes]
    each = 40 * LENGTH + 40
    monkeypatch.setattr(clew.explain.pool, "_HELD", 7 * each)
    lots = list(pool.lots(nodes))
    assert [node for lot in lots for node in lot] == nodes
    assert all(1 <= sum(pool.reads(node) for node in lot) <= 7 for lot in lots)
    assert max(len(lot) for lot in lots) >= 7
    monkeypatch.setattr(clew.explain.pool, "_HELD", 1)  # one at a time, but never none
    assert len(list(pool.lots(nodes[:9]))) >= 5


def test_progress_counts_contexts_and_a_stop_stops(components: Components) -> None:
    pool, told = drawn(components), []
    pool.read([parse("neuron.0.1")], progress=lambda *done: told.append(done))
    assert told == [("read", 32, 40), ("read", 40, 40)]
    with pytest.raises(Cancelled):
        pool.read([parse("neuron.2.1")], stop=lambda: len(told) == 2)


def test_numbers_that_mean_nothing_are_refused(components: Components, model: Model) -> None:
    weight = model.subject.anatomy.layers[0].mlp_out_module.weight
    assert isinstance(weight, torch.Tensor)
    kept = weight.clone()
    try:
        weight.fill_(float("nan"))
        with pytest.raises(NotFinite):
            drawn(components).read([parse("neuron.1.0")])
    finally:
        weight.copy_(kept)
