"""Activations simulated from words by a language model, in the way that its endpoint allows."""

from __future__ import annotations

from ...errors import UsageError
from ..llm.client import LLM, Capabilities
from ..records import Method
from ..roles import Simulator
from .all_at_once import AllAtOnce
from .filled import Filled
from .token_by_token import TokenByToken

_BEST: tuple[Method, ...] = ("all_at_once", "token_by_token", "json")


def simulator(llm: LLM, method: Method | None = None) -> Simulator:
    """A simulator by this method, or by the best that the endpoint has: all at once, else token by token, else JSON.

    Raises UsageError, saying what the endpoint lacks; UnknownLLM or LLMFailed when it cannot be asked what it has.
    """
    able = methods(llm.capabilities)
    if method is None:
        method = able[0]
    lacks = _lacks(llm.capabilities, method)
    if lacks is not None:
        raise UsageError(
            f"{llm.reference} {lacks}, which simulating by {method} needs.", f"It can simulate by {' or '.join(able)}."
        )
    if method == "all_at_once":
        return AllAtOnce(llm)
    return TokenByToken(llm) if method == "token_by_token" else Filled(llm)


def methods(capabilities: Capabilities) -> list[Method]:
    """The ways in which an endpoint can simulate, best first; JSON every one can."""
    return [one for one in _BEST if _lacks(capabilities, one) is None]


def _lacks(capabilities: Capabilities, method: Method) -> str | None:
    """What an endpoint would need for a method, in words."""
    if method == "all_at_once" and not (capabilities.completions and capabilities.prompt_logprobs):
        return "does not tell the log-probabilities of a prompt's tokens"
    if method == "token_by_token" and not capabilities.logprobs:
        return "does not tell the log-probabilities of an answer's tokens"
    if method == "lookup":
        return "is a language model and not a table of tokens"
    return None
