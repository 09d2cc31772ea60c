"""Splits: what scores an explanation was never seen by what found it, and says nothing by where it is cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clew import settings
from clew.atlas import Atlas, Components, collect
from clew.atlas.openai import import_openai
from clew.atlas.reading import on_prompt
from clew.debug import Model
from clew.errors import Cancelled, NoAtlas
from clew.explain.evidence import Evidence, Sample
from clew.explain.records import Failure
from clew.explain.samples import QUIET, gather
from clew.explain.selection import selected
from clew.nodes import Node, parse
from clew.sae.autoencoder import Autoencoder

from ..atlas.dictionaries import random_autoencoder
from ..atlas.published import small, write
from .synthetic import SyntheticAtlas

LENGTH, WINDOW = 32, 16
SPLITS = ("explain", "calibrate", "validate", "test")
DEAD = 7  # a latent that never fires


# Over random atlases


@st.composite
def atlases(draw: st.DrawFn) -> SyntheticAtlas:
    """Texts of few words, some of them copies of others, and a component that fires seldom, often or never."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    contexts, length = draw(st.integers(1, 120)), draw(st.integers(3, 70))
    ids = random.integers(0, draw(st.integers(2, 300)), (contexts, length))
    copied = random.random(contexts) < draw(st.sampled_from([0.0, 0.3, 0.9]))
    ids[copied] = ids[0]
    skip = draw(st.integers(0, 2))
    activations = random.normal(size=(contexts, length)) * draw(st.floats(0.01, 100))
    activations[random.random((contexts, length)) > draw(st.sampled_from([0.001, 0.02, 0.5, 1.0]))] = 0
    activations[:, :skip] += 1000.0  # as models do
    others = {1: np.roll(activations, 1, 1), 2: random.normal(size=activations.shape)}
    return SyntheticAtlas(
        [f" w{number}" for number in range(300)],
        ids,
        {0: activations, **others},
        window=draw(st.integers(skip + 1, length)),
        skip=skip,
        seed=draw(st.integers(0, 99)),
        pool=draw(st.integers(1, 120)),
    )


def check(evidence: Evidence, near: bool = True) -> None:
    """What holds of any evidence."""
    limits = {"top": settings.SPLIT_TOP, "random": settings.SPLIT_RANDOM, "near_miss": settings.SPLIT_NEAR}
    for (split, kind), n in Counter((one.split, one.kind) for one in evidence.samples).items():
        assert split == "explain" or n <= limits.get(kind, settings.SPLIT_RANDOM)
        assert kind != "random" or split != "explain"
        assert kind != "near_miss" or split != "calibrate"
    contexts = [one.context for one in evidence.samples]
    assert len(set(contexts)) == len(contexts)
    for one, other in combinations(evidence.samples, 2):
        assert one.ids != other.ids
    assert evidence.maximum == max(one.activations[one.first :].max() for one in evidence.of("explain")) > 0
    for one in evidence.samples:
        assert len(one.tokens) == len(one.ids) == len(one.activations) > one.first
        if one.kind == "near_miss":
            assert near
            assert one.activations[one.first :].max() < QUIET * evidence.maximum


@hypothesis_settings(max_examples=200, deadline=None)
@given(atlases(), st.integers(0, 3), st.booleans())
def test_no_text_is_in_two_splits(atlas: SyntheticAtlas, seed: int, pooled: bool) -> None:
    evidence = atlas.evidence(0, seed, pooled)
    truth = atlas.activations[0]
    if isinstance(evidence, Failure):
        assert truth[:, atlas.skip :].max() <= 0
        assert "never fires" in evidence.message
        return
    check(evidence, near=pooled)
    for one in evidence.samples:
        part = slice(one.start, one.start + len(one.ids))
        assert list(one.ids) == atlas.ids[one.context, part].tolist()
        assert list(one.tokens) == [atlas.vocabulary[token] for token in one.ids]
        np.testing.assert_allclose(one.activations, truth[one.context, part], rtol=1e-6)
        # The tokens that atlases do not count are not counted here.
        assert [at < one.first for at in range(len(one.ids))] == [
            one.start + at < atlas.skip for at in range(len(one.ids))
        ]
    again = atlas.evidence(0, seed, pooled)
    assert isinstance(again, Evidence)
    assert told(again) == told(evidence)


