"""Collecting on a cluster: the bytes of one process, whatever happens to the workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest

from clew.atlas import collecting, planned
from clew.cluster import RayPool
from clew.cluster.connection import Connection
from clew.cluster.place import Place
from clew.debug import Model
from clew.errors import BadCorpus, Cancelled, NotShared, UsageError

from ..atlas.conftest import content

SETTINGS: dict[str, Any] = {
    "tokens": 1920, "context": 24, "window": 16, "top": 6, "bottom": 3, "band": 2, "random": 4, "batch": 4,
    "shard_tokens": 8 * 24, "seed": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def alone(tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The atlas of one process."""
    out = tmp_path_factory.mktemp("alone") / "atlas"
    for _ in collecting(tiny("gemma2"), corpus, out=out, **SETTINGS):
        pass
    return content(out)


def working() -> list[psutil.Process]:
    """The processes of workers that are at a task."""
    return [one for one in psutil.process_iter(["cmdline"]) if "ray::Hand.do" in " ".join(one.info["cmdline"] or [])]


def test_two_workers_give_the_same_bytes(
    cluster: Connection, tiny: Callable[[str], Model], corpus: str, alone: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "atlas"
    with RayPool("local", workers=2) as pool:
        told = list(collecting(tiny("gemma2"), corpus, out=out, pool=pool, **SETTINGS))
    assert content(out) == alone
    done = [progress.done for progress in told if progress.stage == "collect"]
    assert done == sorted(done)
    assert done[-1] == told[0].total == 1920
    assert not any(progress.note and "lost" in progress.note for progress in told)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["atlas"]


def test_a_killed_worker_changes_nothing_and_is_told(
    cluster: Connection, tiny: Callable[[str], Model], corpus: str, alone: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "atlas"
    killed, notes = [], []
    with RayPool("local", workers=2) as pool:
        for progress in collecting(tiny("gemma2"), corpus, out=out, pool=pool, **SETTINGS):
            notes += [progress.note] if progress.note and "lost" in progress.note else []
            if progress.stage == "collect" and progress.done and not killed and (there := working()):
                killed.append(there[0].pid)
                os.kill(there[0].pid, signal.SIGKILL)
    assert killed
    assert content(out) == alone
    (note,) = notes
    assert f"(process {killed[0]}) was lost" in note


def test_what_was_cancelled_goes_on_elsewhere(
    cluster: Connection, tiny: Callable[[str], Model], corpus: str, alone: dict[str, bytes], tmp_path: Path
) -> None:
    out, model = tmp_path / "atlas", tiny("gemma2")
    shards = tmp_path / ".collecting-atlas" / "shards"

    def stop() -> bool:
        return len(list(shards.glob("*.safetensors"))) >= 2

    with RayPool("local", workers=2) as pool, pytest.raises(Cancelled):
        list(collecting(model, corpus, out=out, pool=pool, stop=stop, **SETTINGS))
    assert stop(), "what is done is kept"
    list(collecting(model, corpus, out=out, **SETTINGS))
    assert content(out) == alone


def test_a_plan_is_measured_by_a_worker(
    cluster: Connection, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    with RayPool("local", workers=2) as pool:
        plan = planned(tiny("gemma2"), corpus, out=tmp_path / "atlas", pool=pool, **SETTINGS)
    assert (plan.tokens, plan.contexts, plan.shards, plan.workers) == (1920, 80, 10, 2)
    assert plan.tokens_per_s > 0
    assert plan.collect_s >= 5 * 8 * 24 / plan.tokens_per_s
    assert 50_000_000 < plan.memory < 10_000_000_000
    assert list(tmp_path.iterdir()) == []


def test_what_another_machine_does_not_see_is_told_with_its_name() -> None:
    far = Place("far", "another", 7, version("clew"))
    missing, refused = BadCorpus("/data holds no contexts.", "Collect again."), UsageError("No.", "Yes.")
    told = far.told(missing, "this")
    assert isinstance(told, NotShared)
    assert str(told).startswith("On far: /data holds no contexts. Folders of the work must lie on a disk that all")
    assert far.told(missing, "another") is missing
    assert far.told(refused, "this") is refused


def test_another_version_on_a_machine_is_refused() -> None:
    Place("far", "another", 7, version("clew")).check()
    with pytest.raises(NotShared, match=r"far has Clew 0\.0\.7, and this machine"):
        Place("far", "another", 7, "0.0.7").check()


def command(model: Path, corpus: str, out: Path, address: str) -> list[str]:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items() if name != "tokens"]
    clew = [sys.executable, "-m", "clew", "collect", str(model), "--corpus", corpus, "--out", str(out), "--json"]
    return [*clew, *options, "--tokens=48000", "--ray", address]


def test_when_the_head_is_gone_it_says_so_and_the_same_command_goes_on(
    simulated: Any, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    model = tiny("gemma2").subject.path
    out, environment = tmp_path / "atlas", {**os.environ, "CLEW_HOME": str(tmp_path / "home")}
    address = simulated.address
    shards = tmp_path / ".collecting-atlas" / "shards"
    process = subprocess.Popen(
        command(model, corpus, out, address), env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (shards.is_dir() and list(shards.glob("*.safetensors"))) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        simulated.head_node.kill_gcs_server()
        _, said = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 1, said
    assert f"The head node of the cluster at {address} is gone." in said
    assert "the same command goes on from there" in said
    kept = {path.name for path in shards.glob("*.safetensors")}
    assert kept
    done = subprocess.run(command(model, corpus, out, "local"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == str(out)
    undisturbed = tmp_path / "undisturbed"
    larger: dict[str, Any] = {**SETTINGS, "tokens": 48_000}
    list(collecting(tiny("gemma2"), corpus, out=undisturbed, **larger))
    assert content(out) == content(undisturbed)
