"""Simulating one token a request, from the log-probabilities of its answer (Bills et al. 2023, "Simulate").

The model is shown the text up to the token and answers with a number; the chances of the numbers, renormalised, make an
expected activation. As the component itself, it sees nothing of what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ..explainers.questions import Question
from ..llm.client import Answer, Request
from ..records import Failure, Method
from ..roles import Simulation
from ..spelling import spelled
from .by_text import ByText
from .levels import ALTERNATIVES, expected, highest
from .shots import SHOTS

PROMPT = "token_by_token-1"  # raised whenever the same text would be asked about in other words

_TASK = (
    "A component of a language model fires on some tokens of a text and not on others. From what it fires on, the text "
    "up to a token, and that token, say how strongly it fires on the token, from 0, not at all, to {most}. Most tokens "
    "have 0. Answer with the number alone."
)
_LONGEST = 2  # tokens of an answer: the number, and before it what some models begin every answer with


class TokenByToken(ByText):
    """One question a token; a text of which one answer is no number is a failure: malformed."""

    method: Method = "token_by_token"
    prompt = PROMPT

    def _requests(self, words: str, tokens: Sequence[str]) -> list[Request]:
        return [self._request(words, tokens, at) for at in range(len(tokens))]

    def _request(self, words: str, tokens: Sequence[str], at: int) -> Request:
        capabilities = self._llm.capabilities
        most = highest(capabilities)
        question = Question(_TASK.format(most=most), _shots(most), _shown(words, tokens, at), "Activation:", _LONGEST)
        return replace(question.request(capabilities), logprobs=min(ALTERNATIVES, capabilities.logprobs))

    def _read(self, words: str, tokens: Sequence[str], answers: Sequence[Answer]) -> Simulation | Failure:
        most = highest(self._llm.capabilities)
        found: list[float] = []
        for answer in answers:
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
