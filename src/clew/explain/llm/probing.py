"""What an endpoint has, found out by asking for it: many take a field and do nothing with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from ...errors import LLMFailed
from .client import Answer, Capabilities, Chances, Message, Request
from .dialect import Dialect
from .wire import Refused

THINKING = 2048  # tokens that a model may think in before it answers

_MOST = (20, 5)  # alternatives to a token: as many as OpenAI's chats tell, as its completions
_TEN = Request(messages=(Message("user", "Reply with the number 10 and nothing else."),), max_tokens=8)
_LIST = Request(prompt="apples\t10\nplums\t3\npears\t10\n", max_tokens=1)
# A model that is held to JSON cannot say this; the word must be in there, or OpenAI refuses.
_HELLO = Request(
    messages=(Message("user", "Reply with the word hello. Do not write JSON, only the word."),), max_tokens=8, json=True
)

Ask = Callable[[Request, Dialect], Answer]
"""Sends a request in a dialect, as it stands. Raises Refused or LLMFailed."""


def probe(ask: Ask) -> tuple[Dialect, bool]:
    """How to speak to an endpoint, and whether that is sure: what broke may have broken by chance.

    A handful of requests of a few tokens each. Raises Refused or LLMFailed when it neither chats nor goes on with a
    text, and at once when it refuses the key or gives no answer in time.
    """
    chat, text = _chat(ask), _text(ask)
    answer = chat.answer or text.answer
    if answer is None:
        assert chat.error is not None and text.error is not None
        # One that has no such path says less than one that says what it dislikes.
        raise text.error if isinstance(chat.error, Refused) and chat.error.status in (404, 405) else chat.error
    dialect = replace(chat.dialect, echo=text.dialect.echo)
    thinking = dialect.capabilities.thinking
    capabilities = Capabilities(
        chat=chat.answer is not None,
        completions=text.answer is not None,
        # Those of its thoughts come first, and nothing tells where these end.
        logprobs=0 if thinking else _told(answer.tokens),
        prompt_logprobs=0 if text.answer is None else _told((text.answer.prompt or ())[1:]),
        json=chat.answer is not None and _json(ask, dialect),
        whole_ten=_whole_ten([one for one in (chat.answer, text.answer) if one is not None]),
        thinking=thinking,
    )
    return replace(dialect, capabilities=capabilities), not (chat.broke or text.broke)


@dataclass(frozen=True)
class _Found:
    """An answer and the dialect that it came in, or the last error."""

    dialect: Dialect
    answer: Answer | None = None
    error: Refused | LLMFailed | None = None

    @property
    def broke(self) -> bool:
        return self.answer is None and isinstance(self.error, LLMFailed) and self.error.kind != "malformed"


_BLANK = Dialect(Capabilities(True, True, 0, 0, True, None))


def _chat(ask: Ask) -> _Found:
    """A chat with as many log-probabilities as are told, leaving out one by one what is refused."""
    request, dialect = replace(_TEN, logprobs=_MOST[0]), _BLANK
    while True:
        try:
            answer = ask(request, dialect)
            if dialect.capabilities.thinking or not _only_thought(answer):
                return _Found(dialect, answer)
            dialect = replace(dialect, capabilities=replace(dialect.capabilities, thinking=THINKING))
        except LLMFailed as error:
            if error.kind == "timeout":
                raise
            if error.kind != "malformed" or not request.logprobs:
                return _Found(dialect, error=error)
            request = replace(request, logprobs=0)  # it gives none where they are asked for
        except Refused as error:
            said = error.message
            if error.status in (401, 402, 403):
                raise
            if error.status not in (400, 422):
                return _Found(dialect, error=error)
            if dialect.limit == "max_tokens" and "max_completion_tokens" in said:
                dialect = replace(dialect, limit="max_completion_tokens")
            elif dialect.temperature and "temperature" in said:
                dialect = replace(dialect, temperature=False)
            elif dialect.seed and "seed" in said:
                dialect = replace(dialect, seed=False)
            elif request.logprobs:
                request = replace(request, logprobs=next((n for n in _MOST if n < request.logprobs), 0))
            else:
                return _Found(dialect, error=error)


def _text(ask: Ask) -> _Found:
    """The continuation of a raw prompt, with the prompt's log-probabilities if they are told in any way."""
    found = _Found(_BLANK)
    ways = [*((True, most) for most in _MOST), (False, _MOST[0]), (False, 0)]
    while ways:
        echo, most = ways.pop(0)
        dialect = replace(_BLANK, echo=echo)
        try:
            answer = ask(replace(_LIST, logprobs=most, prompt_logprobs=most), dialect)
        except LLMFailed as error:
            found = replace(found, error=error)
            if error.kind != "malformed":
                return found
            ways = [way for way in ways if not way[0]]  # it takes the field and does nothing with it
        except Refused as error:
            found = replace(found, error=error)
            if error.status not in (400, 422):
                return found
        else:
            if most == 0 or _told((answer.prompt or ())[1:]):
                return _Found(dialect, answer)
            found = _Found(dialect, answer)
            ways = [way for way in ways if not way[0] and way[1]]
    return found


def _only_thought(answer: Answer) -> bool:
    """Whether all that it was allowed went into thinking, said or not."""
    text = answer.text.lstrip().casefold()
    return answer.finish == "length" and (not text or text.startswith("<think>"))


def _json(ask: Ask, dialect: Dialect) -> bool:
    try:
        return ask(_HELLO, dialect).text.lstrip().startswith("{")
    except (Refused, LLMFailed):
        return False


def _told(tokens: tuple[Chances, ...] | None) -> int:
    """How many alternatives each token has; 0 for fewer than two, which would be no alternative."""
    fewest = min((len(one.top) for one in tokens or ()), default=0)
    return fewest if fewest >= 2 else 0


def _whole_ten(answers: list[Answer]) -> bool | None:
    """Whether "10" was one token where it was read or written."""
    for answer in answers:
        texts = [one.text.strip() for one in (*(answer.prompt or ()), *(answer.tokens or ()))]
        if "10" in texts:
            return True
        if any(pair == ("1", "0") for pair in pairwise(texts)):
            return False
    return None
