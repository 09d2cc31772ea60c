"""Explanations over HTTP: what is kept, what finding and scoring words takes, and what may be asked of whom."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from clew.atlas import Atlas, Components, collect
from clew.debug import Model
from clew.explain.published import neuronpedia, openai
from clew.explain.records import Baseline, Cost, Explanation, Failure, Problem, Score, Strip, Subject
from clew.explain.store.explanations import Explanations
from clew.explain.store.overview import overview
from clew.explain.subjects import subject_of
from clew.records import Record
from clew.server.app import create_app

from ..explain.conftest import scripted as scripted
from ..explain.llm.server import Asked, Fault, Handler, Powers, Scripted, says, status
from .conftest import QUESTION, served

NEURON, HEAD = "neuron.1.7", "attn.2.3"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A database of each test's own."""
    monkeypatch.setenv("CLEW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def kept(home: Path) -> Iterator[Explanations]:
    explanations = Explanations()
    yield explanations
    explanations.close()


@pytest.fixture(scope="module")
def atlas(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """With texts enough for every split."""
    folder = tmp_path_factory.mktemp("varied") / "atlas"
    return collect(model, corpus, out=folder, tokens=6000, context=64, window=32)


@pytest.fixture
def app(model: Model, atlas: Atlas) -> FastAPI:
    return create_app(model, atlas=atlas.folder)


@pytest.fixture(scope="module")
def components(model: Model, atlas: Atlas) -> Components:
    return Components(model, atlas)


@pytest.fixture(scope="module")
def subject(components: Components) -> Subject:
    return subject_of(components, components.named(NEURON))


def explanation(subject: Subject, component: str = NEURON, text: str = "names of people", **other: Any) -> Explanation:
    said: dict[str, Any] = {
        "llm": "tiny@http://localhost:1/v1", "variant": "examples", "prompt": "examples-1", "atlas": None, "seed": 0,
        "chosen": True, "cost": Cost(2, 0, 100, 20),
    }  # fmt: skip
    return Explanation(subject, component, text, **(said | other))


def score(value: float | None, **other: Any) -> Score:
    strip = Strip("top", 3, 5, [" Mary", " and"], [10.0, 0.5], [9.0, 1.0], None)
    failed = Strip("random", 4, 0, [" the"], [0.0], None, Failure("malformed", "No JSON."))
    said: dict[str, Any] = {
        "scorer": "simulation", "split": "test", "llm": "tiny@http://localhost:1/v1", "method": "json",
        "prompt": "json-1", "low": -0.5, "high": 0.75, "tokens": 2, "texts": {"top": 1},
        "failures": [failed.failure], "measures": {"r_squared": 0.25, "top": None},
        "baselines": [Baseline("table", 0.5)], "cost": Cost(1, 0, 10, 5), "seed": 0, "strips": [strip, failed],
    }  # fmt: skip
    return Score(value=value, **(said | other))


def plain(record: Record) -> Any:
    """A record as JSON gives it back."""
    return json.loads(json.dumps(record.to_dict()))


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_all_that_is_kept_of_a_component(client: TestClient, kept: Explanations, subject: Subject) -> None:
    first = kept.add(explanation(subject, scores=[score(0.5)]))
    second = kept.add(explanation(subject, text="places", chosen=False, parent=first.id))
    kept.add(explanation(subject, component="neuron.1.8"))
    problem = Problem(NEURON, "explain", Failure("timeout", "No answer in 120 s."))
    kept.problem(subject, problem, "tiny@http://localhost:1/v1")
    found = client.get(f"/api/components/{NEURON}/explanations").json()
    assert found == {"component": NEURON, "rows": [plain(second), plain(first)], "problems": [plain(problem)]}
    assert found["rows"][1]["scores"][0]["strips"] == []
    assert client.get(f"/api/explanations/{first.id}").json() == plain(first)
    number = first.scores[0].id
    assert client.get(f"/api/scores/{number}/strips").json() == {"rows": [plain(one) for one in score(0.5).strips]}


def test_what_is_not_there(client: TestClient) -> None:
    assert client.get(f"/api/components/{NEURON}/explanations").json()["rows"] == []
    assert code(client.get("/api/components/neuron.1.99999/explanations")) == (422, "bad_node")
    for path in ("explanations/1", "scores/1/strips"):
        assert code(client.get(f"/api/{path}")) == (404, "unknown_explanation")
    assert code(client.delete("/api/explanations/1")) == (404, "unknown_explanation")
    assert code(client.get(f"/api/explanations/{2**60}")) == (422, "bad_request")


def test_the_best_of_many_components_at_once(client: TestClient, kept: Explanations, subject: Subject) -> None:
    kept.add(explanation(subject, text="worse", scores=[score(0.1)]))
    best = kept.add(explanation(subject, text="better", scores=[score(0.4)]))
    kept.add(explanation(subject, text="not chosen", chosen=False, scores=[score(0.9)]))
    head = kept.add(explanation(subject, component=HEAD))
    asked = [f"{HEAD}@4<-2", "embed@3", "neuron.1.6@2", f"{NEURON}@5", NEURON, "bias.attn.1", "direct"]
    found = client.post("/api/explanations/best", json={"components": asked}).json()
    assert found == {"rows": [plain(head), plain(best)]}
    assert client.post("/api/explanations/best", json={"components": []}).json() == {"rows": []}
    assert code(client.post("/api/explanations/best", json={"components": ["neuron"]})) == (422, "bad_node")


def test_explanations_are_found_by_their_words(client: TestClient, kept: Explanations, subject: Subject) -> None:
    names = kept.add(explanation(subject, text="names of people", scores=[score(0.2)]))
    places = kept.add(explanation(subject, component=HEAD, text="names of places", llm="lookup", scores=[score(0.6)]))
    kept.add(explanation(Subject("another", "f"), text="names of another model's"))

    def found(**params: Any) -> Any:
        return client.get("/api/explanations/search", params=params).json()

    assert found(q="name", sort="score") == {"total": 2, "rows": [plain(places), plain(names)]}
    assert found(q="name", sort="score", limit=1, offset=1) == {"total": 2, "rows": [plain(names)]}
    assert found(q="people")["rows"] == [plain(names)]
    assert found(kinds=["attn"])["rows"] == found(layers=[2])["rows"] == found(llm="lookup")["rows"] == [plain(places)]
    assert found(min_score=0.5)["total"] == 1
    assert found(q='"of people" AND (')["total"] == 0
    assert code(client.get("/api/explanations/search", params={"sort": "id"})) == (422, "bad_request")


def test_explanations_are_found_by_what_they_mean(
    client: TestClient, kept: Explanations, subject: Subject, scripted: Scripted
) -> None:
    people = kept.add(explanation(subject, text="names of people"))
    places = kept.add(explanation(subject, component=HEAD, text="places"))

    def vectors(handler: Handler, request: Asked) -> None:
        """A text's vector has how often each of two letters is in it."""
        texts = request.fields["input"]
        rows = [{"index": at, "embedding": [text.count("p"), text.count("c")]} for at, text in enumerate(texts)]
        handler.send(200, json.dumps({"object": "list", "data": rows, "model": "m"}).encode())

    scripted.strikes_probes, scripted.always = True, vectors
    asked = {"embed": scripted.reference}
    near = client.get("/api/explanations/search", params={**asked, "q": "cp"}).json()
    assert near == {"total": 2, "rows": [plain(places), plain(people)]}
    near = client.get("/api/explanations/search", params={**asked, "q": "p", "limit": 1}).json()
    assert near == {"total": 2, "rows": [plain(people)]}
    # The explanations were sent once.
    assert [len(request.fields["input"]) for request in scripted.log] == [2, 1, 1]
    for refused in ({"q": "p", "sort": "score"}, {"q": " "}):
        answer = client.get("/api/explanations/search", params={**asked, **refused})
        assert code(answer) == (422, "bad_request")


def test_the_model_as_a_whole(client: TestClient, kept: Explanations, subject: Subject) -> None:
    assert client.get("/api/explanations/sources").json() == {"rows": []}
    assert code(client.get("/api/explanations/overview")) == (404, "unknown_explanation")
    for number, value in enumerate((0.5, 0.25, None)):
        kept.add(explanation(subject, component=f"neuron.1.{number}", scores=[score(value)]))
    kept.add(explanation(subject, component=HEAD, variant="tokens", llm="lookup", scores=[score(0.9)]))
    kept.add(explanation(Subject("another", None), scores=[score(-0.5)]))
    (large, *others) = client.get("/api/explanations/sources").json()["rows"]
    assert (large["model"], large["llm"], large["components"]) == (subject.model, "tiny@http://localhost:1/v1", 3)
    assert {(row["model"], row["llm"]) for row in others} == {
        (subject.model, "lookup"), ("another", "tiny@http://localhost:1/v1")
    }  # fmt: skip
    found = client.get("/api/explanations/overview").json()
    assert found == plain(overview(kept, subject.model, "tiny@http://localhost:1/v1"))
    assert (found["explained"], found["scored"], found["failed"], found["mean"]) == (3, 2, 1, 0.375)
    simulated = {"llm": "lookup", "simulator": "tiny@http://localhost:1/v1"}
    assert client.get("/api/explanations/overview", params=simulated).json()["mean"] == 0.9
    assert client.get("/api/explanations/overview", params={"model": "another"}).json()["mean"] == -0.5
    asked = {"scorer": "detection"}
    assert code(client.get("/api/explanations/overview", params=asked)) == (404, "unknown_explanation")


def test_explanations_are_saved_as_a_file(
    client: TestClient, kept: Explanations, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    neuron = kept.add(explanation(subject, text="„names“ of people", scores=[score(0.5)]))
    kept.add(explanation(subject, text="worse", scores=[score(0.1)]))
    head = kept.add(explanation(subject, component=HEAD, text="the token before"))
    kept.add(explanation(Subject("another", "f")))

    def saved(**params: Any) -> tuple[str, bytes]:
        answer = client.get("/api/explanations/export", params=params)
        assert answer.status_code == 200
        return re.findall('attachment; filename="(.+)"', answer.headers["content-disposition"])[0], answer.content

    name, content = saved()
    assert name == "explanations.json"
    assert json.loads(content) == {"explanations": [plain(neuron), plain(head)]}
    assert json.loads(saved(components=["attn.*.*"])[1])["explanations"] == [plain(head)]
    assert json.loads(saved(components=["neuron.0.*"])[1])["explanations"] == []
    for format, exported in (("openai", 1), ("neuronpedia", 2)):
        name, content = saved(format=format)
        assert name == f"explanations-{format}.zip"
        folder = tmp_path / format
        ZipFile(BytesIO(content)).extractall(folder)
        again = Explanations(f"sqlite:///{folder / 'again.db'}")
        module = openai if format == "openai" else neuronpedia
        found = module.import_explanations(folder, again, model=subject.model, fingerprint=subject.fingerprint)
        assert (found.explanations, found.damaged) == (exported, ())
        (same,) = again.of(subject, NEURON)
        assert (same.text, same.scores[0].value) == (neuron.text, 0.5)
        again.close()
        assert ZipFile(BytesIO(saved(format=format, components=["neuron.0.1"])[1])).namelist() == []
    refused = client.get("/api/explanations/export", params={"components": ["neuron.1.99999"]})
    assert code(refused) == (422, "bad_node")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_explanation_is_deleted_with_its_scores(client: TestClient, kept: Explanations, subject: Subject) -> None:
    added = kept.add(explanation(subject, scores=[score(0.5)]))
    assert client.delete(f"/api/explanations/{added.id}").status_code == 204
    assert code(client.get(f"/api/scores/{added.scores[0].id}/strips")) == (404, "unknown_explanation")


def test_language_models_are_listed_without_their_keys(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("CLEW_LLM_KEY", raising=False)
    given = ["gpt-5-mini", "qwen3@http://localhost:8000", "qwen3@http://localhost:8000/v1"]
    with TestClient(create_app(model, llms=given), base_url="http://127.0.0.1:7410") as client:
        answer = client.get("/api/llms")
    assert "0123456789" not in answer.text
    found = answer.json()
    assert found["others"] is True
    assert [(row["reference"], row["kind"], row["key"]) for row in found["rows"]] == [
        ("lookup", "lookup", None),
        (f"local:{model.name}", "local", None),
        ("gpt-5-mini@https://api.openai.com/v1", "endpoint", True),
        ("qwen3@http://localhost:8000/v1", "endpoint", False),
    ]
    ways = ["all_at_once", "token_by_token", "json"]
    assert [row["methods"] for row in found["rows"]] == [["lookup"], ways, None, None]


def test_what_an_endpoint_can_do_is_told_once_it_was_asked(model: Model, atlas: Atlas, scripted: Scripted) -> None:
    scripted.powers = Powers(completions=False, logprobs=5)
    app = create_app(model, atlas=atlas.folder, llms=[scripted.reference])
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        assert client.get("/api/llms").json()["rows"][-1]["methods"] is None
        assert scripted.log == []
        client.post("/api/explanations/plan", json={"components": [NEURON], "llm": scripted.reference})
        sent = len(scripted.log)
        assert client.get("/api/llms").json()["rows"][-1]["methods"] == ["token_by_token", "json"]
        assert len(scripted.log) == sent > 0


def test_a_server_that_others_reach_asks_only_those_it_was_given(model: Model, atlas: Atlas) -> None:
    app = create_app(model, token="0123456789", atlas=atlas.folder, llms=["qwen3@http://localhost:1/v1"])
    with TestClient(app, base_url="http://clew.example", headers={"Authorization": "Bearer 0123456789"}) as client:
        assert client.get("/api/llms").json()["others"] is False
        asked = {"components": [NEURON], "llm": "qwen3@http://localhost:2/v1"}
        for path in ("plan", "explain"):
            assert code(client.post(f"/api/explanations/{path}", json=asked)) == (403, "forbidden")
        words = {"component": NEURON, "text": "names", "simulator": "local:./elsewhere"}
        assert code(client.post("/api/explanations/score", json=words)) == (403, "forbidden")
        meant = {"q": "names", "embed": "vectors@http://localhost:2/v1"}
        assert code(client.get("/api/explanations/search", params=meant)) == (403, "forbidden")


def events(response: Any) -> list[tuple[str, Any]]:
    """Names and data of what was streamed."""
    assert response.headers["content-type"].startswith("text/event-stream")
    parts = [part.split("\n") for part in response.text.split("\n\n") if part]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


def test_components_are_explained_and_scored_without_any_language_model(
    client: TestClient, kept: Explanations, subject: Subject
) -> None:
    asked = {"components": ["neuron.1.0-3", "neuron.1.2"], "scorers": ["simulation", "detection"]}
    plan = client.post("/api/explanations/plan", json=asked).json()
    assert (plan["components"], plan["done"], plan["requests"], plan["llm"]) == (4, 0, 0, "lookup")
    told = events(client.post("/api/explanations/explain", json=asked))
    assert [name for name, _ in told] == ["progress"] * (len(told) - 1) + ["done"]
    found = [progress["latest"] for _, progress in told if progress["latest"] is not None]
    assert [one["component"] for one in found] == [f"neuron.1.{number}" for number in range(4)]
    assert [score["scorer"] for score in found[0]["scores"]] == ["simulation", "detection"]
    assert {one["name"] for one in found[0]["scores"][0]["baselines"]} == {"table", "mean", "shuffled"}
    assert (told[-1][1]["done"], told[-1][1]["failed"], told[-1][1]["finished"]) == (4, 0, True)
    assert kept.of(subject, "neuron.1.3")[0].id == found[3]["id"]
    # What is done is not done again, unless that is wanted.
    assert client.post("/api/explanations/plan", json=asked).json()["done"] == 4
    assert client.post("/api/explanations/plan", json={**asked, "redo": True}).json()["done"] == 0
    assert events(client.post("/api/explanations/explain", json=asked))[-1][1]["total"] == 0
    overview = client.get("/api/explanations/overview").json()
    assert (overview["source"]["llm"], overview["explained"]) == ("lookup", 4)


def test_words_of_a_person_are_scored_and_kept_beside_what_they_revise(client: TestClient, kept: Explanations) -> None:
    asked = {"components": [NEURON]}
    first = events(client.post("/api/explanations/explain", json=asked))[-2][1]["latest"]
    words = {"component": NEURON, "text": '" Mary" (10), " store" (3)', "author": "Ada", "parent": first["id"]}
    told = events(client.post("/api/explanations/score", json=words))
    assert told[-1][0] == "done"
    found = told[-1][1]["latest"]
    assert (found["text"], found["llm"], found["variant"], found["parent"]) == (
        words["text"], "Ada", "written", first["id"]
    )  # fmt: skip
    (judged,) = found["scores"]
    assert len(judged["strips"]) == sum(judged["texts"].values()) > 0
    assert all(len(strip["simulated"]) == len(strip["tokens"]) for strip in judged["strips"])
    strips = client.get(f"/api/scores/{judged['id']}/strips").json()["rows"]
    for strip, told_now in zip(strips, judged["strips"], strict=True):
        assert strip["real"] == pytest.approx(told_now["real"], rel=1e-5)
        assert strip["tokens"] == told_now["tokens"]
    # Kept words are scored again, by another scorer.
    again = {"component": NEURON, "explanation": found["id"], "scorers": ["fuzzing"]}
    assert events(client.post("/api/explanations/score", json=again))[-1][1]["latest"]["id"] == found["id"]
    assert [score.scorer for score in kept.get(found["id"]).scores] == ["simulation", "fuzzing"]
    history = client.get(f"/api/components/{NEURON}/explanations").json()["rows"]
    assert [row["id"] for row in history] == [found["id"], first["id"]]


def test_what_cannot_be_scored_or_explained_is_told(client: TestClient, kept: Explanations, subject: Subject) -> None:
    def refused(path: str, **asked: Any) -> tuple[int, str]:
        return code(client.post(f"/api/explanations/{path}", json=asked))

    assert refused("score", component=NEURON) == (422, "bad_request")
    assert refused("score", component=NEURON, text="a", explanation=1) == (422, "bad_request")
    for scorer in ("simulation", "detection", "ablation"):
        unread = {"component": NEURON, "text": "names of people", "scorers": [scorer]}
        answer = client.post("/api/explanations/score", json=unread)
        assert code(answer) == (422, "bad_request")
        assert "quote no token" in answer.json()["error"]["message"]
    assert kept.of(subject, NEURON) == []
    assert refused("score", component="neuron.1.*", text='"a"') == (422, "bad_node")
    assert refused("score", component=NEURON, explanation=7) == (404, "unknown_explanation")
    assert refused("score", component=NEURON, text='" a"', parent=7) == (404, "unknown_explanation")
    other = kept.add(explanation(Subject(subject.model, "other weights"), text='" a"'))
    neighbour = kept.add(explanation(subject, component="neuron.1.8", text='" a"'))
    for there in (other, neighbour):
        assert refused("score", component=NEURON, explanation=there.id) == (422, "bad_request")
        assert refused("score", component=NEURON, text='" a"', parent=there.id) == (422, "bad_request")
    imported = kept.add(explanation(Subject(subject.model, None), text='" Mary"'))
    scored = client.post("/api/explanations/score", json={"component": NEURON, "explanation": imported.id})
    assert events(scored)[-1][0] == "done"
    for path in ("plan", "explain"):
        assert refused(path, components=["neuron.99.0"]) == (422, "bad_node")
        assert refused(path, components=[NEURON], llm="qwen3@ftp://localhost") == (404, "unknown_llm")
        assert refused(path, components=[NEURON], revisions=1) == (422, "bad_request")


def test_without_an_atlas_there_is_nothing_to_explain_from(model: Model, tmp_path: Path) -> None:
    app = create_app(model, atlas=tmp_path / "none")
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        asked = {"components": [NEURON]}
        for path in ("plan", "explain"):
            assert code(client.post(f"/api/explanations/{path}", json=asked)) == (404, "no_atlas")
        words = {"component": NEURON, "text": '" a"'}
        assert code(client.post("/api/explanations/score", json=words)) == (404, "no_atlas")
        assert client.get(f"/api/components/{NEURON}/explanations").json()["rows"] == []


def test_the_debugger_answers_while_a_language_model_is_waited_for_and_who_leaves_is_asked_for_no_more(
    app: FastAPI, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over a real socket: an endpoint that takes its time, and a client that hangs up on the events."""
    asked, reached = threading.Event(), threading.Event()

    def slow(handler: Handler, request: Asked) -> None:
        asked.set()
        reached.wait(20)
        handler.answer(request)

    scripted.always = slow
    body = {"components": ["neuron.1.*"], "llm": scripted.reference, "simulator": "lookup"}
    with served(app) as url, httpx2.Client(base_url=url, timeout=10) as client:
        with client.stream("POST", "/api/explanations/explain", json=body) as stream:
            assert stream.status_code == 200
            assert asked.wait(20)
            answer = client.post("/api/debug", json=QUESTION)
            assert answer.status_code == 200
            assert client.get("/api/status").json()["queue"] == {"running": False, "waiting": 0}
        reached.set()
        deadline = time.monotonic() + 20
        while app.state.clew.asking.running or scripted.at_once:
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)
        before = len(scripted.asked)
        time.sleep(0.3)
        assert len(scripted.asked) == before < 40


def test_an_endpoint_that_fails_is_counted_and_what_is_done_stays(
    client: TestClient, kept: Explanations, subject: Subject, scripted: Scripted
) -> None:
    scripted.always = chat('" Mary" and " store"')
    body = {"components": ["neuron.1.0-1"], "llm": scripted.reference, "simulator": "lookup"}
    plan = client.post("/api/explanations/plan", json=body).json()
    assert plan["requests"] == 2 and plan["prompt_tokens"] > 0 and scripted.asked == []
    assert [name for name, _ in events(client.post("/api/explanations/explain", json=body))][-1] == "done"
    sent = len(scripted.asked)
    assert sent == 2
    scripted.always = status(400)
    body["components"] = ["neuron.1.0-3"]
    told = events(client.post("/api/explanations/explain", json=body))
    assert (told[-1][0], told[-1][1]["failed"], told[-1][1]["total"]) == ("done", 2, 2)
    history = client.get("/api/components/neuron.1.2/explanations").json()
    assert history["rows"] == [] and len(history["problems"]) == 1
    spent = {**body, "components": ["neuron.1.4-9"], "budget": 1}
    scripted.always = chat('" Mary" and " gave"')
    name, error = events(client.post("/api/explanations/explain", json=spent))[-1]
    assert (name, error["error"]["code"]) == ("error", "budget_spent")


NODE = {**QUESTION, "node": "neuron.2.5@9"}


def chat(text: str) -> Fault:
    """An endpoint's answer."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    used = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}
    return says({"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice], "usage": used})


def test_a_node_in_its_prompt_is_put_in_words_that_cite_rows(
    client: TestClient, kept: Explanations, subject: Subject, scripted: Scripted
) -> None:
    kept.add(explanation(subject, component="neuron.2.5", text="words after a comma"))
    scripted.always = chat("It fires on the comma [2] and matters little [3, 5].")
    asked = {**NODE, "llm": scripted.reference}
    plan = client.post("/api/explanations/node/plan", json=asked).json()
    assert (plan["llm"], plan["requests"]) == (scripted.reference, 1)
    assert plan["prompt_tokens"] > 100 and plan["money"] is None
    assert scripted.asked == []
    found = client.post("/api/explanations/node", json=asked).json()
    (request,) = scripted.asked
    assert "in general it does this: words after a comma" in request.text
    assert found["text"] == "It fires on the comma [2] and matters little [3, 5]."
    assert (found["node"], found["component"], found["variant"]) == ("neuron.2.5@9", "neuron.2.5", "node")
    assert [row[:3] for row in found["cited"]] == ["[2]", "[3]", "[5]"]
    assert found["question"] == f"{QUESTION['prompt']}\n' Mary' rather than ' John', after token 13"
    assert found == plain(kept.get(found["id"]))
    # Asked again it is known; and it is not what the component does in general.
    assert client.post("/api/explanations/node", json=asked).json()["cost"]["known"] == 1
    assert len(scripted.asked) == 1
    best = client.post("/api/explanations/best", json={"components": ["neuron.2.5"]}).json()["rows"]
    assert [row["text"] for row in best] == ["words after a comma"]


def test_words_of_a_node_that_cite_nothing_are_none(
    client: TestClient, kept: Explanations, subject: Subject, scripted: Scripted
) -> None:
    scripted.always = chat("It is a nice neuron.")
    answer = client.post("/api/explanations/node", json={**NODE, "llm": scripted.reference})
    assert code(answer) == (502, "llm_failed")
    assert "cites none" in answer.json()["error"]["message"]
    assert [one.failure.kind for one in kept.problems(subject, "neuron.2.5")] == ["malformed"]
    assert kept.of(subject, "neuron.2.5") == []
    for node in ("embed@3", "neuron.2.5", "direct"):
        refused = client.post("/api/explanations/node", json={**NODE, "node": node, "llm": scripted.reference})
        assert code(refused) == (422, "bad_node")
    assert code(client.post("/api/explanations/node", json={**NODE, "llm": "lookup"})) == (404, "unknown_llm")


def test_a_database_that_cannot_be_opened_is_told_where_it_is_asked(client: TestClient, home: Path) -> None:
    home.mkdir()
    (home / "clew.db").write_text("no database at all, and longer than the header of one would have to be " * 20)
    assert code(client.get("/api/explanations/1")) == (500, "bad_database")
    assert client.get("/api/status").status_code == 200
    (home / "clew.db").unlink()
    assert code(client.get("/api/explanations/1")) == (404, "unknown_explanation")
