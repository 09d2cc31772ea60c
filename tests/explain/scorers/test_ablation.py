"""Ablation scoring, against transformers' own model run whole with plain hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from scipy.spatial.distance import jensenshannon

from clew.errors import Cancelled, UsageError
from clew.explain.evidence import Sample
from clew.explain.pipeline import explaining
from clew.explain.recipe import Recipe
from clew.explain.records import Cost, Failure, Method, Score, Split
from clew.explain.roles import Estimate, Simulation
from clew.explain.scorers.ablation import AblationScorer, _divergence
from clew.explain.store.explanations import Explanations
from clew.models.tape import Stop
from clew.nodes import parse

from .case import FAMILIES, WINDOW, Case, Made

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Simulates:
    """Gives what a function makes of each text; counts what it was asked."""

    function: Callable[[Sample], Float64[np.ndarray, " t"] | Failure]
    asked: list[Sample] = field(default_factory=list)
    reference: str = "test"
    method: Method = "all_at_once"
    prompt: str = "test-1"

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        self.asked += samples
        told = [self.function(sample) for sample in samples]
        return [one if isinstance(one, Failure) else Simulation(one) for one in told], Cost(requests=len(samples))

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        return Estimate(len(samples), 10 * len(samples), 5 * len(samples))


def ablation(case: Case, function: Callable[[Sample], Any], seed: int = 0, stop: Stop | None = None) -> Score:
    return AblationScorer(Simulates(function), case.components).score("words", case.evidence, "test", seed, stop)


def noisy(case: Case) -> Callable[[Sample], Float64[np.ndarray, " t"]]:
    """On the scale of simulations, neither right nor useless."""
    level = float(np.concatenate([sample.activations for sample in case.evidence.samples]).std())

    def expected(sample: Sample) -> Float64[np.ndarray, " t"]:
        noise = np.random.default_rng(sample.context).normal(size=len(sample.ids))
        return 5 + 2 * (sample.activations / level + noise)

    return expected


def by_rerun(case: Case, function: Callable[[Sample], Any]) -> dict[str, float]:
    """The score and both divergences, from whole runs of the model, one text at a time."""

    def counted(sample: Sample, values: Any) -> Any:
        return values[sample.first :]

    calibrating, tested = case.evidence.of("calibrate"), case.evidence.of("test")
    x = np.concatenate([counted(sample, function(sample)) for sample in calibrating])
    y = np.concatenate([counted(sample, sample.activations) for sample in calibrating])
    slope, offset = np.polyfit(x, y, 1)
    simulated, mean = [], []
    for sample in tested:
        at = range(sample.start + sample.first, sample.start + len(sample.ids))
        values = slope * counted(sample, function(sample)) + offset
        clean = _distribution(case, sample)
        for put, found in ((values, simulated), (np.full(len(at), y.mean()), mean)):
            with case.replaced(at, put.tolist()):
                changed = _distribution(case, sample)
            found.append(np.mean([jensenshannon(changed[p], clean[p]) ** 2 for p in at]))
    return {
        "value": float(1 - np.mean(simulated) / np.mean(mean)),
        "jsd_simulated": float(np.mean(simulated)),
        "jsd_mean": float(np.mean(mean)),
    }


@torch.no_grad()
def _distribution(case: Case, sample: Sample) -> Any:
    return case.hf(case.ids(sample)[None]).logits[0].double().softmax(-1).numpy()


def check_ablation(case: Case) -> None:
    right = ablation(case, lambda sample: 3 * sample.activations + 1)
    assert right.value == pytest.approx(1, abs=1e-6)
    same = ablation(case, lambda sample: np.full(len(sample.ids), 4.0))
    assert same.value == pytest.approx(0, abs=1e-9)
    function = noisy(case)
    score, expected = ablation(case, function), by_rerun(case, function)
    assert score.value == pytest.approx(expected["value"], abs=1e-4)
    assert score.measures["jsd_simulated"] == pytest.approx(expected["jsd_simulated"], rel=1e-3)
    assert score.measures["jsd_mean"] == pytest.approx(expected["jsd_mean"], rel=1e-3)
    assert 0.01 < abs(expected["value"]) < 0.99, "a test that any number would pass"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_neurons_ablation_score_equals_whole_runs(made: Made, family: str) -> None:
    check_ablation(made(family))


@pytest.mark.parametrize(
    ("family", "component", "kind"),
    [
        ("llama", "latent.mlp_out.1.5", {}),
        ("llama", "latent.resid.2.5", {"activation": "jumprelu"}),
        ("llama", "latent.mlp_out.0.5", {"reads": "mlp_in.0"}),
        ("llama", "latent.mlp_out.2.5", {"reads": "mlp_in.0"}),
        ("llama", "latent.resid.0.5", {"normalisation": "layer_norm"}),
        ("gpt_neox", "latent.attn_out.1.5", {}),
        ("gemma2", "latent.mlp_out.1.5", {}),
    ],
)
def test_a_latents_ablation_score_equals_whole_runs(
    made: Made, family: str, component: str, kind: dict[str, Any]
) -> None:
    check_ablation(made(family, component, **kind))


def test_the_activations_themselves_and_their_mean_bound_the_scale(made: Made) -> None:
    case = made()
    baselines = {one.name: one.value for one in ablation(case, noisy(case)).baselines}
    assert baselines["mean"] == 0
    assert baselines["table"] is not None and baselines["shuffled"] is not None
    wrong = ablation(case, lambda sample: sample.activations[::-1])
    assert wrong.value is not None and wrong.value < 0.5


def test_only_what_was_not_scored_by_is_fitted_to(made: Made) -> None:
    case = made()
    # Of the tested texts the simulation is right but for a sign that only their own activations would tell.
    score = ablation(case, lambda sample: sample.activations * (-1 if sample.split == "test" else 1))
    assert score.value is not None and score.value < 0


def test_an_interval_holds_the_score_and_is_the_same_each_time(made: Made) -> None:
    case = made()
    score, again = ablation(case, noisy(case), seed=5), ablation(case, noisy(case), seed=5)
    assert score == again
    assert score.value is not None and score.low is not None and score.high is not None
    assert score.low < score.value < score.high
    assert score.texts == {"top": 2, "random": 1, "near_miss": 1}
    assert score.tokens == 4 * WINDOW - 1
    assert (score.llm, score.method, score.prompt) == ("test", "all_at_once", "test-1")
    assert score.cost == Cost(requests=7)


def test_strips_show_what_took_the_activations_place(made: Made) -> None:
    case = made()
    score = ablation(case, lambda sample: 3 * sample.activations + 1)
    for strip, sample in zip(score.strips, case.evidence.of("test"), strict=True):
        scaled = 10 * np.maximum(sample.activations, 0)[sample.first :] / case.evidence.maximum
        assert (strip.context, strip.start) == (sample.context, sample.start + sample.first)
        assert tuple(strip.tokens) == sample.tokens[sample.first :]
        assert strip.simulated is not None
        assert strip.real == pytest.approx(scaled.tolist())
        assert strip.simulated == pytest.approx(scaled.tolist(), abs=1e-5)


def test_texts_that_failed_are_counted_and_are_in_no_number(made: Made) -> None:
    case = made()
    function = noisy(case)
    broken = Failure("malformed", "no list")

    def failing(sample: Sample) -> Any:
        return broken if sample.context in (3, 6) else function(sample)

    kept = tuple(sample for sample in case.evidence.samples if sample.context not in (3, 6))
    alone = ablation(replace(case, evidence=replace(case.evidence, samples=kept)), function)
    score = ablation(case, failing)
    assert score.failures == [broken]
    assert (score.measures["calibrated_on"], score.measures["calibration_failures"]) == (2, 1)
    assert score.texts == {"top": 1, "random": 1, "near_miss": 1}
    assert (score.value, score.low, score.high) == (alone.value, alone.low, alone.high)
    assert [strip.failure for strip in score.strips] == [None, broken, None, None]
    assert score.strips[1].simulated is None


@pytest.mark.parametrize("step", [1e-4, 1e-2, 1.0, 100.0])
def test_divergences_are_right_whatever_their_size(made: Made, step: float) -> None:
    subject = made().components.subject
    draw = torch.Generator().manual_seed(0)
    clean = torch.randn(6, subject.anatomy.d_model, generator=draw)
    other = clean + step * torch.randn(clean.shape, generator=draw)
    found, noise = _divergence(subject, clean, {"other": other}, None)
    weight = subject.anatomy.unembed.weight.double()
    p, q = ((rows.double() @ weight.T).softmax(-1).numpy() for rows in (clean, other))
    expected = [jensenshannon(one, two) ** 2 for one, two in zip(p, q, strict=True)]
    assert found["other"] == pytest.approx(expected, rel=2e-2 if step < 1e-3 else 1e-4)
    largest = float((clean @ subject.anatomy.unembed.weight.T).abs().max())
    assert noise == pytest.approx((2.0**-23 * largest) ** 2 / 8)
    assert noise < found["other"].min() / 100


@pytest.mark.parametrize("split", ["test", "calibrate"])
def test_without_answers_there_is_no_score(made: Made, split: Split) -> None:
    case = made()
    broken = Failure("timeout", "nothing came")
    score = ablation(case, lambda sample: broken if sample.split == split else sample.activations)
    assert (score.value, score.low, score.high) == (None, None, None)
    assert all(one.value is None for one in score.baselines)
    assert len(score.failures) == (4 if split == "test" else 0)
    assert score.measures["calibration_failures"] == (0 if split == "test" else 3)
    assert [strip.failure for strip in score.strips] == score.failures


def test_a_component_that_writes_nothing_has_no_ablation_score(made: Made) -> None:
    case = made(component="neuron.2.3")
    weight = case.components.subject.anatomy.layers[2].mlp_out.by_input
    held = weight[3].clone()
    try:
        weight[3] = 0
        score = ablation(case, noisy(case))
    finally:
        weight[3] = held
    assert score.value is None and score.low is None
    assert score.measures["jsd_mean"] == pytest.approx(0, abs=1e-15)
    assert ablation(case, noisy(case)).value is not None


def test_heads_latents_without_their_autoencoder_and_foreign_tokens_are_refused(made: Made) -> None:
    case = made()
    latent = made(component="latent.mlp_out.1.5")
    scorer = AblationScorer(Simulates(noisy(case)), case.components)
    assert scorer.refuses(case.component) is None
    assert "head" in (scorer.refuses(parse("attn.1.2")) or "")
    assert "not attached" in (scorer.refuses(latent.component) or "")
    assert AblationScorer(Simulates(noisy(case)), latent.components).refuses(latent.component) is None


def test_an_estimate_covers_the_calibration(made: Made) -> None:
    case = made()
    scorer = AblationScorer(Simulates(noisy(case)), case.components)
    assert scorer.estimate("words", case.evidence, "test") == Estimate(7, 70, 35)


def test_ablating_stops_when_it_is_told_to(made: Made) -> None:
    case = made()
    with pytest.raises(Cancelled):
        ablation(case, noisy(case), stop=lambda: True)


def test_a_run_without_a_language_model_scores_by_ablation_and_not_by_intervention(made: Made, tmp_path: Path) -> None:
    case = made()
    kept = Explanations(f"sqlite:///{tmp_path / 'clew.db'}")
    *_, last = explaining(case.components, ["neuron.1.3-6"], Recipe(scorers=("ablation",)), explanations=kept)
    assert (last.done, last.failed) == (4, 0)
    for number in range(3, 7):
        (found,) = kept.named("llama", f"neuron.1.{number}")
        (score,) = found.scores
        assert score.scorer == "ablation" and score.value is not None and score.value < 1
    with pytest.raises(UsageError, match="intervention"):
        list(explaining(case.components, ["neuron.1.3"], Recipe(scorers=("intervention",)), explanations=kept))
    kept.close()
