"""What every test may ask for."""

from __future__ import annotations

import signal

import pytest

import clew
from clew.debug import Model

# A shell that starts the tests in the background ignores SIGINT, and every process they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The default model, from the user's own folder and pulled into it if need be: once on a machine."""
    return clew.load("smollm2")
