"""What words score by simulation, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from clew.explain.evidence import Evidence, Sample
from clew.explain.records import Cost, Failure, Method
from clew.explain.roles import Estimate, Simulation
from clew.explain.scorers import SimulationScorer
from clew.models.tape import Stop

from .judged import FAILED, NEURON, Told, baseline, sample, within


class ByPlace:
    """A simulator that goes by where in a text a token stands, whatever the words and the token."""

    reference, prompt = "place", "place-1"
    method: Method = "json"

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        return [Simulation(np.arange(len(one.tokens)) % 4.0) for one in samples], Cost()

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        return Estimate()


# On a scale of ten, the maximum being 4. The first token of the second text is not counted.
EVIDENCE = Evidence(
    NEURON,
    4.0,
    (
        sample("top", "explain", [4, 0, 2], number=1),
        sample("top", "calibrate", [2, 0, 0], number=2),
        sample("random", "calibrate", [0, 1], number=3),
        sample("top", "test", [0, 4, -1], number=4),
        sample("random", "test", [99, 0, 2], 1, number=5),
        sample("near_miss", "test", [0, 0], number=6),
        sample("near_miss", "test", [0, 3], number=7),
        sample("top", "validate", [1, 0], number=8),
    ),
)
SAID: Mapping[int, Sequence[float] | Failure] = {
    2: [4, 1, 0], 3: [0, 3], 4: [1, 8, 0], 5: [7, 2, 4], 6: [3, 0], 7: FAILED, 8: [1, 0],
}  # fmt: skip
REAL, SIMULATED = np.array([0, 10, 0, 0, 5, 0, 0.0]), np.array([1, 8, 0, 2, 4, 3, 0.0])


def test_a_simulation_is_scored_as_by_hand() -> None:
    told = Told(SAID)
    score = SimulationScorer(told).score("words", EVIDENCE, "test", 0)
    measures = score.measures
    assert score.value == pytest.approx(np.corrcoef(REAL, SIMULATED)[0, 1])
    assert measures["top"] == pytest.approx(np.corrcoef(REAL[:3], SIMULATED[:3])[0, 1])
    assert measures["random"] == pytest.approx(1)
    assert measures["near_miss"] is None  # nothing varies
    assert measures["top_and_random"] == pytest.approx(np.corrcoef(REAL[:5], SIMULATED[:5])[0, 1])
    # Calibrated on the two texts of that split: 5 0 0 | 0 2.5 said to be 4 1 0 | 0 3.
    slope, intercept = np.polyfit([4, 1, 0, 0, 3], [5, 0, 0, 0, 2.5], 1)
    line = slope * SIMULATED + intercept
    assert measures["r_squared"] == pytest.approx(1 - ((REAL - line) ** 2).sum() / (REAL**2).sum())
    assert measures["absolute_deviation"] == pytest.approx(1 - abs(REAL - line).sum() / REAL.sum())
    assert measures["correlation_calibrated"] == pytest.approx(score.value)
    # By rank: 0 → 0 (twice), 1 → 0, 3 → 2.5, 4 → 5; 2 lies between, 8 beyond.
    ranked = np.array([0, 5, 0, 1.25, 5, 2.5, 0])
    assert measures["r_squared_percentile"] == pytest.approx(1 - ((REAL - ranked) ** 2).sum() / 125)
    assert measures["absolute_deviation_percentile"] == pytest.approx(1 - abs(REAL - ranked).sum() / 15)
    assert measures["correlation_percentile"] == pytest.approx(np.corrcoef(REAL, ranked)[0, 1])
    assert measures["r_squared_uncalibrated"] == pytest.approx(1 - ((REAL - SIMULATED) ** 2).sum() / 125)
    assert measures["absolute_deviation_uncalibrated"] == pytest.approx(1 - abs(REAL - SIMULATED).sum() / 15)
    assert measures["r_squared_mean"] == pytest.approx(1 - ((REAL - 1.5) ** 2).sum() / 125)
    assert (measures["calibrated_on"], measures["calibration_failures"]) == (2, 0)
    assert score.low is score.high is None  # of each kind one text was answered: no other could have been drawn


def test_a_failure_is_counted_and_in_no_number() -> None:
    without = replace(EVIDENCE, samples=tuple(one for one in EVIDENCE.samples if one.context != 7))
    score = SimulationScorer(Told(SAID)).score("words", EVIDENCE, "test", 0)
    other = SimulationScorer(Told(SAID)).score("words", without, "test", 0)
    assert (score.value, score.measures, score.baselines) == (other.value, other.measures, other.baselines)
    assert (score.low, score.high, score.tokens, score.texts) == (other.low, other.high, other.tokens, other.texts)
    assert (score.texts, score.tokens) == ({"top": 1, "random": 1, "near_miss": 1}, 7)
    assert (list(score.failures), list(other.failures)) == ([FAILED], [])
    assert (score.cost.requests, other.cost.requests) == (6, 5)


def test_strips_have_the_tokens_that_count_and_what_was_said_of_them() -> None:
    score = SimulationScorer(Told(SAID)).score("words", EVIDENCE, "test", 0)
    assert [strip.context for strip in score.strips] == [4, 5, 6, 7]
    one, other, _, failed = score.strips
    assert (one.kind, one.start, list(one.tokens)) == ("top", 5, [" w0", " w1", " w2"])
    assert (list(one.real), list(one.simulated or ())) == ([0, 10, 0], [1, 8, 0])
    assert (other.start, list(other.tokens), list(other.real)) == (6, [" w1", " w2"], [0, 5])
    assert (failed.simulated, failed.failure, list(failed.real)) == (None, FAILED, [0, 7.5])
    # The headline can be computed again from what is kept.
    pooled = [(a, b) for strip in score.strips for a, b in zip(strip.real, strip.simulated or (), strict=False)]
    assert np.corrcoef(np.array(pooled).T)[0, 1] == pytest.approx(score.value)


def test_nothing_is_calibrated_where_the_headline_alone_is_wanted() -> None:
    told = Told(SAID)
    score = SimulationScorer(told).score("words", EVIDENCE, "validate", 0)
    assert [one.context for one in told.asked] == [8]
    assert score.value == pytest.approx(1)
    assert "r_squared" not in score.measures and "calibrated_on" not in score.measures
    assert SimulationScorer(told).estimate("words", EVIDENCE, "validate").requests == 1
    assert SimulationScorer(told).estimate("words", EVIDENCE, "test").requests == 6


def test_when_all_failed_there_is_no_score() -> None:
    score = SimulationScorer(Told(dict.fromkeys(range(9), FAILED))).score("words", EVIDENCE, "test", 0)
    assert score.value is score.low is score.high is None
    assert len(score.failures) == 4 and not score.texts and score.tokens == 0
    assert all(one.value is None for one in score.baselines)
    assert score.measures["r_squared"] is None and score.measures["calibration_failures"] == 2


def test_a_calibration_that_failed_takes_only_what_needs_it() -> None:
    score = SimulationScorer(Told({**SAID, 2: FAILED, 3: FAILED})).score("words", EVIDENCE, "test", 0)
    assert score.value == pytest.approx(np.corrcoef(REAL, SIMULATED)[0, 1])
    assert score.measures["r_squared"] is None and score.measures["r_squared_uncalibrated"] is not None
    assert len(score.failures) == 1  # those of the split


def test_the_same_everywhere_has_no_correlation() -> None:
    score = SimulationScorer(Told({**SAID, 4: [1, 1, 1], 5: [1, 1, 1], 6: [1, 1]})).score("words", EVIDENCE, "test", 0)
    assert score.value is score.low is None
    assert score.measures["r_squared_uncalibrated"] is not None


def test_the_table_is_read_from_what_the_explainer_saw() -> None:
    table = replace(sample("top", "explain", [4, 0, 1]), ids=(1, 2, 3))
    test = replace(sample("top", "test", [0, 3, 1, 0]), ids=(2, 1, 3, 9))
    evidence = Evidence(NEURON, 4.0, (table, test))
    score = SimulationScorer(Told({0: [0, 1, 2, 0]})).score("words", evidence, "test", 0)
    # 1 → 10, 2 → 0, 3 → 2.5, and 9 was not seen: their median.
    assert baseline(score, "table") == pytest.approx(np.corrcoef([0, 7.5, 2.5, 0], [0, 10, 2.5, 2.5])[0, 1])
    assert baseline(score, "mean") is None
    assert baseline(score, "shuffled") is None  # of a single text there is no other


def test_a_simulator_that_goes_by_place_is_found_out() -> None:
    """It does as well with the answers to other texts."""
    draw = np.random.default_rng(0)
    samples = tuple(
        sample("top", "test", np.arange(12) % 4 + draw.random(12), number=number + 1) for number in range(6)
    )
    score = SimulationScorer(ByPlace()).score("words", Evidence(NEURON, 5.0, samples), "test", 0)
    shuffled = baseline(score, "shuffled")
    assert score.value is not None and shuffled is not None
    assert score.value > 0.9 and within(score)
    assert shuffled == pytest.approx(score.value)
