"""Reading what endpoints send, in all the forms they have, and in none."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.errors import LLMFailed
from clew.explain.llm.client import Answer, Message, Request
from clew.explain.llm.replies import chat_answer, completion_answer, message_of

_CHAT = Request((Message("user", "hi"),), logprobs=2)
_TEXT = Request(prompt="a é b", logprobs=2, prompt_logprobs=2)


def _count(text: str) -> int:
    return 100 + len(text)


def _chat(choice: Any, request: Request = _CHAT, **body: Any) -> Answer:
    return chat_answer({"choices": [choice], **body}, request, _count)


def _text(choice: Any, request: Request = _TEXT, echo: bool = True, **body: Any) -> Answer:
    return completion_answer({"choices": [choice], **body}, request, _count, echo)


def _token(text: str, *top: tuple[str, float], **more: Any) -> dict[str, Any]:
    return {"token": text, "logprob": top[0][1], "top_logprobs": [{"token": t, "logprob": p} for t, p in top], **more}


def test_a_chat_is_read_with_its_tokens() -> None:
    content = [_token("On", ("On", -0.1), ("In", -3.0), ("At", -4.0)), _token(" top", (" to", -0.2), (" top", -0.1))]
    answer = _chat(
        {"message": {"content": "On top"}, "finish_reason": "length", "logprobs": {"content": content}},
        usage={"prompt_tokens": 5, "completion_tokens": 2},
    )
    assert (answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens) == ("On top", "length", 5, 2)
    assert answer.tokens is not None
    assert [(one.text, one.start) for one in answer.tokens] == [("On", 0), (" top", 2)]
    assert [one.top for one in answer.tokens] == [(("On", -0.1), ("In", -3.0)), ((" top", -0.1), (" to", -0.2))]
    assert answer.prompt is None


def test_a_token_that_is_part_of_a_character_starts_where_that_does() -> None:
    content = [
        _token("a", ("a", -1), bytes=[97]),
        _token("\\xc3", ("x", -1), bytes=[0xC3]),
        _token("\\xa9", ("x", -1), bytes=[0xA9]),
        _token("b", ("b", -1), bytes=[98]),
    ]
    answer = _chat({"message": {"content": "aéb"}, "logprobs": {"content": content}})
    assert answer.tokens is not None
    assert [one.start for one in answer.tokens] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": "2"}, {"prompt_tokens": True}, 3]
)
def test_tokens_are_counted_here_where_the_server_does_not(usage: Any) -> None:
    answer = _chat({"message": {"content": "yes"}}, Request(_CHAT.messages), usage=usage)
    assert (answer.prompt_tokens, answer.completion_tokens) == (102, 103)


@pytest.mark.parametrize(
    ("tokens", "offsets"),
    [
        (["a", " é", " b", " and"], [0, 1, 3, 5]),  # OpenAI
        (["<s>", "a", " é", " b", " and"], [0, 3, 4, 6, 8]),  # vLLM, whose offsets count the start token
        (["a", " ", "\ufffd", "\ufffd", " b", " and", "</s>"], None),  # parts of a character, and an end token
    ],
)
def test_a_prompt_that_is_repeated_is_told_from_the_answer(tokens: list[str], offsets: list[int] | None) -> None:
    tops = [None, *({one: -0.5, "x": -2.0, "y": -1.0} for one in tokens[1:])]
    logprobs = {"tokens": tokens, "top_logprobs": tops, **({"text_offset": offsets} if offsets else {})}
    answer = _text({"text": "a é b and", "logprobs": logprobs})
    assert answer.text == " and"
    assert answer.prompt is not None
    assert answer.tokens is not None
    spelled = {one.text: one.start for one in answer.prompt}
    assert (spelled["a"], spelled[" b"]) == (0, 3)
    assert answer.prompt[0].top == ()
    assert all(one.top[1] == ("y", -1.0) and len(one.top) == 2 for one in answer.prompt[1:])
    assert (answer.tokens[0].text, answer.tokens[0].start) == (" and", 0)


def test_only_the_end_of_a_prompt_is_told_where_that_was_asked() -> None:
    logprobs = {"tokens": ["a", " é", " b", " c"], "top_logprobs": [None, {"p": -1}, {"q": -1}, {"r": -1}]}
    request = Request(prompt="a é b", prompt_logprobs=2, prompt_from=2)
    answer = _text({"text": "a é b c", "logprobs": logprobs}, request)
    assert answer.prompt is not None
    assert [(one.text, one.start) for one in answer.prompt] == [(" b", 3)]
    assert answer.tokens is None


@pytest.mark.parametrize("start", [True, False])
def test_vllm_tells_of_a_prompt_in_a_field_of_its_own(start: bool) -> None:
    def entry(text: str) -> dict[str, Any]:
        return {
            "9": {"logprob": -3.0, "rank": 5, "decoded_token": text},
            "1": {"logprob": -0.1, "rank": 1, "decoded_token": "x"},
        }

    texts = ["a", " é", " b"] if start else [" é", " b"]
    answer = _text({"text": " and", "prompt_logprobs": [None, *map(entry, texts)], "logprobs": None}, Request(
        prompt="a é b", prompt_logprobs=2
    ), echo=False)  # fmt: skip
    assert answer.text == " and"
    assert answer.prompt is not None
    told = [(one.text, one.start) for one in answer.prompt]
    assert told == ([("", 0)] if start else []) + [("a", 0), (" é", 1), (" b", 3)]
    assert answer.prompt[-1].top == (("x", -0.1), (" b", -3.0))


def test_the_one_token_that_had_to_be_asked_for_is_thrown_away() -> None:
    request = Request(prompt="a é b", max_tokens=0, logprobs=2)
    logprobs = {"tokens": [" c"], "top_logprobs": [{" c": -1, "d": -2}]}
    answer = _text({"text": " c", "logprobs": logprobs}, request, echo=False)
    assert (answer.text, answer.tokens) == ("", ())


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        ({"message": {"content": None}}, "malformed"),
        ({"message": {"content": 3}}, "malformed"),
        ({"message": "x"}, "malformed"),
        ({}, "malformed"),
        (None, "malformed"),
        ({"message": {"content": "x"}}, "malformed"),  # without the log-probabilities
        ({"message": {"content": "x"}, "logprobs": {"content": [{"token": "x"}]}}, "malformed"),
        ({"message": {"content": "x"}, "logprobs": {"content": [_token("x", ("x", 0.5))]}}, "malformed"),
        ({"message": {"content": "x"}, "logprobs": {"content": [_token("x", ("x", math.nan))]}}, "malformed"),
        ({"message": {"content": "x"}, "logprobs": {"content": [_token("x", ("x", True))]}}, "malformed"),
        ({"message": {"content": None, "refusal": "I can't."}}, "refused"),
        ({"message": {"content": "x"}, "finish_reason": "content_filter", "logprobs": {"content": []}}, "refused"),
    ],
)
def test_what_is_no_answer_is_none(choice: Any, kind: str) -> None:
    with pytest.raises(LLMFailed) as caught:
        _chat(choice)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "choice",
    [
        {"text": "another", "logprobs": {"tokens": ["another"], "top_logprobs": [{"x": -1}]}},
        {"text": "a é b", "logprobs": {"tokens": ["a", "z"], "top_logprobs": [None, {"x": -1}]}},
        {"text": "a é b", "logprobs": {"tokens": ["a"], "top_logprobs": [None]}},
        {"text": "a é b", "logprobs": {"tokens": ["a", " é b"], "top_logprobs": [None]}},
        {"text": "a é b", "logprobs": None},
    ],
)
def test_a_prompt_that_comes_back_as_another_is_no_answer(choice: Any) -> None:
    with pytest.raises(LLMFailed) as caught:
        _text(choice)
    assert caught.value.kind == "malformed"


def test_impossible_tokens_are_kept_as_very_unlikely() -> None:
    content = [_token("x", ("x", -0.1), ("y", -math.inf))]
    answer = _chat({"message": {"content": "x"}, "logprobs": {"content": content}})
    assert answer.tokens is not None
    assert answer.tokens[0].top == (("x", -0.1), ("y", -10000.0))


def test_half_a_character_is_replaced() -> None:
    answer = _chat({"message": {"content": "x\ud800"}}, Request(_CHAT.messages))
    assert answer.text == "x\ufffd"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"error": {"message": "no  such\nmodel"}}, "no such model"),
        ({"error": "busy"}, "busy"),
        ({"detail": [{"loc": 1}]}, "raw"),
        ({"message": "x" * 1000}, "x" * 299 + "…"),
        (None, "raw"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(body: Any, says: str) -> None:
    assert message_of(body, " raw ") == says


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from([
            "choices", "message", "content", "text", "logprobs", "tokens", "top_logprobs", "token", "logprob",
            "finish_reason", "usage", "prompt_tokens", "prompt_logprobs", "bytes", "decoded_token", "error",
        ]), inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(_JSON, st.booleans())
def test_any_document_is_an_answer_or_a_failure(document: Any, echo: bool) -> None:
    for body in (
        document,
        {"choices": [document]},
        {"choices": [{"message": document, "text": "a", "logprobs": document}]},
    ):
        for read in (
            lambda body=body: chat_answer(body, _CHAT, _count),
            lambda body=body: completion_answer(body, _TEXT, _count, echo),
        ):
            try:
                answer = read()
            except LLMFailed:
                continue
            answer.text.encode()
            assert answer.prompt_tokens >= 0


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30), st.data())
def test_tokens_that_spell_a_prompt_start_where_they_stand_in_it(prompt: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(prompt)), max_size=5)) | {len(prompt)})
    tokens = [prompt[i:j] for i, j in zip([0, *cuts], cuts, strict=False)]
    logprobs = {"tokens": [*tokens, "!"], "top_logprobs": [None, *[{"x": -1.0}] * len(tokens)]}
    request = Request(prompt=prompt, prompt_logprobs=1)
    answer = _text({"text": prompt + "!", "logprobs": logprobs}, request)
    assert answer.text == "!"
    assert answer.prompt is not None
    if "\ufffd" not in prompt and not any(one.startswith("bytes:\\x") for one in tokens):
        assert [one.start for one in answer.prompt] == [0, *cuts[:-1]]
