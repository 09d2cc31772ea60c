"""Questions explained with the latents of an attached autoencoder, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from clew.debug import Model
from clew.nodes import parse_site
from clew.sae import Autoencoder, save
from clew.sae.autoencoder import Origin
from clew.server.app import create_app
from clew.server.schemas import debugger as schemas

from .conftest import QUESTION
from .test_debugger import ask, strip

ASKED = {**QUESTION, "autoencoders": ["sixty"]}


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = torch.Generator().manual_seed(0)
    site = parse_site("attn_out.1")
    made = Autoencoder(
        site, site, "relu",
        torch.randn(24, 60, generator=draw) / 5, torch.randn(60, generator=draw) / 5,
        torch.randn(60, 24, generator=draw) / 2, torch.zeros(24), origin=Origin("sixty"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("saes") / "sixty"
    save(made, folder)
    return folder


@pytest.fixture
def client(model: Model, autoencoder: Path) -> Iterator[TestClient]:
    app = create_app(model, autoencoders=[str(autoencoder)])
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        yield client


def test_a_question_is_answered_with_latents(client: TestClient, model: Model, autoencoder: Path) -> None:
    found = ask(client, "/api/debug", schemas.Answer, ASKED)
    run = model.attach(autoencoder).debug(QUESTION["prompt"], " Mary", " John")
    assert {"latent", "error"} <= {node["kind"] for node in found["nodes"]}
    assert strip(found)["accounting"] == run.accounting().to_dict()
    assert abs(found["accounting"]["difference"]) < 1e-4
    assert {"latent", "error"} <= {step["step"] for step in found["by_layer"]}
    assert found["autoencoders"] == ["sixty"]
    plain = ask(client, "/api/debug", schemas.Answer, QUESTION)
    assert plain["accounting"]["terms"]["latent"] == 0
    assert plain["accounting"]["value"] == pytest.approx(found["accounting"]["value"], abs=1e-6)


def test_a_latent_is_edited_traced_verified_and_shown(client: TestClient) -> None:
    table = ask(client, "/api/debug", schemas.Answer, {**ASKED, "kinds": ["latent"]})["nodes"]
    node = next(row["id"] for row in table if row["position"] == 13)
    detail = ask(client, "/api/node", schemas.NodeDetail, {**ASKED, "node": node})
    assert detail["pairs"] and detail["pairs"][0]["node"].startswith("attn.1.")
    traced = ask(client, "/api/debug", schemas.Answer, {**ASKED, "trace": [f"{node}:in"]})
    assert traced["trace"][0]["node"] == node
    assert abs(traced["accounting"]["difference"]) < 1e-4
    edited = ask(client, "/api/debug", schemas.Answer, {**ASKED, "edits": [f"zero:{node}"]})
    with client.stream("POST", "/api/verify", json={**ASKED, "nodes": [node]}) as stream:
        text = "".join(stream.iter_text())
    before = ask(client, "/api/debug", schemas.Answer, ASKED)["direction"]["value"]
    effect = before - edited["direction"]["value"]
    assert f'"id":"{node}"' in text
    measured = float(text.split('"verified_effect":')[1].split("}")[0])
    assert measured == pytest.approx(effect, abs=1e-4)


def test_an_autoencoder_that_is_not_there_is_refused(client: TestClient) -> None:
    answer = client.post("/api/debug", json={**QUESTION, "autoencoders": ["seventy"]})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_autoencoder"
    latent = client.post("/api/debug", json={**QUESTION, "edits": ["zero:latent.attn_out.1.3@2"]})
    assert latent.status_code == 422
    assert "none is attached" in latent.json()["error"]["message"]
