"""What words score by detection, by hand, with its failures and baselines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clew.errors import LLMFailed
from clew.explain.llm.client import Answer, Chances, Request
from clew.explain.records import Cost, Failure
from clew.explain.scorers import DetectionScorer, detection
from clew.explain.scorers.judges import Reader, Simulates

from ..scripted import ScriptedLLM
from .judged import CHANCES, DETECTED, FAILED, LABELS, YES, Told, baseline, chances, number_of, within


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
