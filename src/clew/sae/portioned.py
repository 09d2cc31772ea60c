"""An autoencoder that several ranks have together, each with a portion of its latents."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.sites import Split
from .autoencoder import Autoencoder
from .portion import Portion
from .sparse import among_largest


@dataclass(frozen=True, eq=False)
class Portioned(Autoencoder):
    """Its weights are of this rank's latents, and what it reads is the same on all ranks, who ask at the same time.

    Strengths are of this rank's latents too; x̂ is the whole one, on every rank.
    """

    portion: Portion = field(default_factory=lambda: Portion(0))

    @property
    def n_latents(self) -> int:
        """Of all ranks."""
        return self.portion.whole

    def encode(self, x: Float[Tensor, "*t d_in"]) -> Float[Tensor, "*t m"]:
        """f of this rank's latents."""
        if self.activation != "topk":
            return super().encode(x)
        assert self.k is not None
        z = torch.relu(self.pre_activations(x))
        best = z.view(-1, z.shape[-1]).topk(min(self.k, z.shape[-1]), dim=-1)
        values = best.values * among_largest(best.values, self.k, self.portion.group)
        return torch.zeros_like(z).view(-1, z.shape[-1]).scatter_(-1, best.indices, values).view_as(z)

    def decode(self, split: Split) -> Float[Tensor, "*t d_out"]:
        """x̂."""
        written = split.strengths @ self.w_dec
        self.portion.group.sum_([written])
        whole = split.base + written
        return whole if split.skip is None else whole + split.skip


def portion_of(autoencoder: Autoencoder) -> Portion:
    """Which of its latents an autoencoder has here."""
    return autoencoder.portion if isinstance(autoencoder, Portioned) else Portion(autoencoder.n_latents)
