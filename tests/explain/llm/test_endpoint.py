"""An endpoint that fails in every way there is: nothing is lost, everything is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clew.errors import BudgetSpent, Cancelled, LLMFailed, UnknownLLM
from clew.explain.llm import Budget, open_llm
from clew.explain.llm.client import LLM, Message, Request
from clew.explain.store.answers import Answers

from . import server
from .server import Fault, Scripted, status

Open = Callable[..., LLM]


@pytest.fixture
def opened(scripted: Scripted, answers: Answers) -> Iterator[Open]:
    """Opens the scripted server; closes it after the test."""
    made: list[LLM] = []

    def open_it(**changes: Any) -> LLM:
        settings: dict[str, Any] = {"answers": answers, "timeout": 20, "retries": 3, "concurrency": 4, **changes}
        made.append(open_llm(scripted.reference, **settings))
        return made[-1]

    yield open_it
    for one in made:
        one.close()


def _asks(*texts: str) -> list[Request]:
    return [Request((Message("user", text),)) for text in texts]


_PASSING: dict[str, Fault] = {
    "429": status(429, retry_after="0.05"),
    "429 in milliseconds": status(429, retry_after_ms="50"),
    "408": status(408),
    "409": status(409),
    "500": status(500),
    "502 that is no JSON": status(502, b"<html>Bad gateway</html>"),
    "503": status(503),
    "a time-out": server.hang,
    "a body that drips": server.drip,
    "a hang-up": server.hang_up,
    "a truncated body": server.cut_body,
    "a truncated stream": server.cut_stream,
    "a truncated document": server.cut_json,
    "no JSON": status(200, b"<html>Welcome</html>"),
    "an empty body": status(200, b""),
    "another schema": server.says({"choices": []}),
    "no text": server.says({"choices": [{"message": {}}]}),
    "an error that is said to be well": server.says({"error": {"message": "overloaded", "code": 502}}),
}


@pytest.mark.parametrize("fault", _PASSING.values(), ids=_PASSING)
def test_what_may_pass_is_asked_again_and_nothing_is_lost(fault: Fault, scripted: Scripted, opened: Open) -> None:
    slow = fault in (server.hang, server.drip)
    llm = opened(timeout=0.7 if slow else 20)
    _ = llm.capabilities
    before = llm.spent.requests
    scripted.faults.extend([fault, None])
    assert llm.ask(_asks("hello")[0]).text == "hello"
    # On a busy machine the others can be late, too.
    assert llm.spent.requests - before >= 2 if slow else llm.spent.requests - before == 2 == len(scripted.asked)


_LASTING: dict[str, tuple[Fault, str, str]] = {
    "429": (status(429, {"error": {"message": "slow down"}}), "error", r"429 \(Too Many Requests\): slow down"),
    "500": (status(500), "error", r"500 \(Internal Server Error\): no"),
    "a time-out": (server.hang, "timeout", "no whole answer within 0.7 s"),
    "a body that drips": (server.drip, "timeout", "no whole answer within 0.7 s"),
    "a hang-up": (server.hang_up, "truncated", "broke its answer off"),
    "a truncated stream": (server.cut_stream, "truncated", "broke its answer off"),
    "a truncated document": (server.cut_json, "truncated", "broke its answer off"),
    "no JSON": (status(200, b"<html>Welcome</html>"), "malformed", "something else than JSON: <html>Welcome"),
    "another schema": (server.says({"choices": []}), "malformed", "has no choices"),
}


@pytest.mark.parametrize(("fault", "kind", "says"), _LASTING.values(), ids=_LASTING)
def test_what_lasts_is_told_and_not_kept(fault: Fault, kind: str, says: str, scripted: Scripted, opened: Open) -> None:
    llm = opened(timeout=0.7 if kind == "timeout" else 20, retries=1)
    _ = llm.capabilities
    scripted.always = fault
    with pytest.raises(LLMFailed, match=says) as caught:
        llm.ask(_asks("hello")[0])
    assert caught.value.kind == kind
    assert caught.value.hint
    assert llm.spent.requests == 3 + 2
    scripted.always = None
    assert llm.ask(_asks("hello")[0]).text == "hello"


_FINAL: dict[str, tuple[Fault, type[Exception], str]] = {
    "400": (status(400, {"error": {"message": "too long"}}), LLMFailed, r"400 \(Bad Request\): too long"),
    "422": (status(422, {"detail": "what?"}), LLMFailed, "422 .*what?"),
    "401": (status(401), UnknownLLM, "environment as CLEW_LLM_KEY"),
    "402": (status(402), UnknownLLM, "pay for nothing more"),
    "403": (status(403), UnknownLLM, "environment as CLEW_LLM_KEY"),
    "404": (status(404, {"error": {"message": "no such model"}}), UnknownLLM, "no such model.*/v1"),
    "307": (status(307, b"", location="http://127.0.0.1:1/"), UnknownLLM, "another address"),
    "an empty account": (status(429, {"error": {"message": "-", "code": "insufficient_quota"}}), UnknownLLM, "pay for"),
    "a wait of an hour": (status(429, retry_after="3600"), LLMFailed, "asks to wait for 3,600 s"),
}


@pytest.mark.parametrize(("fault", "error", "says"), _FINAL.values(), ids=_FINAL)
def test_what_does_not_pass_is_told_at_once(
    fault: Fault, error: type[Exception], says: str, scripted: Scripted, opened: Open
) -> None:
    llm = opened()
    _ = llm.capabilities
    scripted.always = fault
    with pytest.raises(error, match=says):
        llm.ask(_asks("hello")[0])
    assert len(scripted.asked) == 1
    scripted.always = None
    assert llm.ask(_asks("hello")[0]).text == "hello"  # and it does not close the gate for an hour


def test_an_endpoint_that_is_not_there_is_unknown(opened: Open, scripted: Scripted) -> None:
    scripted.url = "http://127.0.0.1:9/v1"
    with pytest.raises(UnknownLLM, match=r"scripted@http://127\.0\.0\.1:9/v1 cannot be reached"):
        _ = opened(retries=1).capabilities


def test_of_many_some_fail_in_their_place(scripted: Scripted, opened: Open) -> None:
    llm = opened(concurrency=1)
    _ = llm.capabilities
    scripted.faults.extend([None, status(400), None, server.says({"choices": []}), *[status(500)] * 4])
    answers = llm.ask_all(_asks("a", "b", "c", "d", "e"))
    assert [one.kind if isinstance(one, LLMFailed) else one.text for one in answers] == [
        "a",
        "refused",
        "c",
        "error",
        "e",
    ]
    scripted.faults.clear()
    again = llm.ask_all(_asks("a", "b", "c", "d", "e"))
    assert [not isinstance(one, LLMFailed) and one.known for one in again] == [True, False, True, False, True]


def test_a_server_that_dies_half_way_loses_nothing(opened: Open, scripted: Scripted, answers: Answers) -> None:
    script = Scripted(delay=0.05)
    requests = _asks(*map(str, range(20)))
    with server.serving(script):
        llm = open_llm(script.reference, answers=answers, concurrency=2, retries=1)
        _ = llm.capabilities
        script.faults.extend([None] * 8)
        script.always = server.hang_up  # as one does that is killed
        answered = llm.ask_all(requests)
        got = [one for one in answered if not isinstance(one, LLMFailed)]
        assert len(got) == 8
        assert {one.kind for one in answered if isinstance(one, LLMFailed)} == {"truncated"}
        script.always = None
        script.log.clear()
        whole = llm.ask_all(requests)
        llm.close()
    assert [one.text for one in whole if not isinstance(one, LLMFailed)] == [str(n) for n in range(20)]
    assert len(script.asked) == 12


def test_all_wait_when_the_server_says_that_nothing_is_left(scripted: Scripted, opened: Open) -> None:
    llm = opened()
    _ = llm.capabilities
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "400ms"}
    ready = threading.Event()

    def last(handler: server.Handler, asked: server.Asked) -> None:
        scripted.headers.update(headers)
        handler.answer(asked)
        scripted.headers.clear()
        ready.set()

    scripted.faults.append(last)
    llm.ask(_asks("first")[0])
    assert ready.wait(1)
    first = scripted.asked[0].at
    llm.ask_all(_asks("a", "b", "c", "d"))
    assert min(one.at for one in scripted.asked[1:]) - first >= 0.4
    assert max(one.at for one in scripted.asked[1:]) - first < 2


def test_a_server_that_asks_to_wait_is_waited_for_by_all(scripted: Scripted, opened: Open) -> None:
    llm = opened(concurrency=2)
    _ = llm.capabilities
    scripted.faults.append(status(429, retry_after="0.5"))
    llm.ask_all(_asks("a", "b", "c", "d"))
    first = scripted.asked[0].at
    # The other thread may have sent one, and one more, before this one heard that it was to wait.
    later = [one.at - first for one in scripted.asked if one.at - first > 0.1]
    assert len(scripted.asked) == 5
    assert len(later) >= 2
    assert min(later) >= 0.45


def test_no_more_are_sent_at_once_than_allowed_however_many_ask(scripted: Scripted, opened: Open) -> None:
    scripted.delay = 0.03
    llm = opened(concurrency=3)
    threads = [threading.Thread(target=llm.ask_all, args=(_asks(*(f"{n} {m}" for m in range(6))),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scripted.asked) == 24
    assert scripted.most_at_once == 3


def test_the_same_asked_twice_at_once_is_sent_once(scripted: Scripted, opened: Open) -> None:
    scripted.delay = 0.05
    llm = opened()
    answers = llm.ask_all(_asks(*["same"] * 6))
    assert [one.text for one in answers if not isinstance(one, LLMFailed)] == ["same"] * 6
    assert sorted(one.known for one in answers if not isinstance(one, LLMFailed)) == [False, *[True] * 5]
    assert len(scripted.asked) == 1
    assert llm.spent.known == 5


def test_a_run_that_is_repeated_asks_nothing(scripted: Scripted, opened: Open) -> None:
    requests = [
        *_asks("a", "b"), Request(prompt="10 a", prompt_logprobs=3, logprobs=2),
        Request((Message("user", "a"),), seed=1), Request((Message("user", "a"),), logprobs=3),
    ]  # fmt: skip
    first = opened().ask_all(requests)
    asked = len(scripted.log)
    again = opened()
    second = again.ask_all(requests)
    assert len(scripted.asked) == 5
    assert len(scripted.log) == asked
    for one, other in zip(first, second, strict=True):
        assert not isinstance(one, LLMFailed)
        assert not isinstance(other, LLMFailed)
        assert (one.text, one.tokens, one.prompt, one.finish) == (other.text, other.tokens, other.prompt, other.finish)
        assert (one.known, other.known) == (False, True)
    assert (again.spent.requests, again.spent.known, again.spent.prompt_tokens) == (0, 5, 0)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_budget_is_exceeded_by_no_more_than_is_under_way(
    concurrency: int, scripted: Scripted, opened: Open, answers: Answers
) -> None:
    scripted.delay = 0.02
    llm = opened(concurrency=concurrency, budget=Budget(tokens=100))
    with pytest.raises(BudgetSpent, match="100 tokens"):
        llm.ask_all(_asks(*map(str, range(40))))
    spent = llm.spent.prompt_tokens + llm.spent.completion_tokens
    assert spent == 10 * len(scripted.log)  # probes too
    assert 100 <= spent < 100 + 10 * concurrency
    assert llm.spent.requests == len(scripted.log)
    kept = [answers.known(scripted.reference, one) for one in _asks(*map(str, range(40)))]
    assert sum(one is not None for one in kept) == len(scripted.asked)


def test_a_budget_in_money_is_shared_by_all_that_are_asked(scripted: Scripted, opened: Open) -> None:
    # A request takes 7 tokens sent and 3 received: 7 × 1,000 + 3 × 10,000 for a million of them, 0.037 a request.
    budget = Budget(money=0.3, prices=(1_000, 10_000))
    one, other = opened(budget=budget, answers=None, concurrency=1), opened(budget=budget, answers=None, concurrency=1)
    one.ask_all(_asks("a", "b"))
    assert one.spent.money == pytest.approx(0.037 * 5)  # three of them probes
    with pytest.raises(BudgetSpent, match=r"budget of 0\.3"):
        other.ask_all(_asks("a", "b"))
    assert budget.spent.money == pytest.approx(0.037 * 9)
    assert budget.spent.requests == 9


def test_what_a_server_does_not_count_is_counted_here(scripted: Scripted, opened: Open) -> None:
    scripted.powers.usage = False
    llm = opened()
    answer = llm.ask(_asks("x" * 400)[0])
    assert (answer.prompt_tokens, answer.completion_tokens) == (100, 100)


def test_what_breaks_off_counts_as_read(scripted: Scripted, opened: Open) -> None:
    llm = opened()
    _ = llm.capabilities
    before = llm.spent.prompt_tokens
    scripted.faults.append(server.cut_body)
    llm.ask(_asks("x" * 400)[0])
    assert llm.spent.prompt_tokens - before == 100 + 7


@pytest.mark.parametrize("fault", [status(500), status(429, retry_after="30")], ids=["backoff", "gate"])
def test_waiting_is_given_up_at_once(
    fault: Fault, scripted: Scripted, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clew.explain.llm.endpoint.FIRST_WAIT", 100.0)
    llm = opened()
    _ = llm.capabilities
    scripted.always = fault
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        llm.ask_all(_asks("a", "b"), stop.is_set)
    assert time.monotonic() - started < 3


def test_what_is_under_way_when_it_is_stopped_is_kept(scripted: Scripted, opened: Open, answers: Answers) -> None:
    scripted.delay = 0.2
    llm = opened(concurrency=2)
    _ = llm.capabilities
    with pytest.raises(Cancelled):
        llm.ask_all(_asks("a", "b", "c", "d", "e", "f"), lambda: len(scripted.asked) >= 2)
    kept = [answers.known(scripted.reference, one) for one in _asks("a", "b", "c", "d", "e", "f")]
    assert [one is not None for one in kept] == [True, True, False, False, False, False]
    assert len(scripted.asked) == 2


def test_nothing_is_asked_for_nothing(opened: Open) -> None:
    assert opened().ask_all([]) == []
