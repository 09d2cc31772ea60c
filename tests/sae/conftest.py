"""What several tests of autoencoders ask for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from .drawing import D, Draw


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
