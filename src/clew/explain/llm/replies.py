"""What an endpoint's JSON says, read strictly: an answer is what the protocol promises, or it is none.

Both forms of log-probabilities are read, that of chats (`content`: a list of tokens) and that of completions (lists of
tokens, of offsets and of alternatives), wherever they come, as some servers give one for the other. vLLM's own field
`prompt_logprobs` tells of a prompt without repeating it.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import LLMFailed
from .client import Answer, Chances, Request

_LEAST = -1e4  # log-probabilities below it stand for "not at all"
_MOST = 1e-3  # what rounding may add to the largest log-probability that there is, 0
_DIGITS = 5  # of log-probabilities that are kept
_FIRST = 64  # characters of the longest first token
_CHARACTERS = 4  # that parts in a row may have stood for

Count = Callable[[str], int]


def chat_answer(body: Any, request: Request, count: Count) -> Answer:
    """The answer to a chat. Raises LLMFailed: malformed, or refused."""
    choice = _choice(body)
    message = _mapping(choice.get("message"), "message")
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        raise LLMFailed(f"The model refused to answer: {_short(refusal)}", kind="refused")
    text = message.get("content")
    if text is None and choice.get("finish_reason") == "length":
        text = ""  # all that it was allowed went into thinking
    tokens = _tokens(choice.get("logprobs"), request.logprobs, text or "") if request.logprobs else None
    return _answer(body, choice, _text(text), tokens, None, request, count)


def completion_answer(body: Any, request: Request, count: Count, echo: bool) -> Answer:
    """The continuation of a raw prompt, which comes first when it was asked to be repeated (`echo`)."""
    choice = _choice(body)
    text, given = _text(choice.get("text")), request.prompt or ""
    tokens = prompt = None
    if request.logprobs or (echo and request.prompt_logprobs):
        tokens = _tokens(choice.get("logprobs"), max(request.logprobs, request.prompt_logprobs), text)
    if echo:
        if not text.startswith(given):
            raise _malformed("does not begin with the prompt that it was to repeat")
        text = text[len(given) :]
        if request.prompt_logprobs:
            assert tokens is not None
            prompt = tuple(one for one in tokens if one.start < len(given))
            tokens = tuple(replace(one, start=one.start - len(given)) for one in tokens[len(prompt) :])
    elif request.prompt_logprobs:
        prompt = _field(choice.get("prompt_logprobs") or body.get("prompt_logprobs"), request.prompt_logprobs, given)
    if prompt is not None:
        prompt = tuple(_fewer(one, request.prompt_logprobs) for one in prompt if one.start >= request.prompt_from)
    if request.max_tokens == 0:
        text, tokens = "", ()
    kept = tuple(_fewer(one, request.logprobs) for one in tokens or ()) if request.logprobs else None
    return _answer(body, choice, text, kept, prompt, request, count)


def used(body: Any, prompt_tokens: int, completion_tokens: int) -> tuple[int, int]:
    """Tokens sent and received, as the endpoint counts them; where it does not, these."""
    usage = body.get("usage") if isinstance(body, Mapping) else None
    usage = usage if isinstance(usage, Mapping) else {}
    given = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    sent, received = (
        value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else estimate
        for value, estimate in zip(given, (prompt_tokens, completion_tokens), strict=True)
    )
    return sent, received


def message_of(body: Any, text: str) -> str:
    """What an endpoint says is wrong, in one line."""
    said: Any = body
    for name in ("error", "detail", "message"):
        if isinstance(said, Mapping) and said.get(name):
            said = said[name]
    return _short(said if isinstance(said, str) else text)


def alternatives(top: Sequence[tuple[str, float]], most: int) -> tuple[tuple[str, float], ...]:
    """The most likely first, rounded, so that what is kept is what was told."""
    best = sorted(top, key=lambda one: -one[1])[:most]
    return tuple((text, round(min(value, 0.0), _DIGITS) + 0.0) for text, value in best)


def _answer(
    body: Any,
    choice: Mapping[str, Any],
    text: str,
    tokens: tuple[Chances, ...] | None,
    prompt: tuple[Chances, ...] | None,
    request: Request,
    count: Count,
) -> Answer:
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        raise LLMFailed("The endpoint's filter held the answer back.", kind="refused")
    prompt_tokens, completion_tokens = used(body, count(request.text), count(text))
    return Answer(
        text=text,
        finish="length" if finish in ("length", "max_tokens") else "stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        tokens=tokens,
        prompt=prompt,
    )


def _choice(body: Any) -> Mapping[str, Any]:
    choices = _mapping(body, "body").get("choices")
    if not isinstance(choices, list) or not choices:
        raise _malformed("has no choices")
    return _mapping(choices[0], "choice")


def _tokens(given: Any, most: int, said: str) -> tuple[Chances, ...]:
    """The tokens of `said` with their alternatives, in either form."""
    if given is None:
        raise _malformed("has no log-probabilities")
    given = _mapping(given, "log-probabilities")
    content = given.get("content")
    if isinstance(content, list):
        return _chat_tokens([_mapping(one, "token") for one in content], most)
    names, tops = given.get("tokens"), given.get("top_logprobs")
    if not isinstance(names, list) or not isinstance(tops, list) or len(names) != len(tops):
        raise _malformed("has log-probabilities of an unknown form")
    texts = [_text(name) for name in names]
    # The offsets that servers tell count from here or from the start of the prompt, with or without a start token.
    starts = _places(texts, said, lead=True)
    if starts is None:
        raise _malformed("tells of other tokens than its text has")
    return tuple(
        Chances(text, start, alternatives(_pairs(top), most))
        for text, start, top in zip(texts, starts, tops, strict=True)
    )


def _pairs(top: Any) -> list[tuple[str, float]]:
    return [] if top is None else [(_text(name), _chance(value)) for name, value in _mapping(top, "top").items()]


def _chat_tokens(content: Sequence[Mapping[str, Any]], most: int) -> tuple[Chances, ...]:
    spelled = []
    for one in content:
        there = one.get("bytes")
        if isinstance(there, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in there):
            spelled.append(bytes(there))  # a token may be a part of a character
        else:
            spelled.append(_text(one.get("token")).encode())
    found = []
    for one, start in zip(content, _offsets(spelled), strict=True):
        top = one.get("top_logprobs")
        if not isinstance(top, list):
            raise _malformed("has a token without alternatives")
        pairs = [(_text(other.get("token")), _chance(other.get("logprob"))) for other in _mappings(top)]
        found.append(Chances(_text(one.get("token")), start, alternatives(pairs, most)))
    return tuple(found)


def _field(given: Any, most: int, prompt: str) -> tuple[Chances, ...]:
    """vLLM's `prompt_logprobs`: of each token a mapping by id, the token itself first."""
    if not isinstance(given, list) or not given:
        raise _malformed("has no log-probabilities of the prompt")
    texts, tops = [], []
    for entry in given[1:]:
        options = _mappings(list(_mapping(entry, "token of the prompt").values()))
        pairs = [(_text(one.get("decoded_token")), _chance(one.get("logprob"))) for one in options]
        if not pairs:
            raise _malformed("has a token of the prompt without alternatives")
        texts.append(pairs[0][0])
        tops.append(alternatives(pairs, most))
    # The first token is not told: a start token, which the prompt does not spell, or what the others leave of it.
    for length in range(min(len(prompt), _FIRST) + 1):
        starts = _places(texts, prompt[length:], lead=False)
        if starts is not None:
            rest = (Chances(text, length + at, top) for text, at, top in zip(texts, starts, tops, strict=True))
            return (Chances(prompt[:length], 0, ()), *rest)
    raise _malformed("tells of another prompt than it was sent")