def told(evidence: Evidence) -> list[tuple[object, ...]]:
    """All that evidence is, but for arrays."""
    samples = [(one.kind, one.split, one.context, one.start, one.ids, *one.activations) for one in evidence.samples]
    return [(evidence.maximum, *evidence.alike), *samples]


def world(
    activations: Mapping[int, np.ndarray], *, length: int = 128, words: int = 5000, ids: np.ndarray | None = None
) -> SyntheticAtlas:
    contexts = len(next(iter(activations.values())))
    drawn = np.random.default_rng(1).integers(0, words, (contexts, length)) if ids is None else ids
    return SyntheticAtlas([f" w{number}" for number in range(words)], drawn, activations)


def found(atlas: SyntheticAtlas, index: int = 0, seed: int = 0, pooled: bool = True) -> Evidence:
    evidence = atlas.evidence(index, seed, pooled)
    assert isinstance(evidence, Evidence)
    return evidence


def spikes(seed: int, contexts: int = 300, length: int = 128, share: float = 0.4) -> np.ndarray:
    """One token of some contexts."""
    random = np.random.default_rng(seed)
    activations = np.zeros((contexts, length))
    rows = (random.random(contexts) < share).nonzero()[0]
    activations[rows, random.integers(1, length, len(rows))] = random.uniform(0.01, 1, len(rows))
    return activations


# How examples are dealt


def test_every_split_gets_its_share_best_first() -> None:
    evidence = found(world({0: spikes(0)}))
    counts = Counter((one.split, one.kind) for one in evidence.samples)
    for split in SPLITS:
        assert counts[split, "top"] == settings.SPLIT_TOP
        assert counts[split, "random"] == (0 if split == "explain" else settings.SPLIT_RANDOM)
        assert counts[split, "near_miss"] == (0 if split == "calibrate" else settings.SPLIT_NEAR)
        assert counts[split, "band"] == 0 or split == "explain"
    top = [one for one in evidence.samples if one.kind == "top"]
    peaks = [float(one.activations[one.first :].max()) for one in top]
    assert peaks == sorted(peaks, reverse=True)
    assert [one.split for one in top[:8]] == ["explain", "test", "validate", "calibrate"] * 2
    assert evidence.maximum == peaks[0] == spikes(0).max()


def test_few_examples_serve_explaining_and_testing_first() -> None:
    activations = np.zeros((200, 128))
    activations[[5, 9], [40, 70]] = 3, 2
    top = [one for one in found(world({0: activations})).samples if one.kind == "top"]
    assert [(one.context, one.split) for one in top] == [(5, "explain"), (9, "test")]


def test_a_text_that_repeats_another_is_left_out() -> None:
    activations = np.zeros((200, 128))
    activations[:12, 60] = np.linspace(2, 1, 12)
    ids = np.random.default_rng(0).integers(0, 5000, (200, 128))
    ids[1] = ids[0]
    ids[2, :100] = ids[0, 20:120]  # the same text begun elsewhere: its piece overlaps with that of the first
    activations[2, 60], activations[2, 40] = 0, 1.9
    ids[3, 40:80] = ids[0, 40:80] + 1
    top = [one.context for one in found(world({0: activations}, ids=ids)).samples if one.kind == "top"]
    assert top == [0, *range(3, 12)]


def test_random_samples_are_drawn_without_looking() -> None:
    """The same texts, cut alike, for components that fire elsewhere on them; and a seed draws others."""
    quiet, loud = np.zeros((300, 128)), np.full((300, 128), 0.05)  # below all bands
    for activations in (quiet, loud):
        activations[:20, 60] = np.linspace(2, 1, 20)

    def random(activations: np.ndarray, seed: int = 0) -> list[tuple[int, int]]:
        samples = found(world({0: activations}), seed=seed).samples
        return [(one.context, one.start) for one in samples if one.kind == "random"]

    assert random(quiet) == random(loud)
    assert random(quiet) != random(quiet, seed=1)
    assert len(random(quiet)) == 15
    starts = [start for seed in range(30) for _, start in random(quiet, seed)]
    assert min(starts) < 10
    assert max(starts) > 70  # of 80 that there are


