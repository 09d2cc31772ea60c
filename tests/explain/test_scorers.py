"""What words score, by hand: simulation, detection, fuzzing and pairs, their failures and baselines."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.atlas.components import Components
from clew.errors import LLMFailed, UsageError
from clew.explain.evidence import Evidence, Sample
from clew.explain.llm.client import Answer, Capabilities, Chances, Request
from clew.explain.lookup import LookupSimulator
from clew.explain.records import Cost, Failure, Method, SampleKind, Score, ScorerName, Split
from clew.explain.roles import Estimate, Simulation
from clew.explain.scorers import (
    DetectionScorer,
    FuzzingScorer,
    PairsScorer,
    SimulationScorer,
    detection,
    fuzzing,
    pairs,
    scorer,
)
from clew.explain.scorers.items import Item, batches
from clew.explain.scorers.judges import Form, Reader, Simulates
from clew.models.tape import Stop
from clew.nodes import Node

from .scripted import CHAT, ScriptedLLM

NEURON, HEAD = Node("neuron", 0, 0), Node("attn", 0, 0)
CHANCES = replace(CHAT, logprobs=20)


def sample(
    kind: SampleKind,
    split: Split,
    activations: Sequence[float] | np.ndarray,
    first: int = 0,
    words: str = "",
    number: int = 0,
) -> Sample:
    tokens = tuple(f" {word}" for word in words.split()) or tuple(f" w{at}" for at in range(len(activations)))
    return Sample(
        kind, split, number, 5, tokens, tuple(range(100 * number, 100 * number + len(tokens))),
        np.array(activations, float), first,
    )  # fmt: skip


class Told:
    """A simulator that says of each text, by its context, what it was told to."""

    reference, prompt = "told", "told-1"
    method: Method = "json"

    def __init__(self, of: Mapping[int, Sequence[float] | Failure]) -> None:
        self._of = of
        self.asked: list[Sample] = []

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        self.asked += samples
        said = [self._of[one.context] for one in samples]
        answers = [one if isinstance(one, Failure) else Simulation(np.array(one, float)) for one in said]
        return answers, Cost(requests=len(samples))

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        return Estimate(requests=len(samples))


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


def within(score: Score) -> bool:
    """Whether the value lies between its bounds."""
    assert score.value is not None and score.low is not None and score.high is not None
    return score.low <= score.value <= score.high and score.low < score.high


def baseline(score: Score, name: str) -> float | None:
    (value,) = [one.value for one in score.baselines if one.name == name]
    return value


# Simulation

FAILED = Failure("malformed", "It is no JSON.")
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


# Detection

TEXTS: Sequence[tuple[SampleKind, float]] = (
    ("top", 4), ("top", 3), ("top", 1), ("top", 0.9), ("random", 0), ("random", 2), ("near_miss", 0.3),
    ("near_miss", 0.4), ("random", 0.1),
)  # fmt: skip
"""The largest activations of texts, the maximum being 4: 0.9 and 0.4 are neither a quarter of it nor below a tenth."""

DETECTED = Evidence(
    NEURON,
    4.0,
    (
        sample("top", "explain", [4, 0, 2], number=1),
        *(
            sample(kind, "test", [peak, 0, 9], 0, f"text {number} end", number=number)
            for number, (kind, peak) in enumerate(TEXTS, 2)
        ),
    ),
)
DETECTED = replace(
    DETECTED,
    samples=tuple(
        replace(one, activations=np.minimum(one.activations, 4) * [1, 1, 0]) if one.split == "test" else one
        for one in DETECTED.samples
    ),
)
LABELS = {2: True, 3: True, 4: True, 6: False, 7: True, 8: False, 10: False}


def number_of(request: Request) -> int:
    (found,) = re.findall(r"Text: text (\d+) end", request.messages[-1].content)
    return int(found)


def chances(yes: float, no: float, rest: float = 0.1) -> Answer:
    top = [(text, math.log(p)) for text, p in ((" Yes", yes * 0.5), ("yes", yes * 0.5), ("No", no), ("so", rest)) if p]
    return Answer("so", "length", 50, 1, (Chances("so", 0, tuple(top)),))


YES = {2: 0.9, 3: 0.4, 4: 0.6, 6: 0.2, 7: 0.7, 8: 0.6, 10: 0.1}


def test_a_reader_is_asked_of_one_text_at_a_time_where_it_tells_chances() -> None:
    llm = ScriptedLLM(
        lambda request: chances(0.8 * YES[number_of(request)], 0.8 - 0.8 * YES[number_of(request)]), CHANCES
    )
    score = DetectionScorer(Reader(llm)).score("animals", DETECTED, "test", 0)
    assert sorted(map(number_of, llm.asked)) == sorted(LABELS)
    assert all("Explanation: animals\n" in request.messages[-1].content for request in llm.asked)
    # Of four true texts 3 is judged wrong, of three false ones 8.
    assert score.value == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert score.measures["sensitivity"] == pytest.approx(3 / 4)
    assert score.measures["specificity"] == pytest.approx(2 / 3)
    # Of twelve comparisons .4 loses to .6 and .6 ties with it.
    assert score.measures["auc"] == pytest.approx(10.5 / 12)
    assert score.measures["top"] == pytest.approx(2 / 3)
    assert score.measures["random"] == 1
    assert score.measures["near_miss"] == 0
    assert score.texts == {"top": 3, "random": 3, "near_miss": 1} and score.tokens == 21
    assert score.cost == Cost(requests=7, prompt_tokens=350, completion_tokens=7)
    assert (score.llm, score.method, score.prompt) == ("scripted", None, detection.FORM.prompt)
    assert within(score)
    assert baseline(score, "mean") == 0.5


def test_the_shuffled_baseline_has_every_other_answer_in_turn() -> None:
    llm = ScriptedLLM(lambda request: chances(YES[number_of(request)], 1 - YES[number_of(request)]), CHANCES)
    score = DetectionScorer(Reader(llm)).score("animals", DETECTED, "test", 0)
    order = [number for number in LABELS if LABELS[number]] + [number for number in LABELS if not LABELS[number]]
    labels, said = np.array([LABELS[n] for n in order]), np.array([YES[n] > 0.5 for n in order])
    turned = [np.roll(said, -offset) for offset in range(1, 7)]
    by_hand = [((labels & one).sum() / 4 + (~labels & ~one).sum() / 3) / 2 for one in turned]
    assert baseline(score, "shuffled") == pytest.approx(np.mean(by_hand))


def test_answers_that_fail_are_counted_and_in_no_number() -> None:
    def answer(request: Request) -> Answer | LLMFailed:
        number = number_of(request)
        if number == 3:
            return LLMFailed("Away.", kind="timeout")
        if number == 8:
            return Answer("maybe", "stop", 50, 1, (Chances("maybe", 0, (("maybe", -0.1),)),))
        return chances(YES[number], 1 - YES[number])

    score = DetectionScorer(Reader(ScriptedLLM(answer, CHANCES))).score("animals", DETECTED, "test", 0)
    assert Counter(one.kind for one in score.failures) == {"timeout": 1, "malformed": 1}
    assert score.value == 1 and score.texts == {"top": 2, "random": 3}
    assert score.cost.requests == 6  # what was answered was paid for


def listed(request: Request, of: Callable[[int], int]) -> str:
    numbers = [int(one) for one in re.findall(r"Text \d+: text (\d+) end", request.messages[-1].content)]
    return json.dumps({"answers": [of(number) for number in numbers]})


def test_a_reader_without_chances_is_asked_of_five_texts_at_once() -> None:
    llm = ScriptedLLM(lambda request: listed(request, lambda number: int(YES[number] > 0.5)))
    score = DetectionScorer(Reader(llm)).score("animals", DETECTED, "test", 0)
    assert len(llm.asked) == 2
    assert score.value == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert score.measures["auc"] == pytest.approx(score.value)  # the answers are no finer
    orders = {
        tuple(re.findall(r"text (\d+) end", request.text))
        for seed in range(4)
        for request in _asked(DetectionScorer, seed)
    }
    assert len(orders) > 4  # by seed, not by kind


def _asked(make: Callable[[Reader], Any], seed: int) -> list[Request]:
    llm = ScriptedLLM(lambda request: "[]")
    make(Reader(llm)).score("animals", DETECTED, "test", seed)
    return llm.asked


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("yes, yes, no", "malformed"), ('{"answers": [1]}', "malformed"), ('{"answers": [1, 0, 2, 1, 0]}', "malformed"),
        ('{"answers": "10101"}', "malformed"), ('{"answers": [[], [], [], [], []]}', "malformed"), ("", "malformed"),
        (Answer('{"answers": [1, 0', "length", 5, 5), "truncated"), (LLMFailed("Away."), "error"),
    ],
)  # fmt: skip
def test_a_list_that_is_none_fails_all_texts_that_were_asked_about(said: str | Answer | LLMFailed, kind: str) -> None:
    score = DetectionScorer(Reader(ScriptedLLM(lambda request: said))).score("animals", DETECTED, "test", 0)
    assert [one.kind for one in score.failures] == [kind] * 7
    assert score.value is None and not score.texts
    assert all(one.value is None for one in score.baselines)


def test_where_all_texts_are_alike_nothing_is_asked() -> None:
    only = replace(DETECTED, samples=tuple(one for one in DETECTED.samples if one.context in (1, 2, 3, 4)))
    llm = ScriptedLLM(lambda request: "[]")
    score = DetectionScorer(Reader(llm)).score("animals", only, "test", 0)
    assert score.value is None and not llm.asked and not score.failures and score.cost == Cost()


def test_a_simulator_judges_by_the_strongest_token() -> None:
    said: dict[int, Sequence[float] | Failure] = {number: [0, 10 * yes, 0] for number, yes in YES.items()}
    score = DetectionScorer(Simulates(Told(said))).score("animals", DETECTED, "test", 0)
    # More than 1.75 of ten, halfway from a tenth of the maximum to a quarter, is yes: of all but 10.
    assert score.value == pytest.approx((1 + 1 / 3) / 2)
    assert score.measures["auc"] == pytest.approx(10.5 / 12)
    assert (score.llm, score.method, score.prompt) == ("told", "json", "told-1")
    failed = DetectionScorer(Simulates(Told({**said, 2: FAILED}))).score("animals", DETECTED, "test", 0)
    assert list(failed.failures) == [FAILED] and failed.texts["top"] == 2


def test_the_tables_strongest_token_judges_as_well() -> None:
    ids = {2: (1, 2, 2), 3: (2, 2, 1), 4: (2, 2, 2), 6: (2, 3, 2), 7: (2, 2, 2), 8: (1, 1, 1), 10: (2, 2, 2)}
    samples = [
        replace(one, ids=ids.get(one.context, (0, 0, 0)) if one.split == "test" else (1, 2, 3))
        for one in DETECTED.samples
    ]
    said: dict[int, Sequence[float] | Failure] = {number: [0, 0, 0] for number in YES}
    score = DetectionScorer(Simulates(Told(said))).score("w", replace(DETECTED, samples=tuple(samples)), "test", 0)
    # 1 has ten, 2 none and 3 five: yes to 2, 3 of four true ones, to 6 and 8 of three false ones.
    assert baseline(score, "table") == pytest.approx((2 / 4 + 1 / 3) / 2)


# Fuzzing


def fuzzed(seed: int = 0, n: int = 6, length: int = 20) -> Evidence:
    """Texts that fire on a few tokens each, and some that do not."""
    draw = np.random.default_rng(seed)
    samples = [sample("top", "explain", [4.0], number=1)]
    for number in range(2, 2 + n):
        activations = 0.2 * draw.random(length)
        activations[draw.choice(np.arange(2, length), 1 + number % 3, replace=False)] = 4 * draw.uniform(0.3, 1)
        activations[0] = 50
        made = sample("top", "test", activations, 1, number=number)
        samples.append(replace(made, tokens=(f" text{number}", *made.tokens[1:])))
    samples.append(sample("random", "test", 0.3 * draw.random(length), number=60))
    return Evidence(NEURON, 4.0, tuple(samples))


@given(st.integers(0, 30), st.integers(0, 5), st.integers(1, 6))
def test_right_marks_are_where_it_fires_and_wrong_ones_where_it_does_not(made: int, seed: int, n: int) -> None:
    evidence = fuzzed(made, n)
    items = fuzzing.items_of(evidence, evidence.of("test"), seed)
    assert len(items) == 2 * n and sum(item.label for item in items) == n
    by_text = {(item.text, item.label): item for item in items}
    for item in items:
        relative = item.sample.activations / 4
        if item.label:
            assert list(item.at) == [at for at in range(1, 20) if relative[at] >= 0.25]
        else:
            assert len(set(item.at)) == len(by_text[item.text, True].at)
            assert all(at >= 1 and relative[at] < 0.1 for at in item.at)
        assert item.shown.count("«") == item.shown.count("»") == len(item.at)
        assert re.findall("«(.*?)»", item.shown) == [f"w{at}" for at in item.at]


def test_wrong_marks_stand_where_right_ones_do() -> None:
    """Where right marks are near the end of a text, wrong ones are as well: places tell nothing."""
    draw = np.random.default_rng(0)
    samples = []
    for number in range(8):
        activations = np.zeros(40)
        activations[draw.integers(26, 40)] = 4
        samples.append(sample("top", "test", activations, number=number))
    items = fuzzing.items_of(Evidence(NEURON, 4.0, tuple(samples)), samples, 0)
    right, wrong = ([at for item in items for at in item.at if item.label is label] for label in (True, False))
    assert min(wrong) >= 25
    assert abs(np.mean(right) - np.mean(wrong)) < 3


def test_marks_are_told_from_those_of_the_text() -> None:
    assert fuzzing.marked((" «", "so", "»", "\n", " ", "a"), {1, 3, 4}) == "‹«so»›«\\n»« »a"
    assert fuzzing.marked((" one", " two"), {1}) == "one «two»"


def test_a_reader_of_marks_is_scored() -> None:
    evidence = fuzzed()
    right = {item.shown for item in fuzzing.items_of(evidence, evidence.of("test"), 0) if item.label}
    fooled = sorted(right)[0]

    def answer(request: Request) -> Answer:
        shown = request.messages[-1].content.split("Text: ")[1].split("\n")[0]
        return chances(*((0.9, 0.1) if shown in right and shown != fooled else (0.2, 0.8)))

    llm = ScriptedLLM(answer, CHANCES)
    score = FuzzingScorer(Reader(llm)).score("animals", evidence, "test", 0)
    assert len(llm.asked) == 12
    assert score.value == pytest.approx((5 / 6 + 1) / 2)
    assert score.texts == {"right_marks": 6, "wrong_marks": 6}
    assert score.measures["right_marks"] == score.measures["sensitivity"] == pytest.approx(5 / 6)
    assert within(score)


def test_right_and_wrong_marks_of_a_text_are_never_side_by_side() -> None:
    evidence = fuzzed()
    for seed in range(5):
        llm = ScriptedLLM(lambda request: '{"answers": [0, 0, 0, 0]}')
        score = FuzzingScorer(Reader(llm)).score("animals", evidence, "test", seed)
        assert len(llm.asked) == 3 and score.value == 0.5
        for request in llm.asked:
            shown = [re.sub("[«»]", "", one) for one in re.findall(r"Text \d+: (.*)", request.messages[-1].content)]
            assert len(set(shown)) == len(shown) == 4


def test_a_simulator_judges_the_marked_tokens() -> None:
    evidence = fuzzed()
    exact: dict[int, Sequence[float] | Failure] = {
        one.context: evidence.scaled(one).tolist() for one in evidence.of("test")
    }
    told = Told(exact)
    score = FuzzingScorer(Simulates(told)).score("animals", evidence, "test", 0)
    assert score.value == score.measures["auc"] == 1
    assert len(told.asked) == 6  # each text once for both
    assert FuzzingScorer(Simulates(told)).estimate("animals", evidence, "test").requests == 6


def test_a_text_without_room_for_wrong_marks_is_left_out() -> None:
    dense = sample("top", "test", [4, 4, 4, 0], number=9)
    evidence = Evidence(NEURON, 4.0, (*fuzzed(n=2).samples, dense))
    assert {item.sample.context for item in fuzzing.items_of(evidence, evidence.of("test"), 0)} == {2, 3}


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(0, 5))
def test_batches_have_all_items_once_and_none_of_one_text_together(texts: list[int], seed: int) -> None:
    one = sample("top", "test", [1.0])
    items = [Item(one, "", True, "top", (0,), text) for text in texts]
    found = batches(items, 5, seed)
    assert sorted(number for batch in found for number in batch) == list(range(len(items)))
    for batch in found:
        assert 0 < len(batch) <= 5
        assert len({items[number].text for number in batch}) == len(batch)
    assert found == batches(items, 5, seed)


# Pairs


def head(number: int, kind: SampleKind, strong: float) -> Sample:
    """A text of eight tokens with one pair of some strength, others a twentieth of the maximum or less."""
    values = np.tril(0.2 * np.random.default_rng(number).random((8, 8)))
    values[5, 2] = strong
    values[0, 0] = 40
    made = sample(kind, "test", values.max(1), 1, number=number)
    return replace(made, pairs=values)


HEADS = Evidence(
    HEAD,
    4.0,
    (
        sample("top", "explain", [4.0], number=50),
        *(head(number, "top", 4 - 0.1 * number) for number in range(6)),
        *(head(number, "random", 0.1) for number in range(10, 14)),
        head(20, "random", 3.0),
    ),
)


def test_as_many_weak_pairs_are_asked_about_as_strong_ones() -> None:
    for seed in range(5):
        items = pairs.items_of(HEADS, "test", seed)
        strong, weak = ([item for item in items if item.label is label] for label in (True, False))
        assert [item.sample.context for item in strong] == [0, 1, 2, 3, 4]
        assert [item.sample.context for item in weak] == [10, 11, 12, 13, 20]
        assert all(item.shown == "w0 w1 **w2** w3 w4 [[w5]] w6 w7" for item in strong)
        for item in weak:
            (reader,), (source,) = (
                re.findall(r"\[\[\**w(\d)", item.shown),
                re.findall(r"\*\*(?:\[\[)?w(\d)", item.shown),
            )
            assert item.sample.pairs is not None
            assert item.sample.pairs[int(reader), int(source)] < 0.4
            assert item.at == (int(reader),) and item.at[0] >= 1
    assert pairs.items_of(HEADS, "test", 0) != pairs.items_of(HEADS, "test", 1)


def test_pairs_are_scored_by_the_area_under_the_curve() -> None:
    def answer(request: Request) -> Answer:
        strong = request.messages[-1].content.split("Text: ")[1].startswith("w0 w1 **w2** w3 w4 [[w5]]")
        wrong = len(llm.asked) == 1
        return chances(*((0.45, 0.55) if strong and not wrong else (0.2, 0.8)))

    llm = ScriptedLLM(answer, CHANCES)
    score = PairsScorer(llm).score("reads", HEADS, "test", 0)
    # The first is as low as all weak ones: five ties of twenty-five.
    assert score.value == pytest.approx(22.5 / 25)
    assert score.measures["balanced_accuracy"] == 0.5
    assert score.texts == {"strong_pairs": 5, "weak_pairs": 5}
    assert baseline(score, "mean") == 0.5
    assert score.prompt == pairs.FORM.prompt and score.method is None


def test_pairs_are_asked_about_as_a_list_without_chances() -> None:
    def answer(request: Request) -> str:
        shown = re.findall(r"Text \d+: (.*)", request.messages[-1].content)
        return json.dumps([int("**w2** w3 w4 [[w5]]" in one) for one in shown])

    llm = ScriptedLLM(answer)
    assert PairsScorer(llm).score("reads", HEADS, "test", 0).value == 1
    assert len(llm.asked) == 2


# All


def test_scorers_say_what_they_cannot_score() -> None:
    told, llm = Told({}), ScriptedLLM(lambda request: "")
    assert SimulationScorer(told).refuses(HEAD) is DetectionScorer(Simulates(told)).refuses(HEAD) is None
    assert "pairs" in (FuzzingScorer(Reader(llm)).refuses(HEAD) or "")
    assert FuzzingScorer(Reader(llm)).refuses(NEURON) is PairsScorer(llm).refuses(HEAD) is None
    assert "heads" in (PairsScorer(llm).refuses(NEURON) or "")


def test_scorers_are_made_by_name() -> None:
    llm, told = ScriptedLLM(lambda request: ""), Told({})
    components = cast(Components, SimpleNamespace())
    names: Sequence[ScorerName] = ("simulation", "detection", "fuzzing", "pairs", "ablation", "intervention")
    for name in names:
        made = scorer(name, llm=llm, simulator=told, components=components)
        assert made.name == name
        if name in ("pairs", "intervention"):
            with pytest.raises(UsageError, match=f"Scoring by {name} asks a language model"):
                scorer(name, llm=None, simulator=told, components=components)
        else:
            assert scorer(name, llm=None, simulator=told, components=components).name == name


def test_without_a_language_model_quoted_tokens_judge() -> None:
    made = scorer("detection", llm=None, simulator=LookupSimulator(), components=cast(Components, SimpleNamespace()))
    score = made.score('Fires on " 2" and " 3" and " 4" and " 7" (5).', DETECTED, "test", 0)
    assert score.value == 1
    assert (score.llm, score.method) == ("lookup", "lookup")
    with pytest.raises(UsageError, match="quote no token"):
        made.score("animals", DETECTED, "test", 0)


def anything(request: Request) -> Answer:
    return Answer("{}", "stop", 1, 1, (Chances("yes", 0, (("yes", -0.1), ("no", -1.0))),))


@pytest.mark.parametrize("capabilities", [CHAT, CHANCES])
@pytest.mark.parametrize(
    ("make", "evidence"),
    [
        (lambda llm: DetectionScorer(Reader(llm)), DETECTED), (lambda llm: FuzzingScorer(Reader(llm)), fuzzed()),
        (PairsScorer, HEADS),
    ],
)  # fmt: skip
def test_an_estimate_is_no_less_than_what_is_asked(
    make: Callable[[ScriptedLLM], Any], evidence: Evidence, capabilities: Capabilities
) -> None:
    llm = ScriptedLLM(anything, capabilities)
    takes = make(llm).estimate("animals", evidence, "test")
    assert not llm.asked
    make(llm).score("animals", evidence, "test", 0)
    assert takes.requests == len(llm.asked) > 0
    assert takes.prompt_tokens >= sum(llm.count(request.text) for request in llm.asked)
    assert takes.completion_tokens == sum(request.max_tokens for request in llm.asked)


def test_a_reader_is_told_nothing_of_a_text_but_its_tokens() -> None:
    """Not how strongly it fires beyond what is asked, its kind, or its place."""
    one, other = ScriptedLLM(anything, CHANCES), ScriptedLLM(anything, CHANCES)
    hidden = [
        replace(item, kind="random", context=item.context + 100, activations=item.activations * 1.1, start=0)
        if item.split == "test"
        else item
        for item in reversed(DETECTED.samples)
    ]
    DetectionScorer(Reader(one)).score("animals", DETECTED, "test", 0)
    DetectionScorer(Reader(other)).score("animals", replace(DETECTED, samples=tuple(hidden)), "test", 1)
    assert sorted(map(repr, one.asked)) == sorted(map(repr, other.asked))


def test_examples_show_true_texts_and_false_ones() -> None:
    for form in (detection.FORM, fuzzing.FORM, pairs.FORM):
        answers = [true for _, texts in form.shots for _, true in texts]
        assert 0.3 <= np.mean(answers) <= 0.7
    assert len({form.prompt for form in (detection.FORM, fuzzing.FORM, pairs.FORM)}) == 3


def test_prompts_have_the_versions_that_they_are_kept_under() -> None:
    """When this fails, raise the version of the prompt that was changed, and put its new digest here."""

    item = Item(sample("top", "test", [1.0]), "a [[dog]]", True, "top", (0,), 0)

    def digest(form: Form) -> str:
        reader = Reader(ScriptedLLM(anything))
        asked = [reader._single(form, "animals", item), reader._several(form, "animals", [item, item])]
        return hashlib.sha256("".join(one.text for one in asked).encode()).hexdigest()[:12]

    assert {form.prompt: digest(form) for form in (detection.FORM, fuzzing.FORM, pairs.FORM)} == {
        "detection-1": "f2204695e523",
        "fuzzing-1": "c9d2f9347048",
        "pairs-1": "10c8299272f3",
    }
