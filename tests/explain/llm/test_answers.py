"""Answers on disk: what goes in comes out, for the same question alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from clew.explain.llm.client import Answer, Chances, Message, Request
from clew.explain.store.answers import Answers

_TEXT = st.text(max_size=20)
_CHANCES = st.builds(
    Chances,
    _TEXT,
    st.integers(0, 100),
    st.lists(st.tuples(_TEXT, st.floats(-100, 0)), max_size=3).map(tuple),
)
_ANSWERS = st.builds(
    Answer,
    _TEXT,
    st.sampled_from(["stop", "length"]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.none() | st.lists(_CHANCES, max_size=3).map(tuple),
    st.none() | st.lists(_CHANCES, max_size=3).map(tuple),
)
_REQUEST = Request((Message("user", "hi"),))
_CHANGED = {
    "messages": (Message("user", "hi "),),
    "prompt": "hi",
    "max_tokens": 255,
    "temperature": 0.1,
    "seed": 1,
    "logprobs": 1,
    "prompt_logprobs": 1,
    "prompt_from": 1,
    "json": True,
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(answer=_ANSWERS, asked=_TEXT)
def test_what_goes_in_comes_out(answers: Answers, answer: Answer, asked: str) -> None:
    request = replace(_REQUEST, messages=(Message("user", asked),))
    answers.keep("m", "m@x", request, answer)
    assert answers.known("m", request) == replace(answer, known=True)


def test_every_part_of_a_question_makes_it_another(answers: Answers) -> None:
    assert set(_CHANGED) == {field.name for field in fields(Request)}
    requests = [_REQUEST, *(replace(_REQUEST, **{name: value}) for name, value in _CHANGED.items())]
    for n, request in enumerate(requests):
        assert answers.known("m", request) is None
        answers.keep("m", "m@x", request, Answer(str(n), "stop", 1, 1))
    found = [answers.known("m", request) for request in requests]
    assert [None if one is None else one.text for one in found] == [str(n) for n in range(len(requests))]
    assert answers.known("another", _REQUEST) is None


def test_roles_do_not_run_into_each_other(answers: Answers) -> None:
    answers.keep("m", "m@x", Request((Message("user", "a"), Message("user", "b"))), Answer("1", "stop", 1, 1))
    assert answers.known("m", Request((Message("user", "a\nb"),))) is None
    assert answers.known("m", Request((Message("user", "a"), Message("assistant", "b")))) is None


def test_the_last_answer_counts_whoever_writes_at_once(database: Engine) -> None:
    both = Answers(database), Answers(database)

    def keep(n: int) -> None:
        both[n % 2].keep("m", "m@x", replace(_REQUEST, seed=n % 10), Answer("x" * 1000, "stop", n, 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(keep, range(80)))
    with database.connect() as connection:
        assert connection.scalar(text("select count(*) from answers")) == 10
    assert all(both[0].known("m", replace(_REQUEST, seed=n)) for n in range(10))


def test_neither_question_nor_key_is_on_disk(database: Engine, answers: Answers) -> None:
    answers.keep("m", "m@x", Request(prompt="a secret question"), Answer("", "stop", 1, 1))
    with database.connect() as connection:
        row = connection.execute(text("select * from answers")).one()
    assert "secret" not in str(row)


@pytest.mark.parametrize("dialect", [{"a": 1}, {"capabilities": {"chat": True, "whole_ten": None}}])
def test_what_was_found_out_comes_back(answers: Answers, dialect: dict[str, object]) -> None:
    assert answers.dialect("m@x") is None
    answers.learn("m@x", {"old": True})
    answers.learn("m@x", dialect)
    assert answers.dialect("m@x") == dialect
    assert answers.dialect("m@y") is None
