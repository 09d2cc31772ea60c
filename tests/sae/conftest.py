"""What several tests of autoencoders ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clew.debug import Model
from clew.sae.training import TrainEvent, training

from .drawing import D, Draw
from .plan import PLAN


@pytest.fixture
def x() -> Tensor:
    """Values of a site."""
    return 2 * torch.randn(4, 9, D, generator=torch.Generator().manual_seed(9)) + 0.2


@pytest.fixture
def draw() -> Draw:
    """Random numbers of any shape, others every time."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return 0.4 * torch.randn(shape, generator=generator)

    return normal


@pytest.fixture(scope="module")
def undisturbed(
    one_thread: None, model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[TrainEvent]]:
    """The folder of a training that nothing disturbed, and all that it told."""
    out = tmp_path_factory.mktemp("trainings") / "undisturbed"
    return out, list(training(model, PLAN, corpus, out))
