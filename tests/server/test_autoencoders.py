"""Autoencoders over HTTP: the shelf, reports and ratings are those of `clew.sae`; trainings run beside the server."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from clew.corpus import corpus_of
from clew.debug import Model
from clew.errors import BadSite, UnknownAutoencoder, UsageError, WrongAutoencoder
from clew.nodes import Site
from clew.sae import Autoencoder, load, save
from clew.sae.autoencoder import Origin
from clew.sae.evaluate import evaluate
from clew.sae.ratings import ratings_of
from clew.sae.training import read_log, state_of
from clew.server.app import create_app
from clew.server.attached import Attached

from .test_investigation import events

BASE = "http://127.0.0.1:7410"
JUDGING: dict[str, Any] = {"tokens": 1000, "samples": 3}
TRAINING: dict[str, Any] = {
    "name": "mine",
    "recipes": [{"site": "mlp_out.1", "latents": 32, "k": 2}],
    "tokens": 1280,
    "batch": 64,
    "context": 16,
    "buffer": 400,
    "save_every": 640,
}


def autoencoder(site: Site, width: int = 24, name: str = "drawn") -> Autoencoder:
    """Random weights, few of which fire."""
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    origin = Origin(name, architecture="topk", model="llama", context=16, bos=False, tokens=640)
    return Autoencoder(
        site, site, "topk", normal(width, 32), normal(32), normal(32, width), normal(width), k=3, origin=origin
    )


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """$CLEW_HOME, with one autoencoder on the shelf that fits the model and one that does not."""
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    save(autoencoder(Site("mlp_out", 1)), tmp_path / "saes" / "fits")
    save(autoencoder(Site("mlp_act", 1), width=24), tmp_path / "saes" / "wide")
    return tmp_path


@pytest.fixture
def client(model: Model, home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(model), base_url=BASE) as client:
        yield client


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


# The list


def test_what_was_given_comes_first(model: Model, home: Path) -> None:
    elsewhere = home / "elsewhere"
    save(autoencoder(Site("resid", 0), name="a"), elsewhere / "a")
    save(autoencoder(Site("attn_out", 2), name="b"), elsewhere / "deep" / "b")
    app = create_app(model, autoencoders=[str(elsewhere), "fits"])
    with TestClient(app, base_url=BASE) as client:
        rows = client.get("/api/autoencoders").json()["rows"]
    seen = [(row["name"], row["attached"], row["fits"], row["reads"]) for row in rows]
    assert seen == [
        ("elsewhere/a", True, True, "resid.0"),
        ("elsewhere/deep/b", True, True, "attn_out.2"),
        ("fits", True, True, "mlp_out.1"),
        ("wide", False, False, "mlp_act.1"),
    ]
    assert rows[0]["reference"] == str(elsewhere / "a")
    assert rows[3]["problem"].startswith("drawn is 24 wide, and mlp_act.1 of ")
    assert all((row["judged"], row["fvu"]) == (False, None) for row in rows)


def test_named_are_opened_once_and_anew_when_they_change(model: Model, home: Path) -> None:
    attached = Attached(model, [str(home / "saes" / "fits")])
    given = attached.named(["fits"])[0]
    save(autoencoder(Site("resid", 2)), home / "saes" / "later")
    first = attached.named(["later", "fits", "later"])
    assert first[1] is given
    assert first[0] is first[2] is attached.named(["later"])[0]
    assert (first[0].w_enc == load("later").w_enc).all()
    save(autoencoder(Site("resid", 1)), home / "saes" / "later")
    os.utime(home / "saes" / "later" / "cfg.json", (1, 1))
    assert attached.named(["later"])[0].reads == Site("resid", 1)
    with pytest.raises(UnknownAutoencoder, match="nowhere"):
        attached.named(["fits", "nowhere"])
    with pytest.raises(WrongAutoencoder, match="24 wide"):
        attached.named(["wide"])


def test_what_cannot_be_attached_is_told_when_the_server_is_made(model: Model, home: Path) -> None:
    save(autoencoder(Site("resid", 7)), home / "saes" / "deep")
    for reference, error in (("nowhere", UnknownAutoencoder), ("wide", WrongAutoencoder), ("deep", BadSite)):
        with pytest.raises(error):
            create_app(model, autoencoders=[reference])
    save(autoencoder(Site("resid", 0)), home / "other" / "fits")
    with pytest.raises(UsageError, match="would both be called fits"):
        create_app(model, autoencoders=["fits", str(home / "other" / "fits")])
    assert len(Attached(model, ["fits", str(home / "saes" / "fits")]).given) == 1


# The shelf


def test_adding_and_removing(client: TestClient, home: Path) -> None:
    save(autoencoder(Site("resid", 1), name="found"), home / "found")
    added = client.post("/api/autoencoders", json={"reference": str(home / "found"), "name": "mine"})
    assert added.status_code == 200, added.text
    assert added.json() == next(row for row in client.get("/api/autoencoders").json()["rows"] if row["name"] == "mine")
    assert (added.json()["reads"], added.json()["fits"], added.json()["attached"]) == ("resid.1", True, False)
    assert (load(home / "saes" / "mine").w_dec == load(home / "found").w_dec).all()
    for body, status, code in (
        ({"reference": str(home / "found"), "name": "mine"}, 422, "bad_request"),
        ({"reference": str(home / "found"), "name": "../mine"}, 422, "bad_request"),
        ({"reference": str(home / "nowhere")}, 404, "unknown_autoencoder"),
        ({"reference": str(home / "found"), "site": "resid"}, 422, "bad_site"),
        ({"reference": str(home / "found"), "name": "other", "site": "resid.2"}, 409, "wrong_autoencoder"),
        ({"reference": ""}, 422, "bad_request"),
        ({"reference": "a\u0000b"}, 422, "bad_request"),
    ):
        answer = client.post("/api/autoencoders", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body
    assert client.delete("/api/autoencoders/mine").status_code == 204
    assert not (home / "saes" / "mine").exists()
    for name in ("mine", "fits%2F..", "%2E%2E%2Ffound", "%2Fetc"):
        answer = client.delete(f"/api/autoencoders/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_autoencoder"), name
    assert (home / "found").exists()


def test_what_was_given_stays(model: Model, home: Path) -> None:
    with TestClient(create_app(model, autoencoders=["fits"]), base_url=BASE) as client:
        answer = client.delete("/api/autoencoders/fits")
    assert (answer.status_code, "was given with --sae" in answer.json()["error"]["message"]) == (422, True)


def test_a_server_for_others_opens_no_paths(model: Model, home: Path) -> None:
    """Neither absolute ones nor what happens to lie where the server was started."""
    token = "a-token-of-many-letters"
    app = create_app(model, token)
    with TestClient(app, base_url=BASE, headers={"Authorization": f"Bearer {token}"}) as client:
        for reference in (str(home / "saes" / "fits"), "./fits", "~/fits", "../fits", "tests/server"):
            for path, body in (
                ("/autoencoders", {"reference": reference, "name": "x"}),
                ("/trainings", {**TRAINING, "corpus": reference}),
                ("/autoencoders/fits/report", {**JUDGING, "corpus": reference}),
            ):
                answer = client.post(f"/api{path}", json=body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), (path, reference)
    assert sorted(path.name for path in (home / "saes").iterdir()) == ["fits", "wide"]


# Reports


def test_judging_over_http_is_what_python_finds(client: TestClient, model: Model, home: Path, corpus: str) -> None:
    path = "/api/autoencoders/fits/report"
    none = client.get(path)
    assert (none.status_code, none.json()["error"]["code"]) == (404, "unknown_autoencoder")
    assert "clew sae eval fits" in none.json()["error"]["hint"]
    told = events(client.post(path, json={**JUDGING, "corpus": corpus}).text)
    assert [name for name, _ in told][-1] == "done"
    assert {name for name, _ in told[:-1]} == {"progress"}
    assert {data["stage"] for _, data in told[:-1]} == {"read", "activations", "losses", "probes"}
    report = told[-1][1]
    assert client.get(path).json() == report
    found = evaluate(model, load("fits"), corpus_of(corpus), tokens=1000, samples=3, seed=1, reference="fits")
    mine = json.loads(json.dumps(found.to_dict()))
    for document in (report, mine):
        del document["seconds"], document["autoencoder"]["judged"]
    assert report == mine
    row = next(row for row in client.get("/api/autoencoders").json()["rows"] if row["name"] == "fits")
    assert (row["judged"], row["l0"], row["fvu"], row["ce_recovered"]) == (
        True, report["l0"], report["fvu"], report["ce_recovered"],
    )  # fmt: skip
    (home / "saes" / "fits" / "report.json").write_text("{")
    row = next(row for row in client.get("/api/autoencoders").json()["rows"] if row["name"] == "fits")
    assert (row["judged"], row["l0"], row["fvu"], row["ce_recovered"]) == (True, None, None, None)
    damaged = client.get(path)
    assert (damaged.status_code, damaged.json()["error"]["code"]) == (422, "bad_autoencoder")


def test_ratings_are_kept(client: TestClient, home: Path, corpus: str) -> None:
    told = events(client.post("/api/autoencoders/fits/report", json={**JUDGING, "corpus": corpus}).text)
    index = told[-1][1]["samples"][0]["index"]
    path = f"/api/autoencoders/fits/ratings/{index}"
    assert client.put(path, json={"rating": "readable"}).json() == {"index": index, "rating": "readable"}
    assert ratings_of(home / "saes" / "fits") == {index: "readable"}
    assert client.get("/api/autoencoders/fits/report").json()["samples"][0]["rating"] == "readable"
    again = events(client.post("/api/autoencoders/fits/report", json={**JUDGING, "corpus": corpus}).text)
    assert again[-1][1]["samples"][0]["rating"] == "readable"
    assert client.put(path, json={"rating": None}).json()["rating"] is None
    assert ratings_of(home / "saes" / "fits") == {}
    for wrong, body, status in (
        (path, {"rating": "good"}, 422),
        (path, {}, 422),
        ("/api/autoencoders/fits/ratings/32", {"rating": "dead"}, 422),
        ("/api/autoencoders/nowhere/ratings/0", {"rating": "dead"}, 404),
    ):
        assert client.put(wrong, json=body).status_code == status


# Trainings


def test_a_training_from_its_start_to_its_end(client: TestClient, home: Path, corpus: str) -> None:
    asked = {
        **TRAINING,
        "corpus": corpus,
        "recipes": [*TRAINING["recipes"], {"site": "resid.0", "architecture": "relu"}],
    }
    started = client.post("/api/trainings", json=asked)
    assert started.status_code == 200, started.text
    assert {key: started.json()[key] for key in ("name", "stage", "tokens", "total", "runs")} == {
        "name": "mine", "stage": "running", "tokens": 0, "total": 1280,
        "runs": ["mlp_out.1-topk-32-k2", "resid.0-relu-4096"],
    }  # fmt: skip
    busy = client.post("/api/trainings", json={**asked, "name": "other"})
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "busy")
    assert client.get("/api/trainings").json()["busy"] == "mine"
    assert client.delete("/api/trainings/mine").status_code == 503
    told = events(client.get("/api/trainings/mine/events").text)
    states = [data for name, data in told if name == "state"]
    rows = [row for name, data in told if name == "points" for row in data["rows"]]
    assert (states[0]["stage"], states[-1]["stage"], states[-1]["tokens"]) == ("running", "done", 1280)
    folder = home / "saes" / "mine"
    assert (
        rows
        == client.get("/api/trainings/mine/log").json()["rows"]
        == json.loads(json.dumps(read_log(folder).to_dict()))
    )
    assert {row["run"] for row in rows} == set(states[-1]["runs"])
    after = client.get("/api/trainings/mine/log", params={"after": 10}).json()["rows"]
    assert after == [row for row in rows if row["step"] > 10] != rows
    assert client.get("/api/trainings/mine").json() == states[-1] == state_of(folder).to_dict()
    assert client.get("/api/trainings").json() == {"rows": [states[-1]], "busy": None}
    names = [row["name"] for row in client.get("/api/autoencoders").json()["rows"]]
    assert names == ["fits", "mine/mlp_out.1-topk-32-k2", "mine/resid.0-relu-4096", "wide"]
    assert "Trained on 1,280 tokens" in (folder / "output.txt").read_text()
    for path, status in (("", 409), ("/mine/resume", 422), ("/mine/stop", 422)):
        assert client.post(f"/api/trainings{path}", json=asked).status_code == status
    assert client.delete("/api/trainings/mine").status_code == 204
    assert not folder.exists()
    for method, path in (
        ("GET", ""),
        ("GET", "/log"),
        ("GET", "/events"),
        ("POST", "/stop"),
        ("POST", "/resume"),
        ("DELETE", ""),
    ):
        gone = client.request(method, f"/api/trainings/mine{path}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown_autoencoder"), path


def test_a_training_is_stopped_by_another_server_goes_on_and_ends_with_its_own(
    model: Model, home: Path, corpus: str
) -> None:
    folder = home / "saes" / "mine"
    asked = {**TRAINING, "corpus": corpus, "tokens": 4_000_000, "batch": 16}
    with (
        TestClient(create_app(model), base_url=BASE) as client,
        TestClient(create_app(model), base_url=BASE) as other,
    ):
        client.post("/api/trainings", json=asked)
        until(lambda: (folder / "training.json").exists())
        # What the other server knows is in the folder.
        assert other.get("/api/trainings").json()["busy"] is None
        for path, body in (("", TRAINING), ("/mine/resume", None)):
            busy = other.post(f"/api/trainings{path}", json=body)
            assert (busy.status_code, busy.json()["error"]["code"]) == (503, "busy"), busy.text
        until(lambda: bool(client.get("/api/trainings/mine/log").json()["rows"]))
        assert other.post("/api/trainings/mine/stop").json()["stage"] == "running"
        told = events(other.get("/api/trainings/mine/events").text)
        stopped = told[-1][1]
        assert stopped["stage"] == "stopped"
        assert stopped["saved"] == stopped["tokens"] > 0
        until(lambda: client.get("/api/trainings").json()["busy"] is None)
        assert client.get("/api/trainings/mine").json() == stopped
        resumed = client.post("/api/trainings/mine/resume").json()
        assert (resumed["stage"], resumed["tokens"]) == ("running", stopped["tokens"])
        until(lambda: other.get("/api/trainings/mine").json()["tokens"] > stopped["tokens"])
    # The server is gone, and with it what it had started: saved.
    state = state_of(folder)
    assert (state.stage, state.saved) == ("stopped", state.tokens)
    assert state.tokens > stopped["tokens"]


def test_a_training_that_fails_says_why(client: TestClient, home: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Mary")
    asked = {**TRAINING, "corpus": str(tmp_path / "short.txt")}
    client.post("/api/trainings", json=asked)
    told = events(client.get("/api/trainings/mine/events").text)
    assert (told[-1][1]["stage"], "ended before one context" in told[-1][1]["message"]) == ("failed", True), told[-1]
    assert client.delete("/api/trainings/mine").status_code == 204
    assert client.get("/api/trainings").json() == {"rows": [], "busy": None}


def test_a_process_that_is_killed_is_told(model: Model, client: TestClient, home: Path, corpus: str) -> None:
    client.post("/api/trainings", json={**TRAINING, "corpus": corpus})
    child = client.app.state.clew.trainings._child  # type: ignore[attr-defined]
    child.process.send_signal(signal.SIGKILL)
    child.process.wait()
    state = client.get("/api/trainings/mine").json()
    assert (state["stage"], "signal 9" in state["message"]) == ("failed", True)
    assert client.get("/api/trainings").json()["rows"] == [state]
    # Its name is free: nothing had begun.
    assert client.delete("/api/trainings/mine").status_code == 204


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"recipes": []}, 422, "bad_request"),
        ({"recipes": [{"site": "resid.9"}]}, 422, "bad_site"),
        ({"recipes": [{"site": "resid"}]}, 422, "bad_site"),
        ({"recipes": [{"site": "resid.1", "k": 9, "latents": 8}]}, 422, "bad_request"),
        ({"recipes": [{"site": "resid.1"}, {"site": "resid.1"}]}, 422, "bad_request"),
        ({"recipes": [{"site": "resid.1", "architecture": "vanilla"}]}, 422, "bad_request"),
        ({"recipes": [{"site": "mlp_in.1"}]}, 422, "bad_request"),
        ({"tokens": 10}, 422, "bad_request"),
        ({"tokens": 10**12}, 422, "bad_request"),
        ({"warmup": 0.9, "decay": 0.9}, 422, "bad_request"),
        ({"name": "../mine"}, 422, "bad_request"),
        ({"name": "fits"}, 409, "training_exists"),
        ({"corpus": "/nowhere"}, 404, "unknown_corpus"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused_at_once(
    client: TestClient, home: Path, change: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/api/trainings", json={**TRAINING, **change})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert client.get("/api/trainings").json() == {"rows": [], "busy": None}
    assert sorted(path.name for path in (home / "saes").iterdir()) == ["fits", "wide"]
