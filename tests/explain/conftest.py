"""Language models that tests of explaining ask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from clew.debug import Model
from clew.explain.llm import endpoint
from clew.explain.store.answers import Answers
from clew.explain.store.database import engine_of

from .llm.server import Scripted, serving


@pytest.fixture(scope="session")
def served(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The default model behind `transformers serve`, a real OpenAI-compatible server: its reference."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("served") / "log"
    command = [
        Path(sys.executable).parent / "transformers", "serve", str(smollm2.path),
        "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        _ready(f"http://127.0.0.1:{port}/health", process, log)
        yield f"{smollm2.path}@http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A server that does as it is told, and a client that does not wait long to try again; no keys around."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.005)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CLEW_LLM_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Scripted()) as script:
        yield script


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    """An empty database in a file of its own."""
    engine = engine_of(f"sqlite:///{tmp_path / 'answers.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def answers(database: Engine) -> Answers:
    return Answers(database)


def _ready(url: str, process: subprocess.Popen[bytes], log: Path, patience: float = 180.0) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"transformers serve ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"transformers serve did not start: {log.read_text(errors='replace')[-2000:]}")
