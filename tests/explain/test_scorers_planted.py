"""Scorers over components whose meaning is known: right words are above nearly right ones, these above wrong ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest

from clew.debug import Model
from clew.explain.explainers.examples import text_of
from clew.explain.llm.client import Answer, Capabilities, Chances, Request
from clew.explain.records import Score
from clew.explain.roles import Scorer
from clew.explain.scorers import DetectionScorer, FuzzingScorer, Reader, Simulates, SimulationScorer
from clew.explain.scorers.items import BETWEEN
from clew.explain.simulators import simulator
from clew.explain.simulators.all_at_once import _titled
from clew.explain.simulators.shots import SHOTS
from clew.explain.spelling import unspelled

from .planted import PLANTED, Garden, Oracle
from .scripted import ScriptedLLM

SCORERS: Mapping[str, Callable[[], Scorer]] = {
    "simulation": lambda: SimulationScorer(Oracle()),
    "detection": lambda: DetectionScorer(Simulates(Oracle())),
    "fuzzing": lambda: FuzzingScorer(Simulates(Oracle())),
}


@pytest.fixture(scope="module")
def garden(smollm2: Model) -> Garden:
    return Garden.of(smollm2.subject)


@pytest.fixture(scope="module")
def scored(garden: Garden) -> Callable[[str], list[tuple[Score, Score, Score]]]:
    """By a scorer, of each component: with the right words, with near ones and with wrong ones."""

    @cache
    def score(name: str) -> list[tuple[Score, Score, Score]]:
        made = SCORERS[name]()
        found = []
        for planted, evidence in zip(PLANTED, garden.evidence, strict=True):
            right, near, wrong = (
                made.score(meaning.words, evidence, "test", 0)
                for meaning in (planted.right, planted.near, planted.wrong)
            )
            found.append((right, near, wrong))
        return found

    return score


@pytest.mark.parametrize("name", SCORERS)
def test_right_words_are_above_near_ones_and_these_above_wrong_ones(
    scored: Callable[[str], list[tuple[Score, Score, Score]]], name: str
) -> None:
    defined = [
        values
        for scores in scored(name)
        if len(values := [score.value for score in scores if score.value is not None]) == 3
    ]
    assert len(defined) >= 30
    right, near, wrong = np.array(defined).T
    chance = 0.0 if name == "simulation" else 0.5
    assert (right >= (0.95 if name == "simulation" else 0.9)).all()
    assert (right >= near).all()
    assert right.mean() > near.mean() + 0.15 > wrong.mean() + 0.3
    assert (near > wrong).mean() >= 0.85
    assert abs(wrong.mean() - chance) < 0.1


@pytest.mark.parametrize("name", SCORERS)
def test_answers_to_other_texts_are_worth_nothing(
    scored: Callable[[str], list[tuple[Score, Score, Score]]], name: str
) -> None:
    shuffled = [
        one.value
        for right, _, _ in scored(name)
        for one in right.baselines
        if one.name == "shuffled" and one.value is not None
    ]
    # A text is never given its own answer, so that of a half that is right a little is missing.
    assert np.mean(shuffled) == pytest.approx(0.0 if name == "simulation" else 0.5, abs=0.06)


def test_words_beat_the_token_table_where_tokens_do_not_tell(
    scored: Callable[[str], list[tuple[Score, Score, Score]]],
) -> None:
    """And do not where they do."""
    beaten = {
        planted.name: (right.value or 0) - (right.baselines[0].value or 0)
        for planted, (right, _, _) in zip(PLANTED, scored("simulation"), strict=True)
    }
    assert min(beaten[name] for name in ("after the", "after colon", "in comments", "second in line", "repeated")) > 0.7
    assert max(beaten[name] for name in ("the", "constants", "self", "to be")) < 0.05


def test_a_model_that_knows_what_words_mean_scores_as_the_oracle_through_its_chances(garden: Garden) -> None:
    """From words to requests, from chances to activations, to scores: nothing is lost on the way."""
    oracle = Oracle()
    llm = ScriptedLLM(
        lambda request: _reads(oracle, request),
        Capabilities(chat=False, completions=True, logprobs=0, prompt_logprobs=20, json=False, whole_ten=True),
    )
    made = SimulationScorer(simulator(llm))
    for number in (0, 19, 33):
        evidence, words = garden.evidence[number], PLANTED[number].right.words
        score = made.score(words, evidence, "test", 0)
        known = SimulationScorer(oracle).score(words, evidence, "test", 0)
        assert score.method == "all_at_once" and not score.failures
        assert score.value == pytest.approx(known.value)
        assert score.measures == pytest.approx(known.measures, nan_ok=True)
        assert score.cost.requests == len(evidence.of("test")) + len(evidence.of("calibrate"))


def _reads(oracle: Oracle, request: Request) -> Answer:
    """All chances on the level that the words mean; the prompt is read in lines and columns."""
    assert request.prompt is not None
    asked = request.prompt[request.prompt.rindex(f"Component {len(SHOTS) + 1}\n") :]
    words = asked.split("\n")[1].removeprefix("Explanation: it fires on ")
    begins = request.prompt.rindex(_titled(len(SHOTS) + 1, words)) + len(_titled(len(SHOTS) + 1, words))
    lines = [*re.finditer(r"(.*)\t(unknown)\n", request.prompt[begins:])]
    levels = oracle.levels(words, [unspelled(line[1]) for line in lines]).tolist()
    told = [
        Chances("unknown", begins + line.start(2), (("unknown", -0.1), (str(level), math.log(0.05))))
        for line, level in zip(lines, levels, strict=True)
    ]
    return Answer("", "stop", 100, 0, prompt=tuple(told))


def test_a_reader_that_knows_what_words_mean_detects_as_the_oracle(garden: Garden) -> None:
    oracle = Oracle()
    evidence, words = garden.evidence[0], PLANTED[0].right.words
    fires = {
        text_of(one.tokens): oracle.levels(words, one.tokens)[one.first :].max() > BETWEEN
        for one in evidence.of("test")
    }

    def answer(request: Request) -> Answer:
        shown = request.messages[-1].content.split("\nText: ")[1].removesuffix("\n\nYes or no:")
        return Answer("", "length", 1, 1, (Chances("Yes", 0, (("Yes" if fires[shown] else "No", -0.1),)),))

    llm = ScriptedLLM(answer, Capabilities(True, True, 20, 0, True, None))
    assert DetectionScorer(Reader(llm)).score(words, evidence, "test", 0).value == 1
