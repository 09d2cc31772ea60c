"""Simulating a text by a JSON document that the model writes: for endpoints that tell no log-probabilities.

An answer that is not the document that was asked for, token by token, is a failure, and never zeros.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ... import settings
from ..documents import document_of
from ..explainers.answers import said
from ..explainers.questions import Question, estimate
from ..llm.client import Answer, Request
from ..records import Failure, Method
from ..roles import Simulation
from ..spelling import spelled
from .by_text import ByText
from .shots import SHOTS

PROMPT = "json-1"  # raised whenever the same text would be asked about in other words

_TASK = (
    "A component of a language model fires on some tokens of a text and not on others. From what it fires on, say how "
    "strongly it fires on each token of a text, from 0, not at all, to 10. Most tokens have 0. Answer with a JSON "
    'document {"activations": [{"token": ..., "activation": ...}, ...]} that has every token as it stands, in order, '
    "and a whole number for each."
)
_ROOM = 64  # tokens that an answer may have more than the document needs


class Filled(ByText):
    """One question a text; it is a failure when its answer is no JSON, has other tokens or fewer, a number that is none
    or out of range (malformed), or ended too early (truncated)."""

    method: Method = "json"
    prompt = PROMPT

    def _requests(self, words: str, tokens: Sequence[str]) -> list[Request]:
        document = _document(tokens, [settings.SCALE] * len(tokens))
        longest = estimate(self._llm, [Request(prompt=document)]).prompt_tokens + _ROOM
        question = Question(_TASK, _shots(), _shown(words, tokens), "Activations:", longest)
        return [replace(question.request(self._llm.capabilities), json=self._llm.capabilities.json)]

    def _read(self, words: str, tokens: Sequence[str], answers: Sequence[Answer]) -> Simulation | Failure:
        (answer,) = answers
        return _filled(answer, tokens)


@cache
def _shots() -> tuple[tuple[str, str], ...]:
    """Of each example a short text in which it fires, of the last one that is near as well: documents are long."""
    found = []
    for shot in SHOTS:
        evidence = shot.evidence
        _, short, near = evidence.samples
        found += [
            (_shown(shot.words, one.tokens), _document(one.tokens, evidence.levels(one).tolist()))
            for one in ((short, near) if shot is SHOTS[-1] else (short,))
        ]
    return tuple(found)


def _shown(words: str, tokens: Sequence[str]) -> str:
    return f"It fires on: {spelled(words)}\nTokens: {json.dumps(list(tokens), ensure_ascii=False)}"


def _document(tokens: Sequence[str], activations: Sequence[int]) -> str:
    rows = [{"token": token, "activation": activation} for token, activation in zip(tokens, activations, strict=True)]
    return json.dumps({"activations": rows}, ensure_ascii=False)


def _filled(answer: Answer, tokens: Sequence[str]) -> Simulation | Failure:
    if answer.finish == "length":
        return Failure("truncated", "The answer was not at its end.")
    text = said(answer)
    if isinstance(text, Failure):
        return text
    try:
        return Simulation(np.array(_activations(document_of(text), tokens), np.float64))
    except _Malformed as wrong:
        return Failure("malformed", str(wrong))


class _Malformed(Exception):
    """What is wrong with an answer."""


def _activations(document: Any, tokens: Sequence[str]) -> list[float]:
    rows = document.get("activations") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise _Malformed("The answer is not the JSON document that was asked for.")
    if len(rows) != len(tokens):
        raise _Malformed(f"The answer has {len(rows)} tokens and not {len(tokens)}.")
    found = []
    for row, token in zip(rows, tokens, strict=True):
        written = row.get("token") if isinstance(row, dict) else None
        # Spaces at its ends tell a token's place in the text, which the list tells as well.
        if not isinstance(written, str) or written.strip() != token.strip():
            raise _Malformed(f"The answer has {_shortly(written)} where the text has {_shortly(token)}.")
        value = row.get("activation")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= settings.SCALE:
            raise _Malformed(f"{_shortly(value)} is no activation from 0 to {settings.SCALE}.")
        found.append(float(value))
    return found


def _shortly(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"
