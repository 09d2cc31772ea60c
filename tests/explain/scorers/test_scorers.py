"""What holds of all scorers: what they refuse, what they ask, and what they tell."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from clew.atlas.components import Components
from clew.errors import UsageError
from clew.explain.evidence import Evidence
from clew.explain.llm.client import Capabilities
from clew.explain.lookup import LookupSimulator
from clew.explain.records import ScorerName
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
from clew.explain.scorers.items import Item
from clew.explain.scorers.judges import Form, Reader, Simulates

from ..scripted import CHAT, ScriptedLLM
from .judged import CHANCES, DETECTED, HEAD, HEADS, NEURON, Told, anything, fuzzed, sample


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
