"""Whatever schemathesis thinks of, the API answers as openapi.json says, and never with a 500."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from clew.debug import Model
from clew.server.app import create_app


@pytest.fixture(scope="module")
def described(model: Model) -> OpenApiSchema:
    return schemathesis.openapi.from_asgi("/api/openapi.json", create_app(model))


api = schemathesis.pytest.from_fixture("described")


@api.parametrize()
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_no_request_breaks_the_api(case: schemathesis.Case) -> None:
    # A prompt of the right type may still be empty or too long, and a target not one token: those are 422.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
