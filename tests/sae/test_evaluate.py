"""Measures against computations that keep everything, and against what they must say of perfection and of nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, explained_variance_score, r2_score
from torch import nn

from clew.corpus import Contexts, Part, corpus_of, read_contexts
from clew.corpus.documents import Document
from clew.debug import Model
from clew.errors import BadSite, Cancelled, NotFinite, NothingToLearn, UsageError, WrongAutoencoder
from clew.models.sites import read_sites, width
from clew.nodes import Site, parse_site
from clew.sae.autoencoder import Autoencoder, Origin
from clew.sae.evaluate import ce_recovered, evaluate, evaluating
from clew.sae.geometry import cosine_histogram, max_cosines
from clew.sae.measures import Firing, Reconstruction, Spread, density_histogram
from clew.sae.probing import STRENGTH, labels_of, probing
from clew.sae.recipe import Recipe, TrainingPlan
from clew.sae.records import Report
from clew.sae.samples import AFTER, BEFORE, EXCERPTS
from clew.sae.splicing import losses
from clew.sae.training import train

Tiny = Callable[[str], Model]


def perfect(site: Site, d: int) -> Autoencoder:
    """x̂ = x: a latent for either sign of every number."""
    eye = torch.eye(d)
    both = torch.cat((eye, -eye), 1)
    return Autoencoder(site, site, "relu", both, torch.zeros(2 * d), both.T, torch.zeros(d))


def constant(site: Site, value: torch.Tensor) -> Autoencoder:
    """x̂ is the same whatever x is."""
    d = len(value)
    return Autoencoder(site, site, "relu", torch.zeros(d, 3), torch.zeros(3), torch.ones(3, d), value)


def drawn(site: Site, d: int, n: int, seed: int = 0) -> Autoencoder:
    """Random weights, about half of the latents firing."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(d, n, generator=draw) / d**0.5
    return Autoencoder(site, site, "relu", w, torch.full((n,), -0.2), w.T.contiguous(), torch.zeros(d))


