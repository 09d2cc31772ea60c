"""Work of the page on a cluster, and what the server tells of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from clew.atlas import Atlas, collect
from clew.cluster.connection import Connection
from clew.cluster.status import ClusterStatus, MachineStatus, WorkerStatus
from clew.debug import Model
from clew.errors import NoCluster, UsageError
from clew.server import cluster as places
from clew.server import trainings
from clew.server.app import create_app
from clew.server.cluster import Cluster, Lookout
from clew.server.schemas import cluster as schemas

from ..atlas.conftest import content
from ..cluster.conftest import cluster as cluster
from .conftest import QUESTION, served
from .test_autoencoders import TRAINING

TOKENS = 20_000


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def client_of(model: Model, place: Cluster, atlas: Path) -> TestClient:
    return TestClient(create_app(model, atlas=atlas, place=place), base_url="http://127.0.0.1:7410")


def nowhere() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def progress_of(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Events, each as it comes."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


# Without one; before the cluster of the other tests is there, which there can be only one of


def test_a_server_without_a_cluster_says_so_and_needs_no_ray(client: TestClient) -> None:
    response = client.get("/api/cluster")
    assert response.json() == {"ray": None, "cluster": None}
    schemas.Cluster.model_validate_json(response.content, strict=True)
    code = "import sys, clew.server.app, clew.server.openapi, clew.cli.serve; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cluster_that_starts_with_the_work_is_not_there_before(model: Model, tmp_path: Path) -> None:
    with client_of(model, Cluster("local"), tmp_path / "atlas") as client:
        assert client.get("/api/cluster").json() == {"ray": "local", "cluster": None}


def test_a_cluster_that_is_not_there_is_told_when_it_is_needed(model: Model, atlas: Atlas, tmp_path: Path) -> None:
    address = nowhere()
    with client_of(model, Cluster(address), tmp_path / "none") as client:
        answers = [client.get("/api/cluster"), client.post("/api/collect", json={"tokens": 100})]
    with client_of(model, Cluster(address), atlas.folder) as client:
        asked = {"components": ["neuron.1.7"], "llm": "lookup"}
        answers += [client.post(f"/api/explanations/{path}", json=asked) for path in ("plan", "explain")]
        # What needs none is answered.
        assert client.post("/api/debug", json=QUESTION).status_code == 200
    for response in answers:
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "no_cluster"
        assert response.json()["error"]["message"] == f"There is no Ray cluster at {address}."


def test_what_is_no_address_is_told(model: Model, tmp_path: Path) -> None:
    with client_of(model, Cluster("nonsense"), tmp_path / "none") as client:
        assert client.get("/api/cluster").status_code == 422


def test_trainings_are_given_the_cluster(model: Model, corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the options of the command that a training is."""
    words: list[str] = []

    class Process:
        """Takes a plan, and is done."""

        def __init__(self, command: list[str], **_: Any) -> None:
            words.extend(command)
            self.stdin = BytesIO()

        def poll(self) -> int:
            return 0

        def wait(self, timeout: float | None = None) -> int:
            return 0

    monkeypatch.setattr(trainings.subprocess, "Popen", Process)
    for place, given in (
        (Cluster("10.0.0.1:6379", 4, 2), ["--ray", "10.0.0.1:6379", "--workers", "4", "--gpus-per-worker", "2"]),
        (Cluster("auto", gpus=0), ["--ray", "auto", "--gpus-per-worker", "0"]),
        (Cluster(), []),
    ):
        words.clear()
        with client_of(model, place, Path("nowhere")) as client:
            response = client.post("/api/trainings", json={**TRAINING, "name": f"on-{place.gpus}", "corpus": corpus})
            assert response.status_code == 200, response.text
        assert words[words.index("clew") : words.index("clew") + 3] == ["clew", "sae", "train"]
        first = words.index("--ray") if given else len(words)
        assert words[first:] == given


class Kept:
    """A connection to a cluster of others."""

    is_own = False


