"""Names of language models."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.errors import UnknownLLM
from clew.explain.llm import open_llm
from clew.explain.llm.references import Reference, read_reference

_HOSTS = st.sampled_from(["localhost", "api.example.com", "127.0.0.1", "[::1]"])
_PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
_PATHS = st.sampled_from(["/v1", "/api/v1", "/openai/deployments/x"])
_URLS = st.builds("{}://{}{}{}".format, st.sampled_from(["http", "https"]), _HOSTS, _PORTS, _PATHS)
_MODELS = st.from_regex(r"[A-Za-z0-9/][A-Za-z0-9/._-]{0,30}(:[a-z0-9]+)?", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "model", "url"),
    [
        ("gpt-x@https://api.openai.com/v1", "gpt-x", "https://api.openai.com/v1"),
        ("llama3:8b@http://localhost:11434/v1/", "llama3:8b", "http://localhost:11434/v1"),
        ("m@http://localhost:8000", "m", "http://localhost:8000/v1"),
        ("m@HTTP://LocalHost:8000/V1", "m", "http://localhost:8000/V1"),
        ("@cf/meta/llama@https://x.com/ai/v1", "@cf/meta/llama", "https://x.com/ai/v1"),
        ("claude@20240101@https://x.com/v1", "claude@20240101", "https://x.com/v1"),
        ("/models/my model@http://[::1]:80/v1", "/models/my model", "http://[::1]:80/v1"),
        ("local:smollm2", "smollm2", None),
        ("local:./folder@2", "./folder@2", None),
        ("gpt-x", "gpt-x", "https://api.openai.com/v1"),
        (" gpt-x ", "gpt-x", "https://api.openai.com/v1"),
    ],
)
def test_a_reference_names_a_model_and_where_it_is(
    text: str, model: str, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert read_reference(text) == Reference(model, url)


def test_a_model_alone_is_asked_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    assert str(read_reference("m")) == "m@http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no language model"),
        ("@http://localhost/v1", "names no language model"),
        ("local:", "names no language model"),
        ("a\nb", "names no language model"),
        ("lookup", "no language model to ask"),
        ("m@ftp://host/v1", "http and https alone"),
        ("m@file:///etc/passwd", "http and https alone"),
        ("m@javascript:alert(1)", "http and https alone"),
        ("m@localhost:8000/v1", "http and https alone|no scheme"),
        ("m@127.0.0.1:8000", "no scheme"),
        ("m@http://", "no host"),
        ("m@http:///v1", "no host"),
        ("m@http://host:notaport/v1", "is none"),
        ("m@http://host:99999/v1", "is none"),
        ("m@http://[::1/v1", "is none"),
        ("m@http://host/v1?api_key=abcdef", "query or fragment"),
        ("m@http://host/v1#abcdef", "query or fragment"),
        ("m@http://sk-abcdef@host/v1", "a name or a key"),
        ("m@http://me:sk-abcdef@host/v1", "a name or a key"),
        ("m@http://ho st/v1", "no host"),
    ],
)
def test_what_cannot_be_asked_is_told_without_what_could_be_a_key(text: str, says: str) -> None:
    with pytest.raises(UnknownLLM, match=says) as caught:
        open_llm(text)
    assert caught.value.hint
    assert "abcdef" not in str(caught.value)


@settings(deadline=None)
@given(_MODELS, _URLS)
def test_a_reference_is_read_as_it_was_built(model: str, url: str) -> None:
    read = read_reference(f"{model}@{url}")
    assert read == Reference(model, url)
    assert str(read) == f"{model}@{url}"


@settings(deadline=None)
@given(st.one_of(st.text(), st.builds("{}@{}{}".format, st.text(max_size=5), _URLS, st.text(max_size=5))))
def test_any_text_is_read_to_what_reads_the_same_or_is_refused(text: str) -> None:
    try:
        read = read_reference(text)
    except UnknownLLM:
        return
    assert read_reference(str(read)) == read
    assert read.url is None or "@" not in urlsplit(read.url).netloc


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="/?#\\"), min_size=5, max_size=20), _HOSTS)
def test_whatever_stands_before_a_host_is_refused_and_not_repeated(secret: str, host: str) -> None:
    with pytest.raises(UnknownLLM) as caught:
        read_reference(f"m@http://{secret}@{host}/v1")
    assert secret not in str(caught.value)
