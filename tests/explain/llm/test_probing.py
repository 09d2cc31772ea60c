"""Endpoints of every make, and what they are found to have."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from sqlalchemy import Engine

from clew.errors import BudgetSpent, LLMFailed, UnknownLLM
from clew.explain.llm import Budget, open_llm
from clew.explain.llm.client import LLM, Capabilities, Message, Request
from clew.explain.llm.probing import THINKING
from clew.explain.store.answers import Answers

from . import server
from .server import Powers, Scripted, is_probe, status

_ALL = Capabilities(chat=True, completions=True, logprobs=20, prompt_logprobs=20, json=True, whole_ten=True)
_NONE = replace(_ALL, logprobs=0, prompt_logprobs=0, json=False, whole_ten=None)
_BARE = Powers(logprobs=0, echo=False, json=False)

_MAKES: dict[str, tuple[Powers, Capabilities]] = {
    "has everything": (Powers(), _ALL),
    "vLLM, whose field tells of prompts": (Powers(echo=False, field=True, lies=False), _ALL),
    "takes any field and does nothing with it": (_BARE, _NONE),
    "refuses what it does not know": (replace(_BARE, lies=False), _NONE),
    "tells five alternatives": (Powers(logprobs=5, lies=False), replace(_ALL, logprobs=5, prompt_logprobs=5)),
    "tells five where twenty were asked for": (Powers(logprobs=5), replace(_ALL, logprobs=5, prompt_logprobs=5)),
    "tells of the token alone": (Powers(logprobs=1), replace(_ALL, logprobs=0, prompt_logprobs=0)),
    "chats and no more": (Powers(completions=False), replace(_ALL, completions=False, prompt_logprobs=0)),
    "goes on with text and no more": (Powers(chat=False), replace(_ALL, chat=False, json=False)),
    "splits numbers": (Powers(whole_ten=False), replace(_ALL, whole_ten=False)),
    "wants the new name of a field": (Powers(limit="max_completion_tokens", lies=False), _ALL),
    "knows no seed": (
        Powers(refused=("seed",), completions=False),
        replace(_ALL, completions=False, prompt_logprobs=0),
    ),
    "thinks, and takes no temperature": (
        Powers(limit="max_completion_tokens", refused=("temperature", "logprobs"), completions=False, thinks=True),
        replace(_NONE, completions=False, json=True, thinking=THINKING),
    ),
    "thinks aloud": (
        Powers(thinks="<think>What was it?", json=False), replace(_ALL, logprobs=0, json=False, thinking=THINKING)
    ),
}  # fmt: skip


def _of(script: Scripted, answers: Answers | None = None, timeout: float = 20, budget: Budget | None = None) -> LLM:
    return open_llm(script.reference, answers=answers, retries=1, timeout=timeout, budget=budget)


@pytest.mark.parametrize(("powers", "has"), _MAKES.values(), ids=_MAKES)
def test_what_an_endpoint_has_is_found_out(powers: Powers, has: Capabilities, scripted: Scripted) -> None:
    scripted.powers = powers
    llm = _of(scripted)
    assert asdict(llm.capabilities) == asdict(has)
    assert llm.spent.requests == len(scripted.log) <= 8
    assert all(is_probe(one) for one in scripted.log)
    # And it is asked as it wants to be.
    if has.chat:
        answer = llm.ask(Request((Message("user", "hi"),), logprobs=has.logprobs, json=True))
        assert answer.text.splitlines()[-1] == "hi"
        assert scripted.log[-1].fields[powers.limit] == 256 + has.thinking
    if has.prompt_logprobs:
        answer = llm.ask(Request(prompt="x 10 y", prompt_logprobs=3, max_tokens=1))
        assert answer.prompt is not None
        assert "".join(one.text for one in answer.prompt) == "x 10 y"
        assert {len(one.top) for one in answer.prompt[1:]} == {3}
    llm.close()


def test_it_is_asked_once_and_remembered(scripted: Scripted, answers: Answers, database: Engine) -> None:
    scripted.powers = Powers(echo=False, field=True, lies=False, limit="max_completion_tokens")
    with_it = _of(scripted, answers)
    assert with_it.capabilities == _ALL == with_it.capabilities
    probes = len(scripted.log)
    again = _of(scripted, Answers(database))
    assert again.capabilities == _ALL
    assert again.ask(Request(prompt="x 10", prompt_logprobs=2)).prompt is not None
    assert again.ask(Request((Message("user", "hi"),))).text == "hi"
    assert len(scripted.log) == probes + 2
    with_it.close()
    again.close()


def test_what_is_remembered_of_another_server_is_found_out_again(scripted: Scripted, answers: Answers) -> None:
    scripted.powers = _BARE
    poor = _of(scripted, answers)
    assert poor.capabilities == _NONE
    scripted.powers = Powers()  # and now it is started anew, with all that it has
    rich = _of(scripted, answers)
    assert rich.capabilities == _NONE
    assert rich.ask(Request(prompt="x 10", prompt_logprobs=2)).prompt is not None
    assert rich.capabilities == _ALL
    scripted.powers = replace(_BARE, limit="max_completion_tokens", lies=False)
    other = _of(scripted, answers)
    assert other.ask(Request((Message("user", "hi"),))).text == "hi"
    assert other.capabilities == _NONE
    probes = len(scripted.log)
    for _ in range(2):
        with pytest.raises(LLMFailed, match="as many log-probabilities of its answers"):
            other.ask(Request((Message("user", "hi"),), logprobs=2))
    assert len(scripted.log) == probes
    for one in (poor, rich, other):
        one.close()


def test_what_broke_by_chance_is_not_remembered(scripted: Scripted, answers: Answers) -> None:
    scripted.strikes_probes = True
    scripted.faults.extend([status(503), status(503)])
    first = _of(scripted, answers)
    assert not first.capabilities.chat
    second = _of(scripted, answers)
    assert second.capabilities == _ALL
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("fault", "error", "says", "most"),
    [
        (status(401), UnknownLLM, "401", 1),
        (status(404, {"error": {"message": "no such model"}}), UnknownLLM, "no such model", 2),
        (status(500, {"error": {"message": "broken"}}), LLMFailed, "broken", 4),
        (status(400, {"error": {"message": "no such model"}}), LLMFailed, "no such model", 8),
        (server.hang, LLMFailed, "within 0.7 s", 2),
        (status(200, b"<html>"), LLMFailed, "else than JSON", 10),
        (server.says({"choices": []}), LLMFailed, "no choices", 8),
    ],
)
def test_one_that_does_neither_is_told(
    fault: server.Fault, error: type[Exception], says: str, most: int, scripted: Scripted, answers: Answers
) -> None:
    scripted.strikes_probes = True
    scripted.always = fault
    llm = _of(scripted, answers, 0.7 if fault is server.hang else 20)
    with pytest.raises(error, match=says):
        llm.ask(Request((Message("user", "hi"),)))
    assert len(scripted.log) <= most
    scripted.always = None
    assert llm.capabilities == _ALL
    llm.close()


def test_probes_are_paid_from_the_budget(scripted: Scripted) -> None:
    llm = _of(scripted, budget=Budget(tokens=15))
    with pytest.raises(BudgetSpent):
        _ = llm.capabilities
    assert len(scripted.log) == 2
    llm.close()
