"""The built page: its files, how long they are kept, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from clew.debug import Model
from clew.server.app import create_app
from clew.server.static import Pages


@pytest.fixture
def page(tmp_path: Path, model: Model) -> Iterator[TestClient]:
    """A server with a page of two files, and a secret beside the page's folder."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "_static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>the page</title>")
    (folder / "assets" / "index-Bx1.js").write_text("console.log(1)")
    app = create_app(model)
    app.router.default = Pages(folder)
    with TestClient(app, base_url="http://127.0.0.1:7410") as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/search",
        "/deep/view?p=a",
        "/a%00b",
        "/c/attn.23.3",
        "/c/neuron.5.200?p=a.b",
        "/c/x.js",
        "/saes/a.10",
    ],
)
def test_every_view_is_the_page(page: TestClient, path: str) -> None:
    response = page.get(path)
    assert response.status_code == 200
    assert "the page" in response.text
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["cache-control"] == "no-cache"


def test_hashed_files_may_be_kept(page: TestClient) -> None:
    response = page.get("/assets/index-Bx1.js")
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = page.get("/assets/index-Bx1.js", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304


def test_a_changed_page_is_noticed(page: TestClient) -> None:
    etag = page.get("/").headers["etag"]
    assert page.get("/", headers={"if-none-match": etag}).status_code == 304


@pytest.mark.parametrize(
    "path", ["/assets/gone.js", "/assets/gone/", "/favicon.png", "/c.js", "/cc/x.js", "/assets/../../secret.txt"]
)
def test_missing_files_are_missing(page: TestClient, path: str) -> None:
    response = page.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "path", ["/..%2fsecret.txt", "/%2e%2e/secret.txt", "/assets%2f..%2f..%2fsecret.txt", "//secret.txt"]
)
def test_nothing_outside_the_page_is_served(page: TestClient, path: str) -> None:
    assert "secret" not in page.get(path).text.replace("secret.txt", "")


def test_a_page_only_answers_get(page: TestClient) -> None:
    response = page.post("/")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


def test_the_api_is_not_the_page(page: TestClient) -> None:
    assert page.get("/api/nope").status_code == 404
    assert page.get("/apiary").status_code == 200


def test_without_a_page_it_says_what_to_do(tmp_path: Path) -> None:
    app = Starlette()
    app.router.default = Pages(tmp_path / "nowhere")
    response = TestClient(app).get("/")
    assert response.status_code == 503
    assert "make run" in response.text