def test_near_misses_have_the_token_of_a_peak_the_rarest_first() -> None:
    """Twenty tokens that examples peak on; token n stands in n + 1 texts where nothing fires."""
    ids = np.random.default_rng(0).integers(20, 5000, (300, 128))
    activations = np.zeros((300, 128))
    activations[:20, 60] = np.linspace(2, 1, 20)
    ids[:20, 60] = range(20)
    texts = {number: range(row, row + number + 1) for number, row in enumerate(range(20, 230, 10)) if number < 7}
    texts |= {number: range(100 + 15 * (number - 7), 100 + 15 * (number - 7) + 14) for number in range(7, 20)}
    for number, rows in texts.items():
        ids[list(rows), 90] = number
    activations[100 : 100 + 15 * 4, 89] = 0.5  # of four of the commoner ones all are too loud
    atlas = SyntheticAtlas([f" w{number}" for number in range(5000)], ids, {0: activations}, pool=300)
    evidence = found(atlas)
    near = [one for one in evidence.samples if one.kind == "near_miss"]
    assert len(near) == 15
    taken = {one.context for one in evidence.samples if one.kind == "random"}
    left = [number for number in range(7) if set(texts[number]) - taken] + [*range(11, 20)]
    misled = [next(number for number in one.ids if number < 20) for one in near]
    assert misled[: len(left)] == left[:15]
    for one, number in zip(near, misled, strict=True):
        # It stands where peaks stand: in the last third, or nearer the beginning of its context.
        assert one.ids.index(number) >= 2 * len(one.ids) // 3 or one.start == 0


def test_other_near_misses_are_where_a_similar_component_fires() -> None:
    own = np.zeros((300, 128))
    own[:100, 60] = np.linspace(2, 1, 100)
    like, unlike = own.copy(), np.zeros((300, 128))
    like[150:200, 70] = np.linspace(4, 3, 50)
    unlike[200:250, 70] = 9
    atlas = world({0: own, 1: unlike, 2: like})
    evidence = found(atlas)
    assert evidence.alike == ("neuron.0.2",)
    near = [one for one in evidence.samples if one.kind == "near_miss"]
    fires = [one for one in near if 150 <= one.context < 200]
    assert len(fires) >= 8
    for one in fires:
        assert one.start < 70 < one.start + len(one.ids)
    assert {one.split for one in fires} == {"explain", "validate", "test"}


def test_without_a_pool_lower_bands_fill_what_random_examples_leave() -> None:
    evidence = found(world({0: spikes(0)}), pooled=False)
    bands = [one for one in evidence.samples if one.kind == "band"]
    octaves = {split: [octave(one) for one in bands if (one.split == "explain") is split] for split in (True, False)}
    # One of each octave is explained with; the lowest octaves fill up first.
    assert len(set(octaves[True])) == len(octaves[True]) > 1
    assert octaves[False] == sorted(octaves[False])
    assert len(set(octaves[False])) > 1
    unseen = Counter(one.kind for one in evidence.samples if one.split != "explain" and one.kind != "top")
    assert set(unseen) == {"random", "band"}
    assert unseen["random"] <= settings.RANDOM_EXAMPLES


def octave(sample: Sample) -> int:
    return int(np.floor(np.log2(sample.activations[sample.first :].max())))


# Where a sample is cut


def test_where_the_peak_stands_does_not_tell_that_it_is_one() -> None:
    """A guess by place alone, fitted on all that an explainer sees, says little of the others; it would of whole
    windows."""
    atlas = world({index: spikes(index) for index in range(40)})
    evidence = [found(atlas, index) for index in range(40)]

    def by_place(pieces: list[tuple[np.ndarray, bool]]) -> float:
        length = max(len(values) for values, _ in pieces)
        padded = np.stack([np.pad(values, (0, length - len(values))) for values, _ in pieces])
        seen = np.array([is_seen for _, is_seen in pieces])
        guess = padded[seen].mean(0)
        return float(np.corrcoef(np.tile(guess, int((~seen).sum())), padded[~seen].ravel())[0, 1])

    cut = [
        (evidence[index].scaled(one), one.split == "explain")
        for index in range(40)
        for one in evidence[index].samples
        if one.split in ("explain", "test")
    ]
    assert by_place(cut) < 0.1
    whole = [
        (atlas.activations[index][one.context, outer : outer + 64], one.split == "explain")
        for index in range(40)
        for one in evidence[index].samples
        if one.split in ("explain", "test") and one.kind != "band"
        for outer in [kept_at(atlas, index, one)]
    ]
    assert by_place(whole) > 0.2


def kept_at(atlas: SyntheticAtlas, index: int, sample: Sample) -> int:
    """Where the window begins that an atlas would keep around a sample's peak."""
    if sample.kind != "top":
        return min(sample.start, 64)
    peak = int(atlas.activations[index][sample.context, 1:].argmax()) + 1
    return min(max(peak - 48, 0), 64)


