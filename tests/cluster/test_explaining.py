"""Explaining on a cluster: what is kept is what one machine keeps, also when a worker is killed at its work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from clew.atlas import Components, collect
from clew.cli import app
from clew.cluster import RayPool
from clew.cluster.connection import Connection
from clew.debug import Model
from clew.explain.llm import endpoint
from clew.explain.pipeline import explaining
from clew.explain.recipe import Recipe
from clew.explain.store.explanations import Explanations

from ..explain.llm.server import Scripted, serving
from ..explain.test_endpoints import plain
from ..explain.test_worker import kept_of

SPECS = ["neuron.1.0-11"]


@pytest.fixture(scope="module")
def pool(cluster: Connection) -> Iterator[RayPool]:
    with RayPool("local", workers=2, work="explaining") as opened:
        yield opened


@pytest.fixture(scope="module")
def components(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Components:
    folder = tmp_path_factory.mktemp("atlas") / "tiny"
    return Components(model, collect(model, corpus, out=folder, tokens=4000, context=24, window=12))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.005)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CLEW_LLM_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Scripted()) as script:
        yield script


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[list[Explanations]]:
    found = [Explanations(f"sqlite:///{tmp_path / name}") for name in ("one.db", "other.db")]
    yield found
    for one in found:
        one.close()


def busiest() -> psutil.Process:
    """The worker of this process's own cluster that has done most: it is at a task, and not starting."""
    workers = [one for one in psutil.Process().children(recursive=True) if "ray::Hand" in " ".join(one.cmdline())]
    return max(workers, key=lambda one: one.cpu_times().user)


def test_a_killed_worker_changes_nothing_but_a_sentence(
    components: Components, databases: list[Explanations], scripted: Scripted, pool: RayPool
) -> None:
    plain(scripted)
    scripted.delay = 0.02
    recipe = Recipe(llm=scripted.reference, scorers=("detection",), candidates=2, concurrency=4)
    here, there = databases
    list(explaining(components, SPECS, recipe, explanations=here))
    before = [asked.text for asked in scripted.asked]
    steps = []
    for step in explaining(components, SPECS, recipe, explanations=there, pool=pool):
        steps.append(step)
        if step.latest is not None and step.done == 2:
            busiest().kill()
    assert (steps[-1].done, steps[-1].failed, steps[-1].finished) == (12, 0, True)
    assert kept_of(there, components, SPECS) == kept_of(here, components, SPECS)
    (note,) = [step.note for step in steps if step.note]
    assert "was lost (its process ended). What it was at is done again by another." in note
    # What the killed one had asked was answered, and not asked again.
    assert sorted(asked.text for asked in scripted.asked[len(before) :]) == sorted(before)


def test_a_local_model_reads_on_the_workers(
    components: Components, databases: list[Explanations], pool: RayPool
) -> None:
    recipe = Recipe(llm="lookup", simulator=f"local:{components.subject.path}", scorers=("ablation",))
    here, there = databases
    mine = list(explaining(components, SPECS, recipe, explanations=here))[-1]
    theirs = list(explaining(components, SPECS, recipe, explanations=there, pool=pool))[-1]
    assert (theirs.done, theirs.failed, theirs.spent) == (mine.done, mine.failed, mine.spent)
    assert kept_of(there, components, SPECS) == kept_of(here, components, SPECS)


@pytest.mark.usefixtures("cluster")
def test_the_command_works_on_a_cluster(
    components: Components, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    assert components.atlas is not None
    command = [
        "explain", str(components.subject.path), "-c", "neuron.1.0-7", "--atlas", str(components.atlas.folder),
        "--ray", "local", "--workers", "2",
    ]  # fmt: skip
    planned = CliRunner().invoke(app, [*command, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    assert "8 components to explain with lookup by 2 workers." in planned.output
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["explained"], document["failed"], document["plan"]["workers"]) == (8, 0, 2)
    alone = CliRunner().invoke(app, [*command[:-4], "--workers", "2"])
    assert alone.exit_code == 2 and "--ray" in alone.output


def test_when_the_head_is_gone_it_says_so_and_the_same_command_goes_on(
    simulated: Any, components: Components, scripted: Scripted, tmp_path: Path
) -> None:
    plain(scripted)
    scripted.delay = 0.05
    assert components.atlas is not None
    address, environment = simulated.address, {**os.environ, "CLEW_HOME": str(tmp_path)}
    command = [
        sys.executable, "-m", "clew", "explain", str(components.subject.path), "-c", "neuron.1.0-11",
        "--atlas", str(components.atlas.folder), "--llm", scripted.reference, "--json",
    ]  # fmt: skip
    process = subprocess.Popen([*command, "--ray", address], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while len(scripted.asked) < 20 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        scripted.delay = 1.0
        simulated.head_node.kill_gcs_server()
        _, said = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 1, said
    assert f"The head node of the cluster at {address} is gone." in said
    assert "the same command goes on from there" in said
    scripted.delay = 0.0
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["failed"] == 0 and document["explained"] + document["plan"]["done"] == 12
    texts = [asked.text for asked in scripted.asked]
    assert len(texts) == len(set(texts)), "no answer is asked for twice"