def contexts(model: Model, n: int = 3, length: int = 12) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(2, len(model.tokenizer), (n, length), generator=draw)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
@pytest.mark.parametrize("name", ["mlp_act.1", "mlp_out.1", "attn_act.2", "attn_out.0", "resid.1", "resid.2"])
def test_losses_are_those_of_a_model_with_plain_hooks(tiny: Tiny, family: str, name: str) -> None:
    model = tiny(family)
    subject, site, ids, first = model.subject, parse_site(name), contexts(model), 2
    d = width(subject.anatomy, site)
    autoencoder = drawn(site, d, 3 * d)
    mean = torch.linspace(-1, 1, d)
    found = losses(subject, autoencoder, ids, first, mean)

    def logs(fill: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
        layer = subject.anatomy.layers[site.layer]

        def replaced(x: torch.Tensor) -> torch.Tensor:
            assert fill is not None
            return torch.cat((x[:, :first], fill(x[:, first:])), 1)

        def before(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (replaced(args[0]), *args[1:])

        def after(module: nn.Module, args: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> object:
            if isinstance(output, tuple):
                return (replaced(output[0]), *output[1:])
            return replaced(output)

        handle = None
        if fill is not None:
            handle = {
                "mlp_act": lambda: layer.mlp_out_module.register_forward_pre_hook(before),
                "attn_act": lambda: layer.attn_out_module.register_forward_pre_hook(before),
                "mlp_out": lambda: (layer.mlp_post_module or layer.mlp_out_module).register_forward_hook(after),
                "attn_out": lambda: (layer.attn_post_module or layer.attn_out_module).register_forward_hook(after),
                "resid": lambda: layer.block.register_forward_hook(after),
            }[site.name]()
        with torch.no_grad():
            logits = subject.hf(input_ids=ids, use_cache=False).logits
        if handle is not None:
            handle.remove()
        return logits.double().log_softmax(-1)[:, first:-1]

    following = ids[:, first + 1 :, None]
    fills = {
        "clean": None,
        "spliced": autoencoder,
        "zero": torch.zeros_like,
        "mean": lambda x: mean.expand_as(x),
    }
    for kind, fill in fills.items():
        expected = -logs(fill).gather(2, following)[..., 0]
        torch.testing.assert_close(found[kind], expected, rtol=1e-4, atol=1e-4)
    clean, spliced = logs(None), logs(autoencoder)
    torch.testing.assert_close(found["kl"], (clean.exp() * (clean - spliced)).sum(-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp_out.10", "resid.10"])
def test_perfection_recovers_everything_and_zero_nothing(smollm2: Model, name: str) -> None:
    subject, site = smollm2.subject, parse_site(name)
    ids = torch.tensor([subject.encode("The cat sat on the mat, and then it went out of the house to look.")])
    d = width(subject.anatomy, site)
    assert ce_recovered(subject, perfect(site, d), ids) == pytest.approx(1, abs=1e-5)
    assert ce_recovered(subject, constant(site, torch.zeros(d)), ids) == 0
    found = losses(subject, perfect(site, d), ids, 1)
    assert float(found["kl"].abs().max()) < 1e-6
    (x,) = read_sites(subject.anatomy, [site], ids).values()
    mean = x[:, 1:].mean((0, 1))
    found = losses(subject, constant(site, mean), ids, 1, mean)
    assert torch.equal(found["spliced"], found["mean"])


def seen(x: torch.Tensor, guess: torch.Tensor) -> Reconstruction:
    """Shown in batches of unequal size."""
    found = Reconstruction(x.shape[1])
    for at in ((0, 1), (1, 40), (40, len(x))):
        found.see(x[slice(*at)], guess[slice(*at)])
    return found


def values(m: int = 300, d: int = 24, far: float = 0.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(4)
    return torch.randn(m, d, generator=draw) * torch.linspace(0.1, 3, d) + far


@pytest.mark.parametrize("far", [0.0, 1.0, 1e4])
def test_the_mean_scores_one_and_perfection_zero(far: float) -> None:
    x = values(far=far)
    mean = x.double().mean(0).float().expand_as(x)
    found = seen(x, mean)
    assert found.fvu == pytest.approx(1, rel=1e-6)
    assert found.explained_variance == pytest.approx(0, abs=1e-9)
    found = seen(x, x)
    assert (found.fvu, found.mse, found.explained_variance) == (0, 0, 1)
    assert found.shrinkage == pytest.approx(1, abs=1e-12)
    assert found.cosine == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("c", [0.25, 0.7, 1.5])
def test_a_reconstruction_too_small_by_a_factor_has_it_as_shrinkage(c: float) -> None:
    x = values()
    found = seen(x, c * x)
    assert found.shrinkage == pytest.approx(c, rel=1e-6)
    assert found.cosine == pytest.approx(1, abs=1e-6)
    assert seen(x, torch.zeros_like(x)).shrinkage == 0
    assert seen(x, torch.zeros_like(x)).cosine == 0


@pytest.mark.parametrize("far", [0.0, 1e3])
def test_reconstruction_is_what_scikit_learn_makes_of_all_tokens_at_once(far: float) -> None:
    x = values(far=far)
    guess = x + 0.5 * values().flip(0) + 0.3
    found, (a, b) = seen(x, guess), (x.double().numpy(), guess.double().numpy())
    assert 1 - found.fvu == pytest.approx(r2_score(a, b, multioutput="variance_weighted"), rel=1e-9)
    explained = explained_variance_score(a, b, multioutput="variance_weighted")
    assert found.explained_variance == pytest.approx(explained, rel=1e-9)
    assert found.mse == pytest.approx(((a - b) ** 2).mean(), rel=1e-12)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert found.cosine == pytest.approx(cosine.mean(), rel=1e-12)
    assert found.shrinkage == pytest.approx((b * b).sum() / (a * b).sum(), rel=1e-12)


def test_spread_loses_no_digits_far_from_zero() -> None:
    near = values().double()
    spread = Spread(24)
    for rows in (near + 1e7).split(37):
        spread.see(rows)
    assert spread.total == pytest.approx(float((near - near.mean(0)).square().sum()), rel=1e-7)
    torch.testing.assert_close(spread.mean, near.mean(0) + 1e7, rtol=1e-12, atol=0)


def test_firing_counts_what_a_table_of_all_latents_says() -> None:
    draw = torch.Generator().manual_seed(0)
    p = torch.tensor([0.0, 0.01, 0.1, 0.3, 1.0])
    latents = (torch.rand(1000, 5, generator=draw) + 0.1) * (torch.rand(1000, 5, generator=draw) < p)
    firing = Firing(5)
    for rows in latents.split(333):
        firing.see(rows)
    fires = latents > 0
    assert firing.counts.tolist() == fires.sum(0).tolist()
    assert firing.l0 == pytest.approx(float(fires.double().sum(1).mean()), rel=1e-12)
    assert (firing.dead, firing.dense) == (1, int((fires.double().mean(0) > 0.1).sum()))
    assert torch.equal(firing.maxima, latents.amax(0))
    for j in range(1, 5):
        assert float(firing.means[j]) == pytest.approx(float(latents[fires[:, j], j].double().mean()), rel=1e-6)
    assert firing.means[0] == 0
    bits = 0.0
    for q in fires.double().mean(0).tolist():
        bits += 8 * q - sum(share * np.log2(share) for share in (q, 1 - q) if share > 0)
    assert firing.description_length == pytest.approx(bits, rel=1e-12)


def test_densities_fall_into_quarters_of_a_decade() -> None:
    found = density_histogram(torch.tensor([0, 0, 1, 10, 100, 999, 1000]), 1000)
    assert (found.edges[0], found.edges[-1], len(found.edges)) == (-7, 0, 29)
    where = {edge: count for edge, count in zip(found.edges, found.counts, strict=False) if count}
    assert (where, found.below) == ({-3.0: 1, -2.0: 1, -1.0: 1, -0.25: 2}, 2)
    # A share below the first edge is counted in the first bin rather than lost.
    assert density_histogram(torch.tensor([1]), 10**9).counts[0] == 1


@pytest.mark.parametrize("at_once", [1, 50, 2**24])
def test_the_nearest_other_latent_by_all_cosines_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.sae.geometry._AT_ONCE", at_once)
    rows = values(17, 5)
    rows[3] = 0
    rows[8] = 2 * rows[1]
    cosines = torch.cosine_similarity(rows[:, None].double(), rows[None].double(), dim=2)
    cosines.fill_diagonal_(-2)
    torch.testing.assert_close(max_cosines(rows).double(), cosines.amax(1), rtol=0, atol=1e-6)
    others = values(4, 5).flip(0)
    expected = torch.cosine_similarity(rows[:, None], others[None], dim=2).amax(1)
    torch.testing.assert_close(max_cosines(rows, others), expected, rtol=0, atol=1e-6)
    assert max_cosines(rows[:1]).tolist() == [0]
    assert sum(cosine_histogram(max_cosines(rows)).counts) == 17


def test_labels_say_what_is_plainly_there() -> None:
    texts = [
        "The",
        " sum",
        " (",
        "12",
        " +",
        " 3",
        ")",
        "\n",
        "    ",
        "print",
        "f",
        '("',
        "NASA",
        " says",
        '"',
        ")",
        "\n",
    ]
    found = labels_of(texts)

    def having(label: str) -> list[str]:
        return [text for text, there in zip(texts, found[label], strict=True) if there]

    assert having("number") == ["12", " 3"]
    assert having("punctuation") == [" (", " +", ")", '("', '"', ")"]
    assert having("capitalised") == ["The", "NASA"]
    assert having("uppercase") == ["NASA"]
    assert having("whitespace") == ["\n", "    ", "\n"]
    assert having("starts a word") == ["The", " sum", "12", " 3", "print", "NASA", " says"]
    assert having("inside a word") == ["f"]
    assert having("first of a line") == ["    "]
    assert having("in brackets") == ["12", " +", " 3", ")", "NASA", " says", '"', ")"]
    assert having("in a string") == ["NASA", " says", '"']
    assert having("repeated") == [")", "\n"]
    assert found["early"] == [True] * 5 + [False] * 12
    assert all(len(labels) == len(texts) for labels in found.values())


def test_probes_choose_and_score_as_a_literal_computation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.sae.probing._AT_ONCE", 700)
    site, m = Site("resid", 0), 600
    x = values(m, 12)
    autoencoder = drawn(site, 12, 40)
    draw = np.random.default_rng(0)
    training = np.arange(m) < 350
    labels = {
        "first": x[:, 11].numpy() > 1,
        "any": draw.random(m) < 0.3,
        "rare": np.arange(m) % 50 == 0,
    }
    found = [probe for some in probing(autoencoder, x, labels, training) for probe in some]
    assert [(probe.label, probe.k) for probe in found] == [("first", 1), ("first", 5), ("any", 1), ("any", 5)]
    latents = autoencoder.encode(x).numpy()

    def accuracy(features: np.ndarray, true: np.ndarray) -> float:
        mean, spread = features[training].mean(0), features[training].std(0)
        features = (features - mean) / np.where(spread > 0, spread, 1)
        probe = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=5000, tol=1e-8)
        probe.fit(features[training], true[training])
        return float(balanced_accuracy_score(true[~training], probe.predict(features[~training])))

    for probe in found:
        true = labels[probe.label]
        difference = latents[training & true].mean(0) - latents[training & ~true].mean(0)
        best = np.argsort(-np.abs(difference) / latents[training].std(0))[: probe.k]
        # One token of the rarer side may fall on the other side of a boundary that is converged less far.
        one = 1 / min((true & ~training).sum(), (~true & ~training).sum())
        assert probe.accuracy == pytest.approx(accuracy(latents[:, best], true), abs=one)
        assert probe.ceiling == pytest.approx(accuracy(x.numpy(), true), abs=one)
        assert (probe.positives, probe.chance) == (int(true.sum()), 0.5)
    assert found[0].ceiling > 0.9
    assert found[2].ceiling == pytest.approx(0.5, abs=0.1)


LENGTH, TOKENS = 24, 600
SETTINGS = {"tokens": TOKENS, "losses": 200, "context": LENGTH, "samples": 6, "skip": 2, "seed": 5}


def judged(model: Model, autoencoder: Autoencoder, corpus: str, **options: object) -> Report:
    return evaluate(model, autoencoder, corpus, **{**SETTINGS, **options})


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu", "transcoder"])
def test_a_report_is_what_keeping_everything_says(tiny: Tiny, corpus: str, tmp_path: Path, kind: str) -> None:
    model, site = tiny("llama"), Site("mlp_out", 1)
    subject = model.subject
    autoencoder = drawn(site, 24, 90)
    if kind == "topk":
        autoencoder = replace(autoencoder, activation="topk", k=7)
    if kind == "jumprelu":
        autoencoder = replace(autoencoder, activation="jumprelu", threshold=torch.linspace(0, 2, 90))
    if kind == "transcoder":
        autoencoder = replace(autoencoder, reads=Site("mlp_in", 1))
    report = judged(model, autoencoder, corpus)

    folder = tmp_path / "contexts"
    reading = {"tokens": TOKENS, "length": LENGTH, "bos": False, "seed": 5, "shard": 256}
    list(read_contexts(folder, subject, corpus_of(corpus), **reading))
    contexts = Contexts.open(folder)
    ids = contexts.batch(0, len(contexts))
    held = read_sites(subject.anatomy, [autoencoder.reads, site], ids)
    given, y = held[autoencoder.reads][:, 2:], held[site][:, 2:].flatten(0, 1)
    x = given.flatten(0, 1)
    latents, guess = autoencoder.encode(x), autoencoder(x)
    a, b = y.double().numpy(), guess.double().numpy()
    fires = (latents > 0).double()

    assert report.tokens == len(contexts) * (LENGTH - 2) == len(y)
    assert report.fvu == pytest.approx(1 - r2_score(a, b, multioutput="variance_weighted"), rel=1e-5)
    assert report.mse == pytest.approx(((a - b) ** 2).mean(), rel=1e-5)
    assert report.l0 == pytest.approx(float(fires.sum(1).mean()), rel=1e-9)
    assert report.dead == int((fires.sum(0) == 0).sum()) == report.density.below
    assert sum(report.density.counts) + report.density.below == 90 == sum(report.decoder_cosine.counts)

    n = -(-200 // LENGTH)
    kept = losses(subject, autoencoder, ids[:n], 2, y.mean(0))
    assert report.ce_tokens == n * (LENGTH - 3) == kept["clean"].numel()
    for name in ("clean", "spliced", "mean", "zero"):
        assert getattr(report, f"ce_{name}") == pytest.approx(float(kept[name].mean()), rel=1e-5)
    assert report.kl == pytest.approx(float(kept["kl"].mean()), rel=1e-4)

    assert len({sample.index for sample in report.samples}) == 6
    by_context = latents.view(len(contexts), LENGTH - 2, 90)
    for sample in report.samples:
        own = by_context[..., sample.index]
        assert sample.density == pytest.approx(float((own > 0).double().mean()), rel=1e-9)
        assert sample.maximum == pytest.approx(float(own.max()), rel=1e-5)
        peaks = own.amax(1).sort(descending=True, stable=True)
        expected = [int(i) for value, i in zip(peaks.values, peaks.indices, strict=True) if value > 0][:EXCERPTS]
        assert len(sample.excerpts) == len(expected)
        for excerpt, context in zip(sample.excerpts, expected, strict=True):
            peak = int(own[context].argmax()) + 2
            first, end = max(0, peak - BEFORE), peak + AFTER + 1
            assert excerpt.at == peak - first
            assert list(excerpt.texts) == [subject.text(int(i)) for i in ids[context][first:end]]
            whole = torch.cat((torch.zeros(2), own[context]))[first:end]
            torch.testing.assert_close(torch.tensor(excerpt.activations), whole, rtol=1e-4, atol=1e-5)


def test_who_says_the_mean_scores_an_fvu_of_one(tiny: Tiny, corpus: str, tmp_path: Path) -> None:
    model, site = tiny("gpt2"), parse_site("resid.1")
    reading = {"tokens": TOKENS, "length": LENGTH, "bos": False, "seed": 5, "shard": 256}
    list(read_contexts(tmp_path, model.subject, corpus_of(corpus), **reading))
    contexts = Contexts.open(tmp_path)
    (x,) = read_sites(model.subject.anatomy, [site], contexts.batch(0, len(contexts))).values()
    report = judged(model, constant(site, x[:, 2:].double().mean((0, 1)).float()), corpus)
    assert report.fvu == pytest.approx(1, rel=1e-6)
    assert report.explained_variance == pytest.approx(0, abs=1e-6)
    assert report.ce_spliced == pytest.approx(report.ce_mean, rel=1e-6)
    assert (report.l0, report.dead, report.description_length) == (0, 3, 0)
    report = judged(model, perfect(site, 24), corpus)
    assert report.fvu < 1e-12
    assert report.shrinkage == pytest.approx(1, abs=1e-6)
    assert report.kl == pytest.approx(0, abs=1e-6)
    assert report.ce_spliced == pytest.approx(report.ce_clean, rel=1e-6)


def test_what_trainings_set_aside_is_read_and_said(
    tiny: Tiny, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, many = tiny("llama"), tmp_path / "many"
    many.mkdir()
    for number in range(160):
        (many / f"{number:03}.txt").write_text(f"Mary and John went to store {number} and gave a drink.\n" * 5)
    read: list[str] = []
    documents = Part.documents

    def told(part: Part, seed: int, skip: int = 0) -> Iterator[Document]:
        for document in documents(part, seed, skip):
            read.append(document.text)
            yield document

    monkeypatch.setattr(Part, "documents", told)
    autoencoder = drawn(Site("mlp_out", 1), 24, 30)
    assert judged(model, autoencoder, str(many)).held_out is True
    aside, read[:] = set(read), []
    recipe = Recipe(Site("mlp_out", 1), 30, k=3)
    train(model, TrainingPlan((recipe,), tokens=4096, batch=64, context=16, buffer=256), str(many), tmp_path / "out")
    assert len(aside) > 2 and len(read) > 20
    assert aside.isdisjoint(read)
    elsewhere = replace(autoencoder, origin=replace(autoencoder.origin, format="saelens"))
    assert judged(model, elsewhere, str(many)).held_out is None
    # Three long texts, and none to spare.
    assert judged(model, autoencoder, corpus).held_out is False


def test_contexts_are_those_it_was_trained_on(tiny: Tiny, corpus: str) -> None:
    model, site = tiny("llama"), Site("mlp_out", 0)
    autoencoder = replace(drawn(site, 24, 30), origin=Origin("ours", context=10, bos=True))
    report = judged(model, autoencoder, corpus, context=None, skip=0, tokens=300)
    assert (report.tokens, report.autoencoder.judged) == (30 * 9, True)


def test_the_same_seed_gives_the_same_report(tiny: Tiny, corpus: str) -> None:
    model, autoencoder = tiny("llama"), drawn(Site("attn_out", 1), 24, 50)
    first, second = (replace(judged(model, autoencoder, corpus), seconds=0.0) for _ in range(2))
    assert first == second


def test_progress_goes_through_the_stages_and_can_be_stopped(tiny: Tiny, corpus: str) -> None:
    model, autoencoder = tiny("llama"), drawn(Site("mlp_out", 1), 24, 30)
    steps = list(evaluating(model, autoencoder, corpus, tokens=600, losses=200, context=LENGTH))
    assert list(dict.fromkeys(step.stage for step in steps)) == ["read", "activations", "losses", "probes"]
    assert [step.report is not None for step in steps] == [False] * (len(steps) - 1) + [True]
    assert all(0 <= step.done <= step.total for step in steps)
    for stage in ("activations", "losses", "probes"):
        seen: list[str] = []

        def follow(seen: list[str] = seen, stage: str = stage) -> None:
            options = {"tokens": 600, "losses": 200, "context": LENGTH}
            evaluate(
                model, autoencoder, corpus,
                progress=lambda step: seen.append(step.stage), stop=lambda: stage in seen, **options,
            )  # fmt: skip

        with pytest.raises(Cancelled):
            follow()
        assert seen.count(stage) == 1


def test_what_cannot_be_judged_is_refused(tiny: Tiny, corpus: str) -> None:
    model, site = tiny("llama"), Site("mlp_out", 1)
    with pytest.raises(WrongAutoencoder):
        judged(model, drawn(site, 23, 30), corpus)
    with pytest.raises(BadSite):
        judged(model, drawn(Site("mlp_out", 9), 24, 30), corpus)
    for options in ({"tokens": 0}, {"losses": 0}, {"skip": -1}, {"skip": 23}, {"samples": -1}):
        with pytest.raises(UsageError):
            judged(model, drawn(site, 24, 30), corpus, **options)
    broken = drawn(site, 24, 30)
    broken.b_dec[3] = torch.nan
    with pytest.raises(NotFinite, match="autoencoder gives NaN"):
        judged(model, broken, corpus)
    backwards = replace(drawn(Site("attn_out", 1), 24, 30), reads=Site("mlp_out", 1))
    with pytest.raises(WrongAutoencoder, match="computed before"):
        judged(model, backwards, corpus)


@pytest.mark.parametrize(("fill", "error"), [(torch.nan, NotFinite), (torch.inf, NotFinite), (1.0, NothingToLearn)])
def test_a_site_that_is_not_finite_or_all_the_same(tiny: Tiny, corpus: str, fill: float, error: type) -> None:
    model = tiny("llama")
    module = model.subject.anatomy.layers[1].mlp_out_module
    handle = module.register_forward_hook(lambda module, args, output: output * 0 + fill)
    try:
        with pytest.raises(error):
            judged(model, drawn(Site("mlp_out", 1), 24, 30), corpus)
    finally:
        handle.remove()