def test_much_stands_before_the_peak() -> None:
    for index in range(5):
        atlas = world({index: spikes(index)})
        for one in found(atlas, index).samples:
            assert len(one.ids) == 48
            if one.kind == "top":
                assert one.peak >= 32 or one.start == 0


# Of a model's own atlas


@pytest.fixture(scope="module")
def autoencoder(model: Model) -> Autoencoder:
    found = random_autoencoder(model.subject.anatomy, "mlp_out.1", n=12)
    found.b_enc[DEAD] = -1e6
    return found


@pytest.fixture(scope="module")
def atlas(model: Model, corpus: str, autoencoder: Autoencoder, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return collect(
        model,
        corpus,
        out=tmp_path_factory.mktemp("samples") / "atlas",
        autoencoders=[autoencoder],
        sites=["attn", "neuron.0-1", "latent"],
        tokens=140 * LENGTH,
        context=LENGTH,
        window=WINDOW,
    )


@pytest.fixture(scope="module")
def components(model: Model, atlas: Atlas, autoencoder: Autoencoder) -> Components:
    return Components(model, atlas, [autoencoder])


def anew(components: Components) -> Components:
    """The same, of which nothing was gathered yet."""
    return Components(components.subject, components.atlas, list(components.autoencoders.values()))


def gathered(components: Components, *specs: str, seed: int = 0) -> dict[Node, Evidence]:
    found = dict(gather(anew(components), selected(specs, components), seed=seed))
    assert all(isinstance(one, Evidence) for one in found.values())
    return {node: one for node, one in found.items() if isinstance(one, Evidence)}


@pytest.mark.usefixtures("one_thread")
def test_samples_are_what_the_model_does_on_the_atlass_text(components: Components, atlas: Atlas, model: Model) -> None:
    for spec in ("neuron.0.3", "neuron.1.*", "latent.mlp_out.1.0-5"):
        for node, evidence in list(gathered(components, spec).items())[:2]:
            check(evidence)
            stats = atlas.component(node).stats
            assert stats is not None
            assert evidence.density == stats.density
            assert evidence.maximum == pytest.approx(stats.maximum, rel=1e-3)
            assert Counter(one.split for one in evidence.samples if one.kind == "random") == {
                split: settings.SPLIT_RANDOM for split in SPLITS if split != "explain"
            }
            for one in evidence.samples[::3]:
                context = atlas.contexts.tokens(one.context)
                assert list(one.ids) == context[one.start : one.start + len(one.ids)].tolist()
                assert list(one.tokens) == [model.subject.text(token) for token in one.ids]
                read = on_prompt(model.subject, torch.tensor(context), node, atlas, components.autoencoders)
                real = read.activations[one.start : one.start + len(one.ids)]
                np.testing.assert_allclose(one.activations, real, atol=2e-3 * max(map(abs, real)))


def test_evidence_does_not_depend_on_what_else_is_asked_for(
    components: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = gathered(components, "neuron.0-1.*", "attn.0.*", "latent.mlp_out.1.0-6")
    assert list(every) == selected(["neuron.0-1.*", "attn.0.*", "latent.mlp_out.1.0-6"], components)
    for node in list(every)[::9]:
        assert told(gathered(components, str(node))[node]) == told(every[node])
    monkeypatch.setattr("clew.explain.pool._HELD", 20_000)  # few components at once
    few = gathered(components, "neuron.0.*")
    assert all(told(few[node]) == told(every[node]) for node in few)
    other = gathered(components, "neuron.0.1", seed=1)
    (node,) = other
    assert told(other[node]) != told(every[node])


def test_samples_of_heads_hold_the_values_of_pairs(components: Components, atlas: Atlas) -> None:
    for node, evidence in gathered(components, "attn.1.*").items():
        check(evidence, near=False)
        examples = {example.context: example for example in atlas.component(node).top}
        assert [one.split for one in evidence.samples if one.kind == "top"][:4] == [
            "explain",
            "test",
            "validate",
            "calibrate",
        ]
        for one in evidence.samples:
            assert one.pairs is not None
            assert one.pairs.shape == (LENGTH, LENGTH)
            assert (np.triu(one.pairs, 1) == 0).all()
            np.testing.assert_array_equal(one.pairs.max(1), one.activations)
            if one.kind == "top":
                example = examples[one.context]
                assert one.strongest == (example.peak, example.source)
                rows = atlas.pairs(node, "top", example.rank, None).rows
                assert [row[: at + 1] for at, row in enumerate(one.pairs.tolist())] == list(map(list, rows))
        assert {one.split for one in evidence.samples if one.kind in ("random", "band")} == set(SPLITS)


def test_latents_without_their_autoencoder_have_the_atlass_examples(
    model: Model, atlas: Atlas, components: Components
) -> None:
    (evidence,) = gathered(Components(model, atlas), "latent.mlp_out.1.2").values()
    check(evidence, near=False)
    kinds = {split: {one.kind for one in evidence.of(split)} for split in SPLITS}
    assert kinds["test"] == {"top", "random"} or kinds["test"] == {"top", "random", "band"}
    (attached,) = gathered(components, "latent.mlp_out.1.2").values()
    explained = {one.context for one in attached.of("explain", "top")}
    assert explained == {one.context for one in evidence.of("explain", "top")}


def test_imported_components_have_their_own_examples(model: Model, tmp_path: Path) -> None:
    anatomy = model.subject.anatomy
    write(tmp_path / "root", small(layers=len(anatomy.layers), neurons=anatomy.n_neurons, heads=anatomy.n_heads))
    imported = import_openai(tmp_path / "root", tmp_path / "imported", model="small")
    for evidence in gathered(Components(model, imported), "neuron.1.0-4", "attn.2.*").values():
        check(evidence, near=False)
        assert all(one.first == 0 for one in evidence.samples)
        assert {one.kind for one in evidence.of("test")} >= {"top", "random"}
        assert {one.kind for one in evidence.of("explain")} == {"top", "band"}


def test_what_never_fires_or_is_not_in_the_atlas_is_told_and_the_others_go_on(components: Components) -> None:
    nodes = selected([f"latent.mlp_out.1.{DEAD - 1}-{DEAD + 1}", "neuron.1.0", "neuron.2.0"], components)
    answers = dict(gather(components, nodes))
    assert list(answers) == nodes
    failures = {str(node): one for node, one in answers.items() if isinstance(one, Failure)}
    assert {name: failure.kind for name, failure in failures.items()} == {
        f"latent.mlp_out.1.{DEAD}": "nothing",
        "neuron.2.0": "nothing",
    }
    assert failures["neuron.2.0"].message == "The atlas atlas has nothing of neuron.2."
    assert "never fires over the text" in failures[f"latent.mlp_out.1.{DEAD}"].message


def test_an_atlas_is_needed_and_said_at_once(model: Model) -> None:
    with pytest.raises(NoAtlas, match="needs an atlas") as caught:
        gather(Components(model), [parse("neuron.0.0")])
    assert "clew collect" in caught.value.hint


def test_a_stop_stops_between_components_and_progress_is_of_all(
    components: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, done = selected(["neuron.0.0-3"], components), []
    answers = gather(anew(components), nodes, stop=lambda: len(done) == 2)
    done += [next(answers)[0]]
    done += [next(answers)[0]]
    assert done == nodes[:2]
    with pytest.raises(Cancelled):
        next(answers)
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr("clew.explain.pool._HELD", 1)
    list(gather(anew(components), nodes, progress=lambda *one: told.append(one)))
    assert told[-1] == ("read", 4 * settings.POOL, 4 * settings.POOL)
    assert [one[1] for one in told] == sorted({one[1] for one in told})


def test_what_was_gathered_lately_is_not_read_again(components: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    own, read = anew(components), []

    def ask(*specs: str, seed: int = 0) -> list[object]:
        read.clear()
        nodes = selected(specs, own)
        found = list(gather(own, nodes, seed=seed, progress=lambda *one: read.append(one)))
        assert [node for node, _ in found] == nodes
        return [told(one) for _, one in found if isinstance(one, Evidence)]

    first = ask("neuron.0.0-3,attn.0.0")
    assert read
    assert ask("neuron.0.0-3,attn.0.0") == first
    assert not read
    assert ask("neuron.0.2-4")[:2] == first[3:]
    assert read  # of the one that is new
    ask("neuron.0.0", seed=1)
    assert read
    monkeypatch.setattr("clew.explain.samples._KEPT", 2)
    ask("neuron.1.0-4")
    ask("neuron.1.3-4")
    assert not read
    ask("neuron.1.2")
    assert read
