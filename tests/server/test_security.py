"""Who the server answers: the machine's own pages, or whoever has the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from clew.debug import Model
from clew.server.app import create_app

TOKEN = "open-sesame-123"


@pytest.fixture
def guarded(model: Model) -> Iterator[TestClient]:
    with TestClient(create_app(model, TOKEN), base_url="http://lab.example:7410", follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7410", "127.0.0.1:9", "127.8.8.8", "[::1]:7410"])
def test_loopback_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:7410", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0",
     "", "[::", "evil@localhost.evil.example", "localhost:7410:evil", "x" * 500],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/status", "/", "/assets/x.js"])
def test_a_rebound_name_is_refused(client: TestClient, host: str, path: str) -> None:
    response = client.get(path, headers={"host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:8888", "http://localhost:7410", "http://[::", "file://", ""],
)
def test_a_foreign_page_is_refused(client: TestClient, origin: str) -> None:
    response = client.post("/api/token", json={"text": "a"}, headers={"origin": origin})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


def test_the_servers_own_page_is_answered(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1:7410"}
    assert client.post("/api/token", json={"text": "a"}, headers=headers).status_code == 200


def test_no_other_page_may_read_answers(client: TestClient) -> None:
    headers = client.get("/api/status").headers
    assert "access-control-allow-origin" not in headers
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_refusals_and_faults_carry_the_headers_too(client: TestClient) -> None:
    for response in (client.get("/api/nope"), client.get("/", headers={"host": "evil.example"})):
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"},
     {"authorization": "Bearer"}, {"cookie": f"clew={TOKEN}"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/status", "/?token=wrong", f"/api/status?token={TOKEN}", "/assets/x.js"])
def test_without_the_token_nothing_is_answered(guarded: TestClient, headers: dict[str, str], path: str) -> None:
    response = guarded.get(path, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert TOKEN not in response.text


def test_a_program_sends_the_token_as_bearer(guarded: TestClient) -> None:
    assert guarded.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/api/status", headers={b"authorization": b"Bearer \xff\xfe"}).status_code == 403


def test_a_browser_sends_it_once_and_then_has_a_cookie(guarded: TestClient) -> None:
    response = guarded.get("/view", params={"token": TOKEN, "p": "a b&c", "t": " Mary", "bos": ""})
    assert response.status_code == 303
    assert response.headers["location"] == "/view?p=a+b%26c&t=+Mary&bos="
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    assert guarded.get("/api/status").status_code == 200
    # The address is cleaned of its token again, cookie or not.
    assert guarded.get("/", params={"token": TOKEN}).headers["location"] == "/"


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "///evil.example"])
def test_the_redirect_leads_to_no_other_server(guarded: TestClient, path: str) -> None:
    location = guarded.get(f"http://lab.example:7410{path}?token={TOKEN}").headers["location"]
    assert location.startswith("/evil.example")


def test_with_a_token_a_foreign_page_is_still_refused(guarded: TestClient) -> None:
    guarded.get("/", params={"token": TOKEN})
    response = guarded.post("/api/token", json={"text": "a"}, headers={"origin": "http://evil.example"})
    assert response.status_code == 403


def test_two_servers_on_one_host_do_not_share_a_cookie(model: Model, guarded: TestClient) -> None:
    with TestClient(create_app(model, "another-token"), base_url="http://lab.example:7411") as other:
        guarded.get("/", params={"token": TOKEN})
        other.cookies = guarded.cookies
        assert other.get("/api/status").status_code == 403
