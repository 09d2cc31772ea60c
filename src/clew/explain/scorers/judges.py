"""Who says from words whether something is true of a text: a language model that reads both, or a simulator.

A language model that tells the chances of its answers is asked about one text at a time, and P(yes) / (P(yes) + P(no))
is what it says; any other about five at once, and answers with a list of 0 and 1. A simulator says how strongly it
expects the component to fire on the tokens that are asked about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np

from ... import settings
from ...errors import LLMFailed
from ...models.tape import Stop
from ..documents import document_of
from ..evidence import Sample
from ..explainers.answers import said
from ..explainers.questions import Question, estimate
from ..llm.client import LLM, Answer, Request, cost_of
from ..records import Failure, Method
from ..roles import Estimate, Simulator
from ..simulators.levels import ALTERNATIVES
from ..spelling import spelled
from .items import BETWEEN, Item, Judged, Reduce, batches

TOGETHER = 5  # texts in one question that is answered with a list
_YES = 0.5  # above it a language model says yes
_LONGEST = 2  # tokens of an answer: yes or no, and before it what some models begin every answer with
_ROOM = 32  # tokens that a list may have more than it needs

_EACH = "Answer yes or no."
_ALL = (
    'Say it of each of the numbered texts: answer with a JSON document {"answers": [...]} that has a 1 for yes or a 0 '
    "for no for each text, in order."
)


@dataclass(frozen=True)
class Form:
    """What is asked about texts: the version of the prompt, the task, and answered examples, each words and texts with
    what is true of them. `reduce` is what a simulator's activations on the tokens that are asked about amount to."""

    prompt: str
    task: str
    shots: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]
    reduce: Reduce


class Judge(Protocol):
    """Says of texts whether what a form asks is true."""

    @property
    def reference(self) -> str: ...

    @property
    def method(self) -> Method | None: ...

    def prompt_of(self, form: Form) -> str:
        """The version of its prompt."""
        ...

    def judge(self, form: Form, words: str, items: Sequence[Item], seed: int, stop: Stop | None) -> Judged:
        """What it says of each item; an answer that fails is a failure of every text that it was asked about."""
        ...

    def estimate(self, form: Form, words: str, items: Sequence[Item]) -> Estimate:
        """What that takes at most."""
        ...


class Reader:
    """A language model that reads words and texts."""

    method: Method | None = None

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    @property
    def reference(self) -> str:
        return self._llm.reference

    def prompt_of(self, form: Form) -> str:
        return form.prompt

    def judge(self, form: Form, words: str, items: Sequence[Item], seed: int, stop: Stop | None) -> Judged:
        if self._llm.capabilities.logprobs:
            answers = self._llm.ask_all([self._single(form, words, item) for item in items], stop)
            return Judged([_chance(answer) for answer in answers], _YES, cost_of(answers))
        groups = batches(items, TOGETHER, seed)
        answers = self._llm.ask_all([self._several(form, words, [items[at] for at in group]) for group in groups], stop)
        values: list[float | Failure] = [0.0] * len(items)
        for group, answer in zip(groups, answers, strict=True):
            for at, value in zip(group, _list(answer, len(group)), strict=True):
                values[at] = value
        return Judged(values, _YES, cost_of(answers))

    def estimate(self, form: Form, words: str, items: Sequence[Item]) -> Estimate:
        if self._llm.capabilities.logprobs:
            return estimate(self._llm, [self._single(form, words, item) for item in items])
        groups = batches(items, TOGETHER, 0)
        return estimate(self._llm, [self._several(form, words, [items[at] for at in group]) for group in groups])

    def _single(self, form: Form, words: str, item: Item) -> Request:
        capabilities = self._llm.capabilities
        question = Question(
            f"{form.task} {_EACH}", _single_shots(form), _one(words, item.shown), "Yes or no:", _LONGEST
        )
        return replace(question.request(capabilities), logprobs=min(ALTERNATIVES, capabilities.logprobs))

    def _several(self, form: Form, words: str, items: Sequence[Item]) -> Request:
        capabilities = self._llm.capabilities
        longest = self._llm.count(_answers([True] * len(items))) * 2 + _ROOM
        shown = _many(words, [item.shown for item in items])
        question = Question(f"{form.task} {_ALL}", _several_shots(form), shown, "Answers:", longest)
        return replace(question.request(capabilities), json=capabilities.json)


