"""What several tests of the handmade models ask for."""

from __future__ import annotations

import pytest

import clew
from clew.debug import Model, Run

from . import handmade


@pytest.fixture(scope="session")
def copier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The Llama of handmade.py."""
    return clew.load(str(handmade.copier(tmp_path_factory.mktemp("copier"))))


@pytest.fixture
def run(copier: Model) -> Run:
    """The copier on " a b", as worked.py works it out; tests of other models have a run of their own."""
    return copier.debug("a b", " yes", " no")
