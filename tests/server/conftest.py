"""The server around a tiny real model."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

import clew
from clew.atlas import Atlas, collect
from clew.debug import Model
from clew.server.app import create_app

from ..tiny import SENTENCES, tiny_model_folder

QUESTION: dict[str, Any] = {
    "prompt": "When Mary and John went to the store, John gave a drink to",
    "targets": [" Mary"],
    "distractors": [" John"],
}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return clew.load(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "llama")))


@pytest.fixture(scope="session")
def atlas(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """What the model does on a few sentences."""
    folder = tmp_path_factory.mktemp("atlas")
    (folder / "text").mkdir()
    (folder / "text" / "store.txt").write_text(" ".join(SENTENCES * 20))
    return collect(model, str(folder / "text"), out=folder / "atlas", tokens=600, context=16, window=8)


@pytest.fixture
def app(model: Model) -> FastAPI:
    return create_app(model)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        yield client


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app behind a real server on a free port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
