"""The debugger's routes: their answers are those of the Python API."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from clew.debug import Model
from clew.server.answers import Answers
from clew.server.attached import Attached
from clew.server.schemas import debugger as schemas
from clew.server.schemas.questions import TableQuestion

from .conftest import QUESTION


def ask(client: TestClient, path: str, schema: type[BaseModel], body: dict[str, Any]) -> Any:
    """The answer to a question, checked against its schema."""
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    schema.model_validate_json(response.content, strict=True)
    return response.json()


def strip(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "timing"}


def test_debug_is_the_document_of_the_command_with_the_sums(client: TestClient, model: Model) -> None:
    found = ask(client, "/api/debug", schemas.Answer, QUESTION)
    run = model.debug(QUESTION["prompt"], " Mary", " John")
    wanted = {
        **run.to_dict(),
        "by_token": run.by_token().to_dict(),
        "by_layer": run.by_layer().to_dict(),
        "by_layer_position": run.by_layer_position().to_dict(),
        "autoencoders": [],
        "edits": [],
        "trace": [],
    }
    assert strip(found) == strip(wanted)
    assert found["direction"]["value"] == pytest.approx(
        sum(step["direct_effect"] for step in found["by_layer"]), abs=1e-4
    )


def test_filters_reach_the_table(client: TestClient) -> None:
    body = {**QUESTION, "top": 5, "kinds": ["attn"], "layers": [1, 1], "positions": [13], "sources": [0, 3]}
    for path, schema in (("/api/debug", schemas.Answer), ("/api/nodes", schemas.NodeTable)):
        nodes = ask(client, path, schema, body)["nodes"]
        assert nodes
        assert {(n["kind"], n["layer"], n["position"]) for n in nodes} == {("attn", 1, 13)}
        assert {n["source"] for n in nodes} == {0, 3}


def test_a_kept_answer_takes_other_filters(client: TestClient) -> None:
    first = ask(client, "/api/debug", schemas.Answer, {**QUESTION, "top": 2})
    second = ask(client, "/api/debug", schemas.Answer, {**QUESTION, "top": 1})
    assert len(second["nodes"]) < len(first["nodes"])
    assert second["timing"] == first["timing"]
    strong = ask(client, "/api/nodes", schemas.NodeTable, {**QUESTION, "threshold": 0.2})["nodes"]
    assert strong
    assert all(max(abs(n["direct_effect"]), abs(n["estimated_effect"])) >= 0.2 for n in strong)


def test_without_target_the_top_prediction_is_explained(client: TestClient) -> None:
    answer = ask(client, "/api/debug", schemas.Answer, {"prompt": "When Mary and"})
    assert answer["direction"]["targets"][0]["id"] == answer["candidates"][0]["id"]
    assert answer["direction"]["distractors"] == []


def test_position_and_start_token(client: TestClient) -> None:
    answer = ask(client, "/api/debug", schemas.Answer, {**QUESTION, "position": 3, "bos": True})
    assert answer["tokens"][0]["text"] == "<|start|>"
    assert answer["direction"]["position"] == 3
    assert len(answer["tokens"]) == 15


def test_node_and_lens(client: TestClient, model: Model) -> None:
    run = model.debug(QUESTION["prompt"], " Mary", " John")
    for node in ("attn.1.2@13", "attn.1.2@13<-3", "neuron.2.7@13", "embed@0"):
        assert ask(client, "/api/node", schemas.NodeDetail, {**QUESTION, "node": node}) == run.node(node).to_dict()
    assert ask(client, "/api/lens", schemas.Lens, QUESTION) == run.lens().to_dict()


def test_tokens(client: TestClient) -> None:
    found = ask(client, "/api/tokens", schemas.Tokens, {"text": "When Mary"})["tokens"]
    assert [token["text"] for token in found] == ["When", " Mary"]
    assert ask(client, "/api/tokens", schemas.Tokens, {"text": ""}) == {"tokens": []}
    with_start = ask(client, "/api/tokens", schemas.Tokens, {"text": "", "bos": True})["tokens"]
    assert [token["text"] for token in with_start] == ["<|start|>"]


def test_token(client: TestClient) -> None:
    assert ask(client, "/api/token", schemas.TokenCheck, {"text": " Mary"})["ok"]
    refused = ask(client, "/api/token", schemas.TokenCheck, {"text": "Mary"})
    assert not refused["ok"]
    assert refused["fixes"] == [" Mary"]


def test_only_the_last_few_answers_are_kept(model: Model) -> None:
    answers = Answers(model, Attached(model), kept=2)
    asked = [TableQuestion(prompt=text) for text in ("When", "When Mary", "When Mary and")]
    runs = [answers._run(question, {}, lambda: False) for question in asked]
    assert answers._run(asked[2], {}, lambda: False) is runs[2]
    assert answers._run(asked[1], {}, lambda: False) is runs[1]
    assert answers._run(asked[0], {}, lambda: False) is not runs[0]
    assert answers._run(asked[1], {}, lambda: False) is runs[1]


def test_large_answers_are_compressed(client: TestClient) -> None:
    assert client.post("/api/debug", json=QUESTION).headers["content-encoding"] == "gzip"
    assert (
        "content-encoding"
        not in client.post("/api/debug", json=QUESTION, headers={"accept-encoding": "identity"}).headers
    )
    assert "content-encoding" not in client.post("/api/token", json={"text": " Mary"}).headers
