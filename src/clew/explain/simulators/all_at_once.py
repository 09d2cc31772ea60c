"""Simulating a whole text in one pass, from the log-probabilities of a prompt (Bills et al. 2023, "Simulate").

The text is listed with every activation `unknown`. Where each stands, the chances that the model gives to the numbers
instead, renormalised, make an expected activation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache

import numpy as np

from ..llm.client import Answer, Request
from ..records import Failure, Method
from ..roles import Simulation
from ..spelling import spelled
from .by_text import ByText
from .levels import ALTERNATIVES, expected, highest
from .shots import SHOTS

PROMPT = "all_at_once-1"  # raised whenever the same text would be asked about in other words

_TASK = """\
Components of a language model fire on some tokens of a text and not on others. For each of the components below there
is an explanation of what it fires on, and a text, a token a line, with how strongly the component fires on each token,
from 0, not at all, to {most}. Most tokens have 0. Some activations are still unknown."""

_HIDDEN = 3  # activations of each example that are unknown


class AllAtOnce(ByText):
    """One raw prompt a text; one of which any token has no number among its alternatives is a failure: malformed."""

    method: Method = "all_at_once"
    prompt = PROMPT

    def _requests(self, words: str, tokens: Sequence[str]) -> list[Request]:
        listing = self._listing(words, tokens)
        most = min(ALTERNATIVES, self._llm.capabilities.prompt_logprobs)
        return [Request(prompt=listing.text, max_tokens=0, prompt_logprobs=most, prompt_from=listing.begins)]

    def _read(self, words: str, tokens: Sequence[str], answers: Sequence[Answer]) -> Simulation | Failure:
        (answer,) = answers
        return self._listing(words, tokens).read(answer)

    def _listing(self, words: str, tokens: Sequence[str]) -> _Listing:
        return _Listing(words, tokens, highest(self._llm.capabilities))


class _Listing:
    """A text as it is asked about: `text` is the prompt, `begins` where what is its own begins, and `slots` where the
    activation of each token stands in it."""

    def __init__(self, words: str, tokens: Sequence[str], most: int) -> None:
        self._most = most
        parts = [_head(most), _titled(len(SHOTS) + 1, words)]
        at = len("".join(parts))
        # The line break before the first token may be one token with what follows.
        self.begins = at - 1
        self.slots: list[int] = []
        for token in tokens:
            line = f"{spelled(token)}\tunknown\n"
            self.slots.append(at + line.rindex("\t") + 1)
            parts.append(line)
            at += len(line)
        self.text = "".join(parts)

    def read(self, answer: Answer) -> Simulation | Failure:
        """What the model's chances amount to."""
        told = answer.prompt or ()
        starts = [one.start for one in told]
        found = np.full(len(self.slots), np.nan)
        for index, slot in enumerate(self.slots):
            # The token that the slot begins or lies in: some tokenizers merge the tab with what follows, or precedes.
            at = bisect_right(starts, slot) - 1
            if at >= 0:
                value = expected(told[at].top, self._most, self.text[told[at].start : slot])
                found[index] = np.nan if value is None else value
        missing = int(np.isnan(found).sum())
        if missing:
            return Failure(
                "malformed", f"No number is among the likely alternatives of {missing} of {len(found)} tokens."
            )
        return Simulation(found)


@cache
def _head(most: int) -> str:
    """The task and the examples. In these the first activations are unknown too, so that the model has met the word,
    and that numbers may stand instead. With half of them unknown SmolLM2 went by the words less."""
    parts = [_TASK.format(most=most)]
    for number, shot in enumerate(SHOTS, 1):
        evidence = shot.evidence
        parts.append(_titled(number, shot.words))
        for sample in evidence.samples:
            levels = evidence.levels(sample, most).tolist()
            parts += [
                f"{spelled(token)}\t{'unknown' if at < _HIDDEN else level}\n"
                for at, (token, level) in enumerate(zip(sample.tokens, levels, strict=True))
            ]
    return "".join(parts)


def _titled(number: int, words: str) -> str:
    return f"\n\nComponent {number}\nExplanation: it fires on {spelled(words)}\nActivations:\n"
