"""Simulating one token a request, from the log-probabilities of its answer (Bills et al. 2023, "Simulate").

The model is shown the text up to the token and answers with a number; the chances of the numbers, renormalised, make an
expected activation. As the component itself, it sees nothing of what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ...errors import LLMFailed
from ...models.tape import Stop
from ..evidence import Sample
from ..explainers.questions import Question, estimate
from ..llm.client import LLM, Answer, Request
from ..records import Cost, Failure, Method
from ..roles import Estimate, Simulation
from ..spelling import spelled
from .levels import ALTERNATIVES, expected, highest
from .shots import SHOTS

PROMPT = "token_by_token-1"  # raised whenever the same text would be asked about in other words

_TASK = (
    "A component of a language model fires on some tokens of a text and not on others. From what it fires on, the text "
    "up to a token, and that token, say how strongly it fires on the token, from 0, not at all, to {most}. Most tokens "
    "have 0. Answer with the number alone."
)
_LONGEST = 2  # tokens of an answer: the number, and before it what some models begin every answer with


class TokenByToken:
    """One question a token."""

    method: Method = "token_by_token"
    prompt = PROMPT

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    @property
    def reference(self) -> str:
        """The language model's."""
        return self._llm.reference

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        """A text of which one token fails is a failure, of the first such token's kind."""
        requests = [self._request(words, sample.tokens, at) for sample in samples for at in range(len(sample.tokens))]
        answers = self._llm.ask_all(requests, stop)
        cost = sum((answer.cost for answer in answers if isinstance(answer, Answer)), Cost())
        ends = np.cumsum([len(sample.tokens) for sample in samples])
        begins = [0, *ends[:-1].tolist()]
        return [self._read(answers[begin:end]) for begin, end in zip(begins, ends.tolist(), strict=True)], cost

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        """As many requests as there are tokens."""
        return estimate(
            self._llm,
            [self._request(words, sample.tokens, at) for sample in samples for at in range(len(sample.tokens))],
        )

    def _request(self, words: str, tokens: Sequence[str], at: int) -> Request:
        capabilities = self._llm.capabilities
        most = highest(capabilities)
        question = Question(_TASK.format(most=most), _shots(most), _shown(words, tokens, at), "Activation:", _LONGEST)
        return replace(question.request(capabilities), logprobs=min(ALTERNATIVES, capabilities.logprobs))

    def _read(self, answers: Sequence[Answer | LLMFailed]) -> Simulation | Failure:
        most = highest(self._llm.capabilities)
        found: list[float] = []
        for answer in answers:
            if isinstance(answer, LLMFailed):
                return Failure(answer.kind, answer.message)
            first = next((one for one in answer.tokens or () if one.text.strip()), None)
            value = None if first is None else expected(first.top, most)
            if value is None:
                return Failure("malformed", f"An answer is no number from 0 to {most}: {spelled(answer.text[:60])!r}.")
            found.append(value)
        return Simulation(np.array(found, np.float64))


@cache
def _shots(most: int) -> tuple[tuple[str, str], ...]:
    """Of each example the token that fires most in a short text, and the last word of one that is near."""
    found = []
    for shot in SHOTS:
        evidence = shot.evidence
        _, short, near = evidence.samples
        for sample, at in ((short, short.peak), (near, len(near.tokens) - 2)):
            found.append((_shown(shot.words, sample.tokens, at), str(int(evidence.levels(sample, most)[at]))))
    return tuple(found)


def _shown(words: str, tokens: Sequence[str], at: int) -> str:
    text = "".join(spelled(token) for token in tokens[: at + 1])
    return f"It fires on: {spelled(words)}\nText: {text}\nToken: {spelled(tokens[at])}"
