"""Asking a real server, and the model that it serves in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clew.debug import Model
from clew.errors import LLMFailed, UnknownLLM
from clew.explain.llm import open_llm
from clew.explain.llm.client import LLM, Message, Request
from clew.explain.store.answers import Answers

_CHAT = Request((Message("user", "What is the capital of France?"),), max_tokens=8)
_TEXT = Request(prompt="The capital of France is", max_tokens=4)


@pytest.fixture
def llm(served: str, answers: Answers) -> Iterator[LLM]:
    opened = open_llm(served, answers=answers)
    yield opened
    opened.close()


def test_fields_that_the_server_ignores_are_seen_to_be_missing(llm: LLM) -> None:
    has = llm.capabilities
    assert has.chat
    assert has.completions
    assert (has.logprobs, has.prompt_logprobs, has.json, has.whole_ten) == (0, 0, False, None)


def test_a_server_says_what_its_model_says_in_this_process(llm: LLM, smollm2: Model) -> None:
    local = open_llm("local:smollm2", subject=smollm2.subject)
    for request in (_CHAT, _TEXT):
        near, far = local.ask(request), llm.ask(request)
        assert near.text == far.text
        assert near.prompt_tokens == far.prompt_tokens
    assert "Paris" in local.ask(_TEXT).text


def test_several_at_once_are_answered_each_with_its_own(llm: LLM, smollm2: Model) -> None:
    local = open_llm("local:smollm2", subject=smollm2.subject)
    requests = [Request(prompt=f"The capital of {place} is", max_tokens=3) for place in ("France", "Italy", "Japan")]
    assert [one.text for one in llm.ask_all(requests) if not isinstance(one, LLMFailed)] == [
        one.text for one in local.ask_all(requests) if not isinstance(one, LLMFailed)
    ]


def test_what_it_lacks_is_refused_before_it_is_sent(llm: LLM) -> None:
    assert llm.capabilities.logprobs == 0
    sent = llm.spent.requests
    with pytest.raises(LLMFailed, match="log-probabilities of its answers") as caught:
        llm.ask(Request(_CHAT.messages, logprobs=5))
    assert caught.value.kind == "unsupported"
    assert llm.spent.requests == sent


def test_another_model_than_the_one_it_serves_is_told(served: str) -> None:
    with pytest.raises((UnknownLLM, LLMFailed), match="pinned"):
        _ = open_llm(f"another@{served.partition('@')[2]}").capabilities
