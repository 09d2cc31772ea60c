"""The toy model of superposition (Elhage et al. 2022): a network that keeps more features than it has dimensions.

    h = W x      x' = ReLU(Wᵀ h + b)      loss = mean Σ_i I_i (x_i − x'_i)²

Each feature x_i is 0, or with probability p uniform in [0, 1]. Trained, the columns of W are the directions in which
features lie: the truth that an autoencoder of h is to find. Features that the network gave up have short columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

KEPT = 0.5  # the least length of a column whose feature the network keeps


@dataclass(frozen=True)
class Superposition:
    """A trained toy model; `weight[i]` is the direction of feature i, W's column."""

    weight: Float[Tensor, "n d"]
    bias: Float[Tensor, " n"]
    probability: float

    @property
    def features(self) -> Float[Tensor, "k d"]:
        """The directions of the features that it keeps."""
        return self.weight[self.weight.norm(dim=1) >= KEPT]

    def strengths(self, m: int, draw: torch.Generator) -> Float[Tensor, "m n"]:
        """Of every feature in m samples: 0 where it is off."""
        n = len(self.weight)
        return _features(m, n, self.probability, draw)

    def __call__(self, h: Float[Tensor, "m d"]) -> Float[Tensor, "m n"]:
        """x': the features as the network reads them back."""
        return torch.relu(h @ self.weight.T + self.bias)

    def sample(self, m: int, draw: torch.Generator) -> tuple[Float[Tensor, "m d"], Float[Tensor, ""]]:
        """m hidden activations, and how many features that it keeps are on in one on average."""
        x = self.strengths(m, draw)
        kept = self.weight.norm(dim=1) >= KEPT
        return x @ self.weight, (x[:, kept] > 0).sum(1).double().mean()


def trained(
    features: int,
    width: int,
    *,
    l0: float,
    importance: float = 1.0,
    steps: int = 1000,
    batch: int = 512,
    seed: int = 0,
) -> Superposition:
    """Trains the toy model: `features` of them in `width` dimensions, `l0` of them on in a sample on average.

    The importance I_i falls off geometrically, to `importance` for the last (1: all alike).
    """
    draw = torch.Generator().manual_seed(seed)
    weight = (torch.randn(features, width, generator=draw) / width**0.5).requires_grad_()
    bias = torch.zeros(features, requires_grad=True)
    weights = importance ** torch.linspace(0, 1, features)
    adam = torch.optim.Adam([weight, bias], lr=1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    probability = l0 / features
    for _ in range(steps):
        x = _features(batch, features, probability, draw)
        guess = torch.relu(x @ weight @ weight.T + bias)
        loss = (weights * (x - guess).square()).sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        decay.step()
    return Superposition(weight.detach(), bias.detach(), probability)


def _features(m: int, n: int, probability: float, draw: torch.Generator) -> Float[Tensor, "m n"]:
    return torch.rand(m, n, generator=draw) * (torch.rand(m, n, generator=draw) < probability)
