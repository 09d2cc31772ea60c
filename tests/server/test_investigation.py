"""Edits, second prompts, traces and streams over HTTP: their answers are those of the Python API."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from clew.debug import Model, Run
from clew.debug.records import GeneratedToken
from clew.errors import NotFinite
from clew.server.app import create_app
from clew.server.schemas import debugger as schemas

from .conftest import QUESTION, served
from .test_debugger import ask, strip

SWAPPED = "When Mary and John went to the store, Mary gave a drink to"
PAIRED = {**QUESTION, "second": {"prompt": SWAPPED}}


@pytest.fixture
def run(model: Model) -> Run:
    return model.debug(QUESTION["prompt"], " Mary", " John")


@pytest.fixture
def second(model: Model) -> Run:
    return model.debug(SWAPPED, " Mary", " John")


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream, their data read."""
    found = []
    for block in text.split("\n\n"):
        if block:
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def stream(client: TestClient, path: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    return events(response.text)


def test_edits_and_traces_are_part_of_the_question(client: TestClient, run: Run) -> None:
    body = {**QUESTION, "edits": ["zero:attn.1.2@5", "scale:neuron.0.3=2"], "trace": ["attn.2.1@13<-7:q", "attn.0.0@9"]}
    there = run.edit("zero:attn.1.2@5", "scale:neuron.0.3=2").trace("attn.2.1@13<-7:q").trace("attn.0.0@9", "v")
    found = ask(client, "/api/debug", schemas.Answer, body)
    assert found["trace"] == there.steps.to_dict()
    assert found["edits"] == there.edits
    assert found["accounting"] == there.accounting().to_dict()
    assert found["nodes"] == there.nodes().to_dict()


def test_a_comparison_with_and_without_edits(client: TestClient, run: Run) -> None:
    body = {**QUESTION, "edits": ["mean:attn.1.*@6"], "against": "edited", "top": 5}
    found = ask(client, "/api/compare", schemas.ComparedAnswers, body)
    edited = run.edit("mean:attn.1.*@6")
    assert found["comparison"] == json.loads(json.dumps(edited.compare(top=5).to_dict()))
    assert found["left"]["direction"]["value"] == run.value
    assert found["right"]["direction"]["value"] == edited.value


def test_a_comparison_of_two_prompts(client: TestClient, run: Run, second: Run) -> None:
    found = ask(client, "/api/compare", schemas.ComparedAnswers, {**PAIRED, "against": "second", "top": 5})
    assert found["comparison"] == json.loads(json.dumps(run.compare(second, top=5).to_dict()))
    assert strip(found["right"])["tokens"] == second.tokens.to_dict()
    unpaired = client.post("/api/compare", json={**QUESTION, "against": "second"})
    assert (unpaired.status_code, unpaired.json()["error"]["code"]) == (422, "bad_request")


def test_a_trace_is_compared_on_both_prompts(client: TestClient, run: Run, second: Run) -> None:
    body = {**PAIRED, "against": "second", "trace": ["attn.2.1@13<-7:q"], "top": 5}
    found = ask(client, "/api/compare", schemas.ComparedAnswers, body)
    other = second.trace("attn.2.1@13<-7:q")
    assert found["right"]["trace"] == other.steps.to_dict()
    assert found["comparison"]["right_value"] == other.value
    lone = client.post("/api/compare", json={**body, "alignment": [None] * 14})
    assert (lone.status_code, lone.json()["error"]["code"]) == (422, "bad_node")


def test_without_a_target_both_prompts_explain_the_same(client: TestClient, model: Model) -> None:
    body = {"prompt": QUESTION["prompt"], "second": {"prompt": "the park and the book"}, "against": "second"}
    found = ask(client, "/api/compare", schemas.ComparedAnswers, body)
    assert found["left"]["direction"]["targets"] == found["right"]["direction"]["targets"]


def test_a_top_prediction_that_is_part_of_a_character_is_explained_on_both_prompts(
    client: TestClient, model: Model
) -> None:
    prompts = [f"{start} Mary" for start in "abcdefghijklmnop"]
    broken = [prompt for prompt in prompts if "\ufffd" in model.debug(prompt).direction.targets[0].text]
    body = {"prompt": broken[0], "second": {"prompt": "the park"}, "against": "second"}
    found = ask(client, "/api/compare", schemas.ComparedAnswers, body)
    assert found["left"]["direction"]["targets"] == found["right"]["direction"]["targets"]


def test_alignment_and_pattern(client: TestClient, run: Run, second: Run) -> None:
    found = ask(client, "/api/align", schemas.Alignment, {"prompt": QUESTION["prompt"], "second": SWAPPED})
    assert found["alignment"] == run.alignment(second)
    assert found["right"] == second.tokens.to_dict()
    pattern = ask(client, "/api/pattern", schemas.Pattern, {**QUESTION, "head": "attn.1.2"})
    assert pattern == run.pattern("attn.1.2").to_dict()


def test_verification_is_streamed(client: TestClient, run: Run) -> None:
    found = stream(client, "/api/verify", {**QUESTION, "top": 50})
    names = [name for name, _ in found]
    assert names[0] == "start" and names[-1] == "done" and set(names[1:-1]) == {"rows"}
    assert found[0][1] == {"total": 50}
    rows = [row for name, data in found for row in data.get("nodes", [])]
    wanted = {row.id: row.verified_effect for row in run.verify(top=50)}
    assert {row["id"]: row["verified_effect"] for row in rows} == pytest.approx(wanted, abs=1e-5)
    for _, data in found[1:-1]:
        schemas.VerifiedRows.model_validate(data, strict=True)
    agreement = found[-1][1]["agreement"]
    assert agreement == pytest.approx(run.agreement().to_dict(), abs=1e-4)
    # What was measured is there from now on.
    table = ask(client, "/api/nodes", schemas.NodeTable, QUESTION)["nodes"]
    assert sum(row["verified_effect"] is not None for row in table) > 10


def test_resampling_reads_the_second_prompt(client: TestClient, run: Run, second: Run) -> None:
    body = {**PAIRED, "nodes": ["attn.1.2@9", "embed@9"], "ablation": "resample"}
    rows = [row for _, data in stream(client, "/api/verify", body) for row in data.get("nodes", [])]
    wanted = run.verify(nodes=["attn.1.2@9", "embed@9"], ablation="resample", other=second)
    assert {row["id"]: row["verified_effect"] for row in rows} == pytest.approx(
        {row.id: row.verified_effect for row in wanted}, abs=1e-5
    )


def test_a_sweep_is_streamed(client: TestClient, run: Run, second: Run) -> None:
    found = stream(client, "/api/sweep", {**PAIRED, "kinds": ["resid", "mlp"]})
    assert found[0][0] == "start" and found[-1][0] == "done"
    assert found[0][1]["total"] == 2 * 3 * 14
    assert (found[0][1]["first"], found[0][1]["second"]) == (run.value, second.value)
    cells = [cell for _, data in found for cell in data.get("cells", [])]
    wanted = {cell.place: cell.restored for cell in run.sweep(second, kinds=["resid", "mlp"])}
    assert {cell["place"]: cell["restored"] for cell in cells} == pytest.approx(wanted, abs=1e-4)


def test_a_continuation_is_streamed(client: TestClient, run: Run) -> None:
    found = stream(client, "/api/generate", {**QUESTION, "n": 5, "edits": ["scale:attn.1.2=3"]})
    tokens = [data for name, data in found if name == "token"]
    assert tokens == run.scale("attn.1.2", 3).generate(5).to_dict()
    assert found[-1] == ("done", {"text": "".join(token["text"] for token in tokens)})


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/api/debug", {"edits": ["erase:attn.1.2"]}, "bad_edit"),
        ("/api/debug", {"edits": ["zero:attn.9.2"]}, "bad_edit"),
        ("/api/debug", {"edits": ["patch:attn.1.2"]}, "bad_edit"),
        ("/api/debug", {"trace": ["embed@3"]}, "bad_node"),
        ("/api/debug", {"trace": ["attn.1.2@3<-1:gate"]}, "bad_node"),
        ("/api/verify", {"nodes": ["attn.1.2@14"]}, "bad_node"),
        ("/api/verify", {"nodes": ["bias.final_norm"]}, "bad_node"),
        ("/api/verify", {"top": 5, "nodes": ["attn.1.2@3"]}, "bad_request"),
        ("/api/verify", {"ablation": "resample"}, "bad_request"),
        ("/api/sweep", {}, "bad_request"),
        ("/api/sweep", {"second": {"prompt": ""}}, "empty_prompt"),
        ("/api/sweep", {"second": {"prompt": SWAPPED}, "alignment": [0, 1]}, "bad_request"),
        ("/api/compare", {"against": "second", "second": {"prompt": SWAPPED, "position": 99}}, "position_out_of_range"),
        ("/api/generate", {"n": 0}, "bad_request"),
        ("/api/pattern", {"head": "attn.1.2@3"}, "bad_node"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_first_event(
    client: TestClient, path: str, body: dict[str, Any], code: str
) -> None:
    response = client.post(path, json={**QUESTION, **body})
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == code
    assert error["hint"]


@pytest.mark.parametrize(
    ("fault", "code"), [(NotFinite("Not a number.", "Look."), "not_finite"), (KeyError("x"), "internal")]
)
def test_what_fails_on_the_way_is_an_event(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    def failing(self: Run, *_: object) -> Any:
        yield GeneratedToken(14, 3, "a", 0.5)
        yield GeneratedToken(15, 4, "b", 0.5)
        raise fault

    monkeypatch.setattr(Run, "generating", failing)
    found = stream(client, "/api/generate", QUESTION)
    assert [name for name, _ in found] == ["token", "token", "error"]
    assert found[-1][1]["error"]["code"] == code


def test_leaving_mid_verification_frees_the_queue_within_a_second(model: Model) -> None:
    app = create_app(model, max_queue=0)

    async def scenario(url: str) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
            async with client.stream("POST", "/api/verify", json={**QUESTION, "top": 2000}) as response:
                async for line in response.aiter_lines():
                    if line == "event: rows":
                        break
            left = time.monotonic()
            while (await client.get("/api/status")).json()["queue"]["running"]:
                assert time.monotonic() - left < 1
                await asyncio.sleep(0.01)
            assert (await client.post("/api/lens", json=QUESTION)).status_code == 200
            assert time.monotonic() - left < 1.5

    with served(app) as url:
        asyncio.run(scenario(url))


def test_two_users_at_once_get_their_own_answers(model: Model) -> None:
    """A long verification, and beside it edited and unedited questions: each is answered as if it were alone."""
    plain = model.debug(QUESTION["prompt"], " Mary", " John")
    edited = plain.ablate("attn.1.2")
    wanted = {row.id: row.verified_effect for row in plain.verify(top=600)}
    other = {row.id: row.verified_effect for row in edited.verify(top=300)}
    app = create_app(model)

    async def scenario(url: str) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
            asked = time.monotonic()
            first = asyncio.create_task(client.post("/api/verify", json={**QUESTION, "top": 600}))
            body = {**QUESTION, "edits": ["zero:attn.1.2"]}
            second = asyncio.create_task(client.post("/api/verify", json={**body, "top": 300}))
            quick = await client.post("/api/debug", json=body)
            answered = time.monotonic() - asked
            assert quick.json()["accounting"]["value"] == pytest.approx(edited.value, abs=1e-5)
            for task, truth in ((first, wanted), (second, other)):
                rows = [row for _, data in events((await task).text) for row in data.get("nodes", [])]
                assert {row["id"]: row["verified_effect"] for row in rows} == pytest.approx(truth, abs=1e-4)
            # The short question did not wait for the long ones.
            assert answered < time.monotonic() - asked

    with served(app) as url:
        asyncio.run(scenario(url))
