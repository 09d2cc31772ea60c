"""The key goes to its own host, and is found nowhere else."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest
from sqlalchemy import Engine

from clew.errors import ClewError, LLMFailed, UnknownLLM
from clew.explain.llm import open_llm
from clew.explain.llm.client import Message, Request
from clew.explain.llm.keys import key_of, variable_of
from clew.explain.store.answers import Answers

from .server import Asked, Handler, Powers, Scripted, reply

_KEY = "sk-Very-Secret/0123456789+abc="


def _asks(text: str, logprobs: int = 0) -> Request:
    return Request((Message("user", text),), logprobs=logprobs)


def _sent(asked: Asked) -> str | None:
    return {name.lower(): value for name, value in asked.headers.items()}.get("authorization")


@pytest.mark.parametrize(
    ("url", "base", "variable"),
    [
        ("https://api.openai.com/v1", None, "OPENAI_API_KEY"),
        ("https://api.openai.com:443/v1", None, "OPENAI_API_KEY"),
        ("http://api.openai.com/v1", None, "CLEW_LLM_KEY"),  # in the clear
        ("https://api.openai.com:8443/v1", None, "CLEW_LLM_KEY"),
        ("https://api.openai.com.evil.org/v1", None, "CLEW_LLM_KEY"),
        ("https://openrouter.ai/api/v1", None, "CLEW_LLM_KEY"),
        ("http://localhost:8000/v1", None, "CLEW_LLM_KEY"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1", "OPENAI_API_KEY"),
        ("http://localhost:8001/v1", "http://localhost:8000/v1", "CLEW_LLM_KEY"),
        ("https://api.openai.com/v1", "http://localhost:8000/v1", "OPENAI_API_KEY"),
    ],
)
def test_openais_key_is_for_openai_and_the_address_that_stands_for_it(
    url: str, base: str | None, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if base is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", base)
    assert variable_of(url) == variable


def test_nothing_of_openais_is_sent_elsewhere(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", _KEY)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", _KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", _KEY)
    monkeypatch.setenv("OPENAI_PROJECT_ID", _KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Mine: {_KEY}\nAuthorization: {_KEY}")
    llm = open_llm(scripted.reference)
    llm.ask(_asks("hi"))
    assert all(_sent(one) is None for one in scripted.log)
    assert _KEY not in json.dumps([one.headers for one in scripted.log])
    monkeypatch.setenv("CLEW_LLM_KEY", "another")
    other = open_llm(scripted.reference)
    other.ask(_asks("hi"))
    assert _sent(scripted.log[-1]) == "Bearer another"
    monkeypatch.setenv("OPENAI_BASE_URL", scripted.url)
    own = open_llm("scripted")
    own.ask(_asks("hi"))
    assert _sent(scripted.log[-1]) == f"Bearer {_KEY}"
    for one in (llm, other, own):
        one.close()


@pytest.mark.parametrize("key", ["sk-ключ", "two words", "a\tb"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEW_LLM_KEY", key)
    with pytest.raises(UnknownLLM, match="CLEW_LLM_KEY") as caught:
        open_llm("m@http://localhost:9/v1")
    assert key not in str(caught.value)


def test_a_line_end_after_a_key_is_no_part_of_it(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEW_LLM_KEY", f" {_KEY}\n")
    llm = open_llm(scripted.reference)
    llm.ask(_asks("hi"))
    assert _sent(scripted.log[-1]) == f"Bearer {_KEY}"
    llm.close()


def test_a_key_is_neither_shown_nor_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEW_LLM_KEY", _KEY)
    key = key_of("http://localhost/v1")
    assert _KEY not in f"{key!r} {key}"
    for copies in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copies(key)


def _told(error: BaseException) -> str:
    """All that a handler could print of an error, with what led to it."""
    return f"{error} {error!r} {vars(error)} " + "".join(traceback.format_exception(error))


def _everything(error: BaseException | None) -> str:
    """The same of all that hangs on to it."""
    text = ""
    while error is not None:
        text += f"{error} {error!r} {error.args}"
        error = error.__cause__ or error.__context__
    return text


def test_a_server_that_repeats_the_key_spreads_it_nowhere(
    scripted: Scripted,
    answers: Answers,
    database: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("CLEW_LLM_KEY", _KEY)
    logs = ("openai", "httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection", "clew", "tenacity")
    for name in logs:
        caplog.set_level(logging.DEBUG, name)

    def repeats(code: int) -> None:
        """In its headers, and in the text of its answers and errors."""

        def fault(handler: Handler, asked: Asked) -> None:
            sent = _sent(asked) or ""
            _, body = reply(scripted.powers, asked)
            if code == 200:
                choice = body["choices"][0]
                choice["message"]["content"] += f" {sent}"
                if asked.fields.get("top_logprobs"):
                    choice["logprobs"]["content"] = [
                        {"token": part, "logprob": -1, "top_logprobs": [{"token": part, "logprob": -1}] * 2}
                        for part in ("x ", sent[:12], sent[12:])
                    ]
            else:
                body = {"error": {"message": f"the key {sent} is wrong", "code": sent}}
            handler.send(code, json.dumps(body).encode(), {"x-echo": sent, "x-ratelimit-note": sent})

        scripted.always = fault

    llm = open_llm(scripted.reference, answers=answers, retries=1)
    _ = llm.capabilities
    said = [f"{llm} {llm!r} {llm.reference} {llm.spent} {llm.capabilities} {vars(llm)}"]
    repeats(200)
    answer = llm.ask(_asks("hi"))
    assert answer.text == "hi Bearer [key]"
    said.append(repr(answer))
    errors: list[ClewError] = []
    with pytest.raises(LLMFailed, match="repeated the key") as leaked:
        llm.ask(_asks("hi", logprobs=2))
    errors.append(leaked.value)
    for code, error in ((400, LLMFailed), (401, UnknownLLM), (429, LLMFailed), (500, LLMFailed)):
        repeats(code)
        with pytest.raises(error, match=r"the key Bearer \[key\] is wrong") as caught:
            llm.ask(_asks(f"hi {code}"))
        errors.append(caught.value)
    for written in (_KEY.replace("/", "\\/"), "".join(f"\\u{ord(sign):04x}" for sign in _KEY)):
        content = f'{{"error": {{"message": "the key {written} is wrong"}}}}'.encode()
        scripted.always = lambda handler, _, content=content: handler.send(400, content)
        with pytest.raises(LLMFailed, match=r"the key \[key\] is wrong") as caught:
            llm.ask(_asks("hi again"))
        errors.append(caught.value)
        scripted.always = lambda handler, _, content=content: handler.send(500, content[:-1])
        with pytest.raises(LLMFailed, match=r"\[key\]") as caught:
            llm.ask(_asks("hi once more"))
        errors.append(caught.value)
    repeats(500)
    said += [_told(one) + _everything(one) for one in errors]
    said += [repr(one) for one in llm.ask_all([_asks("a"), _asks("b")])]
    llm.close()
    database.dispose()

    assert any(record.name == "httpcore2.http11" and "[key]" in record.getMessage() for record in caplog.records)
    said += [f"{record.getMessage()} {record.args} {record.msg}" for record in caplog.records]
    said += capfd.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    assert all(_KEY.encode() not in path.read_bytes() for path in files)
    assert not any(_KEY in one or _KEY[:14] in one for one in said)  # nor the part before what JSON escapes
    kept = answers.known(scripted.reference, _asks("hi"))
    assert kept is not None
    assert _KEY not in repr(kept)  # compressed in the file, so looked at here
    assert scripted.powers == Powers()
    assert all(_sent(one) == f"Bearer {_KEY}" for one in scripted.log)
