"""What every test may ask for."""

from __future__ import annotations

import pytest

import clew
from clew.debug import Model


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The default model, from the user's own folder and pulled into it if need be: once on a machine."""
    return clew.load("smollm2")
