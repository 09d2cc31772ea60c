"""Bad input gets one clear sentence, the right status and code, whatever it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from clew import settings
from clew.debug import Model
from clew.errors import NotFinite
from clew.server.answers import encode
from clew.server.errors import explain

from .conftest import QUESTION

JSON = {"content-type": "application/json"}
LONG = "When Mary and John went to the store, " * 20


def refused(client: TestClient, path: str, body: object, headers: dict[str, str] = JSON) -> tuple[int, str, str]:
    """Status, code and message of a refusal; `body` is sent as JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(path, content=content, headers=headers)
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["message"].endswith("."), error
    assert error["hint"], error
    return response.status_code, error["code"], error["message"]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"prompt": ""}, "empty_prompt", "empty"),
        ({"prompt": LONG}, "prompt_too_long", "at most 64"),
        ({"prompt": "x" * (settings.MAX_PROMPT_CHARS + 1)}, "prompt_too_long", "200,000"),
        ({"prompt": "a\ud800"}, "bad_text", "surrogate"),
        ({"targets": ["\udfff"]}, "bad_text", "surrogate"),
        ({"\ud800": 1}, "bad_text", "surrogate"),
        ({"targets": [" Mary and"]}, "not_one_token", "' Mary' + ' and'"),
        ({"targets": [""]}, "not_one_token", "not one token"),
        ({"distractors": ["x" * 10_000]}, "not_one_token", "10,000"),
        ({"targets": [" Mary"] * 65}, "bad_direction", "65"),
        ({"targets": [" John"]}, "bad_direction", "same"),
        ({"position": 14}, "position_out_of_range", "14"),
        ({"position": -1}, "position_out_of_range", "-1"),
        ({"position": 10**40}, "position_out_of_range", "prompt of 14 tokens"),
        ({"position": "1"}, "bad_request", "position must be a valid integer"),
        ({"position": 1.5}, "bad_request", "position must be a valid integer"),
        ({"position": True}, "bad_request", "position"),
        ({"bos": 1}, "bad_request", "bos must be a valid boolean"),
        ({"prompt": None}, "bad_request", "prompt must be a valid string"),
        ({"targets": " Mary"}, "bad_request", "targets must be a valid list"),
        ({"targets": [1]}, "bad_request", "targets[0] must be a valid string"),
        ({"top": -1}, "bad_request", "top must be greater than or equal to 0"),
        ({"top": 10**9}, "bad_request", "top must be less than or equal to"),
        ({"threshold": -0.1}, "bad_request", "threshold must be greater"),
        ({"threshold": float("nan")}, "bad_request", "threshold must be a finite number"),
        ({"threshold": float("inf")}, "bad_request", "threshold must be a finite number"),
        ({"kinds": ["head"]}, "bad_request", "kinds[0] must be 'embed', 'attn'"),
        ({"layers": [-1]}, "bad_request", "layers[0] must be greater"),
        ({"positions": [2**70]}, "bad_request", "positions[0] must be less"),
        ({"sources": list(range(5000))}, "bad_request", "sources"),
        ({"targtes": []}, "bad_request", "targtes is not a field"),
        ({"é\n" * 50: 1}, "bad_request", "..."),
    ],
    ids=str,
)
def test_a_bad_question_is_explained(client: TestClient, change: dict[str, object], code: str, says: str) -> None:
    status, found, message = refused(client, "/api/debug", {**QUESTION, **change})
    assert (status, found) == (422, code)
    assert says in message


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_json"),
        (b"\xff\xfe\x00", 400, "bad_json"),
        (b"[" * 100_000, 400, "bad_json"),
        (b'{"prompt": "a", "position": ' + b"9" * 5000 + b"}", 400, "bad_json"),
        (b"", 422, "bad_request"),
        (b"null", 422, "bad_request"),
        (b"[]", 422, "bad_request"),
        (b'"prompt"', 422, "bad_request"),
        (b"{}", 422, "bad_request"),
        (b" " * (settings.MAX_BODY_BYTES + 1), 413, "body_too_large"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_bad_body_is_explained(client: TestClient, body: bytes, status: int, code: str) -> None:
    assert refused(client, "/api/debug", body)[:2] == (status, code)


def test_a_body_that_hides_its_length_is_counted(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    response = client.post("/api/debug", content=endless(), headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_a_body_must_be_declared_as_json(client: TestClient) -> None:
    body = json.dumps(QUESTION).encode()
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        status, code, message = refused(client, "/api/debug", body, headers)
        assert (status, code) == (422, "bad_request")
        assert "Content-Type: application/json" in message


@pytest.mark.parametrize("text", ["a\x00b\x07", "\u202e☃\U0001f9f6", "\n \t", "<script>"])
def test_odd_characters_are_text_like_any_other(client: TestClient, text: str) -> None:
    response = client.post("/api/debug", json={"prompt": text})
    assert response.status_code == 200
    assert client.post("/api/tokens", json={"text": text}).status_code == 200
    assert client.post("/api/token", json={"text": text}).status_code == 200


@pytest.mark.parametrize(
    "node",
    ["", "x", "attn.9.0@0", "attn.0.9@0", "attn.0.0", "attn.0.0@0<-1", "attn.0.0@99", "neuron.0.40@0", "direct",
     "latent.mlp_out.1.1@1", "error.mlp_out.1@1", "bias.attn.0", "bias.attn.9", "embed@14", "embed@" + "9" * 50,
     "attn.0.0@1\n", "attn.٣.0@0", "\x00"],
)  # fmt: skip
def test_a_node_that_is_none_is_explained(client: TestClient, node: str) -> None:
    assert refused(client, "/api/node", {**QUESTION, "node": node})[:2] == (422, "bad_node")


def test_a_threshold_that_lets_too_much_through_is_explained(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clew.debug.ranking.MAX_NODES", 10)
    assert refused(client, "/api/nodes", {**QUESTION, "threshold": 0})[:2] == (422, "too_many_nodes")


def test_filters_that_nothing_passes_give_an_empty_table(client: TestClient) -> None:
    for change in ({"layers": [99]}, {"positions": [63]}, {"sources": [63]}, {"kinds": []}, {"kinds": ["latent"]}):
        response = client.post("/api/nodes", json={**QUESTION, **change})
        assert (response.status_code, response.json()) == (200, {"nodes": []})


def test_the_whole_vocabulary_can_be_listed(client: TestClient) -> None:
    assert client.post("/api/nodes", json={**QUESTION, "top": 2500}).status_code == 200


def test_unknown_paths_and_methods(client: TestClient) -> None:
    for path in ("/api", "/api/", "/api/nope", "/api/status/", "/api/" + "x" * 5000, "/api/%ED%A0%80"):
        response = client.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    response = client.get("/api/debug")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_fault_is_logged_and_tells_nothing(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Model) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(Model, "info", broken)
    with caplog.at_level(logging.ERROR, "clew.server"):
        response = client.get("/api/status")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert "the secret is 42" in caplog.text
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_number_that_is_not_finite_is_never_sent() -> None:
    for number in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(NotFinite):
            encode({"value": [number]})


def test_several_wrong_fields_are_counted() -> None:
    problems = [{"type": "missing", "loc": ("body", name), "msg": "Field required"} for name in ("prompt", "node", "x")]
    error = explain(problems)
    assert error.message == "prompt is missing."
    assert error.hint.startswith("2 more fields are wrong too.")
