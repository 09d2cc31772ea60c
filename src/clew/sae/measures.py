"""What an autoencoder does over many tokens, reduced as they come: sums in float64, nothing kept of any one token.

Sums of squares are taken around the first batch's mean, so that a site whose values lie far from zero loses no digits.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .records import Histogram

DENSE = 0.1  # of the tokens: latents that fire on more are dense
VALUE_BITS = 8  # what the strength of a latent that fires is sent with, in a description length

_DENSITY_EDGES = np.linspace(-7, 0, 29)


class Spread:
    """Σ‖v − mean‖² of vectors, and their mean."""

    def __init__(self, d: int) -> None:
        self.n = 0
        self._shift: Float[Tensor, " d"] | None = None
        self._sum = torch.zeros(d, dtype=torch.float64)
        self._squares = 0.0

    def see(self, v: Float[Tensor, "m d"]) -> None:
        if self._shift is None:
            self._shift = v.mean(0)
        moved = v - self._shift
        self.n += len(v)
        self._sum += moved.sum(0)
        self._squares += float(moved.square().sum())

    @property
    def mean(self) -> Float[Tensor, " d"]:
        return self._sum / self.n if self._shift is None else self._shift + self._sum / self.n

    @property
    def total(self) -> float:
        """Σ‖v − mean‖², never below zero."""
        return max(0.0, self._squares - float(self._sum.square().sum()) / self.n)


class Reconstruction:
    """How close reconstructions x̂ are to what they stand for, x (of a transcoder: the site it writes)."""

    def __init__(self, d: int) -> None:
        self._d = d
        self.values, self._errors = Spread(d), Spread(d)
        self._error = self._cosine = self._size = self._product = 0.0

    def see(self, x: Float[Tensor, "m d"], guess: Float[Tensor, "m d"]) -> None:
        """`guess` is x̂ of the tokens of x."""
        x, guess = x.cpu().double(), guess.cpu().double()  # mps has no float64
        error = x - guess
        product = (x * guess).sum(1)
        norms = x.norm(dim=1) * guess.norm(dim=1)
        self.values.see(x)
        self._errors.see(error)
        self._error += float(error.square().sum())
        self._size += float(guess.square().sum())
        self._product += float(product.sum())
        self._cosine += float(torch.where(norms > 0, product / norms.clamp_min(1e-300), torch.zeros_like(norms)).sum())

    @property
    def fvu(self) -> float:
        """Σ‖x − x̂‖² / Σ‖x − μ‖², μ the mean of all that was seen: 1 for who predicts the mean."""
        return self._error / self.values.total

    @property
    def explained_variance(self) -> float:
        """1 − Σ‖e − mean e‖² / Σ‖x − μ‖², e = x − x̂: a constant error costs nothing here."""
        return 1 - self._errors.total / self.values.total

    @property
    def mse(self) -> float:
        """The mean squared error of one number."""
        return self._error / (self.values.n * self._d)

    @property
    def cosine(self) -> float:
        """The mean cosine of x and x̂, 0 where either is zero."""
        return self._cosine / self.values.n

    @property
    def shrinkage(self) -> float:
        """Σ‖x̂‖² / Σ⟨x̂, x⟩: c for x̂ = c·x; 0 when x̂ is always zero."""
        return self._size / self._product if self._size else 0.0


class Firing:
    """How often and how strongly each latent fires."""

    def __init__(self, n: int) -> None:
        self.tokens = 0
        self.counts = torch.zeros(n, dtype=torch.int64)
        self.maxima = torch.zeros(n)
        self._sums = torch.zeros(n, dtype=torch.float64)

    def see(self, latents: Float[Tensor, "m n"]) -> None:
        self.tokens += len(latents)
        self.counts += (latents > 0).sum(0).cpu()
        self.maxima = torch.maximum(self.maxima, latents.amax(0).cpu().float())
        self._sums += latents.sum(0).cpu().double()

    @property
    def densities(self) -> Float[Tensor, " n"]:
        """The share of tokens that each latent fires on."""
        return self.counts.double() / self.tokens

    @property
    def means(self) -> Float[Tensor, " n"]:
        """The mean activation of each latent over the tokens it fires on; 0 where it never does."""
        return self._sums / self.counts.clamp_min(1)

    @property
    def l0(self) -> float:
        """How many latents fire on a token, on average."""
        return float(self.counts.sum()) / self.tokens

    @property
    def dead(self) -> int:
        return int((self.counts == 0).sum())

    @property
    def dense(self) -> int:
        return int((self.densities > DENSE).sum())

    @property
    def description_length(self) -> float:
        """Bits a token: Σ_j H(p_j) + VALUE_BITS · p_j, with p_j the density and H the entropy of a coin with it.

        Which latents fire is sent with a code made for each latent by itself, then the strength of those that do
        (Ayonrinde et al. 2024, for independent latents).
        """
        p = self.densities
        return float((-torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)).sum() / np.log(2) + VALUE_BITS * p.sum())


def density_histogram(counts: Int[Tensor, " n"], tokens: int) -> Histogram:
    """log10 of the share of tokens that latents fired on, four bins a decade from −7; `below` never fired."""
    alive = counts[counts > 0].double().cpu().numpy() / max(tokens, 1)
    logs = np.log10(alive).clip(_DENSITY_EDGES[0], _DENSITY_EDGES[-1])
    found, edges = np.histogram(logs, _DENSITY_EDGES)
    return Histogram(edges.tolist(), found.tolist(), len(counts) - len(alive))
