"""Latents in an atlas, against a computation that keeps every activation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clew.atlas import Atlas, collect
from clew.atlas import blocks as blocks_module
from clew.atlas.collect import collecting
from clew.atlas.plan import lots, weights_of
from clew.atlas.records import Example
from clew.debug import Model
from clew.errors import AtlasExists, BadAtlas, BadSite, Cancelled, NotFinite, UsageError, WrongAutoencoder
from clew.nodes import Node
from clew.sae.autoencoder import Activation, Autoencoder

from .conftest import content
from .dictionaries import literal, random_autoencoder, read_by_hooks
from .test_collect import (
    BAND,
    BATCH,
    CONTEXTS,
    LENGTH,
    RANDOM,
    SETTINGS,
    SKIP,
    TOP,
    WINDOW,
    check_bands,
    check_stats,
    ordered,
)

FAMILIES = ["llama", "gpt2", "gpt_neox", "gemma2"]
DEAD = 11  # of the first autoencoder


def dictionaries(model: Model) -> list[Autoencoder]:
    """One of each kind, at every site, in two layers; two transcoders, one of them across layers."""
    anatomy = model.subject.anatomy
    first = random_autoencoder(anatomy, "mlp_out.1", activation="relu", seed=1)
    dead = first.b_enc.clone()
    dead[DEAD] = -1000
    return [
        replace(first, b_enc=dead),
        random_autoencoder(anatomy, "resid.1", activation="topk", seed=2),
        random_autoencoder(anatomy, "resid.2", activation="jumprelu", seed=3, normalisation="layer_norm"),
        random_autoencoder(anatomy, "attn_out.1", activation="gated", seed=4, n=300),
        random_autoencoder(anatomy, "attn_act.0", seed=5, normalisation="constant_norm_rescale"),
        random_autoencoder(anatomy, "mlp_act.2", activation="jumprelu", seed=6),
        random_autoencoder(anatomy, "mlp_in.0", "mlp_out.0", activation="topk", seed=7),
        random_autoencoder(anatomy, "resid.0", "mlp_out.2", seed=8),
    ]


def everything(model: Model, atlas: Atlas, autoencoders: list[Autoencoder]) -> dict[str, torch.Tensor]:
    """Every activation of every latent on the atlas's contexts, in the same batches, by site written."""
    anatomy = model.subject.anatomy
    ids = atlas.contexts.batch(0, CONTEXTS)
    with read_by_hooks(anatomy, [one.reads for one in autoencoders]) as seen, torch.inference_mode():
        for first in range(0, CONTEXTS, BATCH):
            anatomy.base(input_ids=ids[first : first + BATCH], use_cache=False)
        return {str(one.writes): torch.cat([literal(one, x) for x in seen[one.reads]]) for one in autoencoders}


@pytest.fixture(scope="module")
def collected(
    tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Model, Atlas, list[Autoencoder]]]:
    """An atlas of a family's latents alone, made once."""
    made: dict[str, tuple[Model, Atlas, list[Autoencoder]]] = {}

    def make(family: str) -> tuple[Model, Atlas, list[Autoencoder]]:
        if family not in made:
            model = tiny(family)
            autoencoders = dictionaries(model)
            out = tmp_path_factory.mktemp("atlas") / family
            atlas = collect(model, corpus, out=out, sites=["latent"], autoencoders=autoencoders, **SETTINGS)
            made[family] = model, atlas, autoencoders
        return made[family]

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_equal_a_computation_that_keeps_everything(
    family: str, collected: Callable[[str], tuple[Model, Atlas, list[Autoencoder]]]
) -> None:
    model, atlas, autoencoders = collected(family)
    seen = everything(model, atlas, autoencoders)
    ids = atlas.contexts.batch(0, CONTEXTS)
    drawn = sorted(np.argsort(lots(3, np.arange(CONTEXTS), 0))[:RANDOM].tolist())
    start_of = np.minimum((lots(3, np.arange(CONTEXTS), 1) * (LENGTH - WINDOW + 1)).astype(int), LENGTH - WINDOW)
    assert atlas.info().sites == [
        "latent.attn_act.0", "latent.mlp_out.0", "latent.attn_out.1", "latent.mlp_out.1", "latent.resid.1",
        "latent.mlp_act.2", "latent.mlp_out.2", "latent.resid.2",
    ]  # fmt: skip
    silent = 0
    for one in autoencoders:
        for index in (0, 7, DEAD, one.n_latents - 1):
            act = seen[str(one.writes)][:, :, index].numpy()
            component = atlas.component(Node("latent", one.writes.layer, index, part=one.writes.name))
            assert component.autoencoder is not None and component.autoencoder.name == one.name
            score = act[:, SKIP:].max(1)
            if score.max() == 0:
                silent += 1
                check_silent(component.stats, component.top)
                continue
            check_stats(component, act[:, SKIP:])

            def check(example: Example, act: np.ndarray, value: float, peak: int) -> None:
                assert example.activation == value
                assert example.start + example.peak == peak
                strip = act[example.context, example.start : example.start + WINDOW]
                assert example.activations == pytest.approx(strip.tolist(), abs=float(np.abs(strip).max()) / 2000)
                assert list(example.ids) == ids[example.context, example.start : example.start + WINDOW].tolist()

            assert [example.context for example in component.top] == ordered(score, TOP)
            assert component.bottom == []
            bands = check_bands(component, score)
            assert [[example.context for example in band.examples] for band in component.bands] == bands
            assert max(map(len, bands)) <= BAND
            peaks = act[:, SKIP:].argmax(1) + SKIP
            for example in [*component.top, *(example for band in component.bands for example in band.examples)]:
                check(example, act, score[example.context], peaks[example.context])
            assert [example.context for example in component.random] == drawn
            for example in component.random:
                start = start_of[example.context]
                first = max(start, SKIP)
                span = act[example.context, first : start + WINDOW]
                assert example.start == start
                check(example, act, span.max(), first + int(span.argmax()))
    assert 1 <= silent < 10


