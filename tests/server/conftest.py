"""The server around a tiny real model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import clew
from clew.debug import Model
from clew.server.app import create_app

from ..tiny import tiny_model_folder

QUESTION: dict[str, Any] = {
    "prompt": "When Mary and John went to the store, John gave a drink to",
    "targets": [" Mary"],
    "distractors": [" John"],
}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return clew.load(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "llama")))


@pytest.fixture
def app(model: Model) -> FastAPI:
    return create_app(model)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        yield client
