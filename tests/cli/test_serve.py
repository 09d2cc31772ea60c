"""`clew serve`: a real server in a process of its own."""

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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

import clew as library
from clew.nodes import Site
from clew.sae import Recipe, TrainingPlan
from clew.sae.training import state_of, training

from .conftest import PROMPT, Run


@contextmanager
def serving(
    *arguments: str, env: dict[str, str] | None = None
) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """A server on a free port: the document it printed, and its process."""
    command = [sys.executable, "-c", "from clew.cli import main; main()", "serve", "--port", "0", "--json", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield json.loads(line), process
        finally:
            process.kill()


def test_it_answers_and_stops_on_ctrl_c(tiny: str) -> None:
    with serving("--model", tiny, "--llm", "qwen3@http://localhost:1") as (ready, process):
        url = ready["url"]
        assert ready["model"]["family"] == "llama"
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert httpx2.get(f"{url}/api/status").json()["model"] == ready["model"]
        answer = httpx2.post(f"{url}/api/debug", json={"prompt": PROMPT}).json()
        assert answer["tokens"][1]["text"] == " Mary"
        assert httpx2.get(f"{url}/api/llms").json()["rows"][-1]["reference"] == "qwen3@http://localhost:1/v1"
        assert "server" not in httpx2.get(url).headers
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == ""
    assert url in err
    assert err.rstrip().endswith("Stopped.")
    # Requests leave no line in the log.
    assert "GET" not in err


def test_a_token_is_wanted_where_others_can_reach_it(tiny: str) -> None:
    with serving("--model", tiny, "--host", "0.0.0.0") as (ready, _):
        url, token = re.fullmatch(r"(http://[^/]+)/\?token=([\w-]{20,})", ready["url"]).groups()  # type: ignore[union-attr]
        port = url.rsplit(":", 1)[1]
        local = f"http://127.0.0.1:{port}/api/status"
        assert httpx2.get(local).status_code == 403
        assert httpx2.get(local, headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_a_token_can_come_from_the_environment(tiny: str) -> None:
    with serving("--model", tiny, env={"CLEW_TOKEN": "from-the-environment"}) as (ready, _):
        assert ready["url"].endswith("/?token=from-the-environment")
        assert httpx2.get(ready["url"].partition("/?")[0] + "/api/status").status_code == 403


def test_autoencoders_are_attached_and_a_training_ends_with_the_server(tiny: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (tmp_path / "text.txt").write_text("When Mary and John went to the store, John gave a drink to Mary. " * 200)
    plan = TrainingPlan((Recipe(Site("resid", 1), 16, k=2),), tokens=1024, batch=64, context=16, buffer=400)
    for _ in training(library.load(tiny), plan, str(tmp_path / "text.txt"), home / "saes" / "mine"):
        pass
    asked = {
        "name": "more", "recipes": [{"site": "resid.0", "latents": 16, "k": 2}], "tokens": 4_000_000, "batch": 16,
        "context": 16, "buffer": 400, "corpus": str(tmp_path / "text.txt"),
    }  # fmt: skip
    with serving("--model", tiny, "--sae", "mine", env={"CLEW_HOME": str(home)}) as (ready, process):
        api = f"{ready['url']}/api"
        rows = httpx2.get(f"{api}/autoencoders").json()["rows"]
        assert [(row["name"], row["attached"]) for row in rows] == [("mine/resid.1-topk-16-k2", True)]
        assert httpx2.post(f"{api}/trainings", json=asked).status_code == 200
        deadline = time.monotonic() + 120
        while not httpx2.get(f"{api}/trainings/more").json()["tokens"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Autoencoder mine/resid.1-topk-16-k2: 16 latents of resid.1" in err
    state = state_of(home / "saes" / "more")
    assert (state.stage, state.saved) == ("stopped", state.tokens)


def test_a_taken_port_is_told_before_the_model_is_loaded(clew: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = clew("serve", "--port", str(port), "--model", "./nowhere")
    assert result.exit_code == 1
    assert f"Port {port} is in use" in result.stderr
    assert f"--port {port % 65535 + 1}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--host", "192.0.2.1"), "not an address of this machine"),
        (("--host", "no such host"), "not an address"),
        (("--port", "70000"), "65535"),
        (("--token", "short"), "8 to 200"),
        (("--token", "with spaces in it"), "8 to 200"),
        (("--model", "./nowhere"), "There is no model"),
        (("--model", "./nowhere", "--sae", "./nosae"), "There is no folder or file ./nosae"),
        (("--model", "./nowhere", "--llm", "qwen3@ftp://localhost"), "by http and https alone"),
        (("--reload", "--json"), "no one document"),
        (("--model", "./nowhere", "--workers", "2"), "are those of a cluster"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_explained(clew: Run, arguments: tuple[str, ...], says: str) -> None:
    result = clew("serve", "--port", "0", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_what_is_no_address_of_a_cluster_is_refused_before_anything_is_loaded(clew: Run) -> None:
    done = clew("serve", "--ray", "nonsense", "--port", "0")
    assert done.exit_code == 2
    assert "'nonsense' is not the address of a Ray cluster" in done.stderr
    assert "Open http" not in done.stdout + done.stderr
