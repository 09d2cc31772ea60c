"""The files of the guide, tried as far as one machine goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from clew.atlas import Atlas

from ..tiny import tiny_model_folder
from .conftest import LOCK
from .test_connection import free_port

FILES = Path(__file__).parents[2] / "docs" / "cluster"
SMALL = ["--tokens", "480", "--context", "24", "--window", "16", "--batch", "4", "--shard-tokens", "96"]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """That of somebody whose `clew` and `ray` are these, and who was told nothing of tokens."""
    # The names of sockets have to be short, and those of tests' folders are not.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as short:
        told = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield {**told, "PATH": path, "CLEW_HOME": str(tmp_path / "home"), "RAY_TMPDIR": short}


def test_one_machine(environment: dict[str, str], corpus: str, tmp_path: Path) -> None:
    model, out = tiny_model_folder(tmp_path / "model"), tmp_path / "atlas"
    ports = {"PORT": str(free_port()), "DASHBOARD_PORT": str(free_port()), "WORKERS": "2"}
    command = ["collect", str(model), "--corpus", corpus, "--out", str(out), *SMALL]
    with FileLock(LOCK):
        done = subprocess.run(
            ["bash", str(FILES / "one-machine.sh"), *command],
            env=environment | ports, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Atlas.open(out).info().tokens == 480
    assert subprocess.run(["pgrep", "-f", f"port={ports['PORT']}"], stdout=subprocess.DEVNULL).returncode == 1


@pytest.fixture
def head(environment: dict[str, str]) -> Iterator[str]:
    """The address of the jobs' server of a cluster that was started by hand."""
    port, dashboard = free_port(), free_port()
    start = ["ray", "start", "--head", "--block", "--num-cpus=2", f"--port={port}", f"--dashboard-port={dashboard}"]
    with FileLock(LOCK):
        process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        submit = ["ray", "job", "submit", f"--address=http://127.0.0.1:{dashboard}", "--", "true"]
        while subprocess.run(submit, env=_with_token(environment), capture_output=True).returncode:
            assert time.monotonic() < deadline
            time.sleep(1)
    yield f"http://127.0.0.1:{dashboard}"
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def _with_token(environment: dict[str, str]) -> dict[str, str]:
    """What a terminal needs to be let in, where `ray start` made a token."""
    there = Path.home() / ".ray" / "auth_token"
    return environment | ({"RAY_AUTH_MODE": "token"} if there.exists() else {})


def test_the_command_of_the_job_is_taken_by_ray_job_submit(
    environment: dict[str, str], head: str, corpus: str, tmp_path: Path
) -> None:
    job = yaml.safe_load((FILES / "rayjob.yaml").read_text(encoding="utf-8"))
    model, out = tiny_model_folder(tmp_path / "model"), tmp_path / "atlas"
    words = job["spec"]["entrypoint"].split()
    assert words[:3] == ["clew", "collect", "smollm2"]
    assert words[words.index("--ray") + 1] == "auto"
    words[2], words[words.index("--out") + 1] = str(model), str(out)
    done = subprocess.run(
        ["ray", "job", "submit", f"--address={head}", "--", *words, *SMALL, "--corpus", corpus],
        env=_with_token(environment), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stderr + done.stdout
    assert Atlas.open(out).info().tokens == 480


def test_the_job_has_what_it_names() -> None:
    job = yaml.safe_load((FILES / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    pods: list[dict[str, Any]] = [cluster["headGroupSpec"]["template"]["spec"]]
    pods += [group["template"]["spec"] for group in cluster["workerGroupSpecs"]]
    for pod in pods:
        (container,) = pod["containers"]
        assert {one["name"] for one in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert {one["name"]: one["value"] for one in container["env"]} == {"CLEW_HOME": "/shared"}
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_slurm_is_asked_for_ray_on_every_node(environment: dict[str, str], tmp_path: Path) -> None:
    """With programs in place of Slurm's that write down what they are asked."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, says in {"scontrol": "echo node1; echo node2", "srun": "", "clew": ""}.items():
        path = programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/log"\n{says}\n')
        path.chmod(0o755)
    slurm = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "64",
        "SLURM_GPUS_ON_NODE": "8", "PATH": f"{programs}:{environment['PATH']}",
    }  # fmt: skip
    command = ["bash", str(FILES / "slurm.sh"), "collect", "gpt2", "--tokens", "5"]
    done = subprocess.run(command, env=environment | slurm, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().splitlines() == [
        "clew pull gpt2",
        "scontrol show hostnames node[1-2]",
        "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 ray symmetric-run --address node1:6379 --min-nodes 2 "
        "--num-cpus=64 --num-gpus=8 --disable-usage-stats -- clew collect gpt2 --tokens 5 --ray node1:6379",
    ]
    assert not list(tmp_path.glob(".ray-token*"))