def check_silent(stats: object, top: object) -> None:
    """A latent that never fires has zeros, and nothing to show."""
    assert stats is not None and top == []
    found = stats.to_dict()  # type: ignore[attr-defined]
    assert (found["mean"], found["variance"], found["minimum"], found["maximum"]) == (0, 0, 0, 0)
    assert (found["density"], found["strong"], found["skewness"], found["kurtosis"]) == (0, 0, None, None)
    assert found["histogram"]["counts"] == [CONTEXTS * (LENGTH - SKIP)]


def test_few_contexts_at_once_give_the_same(
    collected: Callable[[str], tuple[Model, Atlas, list[Autoencoder]]],
    corpus: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, atlas, autoencoders = collected("llama")
    monkeypatch.setattr(blocks_module, "HELD", 48 * LENGTH)  # latents of one context
    other = collect(model, corpus, out=tmp_path / "a", sites=["latent"], autoencoders=autoencoders, **SETTINGS)
    for site in atlas.sizes:
        for index in range(0, 48, 5):
            _, part, layer = site.split(".")
            node = Node("latent", int(layer), index, part=part)
            mine, theirs = atlas.component(node), other.component(node)
            assert mine.stats is not None and theirs.stats is not None
            # A product of other shape may round otherwise.
            assert mine.stats.mean == pytest.approx(theirs.stats.mean, rel=1e-6)
            assert mine.stats.maximum == pytest.approx(theirs.stats.maximum, rel=1e-6)
            assert [one.context for one in mine.top] == [one.context for one in theirs.top]
            assert [one.context for one in mine.random] == [one.context for one in theirs.random]


def test_the_same_bytes_however_it_is_cut_and_interrupted(
    tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    model = tiny("llama")
    given = dict(SETTINGS, autoencoders=dictionaries(model), sites=["latent", "neuron.1", "attn.2"])
    collect(model, corpus, out=tmp_path / "whole", **given)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 12

    with pytest.raises(Cancelled):
        collect(model, corpus, out=tmp_path / "cut", stop=stop, **given)
    collect(model, corpus, out=tmp_path / "cut", **given)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    collect(model, corpus, out=tmp_path / "other", **{**given, "shard_tokens": BATCH * LENGTH})
    one, two = (content(tmp_path / name) for name in ("whole", "other"))
    plans = [json.loads(files.pop("atlas.json")) for files in (one, two)]
    assert one == two
    assert plans[0]["sites"] == plans[1]["sites"]


def test_latents_are_added_to_an_atlas_that_is_there(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    """Heads and neurons, then the latents of one autoencoder, then of another: as all of them at once."""
    model = tiny("llama")
    first, second = dictionaries(model)[:2]
    out = tmp_path / "grown"
    collect(model, corpus, out=out, sites=["neuron.1", "attn.0"], **SETTINGS)
    # The corpus is not read again: what it was is in the atlas.
    stages = {
        step.stage for step in collecting(model, corpus, out=out, autoencoders=[first], sites=["latent"], **SETTINGS)
    }
    assert stages == {"collect", "merge"}
    # A cancelled addition leaves the atlas as it was, and goes on.
    before = content(out)
    for step in collecting(model, corpus, out=out, autoencoders=[second], sites=["latent"], **SETTINGS):
        if step.stage == "collect" and step.done > 10 * LENGTH:
            break
    assert content(out) == before
    collect(model, corpus, out=out, autoencoders=[second], sites=["latent"], **SETTINGS)
    both = [first, second]
    collect(
        model, corpus, out=tmp_path / "whole", sites=["neuron.1", "attn.0", "latent"], autoencoders=both, **SETTINGS
    )
    assert content(out) == content(tmp_path / "whole")
    assert list(collecting(model, corpus, out=out, autoencoders=both, sites=["latent"], **SETTINGS)) == []
    assert list(collecting(model, corpus, out=out, sites=["neuron.1"], **SETTINGS)) == []
    # All heads and neurons besides: only the missing ones are collected.
    grown = collect(model, corpus, out=out, **SETTINGS)
    assert len(grown.info().sites) == 8
    assert [one.writes for one in grown.info().autoencoders] == ["mlp_out.1", "resid.1"]


def test_nothing_is_added_to_an_atlas_that_is_damaged(
    tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    model, out = tiny("llama"), tmp_path / "atlas"
    collect(model, corpus, out=out, sites=["neuron.1"], **SETTINGS)
    damaged = out / "examples" / "neuron.1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(BadAtlas, match=r"neuron\.1"):
        collect(model, corpus, out=out, autoencoders=dictionaries(model)[:1], sites=["latent"], **SETTINGS)


def test_another_autoencoder_of_a_site_is_refused(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    model, out = tiny("llama"), tmp_path / "atlas"
    anatomy = model.subject.anatomy
    one, other = (random_autoencoder(anatomy, "mlp_out.1", seed=seed) for seed in (1, 2))
    collect(model, corpus, out=out, autoencoders=[one], sites=["latent"], **SETTINGS)
    with pytest.raises(AtlasExists, match=r"another autoencoder at mlp_out\.1, mlp_out\.1-relu-1"):
        collect(model, corpus, out=out, autoencoders=[other], sites=["latent"], **SETTINGS)
    renamed = replace(one, origin=replace(one.origin, name="else"))
    assert list(collecting(model, corpus, out=out, autoencoders=[renamed], sites=["latent"], **SETTINGS)) == []
    collect(model, corpus, out=out, autoencoders=[other], sites=["latent"], replace=True, **SETTINGS)


def test_a_fingerprint_is_of_all_that_is_computed_with(tiny: Callable[[str], Model]) -> None:
    anatomy = tiny("llama").subject.anatomy
    one = random_autoencoder(anatomy, "mlp_out.1", activation="gated")
    assert weights_of(one) == weights_of(replace(one, origin=replace(one.origin, name="x", dtype="bfloat16")))
    assert weights_of(one) == weights_of(random_autoencoder(anatomy, "mlp_out.1", activation="gated"))
    changed = [replace(one, k=3), replace(one, normalisation="layer_norm"), replace(one, b_pre=None)]
    changed += [replace(one, reads=replace(one.reads, layer=0))]
    for name in ("w_enc", "b_enc", "w_dec", "b_dec", "b_pre", "b_gate", "r_mag"):
        weight = getattr(one, name).clone()
        weight.view(-1)[-1] += 1e-3
        changed.append(replace(one, **{name: weight}))
    assert len({weights_of(other) for other in [one, *changed]}) == len(changed) + 1


@pytest.mark.parametrize(
    ("given", "sites", "error", "said"),
    [
        ((), ["latent"], UsageError, "No autoencoder is attached for 'latent'"),
        (("mlp_out.1",), ["latent.resid.1"], UsageError, "No autoencoder is attached for"),
        (("mlp_out.1",), ["latent.mlp_in.1"], UsageError, "is not a site"),
        (("mlp_out.1",), ["neuron.mlp_out.1"], UsageError, "is not a site"),
        (("mlp_out.1", "mlp_out.1"), None, UsageError, "both write mlp_out.1"),
        (("mlp_out.1",), ["latent.mlp_out.3"], UsageError, "no layers"),
    ],
)
def test_latents_that_there_are_not(
    given: tuple[str, ...],
    sites: list[str] | None,
    error: type[UsageError],
    said: str,
    tiny: Callable[[str], Model],
    corpus: str,
    tmp_path: Path,
) -> None:
    model = tiny("llama")
    autoencoders = [random_autoencoder(model.subject.anatomy, site) for site in given]
    with pytest.raises(error, match=said):
        collect(model, corpus, out=tmp_path / "a", sites=sites, autoencoders=autoencoders, **SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_autoencoders_of_other_models_are_refused(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    one = random_autoencoder(tiny("llama").subject.anatomy, "mlp_out.1")
    wide = replace(one, w_enc=torch.zeros(30, 48), b_pre=None)
    high = replace(one, reads=replace(one.reads, layer=9))
    for given, error, said in ((wide, WrongAutoencoder, "30 wide"), (high, BadSite, "there are 3 layers")):
        with pytest.raises(error, match=said):
            collect(tiny("llama"), corpus, out=tmp_path / "a", autoencoders=[given], **SETTINGS)


@pytest.mark.parametrize("activation", ["relu", "topk", "jumprelu", "gated"])
def test_weights_that_are_not_numbers_are_told(
    activation: Activation, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    one = random_autoencoder(tiny("llama").subject.anatomy, "mlp_out.1", activation=activation)
    broken = one.b_enc.clone()
    broken[3] = torch.nan
    with pytest.raises(NotFinite, match=r"latents at mlp_out\.1"):
        collect(
            tiny("llama"), corpus, out=tmp_path / "a", autoencoders=[replace(one, b_enc=broken)], sites=["latent"],
            **SETTINGS,
        )  # fmt: skip
