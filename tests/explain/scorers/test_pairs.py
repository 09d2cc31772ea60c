"""What words of heads score by pairs, by hand."""

from __future__ import annotations

import json
import re

import pytest

from clew.explain.llm.client import Answer, Request
from clew.explain.scorers import PairsScorer, pairs

from ..scripted import ScriptedLLM
from .judged import CHANCES, HEADS, baseline, chances


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
