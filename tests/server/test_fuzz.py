"""Whatever schemathesis thinks of, the API answers as openapi.json says, and never with a 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import positive_data_acceptance

from clew.debug import Model
from clew.server import openapi
from clew.server.app import create_app

api = schemathesis.openapi.from_dict(openapi.routed().openapi())


@pytest.fixture(scope="module")
def session(model: Model) -> Iterator[requests.Session]:
    # schemathesis declares ASGI in types of its own.
    app: Any = create_app(model)
    with asgi.get_client(app) as client:
        yield client


@api.parametrize()
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_no_request_breaks_the_api(case: schemathesis.Case, session: requests.Session) -> None:
    # A prompt of the right type may still be empty or too long, and a target not one token: those are 422.
    case.call_and_validate("http://localhost", session, excluded_checks=[positive_data_acceptance])