def _places(texts: Sequence[str], said: str, lead: bool) -> list[int] | None:
    """Where tokens start in a text that they spell, in characters; None when they spell another.

    A token that is a part of a character shows as a replacement sign or as nothing, and starts where that character
    does. The first may be a start token where it may `lead`; tokens after the end, such as end tokens, start there.
    """
    starts: list[int] = []
    at, part = 0, False
    for index, text in enumerate(texts):
        whole = bool(text) and not _is_part(text)
        found = said.find(text, at, at + len(text) + (_CHARACTERS if part else 0)) if whole else -1
        if found >= 0:
            starts.append(found)
            at, part = found + len(text), False
        elif not whole:
            starts.append(at)
            part = True
        elif (lead and index == 0) or at >= len(said):
            starts.append(at)
        else:
            return None
    return starts if at >= len(said) or part else None


def _is_part(text: str) -> bool:
    return "\ufffd" in text or text.startswith("bytes:\\x")


def _offsets(spelled: Sequence[bytes]) -> list[int]:
    """Where tokens start, in characters that are whole by then."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    starts, length = [], 0
    for one in spelled:
        starts.append(length)
        length += len(decoder.decode(one))
    return starts


def _fewer(one: Chances, most: int) -> Chances:
    return replace(one, top=one.top[:most])


def _chance(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value > _MOST:
        raise _malformed("has a log-probability that is none")
    return max(float(value), _LEAST)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _malformed("has no text")
    # Half a character can be written in JSON and in nothing that it would be kept in.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _malformed(f"has no {what}")
    return value


def _mappings(values: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [_mapping(value, "token") for value in values]


def _malformed(what: str) -> LLMFailed:
    return LLMFailed(
        f"What the endpoint sent {what}.", "See whether it speaks OpenAI's protocol at this address.", kind="malformed"
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"
