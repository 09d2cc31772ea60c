"""Status and models."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from clew import __version__, settings
from clew.debug import Model
from clew.models import store
from clew.server.schemas import status as schemas

from ..tiny import tiny_model_folder


def test_status(client: TestClient, model: Model) -> None:
    response = client.get("/api/status")
    schemas.Status.model_validate_json(response.content, strict=True)
    status = response.json()
    assert status["version"] == __version__
    assert status["model"] == model.info().to_dict()
    assert status["example"]["prompt"] == settings.EXAMPLE_PROMPT
    assert status["queue"] == {"running": False, "waiting": 0}
    assert status["limits"]["max_prompt_chars"] == settings.MAX_PROMPT_CHARS


def test_models(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    assert client.get("/api/models").json() == []
    folder = tiny_model_folder(tmp_path / "models" / "tiny")
    (folder / store.MANIFEST).write_text('{"name": "tiny", "revision": null}')
    (found,) = client.get("/api/models").json()
    assert (found["name"], found["family"]) == ("tiny", "llama")
    assert found["bytes"] > 4 * found["parameters"] > 0
    assert str(tmp_path) not in client.get("/api/models").text


def test_the_description_is_served(client: TestClient) -> None:
    assert client.get("/api/openapi.json").json()["info"]["title"] == "Clew"
