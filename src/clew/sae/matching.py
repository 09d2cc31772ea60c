"""Which latent found which known feature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .geometry import max_cosines


@dataclass(frozen=True)
class Matching:
    """Features and latents paired so that the sum of their cosines is as large as can be (Hungarian algorithm).

    `cosines[i]` is that of feature i with its latent, `latents[i]`, which is −1 when there are fewer latents than
    features and none was left; its cosine is then 0. `nearest[i]` is its largest with any latent.
    """

    cosines: Float[Tensor, " n"]
    latents: Int[Tensor, " n"]
    nearest: Float[Tensor, " n"]

    @property
    def mcc(self) -> float:
        """The mean cosine of the pairs, over features: every latent may serve one feature only."""
        return float(self.cosines.double().mean())

    @property
    def mmcs(self) -> float:
        """The mean of each feature's largest cosine with any latent."""
        return float(self.nearest.double().mean())


def matched(
    features: Float[Tensor, "n d"], rows: Float[Tensor, "m d"], alive: Bool[Tensor, " m"] | None = None
) -> Matching:
    """Features matched with decoder rows. The sign counts: a latent that writes the opposite has found nothing, and so
    has one that is not `alive`."""
    from scipy.optimize import linear_sum_assignment

    indexes = torch.arange(len(rows)) if alive is None else alive.nonzero()[:, 0]
    n = len(features)
    cosines, latents = torch.zeros(n), torch.full((n,), -1)
    if not len(indexes):
        return Matching(cosines, latents, torch.zeros(n))
    rows = rows[indexes]
    normal = torch.nn.functional.normalize
    between = normal(features.float(), dim=1) @ normal(rows.float(), dim=1).T
    feature, latent = linear_sum_assignment(between.double().numpy(), maximize=True)
    cosines[feature] = between[feature, latent]
    latents[feature] = indexes[latent]
    return Matching(cosines, latents, max_cosines(features, rows))