def test_what_the_cluster_says_is_passed_on(
    client: TestClient, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ClusterStatus(
        "10.0.0.1:6379",
        [MachineStatus("head", True, 8.0, 0.5, 2.0, 1.0, 32_000_000_000)],
        [WorkerStatus("collect tiny", "head", 17, 3, 2, 1.5, 900_000_000), WorkerStatus("x", *[None] * 6)],
    )
    monkeypatch.setattr("clew.cluster.connection.connected", lambda address, start: nullcontext(Kept()))
    monkeypatch.setattr("clew.cluster.status.status", lambda address: told)
    with client_of(model, Cluster("10.0.0.1:6379"), tmp_path / "none") as other:
        response = other.get("/api/cluster")
    assert response.json() == {"ray": "10.0.0.1:6379", "cluster": json.loads(json.dumps(told.to_dict()))}
    schemas.Cluster.model_validate_json(response.content, strict=True)


def test_a_look_keeps_the_connection_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until nobody has looked for as long as that, or the cluster is gone."""
    made: list[str] = []
    told = ClusterStatus("10.0.0.1:6379", [], [])
    answers: list[ClusterStatus | NoCluster] = []

    @contextmanager
    def connected(address: str, start: bool) -> Iterator[Kept]:
        assert (address, start) == ("10.0.0.1:6379", False)
        made.append("made")
        yield Kept()
        made.append("let go")

    def status(address: str) -> ClusterStatus:
        answer = answers.pop(0) if answers else told
        if isinstance(answer, NoCluster):
            raise answer
        return answer

    monkeypatch.setattr("clew.cluster.connection.connected", connected)
    monkeypatch.setattr("clew.cluster.connection.starts", lambda address: False)
    monkeypatch.setattr("clew.cluster.status.status", status)
    lookout = Lookout(Cluster("10.0.0.1:6379"), patience=0.5)
    for _ in range(3):
        assert lookout.status()["cluster"]["address"] == "10.0.0.1:6379"
        time.sleep(0.05)
    assert made == ["made"]
    answers.append(NoCluster("It is gone.", "Start it again."))
    with pytest.raises(NoCluster):
        lookout.status()
    assert made == ["made", "let go"]
    lookout.status()
    deadline = time.monotonic() + 20
    while len(made) < 4:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    assert made == ["made", "let go"] * 2
    lookout.status()
    lookout.close()
    assert made == ["made", "let go"] * 3


# On one


def test_an_atlas_is_collected_on_the_cluster_and_a_lost_worker_is_told(
    cluster: Connection, model: Model, tmp_path: Path
) -> None:
    app = create_app(model, atlas=tmp_path / "atlas", place=Cluster("local", workers=2))
    killed, notes, last = None, [], ""
    with served(app) as url, httpx2.Client(base_url=url, timeout=60) as client:
        with client.stream("POST", "/api/collect", json={"tokens": TOKENS}) as stream:
            assert stream.status_code == 200
            for name, data in progress_of(stream.iter_lines()):
                if name == "progress" and data["note"]:
                    notes.append(data["note"])
                if killed is None and name == "progress" and data["stage"] == "collect" and data["done"]:
                    (found,) = client.get("/api/cluster").json()["cluster"]["workers"]
                    assert (found["work"], found["task"]) == (f"collect {model.name}", 0)
                    killed = found["process"]
                    os.kill(killed, signal.SIGKILL)
                    # It is at work elsewhere, and the model here is free.
                    assert client.get("/api/status").json()["queue"] == {"running": False, "waiting": 0}
                    assert client.post("/api/debug", json=QUESTION).status_code == 200
                last = name
        assert last == "done"
        assert client.get("/api/cluster").json()["cluster"]["workers"] == []
        assert client.get("/api/atlas").json()["atlas"]["tokens"] > TOKENS / 2
    assert any(re.search(rf"\(process {killed}\) was lost", note) for note in notes)
    collect(model, out=tmp_path / "alone", tokens=TOKENS)
    assert content(tmp_path / "atlas") == content(tmp_path / "alone")


def test_a_collection_that_is_cancelled_leaves_no_worker(cluster: Connection, model: Model, tmp_path: Path) -> None:
    app = create_app(model, atlas=tmp_path / "atlas", place=Cluster("local", workers=2))
    with served(app) as url, httpx2.Client(base_url=url, timeout=60) as client:
        with client.stream("POST", "/api/collect", json={"tokens": TOKENS}) as stream:
            for name, data in progress_of(stream.iter_lines()):
                if name == "progress" and data["stage"] == "collect" and data["done"]:
                    break
        deadline = time.monotonic() + 60
        while client.get("/api/cluster").json()["cluster"]["workers"] or client.get("/api/atlas").json()["collecting"]:
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.2)


def test_components_are_explained_on_the_cluster(
    cluster: Connection, model: Model, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the pool that the server opens for it, and closes."""
    opened: list[str] = []
    pool = Cluster.pool

    def noted(self: Cluster, work: str) -> Any:
        opened.append(work)
        return pool(self, work)

    monkeypatch.setattr(places.Cluster, "pool", noted)
    asked = {"components": ["neuron.1.0-11"], "llm": "lookup", "scorers": ["simulation"]}
    with client_of(model, Cluster("local", workers=2), atlas.folder) as client:
        plan = client.post("/api/explanations/plan", json=asked).json()
        assert (plan["components"], plan["workers"]) == (12, 2)
        told = list(progress_of(iter(client.post("/api/explanations/explain", json=asked).text.splitlines())))
        name, last = told[-1]
        assert (name, last["finished"], last["done"] + last["failed"]) == ("done", True, 12)
        assert client.get("/api/cluster").json()["cluster"]["workers"] == []
    assert opened == [f"explain {model.name}"] * 2


def test_too_many_workers_are_refused(cluster: Connection, model: Model, tmp_path: Path) -> None:
    with client_of(model, Cluster("local", workers=1000), tmp_path / "none") as client:
        response = client.post("/api/collect", json={"tokens": 100})
        assert (response.status_code, response.json()["error"]["code"]) == (422, "too_few_resources")


def test_another_cluster_than_the_one_in_use_is_refused(cluster: Connection) -> None:
    with pytest.raises(UsageError, match="works on the cluster at"):
        Lookout(Cluster(nowhere())).status()
