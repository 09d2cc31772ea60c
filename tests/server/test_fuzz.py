"""Whatever schemathesis thinks of, the API answers as openapi.json says, and never with a 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import positive_data_acceptance

from clew.atlas import Atlas
from clew.debug import Model
from clew.server import openapi
from clew.server.app import create_app

api = schemathesis.openapi.from_dict(openapi.routed().openapi())


# What starts work of minutes, or asks the hub, is tried by itself.
WORKS = {"/api/collect", "/api/autoencoders", "/api/trainings"}
# What asks language models is tried where a request may name none but those that the server was given.
ASKS = {f"/api/explanations/{path}" for path in ("plan", "explain", "score", "node", "node/plan", "search")}
TOKEN = "0123456789"


@pytest.fixture(scope="module", autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of its own, which requests may delete things in, and no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEW_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def session(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[requests.Session]:
    yield from _session(model, tmp_path_factory.mktemp("none") / "atlas")


@pytest.fixture(scope="module")
def session_with_atlas(model: Model, atlas: Atlas) -> Iterator[requests.Session]:
    yield from _session(model, atlas.folder)


@pytest.fixture(scope="module")
def session_at_work(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[requests.Session]:
    """A server that collects and trains already: what it takes for a request is refused as one too many."""
    app: Any = create_app(model, atlas=tmp_path_factory.mktemp("collecting") / "atlas")
    with asgi.get_client(app) as client, app.state.clew.browser.collecting, app.state.clew.trainings.starting:
        yield client


@pytest.fixture(scope="module")
def session_of_others(model: Model, atlas: Atlas) -> Iterator[requests.Session]:
    """A server that answers to other machines, to whoever has the token."""
    app: Any = create_app(model, token=TOKEN, atlas=atlas.folder)
    with asgi.get_client(app) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def _session(model: Model, atlas: Path) -> Iterator[requests.Session]:
    # schemathesis declares ASGI in types of its own.
    app: Any = create_app(model, atlas=atlas)
    with asgi.get_client(app) as client:
        yield client


@api.exclude(path=sorted(WORKS | ASKS)).parametrize()
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_no_request_breaks_the_api(case: schemathesis.Case, session: requests.Session) -> None:
    # A prompt of the right type may still be empty or too long, and a target not one token: those are 422.
    case.call_and_validate("http://localhost", session, excluded_checks=[positive_data_acceptance])


@api.include(path=sorted(WORKS)).parametrize()
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_no_request_breaks_what_takes_long(case: schemathesis.Case, session_at_work: requests.Session) -> None:
    case.call_and_validate(
        "http://localhost", session_at_work, excluded_checks=[positive_data_acceptance, not_a_server_error]
    )


@api.include(path=sorted(ASKS)).parametrize()
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_no_request_breaks_what_asks_language_models(
    case: schemathesis.Case, session_of_others: requests.Session
) -> None:
    case.call_and_validate("http://localhost", session_of_others, excluded_checks=[positive_data_acceptance])


@api.include(path_regex="/(components|search)/").parametrize()
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_no_request_breaks_the_api_of_an_atlas(case: schemathesis.Case, session_with_atlas: requests.Session) -> None:
    case.call_and_validate("http://localhost", session_with_atlas, excluded_checks=[positive_data_acceptance])
