"""Activations made of known features: sparse sums of unit vectors, some rare and some that come together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MOST = 0.5  # the largest probability of a feature


@dataclass(frozen=True)
class Synthetic:
    """x = Σ_i s_i · on_i · directions_i, with s_i uniform in [½, 1½].

    Which features are on is drawn through a Gaussian copula: on_i where √ρ·g + √(1−ρ)·e_i > Φ⁻¹(1 − p_i), g being
    shared by the features of a group and e_i its own. Each feature is on with exactly the probability p_i, whatever ρ.
    """

    directions: Float[Tensor, "n d"]
    probabilities: Float[Tensor, " n"]
    group: int
    correlation: float

    @classmethod
    def drawn(
        cls,
        features: int,
        width: int,
        *,
        l0: float,
        power: float = 0.5,
        group: int = 2,
        correlation: float = 0.3,
        seed: int = 0,
    ) -> Synthetic:
        """Random directions; probabilities fall off as rank^−`power` and add up to `l0`; `group` neighbours in rank
        are correlated (1: none)."""
        draw = torch.Generator().manual_seed(seed)
        directions = torch.nn.functional.normalize(torch.randn(features, width, generator=draw), dim=1)
        return cls(directions, _probabilities(features, l0, power), group, correlation)

    @property
    def features(self) -> Float[Tensor, "n d"]:
        """The directions to be found."""
        return self.directions

    def strengths(self, m: int, draw: torch.Generator) -> Float[Tensor, "m n"]:
        """Of every feature in m samples: 0 where it is off."""
        n = len(self.directions)
        shared = torch.randn(m, -(-n // self.group), generator=draw).repeat_interleave(self.group, 1)[:, :n]
        own = torch.randn(m, n, generator=draw)
        rho = self.correlation if self.group > 1 else 0.0
        on = math.sqrt(rho) * shared + math.sqrt(1 - rho) * own > -torch.special.ndtri(self.probabilities)
        return (0.5 + torch.rand(m, n, generator=draw)) * on

    def sample(self, m: int, draw: torch.Generator) -> tuple[Float[Tensor, "m d"], Float[Tensor, ""]]:
        """m samples, and how many features are on in one on average."""
        strengths = self.strengths(m, draw)
        return strengths @ self.directions, (strengths > 0).sum(1).double().mean()


def _probabilities(n: int, l0: float, power: float) -> Float[Tensor, " n"]:
    """∝ rank^−power, none above MOST, adding up to l0."""
    shape = torch.arange(1, n + 1, dtype=torch.float64) ** -power
    low, high = 0.0, l0 / float(shape[-1])
    for _ in range(200):  # bisection: the sum rises with the factor
        factor = (low + high) / 2
        if float((factor * shape).clamp(max=MOST).sum()) < l0:
            low = factor
        else:
            high = factor
    return (high * shape).clamp(max=MOST).float()
