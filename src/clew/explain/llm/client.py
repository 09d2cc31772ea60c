"""A language model that is asked for words: what every one of them, near or far, can be asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ...errors import LLMFailed
from ..records import Cost

if TYPE_CHECKING:
    from ...models.tape import Stop


_BYTES = 4  # of a token, about


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Request:
    """A question: a chat by `messages`, or the continuation of a raw `prompt`, exactly one of them.

    `logprobs` alternatives are wanted for each token of the answer, `prompt_logprobs` for each of a raw prompt that
    begins at character `prompt_from` or later: what every prompt begins with need not be told, nor kept. With `json`
    the answer is to be a JSON document, where the endpoint can hold the model to it. Two requests that differ in
    `seed` alone are asked twice.
    """

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    logprobs: int = 0
    prompt_logprobs: int = 0
    prompt_from: int = 0
    json: bool = False

    @property
    def text(self) -> str:
        """All that is sent, for an estimate of its tokens."""
        return "\n".join(one.content for one in self.messages) if self.prompt is None else self.prompt


@dataclass(frozen=True)
class Chances:
    """A token as the model reads or writes it, from character `start` of the prompt or of the answer, and the most
    likely tokens in its place with their log-probabilities, in nats, most likely first."""

    text: str
    start: int
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Answer:
    """What came back. `tokens` are those of the answer and `prompt` those of a raw prompt from `prompt_from` on (its
    first token has no alternatives), each where asked for. `finish` is stop or length. `known`: it was on disk
    already."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    tokens: tuple[Chances, ...] | None = None
    prompt: tuple[Chances, ...] | None = None
    known: bool = False

    @property
    def cost(self) -> Cost:
        """What it took, without money: an answer that was on disk took nothing."""
        if self.known:
            return Cost(known=1)
        return Cost(requests=1, prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens)


def about(text: str) -> int:
    """About as many tokens as a text has, where no tokenizer is at hand."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES)


def cost_of(answers: Iterable[Answer | LLMFailed]) -> Cost:
    """What several answers cost together."""
    return sum((answer.cost for answer in answers if isinstance(answer, Answer)), Cost())


@dataclass(frozen=True)
class Capabilities:
    """What an endpoint has, asked once and remembered. `logprobs` and `prompt_logprobs`: how many alternatives it tells
    of each token of an answer, or of a raw prompt; 0 for none. `whole_ten`: whether it reads and writes "10" as one
    token; None: not known. `thinking`: tokens that a chat's answer may have besides those asked for, of a model that
    thinks before it answers; 0 for others."""

    chat: bool
    completions: bool
    logprobs: int
    prompt_logprobs: int
    json: bool
    whole_ten: bool | None
    thinking: int = 0


class LLM(Protocol):
    """A language model; safe to ask from several threads at once."""

    @property
    def reference(self) -> str:
        """What it is named by: MODEL@URL, or local:MODEL. Holds no key."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked. Raises UnknownLLM or LLMFailed when the endpoint cannot be reached."""
        ...

    @property
    def spent(self) -> Cost:
        """All that was asked through this object."""
        ...

    def ask(self, request: Request, stop: Stop | None = None) -> Answer:
        """One answer. Raises LLMFailed, UnknownLLM, BudgetSpent or Cancelled."""
        ...

    def ask_all(self, requests: Sequence[Request], stop: Stop | None = None) -> list[Answer | LLMFailed]:
        """The answers in order, as many asked at once as are allowed; one that failed stands in its place.

        Raises UnknownLLM, BudgetSpent or Cancelled, after all that was in flight is kept.
        """
        ...

    def close(self) -> None:
        """Let go of its connections or weights; nothing is asked after."""
        ...

    def count(self, text: str) -> int:
        """How many tokens a text has: exact for a local model, about a token for four bytes for an endpoint."""
        ...