class Simulates:
    """Judges by what a simulator expects of the tokens that are asked about."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    @property
    def reference(self) -> str:
        return self._simulator.reference

    @property
    def method(self) -> Method | None:
        return self._simulator.method

    def prompt_of(self, form: Form) -> str:
        return self._simulator.prompt

    def judge(self, form: Form, words: str, items: Sequence[Item], seed: int, stop: Stop | None) -> Judged:
        samples = _samples(items)
        answers, cost = self._simulator.simulate(words, list(samples.values()), stop)
        of = dict(zip(samples, answers, strict=True))
        values: list[float | Failure] = []
        for item in items:
            answer = of[id(item.sample)]
            if isinstance(answer, Failure):
                values.append(answer)
            else:
                values.append(form.reduce(answer.expected[list(item.at)]) / settings.SCALE)
        return Judged(values, BETWEEN / settings.SCALE, cost)

    def estimate(self, form: Form, words: str, items: Sequence[Item]) -> Estimate:
        return self._simulator.estimate(words, list(_samples(items).values()))


def _samples(items: Sequence[Item]) -> dict[int, Sample]:
    """The texts that items are of, each once."""
    return {id(item.sample): item.sample for item in items}


def _one(words: str, text: str) -> str:
    return f"Explanation: {spelled(words)}\nText: {text}"


def _many(words: str, texts: Sequence[str]) -> str:
    lines = [f"Text {number}: {text}" for number, text in enumerate(texts, 1)]
    return "\n".join([f"Explanation: {spelled(words)}", *lines])


def _answers(labels: Sequence[bool]) -> str:
    return f'{{"answers": [{", ".join(str(int(label)) for label in labels)}]}}'


@cache
def _single_shots(form: Form) -> tuple[tuple[str, str], ...]:
    return tuple((_one(words, text), "yes" if true else "no") for words, texts in form.shots for text, true in texts)


@cache
def _several_shots(form: Form) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_many(words, [text for text, _ in texts]), _answers([true for _, true in texts]))
        for words, texts in form.shots
    )


def _chance(answer: Answer | LLMFailed) -> float | Failure:
    """P(yes) of P(yes) + P(no)."""
    if isinstance(answer, LLMFailed):
        return Failure(answer.kind, answer.message)
    first = next((one for one in answer.tokens or () if one.text.strip()), None)
    chances = {"yes": 0.0, "no": 0.0}
    # Relative to the likeliest of the two, so that chances too small for a float still compare.
    found = [(text.strip().lower(), chance) for text, chance in (first.top if first else ())]
    found = [(text, chance) for text, chance in found if text in chances]
    if not found:
        return Failure("malformed", f"The answer is neither yes nor no: {spelled(answer.text[:60])!r}.")
    likeliest = max(chance for _, chance in found)
    for text, chance in found:
        chances[text] += math.exp(chance - likeliest)
    return chances["yes"] / (chances["yes"] + chances["no"])


def _list(answer: Answer | LLMFailed, n: int) -> list[float | Failure]:
    """A 0 or 1 for each of n texts, or the same failure for all."""
    found = _read(answer, n)
    return [found] * n if isinstance(found, Failure) else found


def _read(answer: Answer | LLMFailed, n: int) -> list[float | Failure] | Failure:
    if isinstance(answer, LLMFailed):
        return Failure(answer.kind, answer.message)
    if answer.finish == "length":
        return Failure("truncated", "The answer was not at its end.")
    text = said(answer)
    if isinstance(text, Failure):
        return text
    document = document_of(text)
    values = document.get("answers") if isinstance(document, dict) else document
    if not isinstance(values, list) or len(values) != n or any(value not in (0, 1) for value in values):
        return Failure("malformed", f"The answer is no list of {n} numbers 0 or 1: {spelled(text[:60])!r}.")
    return list(np.array(values, np.float64).tolist())
