"""What words score by fuzzing, by hand, and where the marks stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.explain.evidence import Evidence
from clew.explain.llm.client import Answer, Request
from clew.explain.records import Failure
from clew.explain.scorers import FuzzingScorer, fuzzing
from clew.explain.scorers.items import Item, batches
from clew.explain.scorers.judges import Reader, Simulates

from ..scripted import ScriptedLLM
from .judged import CHANCES, NEURON, Told, chances, fuzzed, sample, within


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
