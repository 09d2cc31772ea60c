"""What a language model is asked: a task, answered examples of it, and what is to be answered now.

Asked as a chat where the model is one, each example a turn, else as a text that it goes on with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..llm.client import LLM, Capabilities, Message, Request
from ..roles import Estimate

_TURN = 12  # tokens that a chat's template puts around a message, at most
_PIECE = re.compile(r"\w{1,4}|[^\w ]", re.ASCII)


@dataclass(frozen=True)
class Question:
    """`task` says what is wanted, `shots` are pairs of what was shown and what was answered, `shown` is the case in
    hand. `asked` ends what is shown, and is what the answer goes on with."""

    task: str
    shots: tuple[tuple[str, str], ...]
    shown: str
    asked: str
    max_tokens: int

    def request(self, capabilities: Capabilities, temperature: float = 0.0, seed: int = 0) -> Request:
        """As the model can be asked."""
        if capabilities.chat:
            return Request(messages=self._messages(), max_tokens=self.max_tokens, temperature=temperature, seed=seed)
        return Request(prompt=self._prompt(), max_tokens=self.max_tokens, temperature=temperature, seed=seed)

    def _messages(self) -> tuple[Message, ...]:
        messages = [Message("system", self.task)]
        for shown, answer in self.shots:
            messages += [Message("user", f"{shown}\n\n{self.asked}"), Message("assistant", answer)]
        return (*messages, Message("user", f"{self.shown}\n\n{self.asked}"))

    def _prompt(self) -> str:
        # Without a space at the end: the answer's first token has its own.
        cases = [f"{shown}\n\n{self.asked} {answer}" for shown, answer in self.shots]
        return "\n\n---\n\n".join([self.task, *cases, f"{self.shown}\n\n{self.asked}"])


def estimate(llm: LLM, requests: Sequence[Request]) -> Estimate:
    """What requests take at most.

    An endpoint's count goes by bytes and is too low for lists of tokens, less than half: no fewer are counted than
    there are pieces of four letters, marks and line breaks.
    """
    sent = sum(max(llm.count(one.text), _pieces(one.text)) + _TURN * max(1, len(one.messages)) for one in requests)
    # Only chats think.
    thought = llm.capabilities.thinking * sum(one.prompt is None for one in requests)
    return Estimate(len(requests), sent, sum(one.max_tokens for one in requests) + thought)


def _pieces(text: str) -> int:
    # What is not ASCII takes up to two tokens a character.
    return len(_PIECE.findall(text)) + sum(character > "\x7f" for character in text)
