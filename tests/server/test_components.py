"""Component pages and searches over HTTP are the records of `clew.atlas`, and refuse as Python does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from clew.atlas import Atlas, Components, collect
from clew.debug import Model
from clew.records import Record, Records
from clew.sae import Autoencoder, save
from clew.server.app import create_app

from ..atlas.dictionaries import random_autoencoder
from ..tiny import SENTENCES

PROMPT = "Then John gave Mary a drink."


@pytest.fixture(scope="module")
def components(model: Model, atlas: Atlas) -> Components:
    return Components(model, atlas)


@pytest.fixture
def app(model: Model, atlas: Atlas) -> FastAPI:
    return create_app(model, atlas=atlas.folder)


@pytest.fixture
def bare(model: Model, tmp_path: Path) -> Iterator[TestClient]:
    """The server without an atlas."""
    with TestClient(create_app(model, atlas=tmp_path / "none"), base_url="http://127.0.0.1:7410") as client:
        yield client


def plain(record: Record | Records[Any]) -> Any:
    """A record as JSON gives it back."""
    return json.loads(json.dumps(record.to_dict()))


@pytest.mark.parametrize("name", ["neuron.1.7", "attn.2.3"])
def test_a_component_s_page(client: TestClient, components: Components, name: str) -> None:
    path = f"/api/components/{name}"
    assert client.get(path).json() == plain(components.component(name))
    assert client.get(f"{path}/card").json() == plain(components.card(name))
    assert client.get(f"{path}/weights").json() == plain(components.weights(name))
    assert client.get(f"{path}/cofiring").json() == {"rows": plain(components.cofiring(name))}
    asked = {"component": name, "prompt": PROMPT, "bos": True}
    assert client.post("/api/components/prompt", json=asked).json() == plain(components.on_prompt(name, PROMPT, True))


def test_the_pairs_of_an_example(client: TestClient, components: Components) -> None:
    found = client.get("/api/components/attn.0.1/pairs", params={"kind": "top", "rank": 1}).json()
    assert found == plain(components.pairs("attn.0.1", "top", 1))
    banded = next(band for band in components.component("attn.0.1").bands if band.examples)
    params = {"kind": "band", "rank": banded.examples[0].rank, "band": banded.examples[0].band}
    found = client.get("/api/components/attn.0.1/pairs", params=params).json()
    assert found["rows"] == plain(components.pairs("attn.0.1", "band", params["rank"], params["band"]))["rows"]


def test_searches(client: TestClient, components: Components, model: Model) -> None:
    page: dict[str, Any] = {"kinds": ["neuron"], "layers": [0, 1], "max_density": 0.9, "ascending": True, "limit": 7}
    asked = {"prompt": PROMPT, "position": 3, "sort": "ratio", **page}
    found = client.post("/api/search/prompt", json=asked).json()
    expected = components.search_prompt(PROMPT, 3, sort="ratio", **page)
    assert found == {
        "tokens": plain(model.tokens(PROMPT)), "total": expected.total, "rows": plain(expected)
    }  # fmt: skip
    for path, search, sort in (
        ("token", components.search_token, "examples"),
        ("pushed", components.search_pushed, "push"),
    ):
        found = client.post(f"/api/search/{path}", json={"token": " Mary", "sort": sort, **page}).json()
        expected = search(" Mary", sort=sort, **page)
        assert found == {"total": expected.total, "rows": plain(expected)}
        assert 0 < len(found["rows"]) <= 7
    everything = client.post("/api/search/prompt", json={"prompt": PROMPT}).json()
    assert (everything["total"], len(everything["rows"])) == (132, 50)
    assert all(row["position"] > 0 for row in everything["rows"])


@pytest.fixture
def shelf(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Autoencoder]:
    """Autoencoders on the shelf: two at one site, one at another."""
    monkeypatch.setenv("CLEW_HOME", str(tmp_path / "home"))
    anatomy = model.subject.anatomy
    made = {
        "one": random_autoencoder(anatomy, "mlp_out.1", n=30, seed=1),
        "two": random_autoencoder(anatomy, "mlp_out.1", n=20, seed=2),
        "three": random_autoencoder(anatomy, "resid.0", n=10, seed=3, activation="topk"),
    }
    for name, autoencoder in made.items():
        save(autoencoder, tmp_path / "home" / "saes" / name)
    return made


@pytest.fixture
def latents(model: Model, shelf: dict[str, Autoencoder], tmp_path: Path) -> Atlas:
    """An atlas with the latents of `one`."""
    (tmp_path / "text.txt").write_text(" ".join(SENTENCES * 20))
    settings: dict[str, Any] = {"tokens": 400, "context": 16, "window": 8, "sites": ["neuron.1", "latent"]}
    return collect(model, str(tmp_path / "text.txt"), out=tmp_path / "atlas", autoencoders=[shelf["one"]], **settings)


def test_latents_of_what_the_server_was_given(model: Model, latents: Atlas, shelf: dict[str, Autoencoder]) -> None:
    """Of two at one site that of the atlas, though it was given second."""
    app = create_app(model, atlas=latents.folder, autoencoders=["two", "one", "three"])
    components = Components(model, latents, [shelf["one"], shelf["three"]])
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        assert client.get("/api/atlas").json()["atlas"] == plain(latents.info())
        for name in ("latent.mlp_out.1.29", "latent.resid.0.3"):
            path = f"/api/components/{name}"
            assert client.get(path).json() == plain(components.component(name))
            assert client.get(f"{path}/card").json() == plain(components.card(name))
            assert client.get(f"{path}/weights").json() == plain(components.weights(name))
            assert client.get(f"{path}/cofiring").json() == {"rows": plain(components.cofiring(name))}
            asked = {"component": name, "prompt": PROMPT}
            assert client.post("/api/components/prompt", json=asked).json() == plain(components.on_prompt(name, PROMPT))
        page: dict[str, Any] = {"kinds": ["latent"], "limit": 7}
        for path, body, found in (
            ("prompt", {"prompt": PROMPT}, components.search_prompt(PROMPT, **page)),
            ("token", {"token": " Mary"}, components.search_token(" Mary", **page)),
            ("pushed", {"token": " Mary"}, components.search_pushed(" Mary", **page)),
        ):
            got = client.post(f"/api/search/{path}", json={**body, **page}).json()
            assert (got["total"], got["rows"]) == (found.total, plain(found))
            assert got["rows"] and all(row["id"].startswith("latent.") for row in got["rows"])


def test_latents_of_the_autoencoders_that_are_named(
    model: Model, latents: Atlas, shelf: dict[str, Autoencoder]
) -> None:
    with TestClient(create_app(model, atlas=latents.folder), base_url="http://127.0.0.1:7410") as client:
        path = "/api/components/latent.mlp_out.1.3"
        # Nothing was given: the atlas still knows what they do.
        known = client.get(path).json()
        assert known["stats"] is not None and known["autoencoder"]["name"] == shelf["one"].name
        assert "which is not attached" in client.get(f"{path}/weights").json()["note"]
        one = client.get(f"{path}/weights", params={"autoencoders": ["one", "three"]}).json()
        assert one == plain(Components(model, latents, [shelf["one"], shelf["three"]]).weights("latent.mlp_out.1.3"))
        assert one["note"] == "It reads mlp_out.1, and no token's embedding gets there by itself."
        # Of another autoencoder at that site the atlas has nothing, and does not pretend to.
        two = client.get(path, params={"autoencoders": "two"}).json()
        assert (two["stats"], two["top"], two["autoencoder"]["name"]) == (None, [], shelf["two"].name)
        assert client.get("/api/components/neuron.1.3", params={"autoencoders": "two"}).json()["stats"] is not None
        asked = {"component": "latent.mlp_out.1.19", "prompt": PROMPT, "autoencoders": ["two"]}
        on_prompt = Components(model, autoencoders=[shelf["two"]]).on_prompt("latent.mlp_out.1.19", PROMPT)
        assert client.post("/api/components/prompt", json=asked).json() == plain(on_prompt)
        search = {"prompt": PROMPT, "kinds": ["latent"], "sort": "activation", "autoencoders": ["two"]}
        assert client.post("/api/search/prompt", json=search).json()["total"] == 20
        for params, status, code in (
            ({"autoencoders": ["one", "two"]}, 422, "bad_request"),
            ({"autoencoders": "nobody"}, 404, "unknown_autoencoder"),
        ):
            response = client.get(path, params=params)
            assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_latents_are_collected_into_the_atlas_of_the_server(
    model: Model, shelf: dict[str, Autoencoder], tmp_path: Path
) -> None:
    app = create_app(model, atlas=tmp_path / "own", autoencoders=["one"])
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        found = {}
        for names in (None, ["three"]):
            response = client.post("/api/collect", json={"tokens": 200, "autoencoders": names})
            assert "event: done" in response.text
            found = client.get("/api/atlas").json()["atlas"]
        assert [one["writes"] for one in found["autoencoders"]] == ["resid.0", "mlp_out.1"]
        assert len(found["sites"]) == 8
        assert client.get("/api/components/latent.resid.0.3").json()["stats"] is not None


def test_an_atlas_that_was_collected_or_replaced_by_a_command_is_seen(
    model: Model, bare: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(" ".join(SENTENCES * 20))
    path = "/api/components/neuron.1.7"
    assert bare.get("/api/atlas").json()["atlas"] is None
    assert bare.get(path).json()["stats"] is None
    for tokens in (400, 600):
        made = collect(
            model, str(tmp_path / "text.txt"), out=tmp_path / "none", tokens=tokens, context=16, window=8,
            sites=["neuron.1"], replace=True,
        )  # fmt: skip
        # A page may ask for a component before it asks for the atlas.
        assert bare.get(path).json() == plain(Components(model, made).component("neuron.1.7"))
        assert bare.get("/api/atlas").json()["atlas"] == plain(made.info())
    manifest = tmp_path / "none" / "atlas.json"
    written = manifest.read_text()
    manifest.write_text("{")
    found = bare.get("/api/atlas").json()
    assert found["atlas"] is None and "atlas.json" in found["problem"]
    manifest.write_text(written)
    assert bare.get("/api/atlas").json() == {"atlas": plain(made.info()), "problem": None, "collecting": False}
    manifest.unlink()
    assert bare.get("/api/atlas").json() == {"atlas": None, "problem": None, "collecting": False}
    assert bare.get(path).json()["stats"] is None


def test_what_a_server_without_an_atlas_answers(bare: TestClient, components: Components) -> None:
    page = bare.get("/api/components/neuron.1.7").json()
    assert page["next"] == "neuron.1.8"
    assert page["stats"] is None
    assert page["top"] == []
    assert bare.get("/api/components/neuron.1.7/weights").json() == plain(components.weights("neuron.1.7"))
    assert bare.get("/api/components/attn.1.1/weights").json()["up"] is None
    asked = {"component": "attn.1.1", "prompt": PROMPT}
    found = bare.post("/api/components/prompt", json=asked).json()
    assert found["z"] is None
    assert found["pairs"] == plain(components.on_prompt("attn.1.1", PROMPT))["pairs"]
    search = bare.post("/api/search/prompt", json={"prompt": PROMPT, "sort": "activation"}).json()
    assert search["rows"][0]["z"] is None
    for response in (
        bare.get("/api/components/attn.1.1/pairs", params={"kind": "top", "rank": 0}),
        bare.get("/api/components/attn.1.1/cofiring"),
        bare.post("/api/search/prompt", json={"prompt": PROMPT}),
        bare.post("/api/search/token", json={"token": " Mary"}),
        bare.post("/api/search/pushed", json={"token": " Mary", "max_density": 0.1}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "no_atlas")


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/components/neuron.9.0", None, "bad_node"),
        ("GET", "/components/neuron.0.1@2", None, "bad_node"),
        ("GET", "/components/%20/card", None, "bad_node"),
        ("GET", "/components/latent.resid.0.0/weights", None, "bad_node"),
        ("GET", "/components/neuron.0.1/pairs?kind=top&rank=0", None, "bad_node"),
        ("GET", "/components/attn.0.1/pairs?kind=top&rank=5000", None, "bad_node"),
        ("GET", "/components/attn.0.1/pairs?kind=best&rank=0", None, "bad_request"),
        ("POST", "/components/prompt", {"component": "attn.0.9", "prompt": PROMPT}, "bad_node"),
        ("POST", "/components/prompt", {"component": "attn.0.1", "prompt": ""}, "empty_prompt"),
        ("POST", "/search/prompt", {"prompt": PROMPT, "position": 99}, "position_out_of_range"),
        ("POST", "/search/prompt", {"prompt": PROMPT, "sort": "name"}, "bad_request"),
        ("POST", "/search/prompt", {"prompt": PROMPT, "limit": 0}, "bad_request"),
        ("POST", "/search/prompt", {"prompt": PROMPT, "kinds": ["latent"]}, "bad_request"),
        ("POST", "/search/token", {"token": " Mary and"}, "not_one_token"),
        ("POST", "/search/pushed", {"token": "\udfff"}, "bad_text"),
    ],
)
def test_questions_that_cannot_be_asked(client: TestClient, method: str, path: str, body: object, code: str) -> None:
    sent: dict[str, Any] = {} if body is None else {
        "content": json.dumps(body), "headers": {"content-type": "application/json"}
    }  # fmt: skip
    response = client.request(method, f"/api{path}", **sent)
    assert (response.status_code, response.json()["error"]["code"]) == (422, code)


def test_other_methods_of_a_path_are_named(client: TestClient) -> None:
    assert client.put("/api/components/prompt").headers["allow"] == "POST"
    assert client.put("/api/components/attn.0.1").headers["allow"] == "GET"
