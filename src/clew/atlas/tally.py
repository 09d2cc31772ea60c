"""What is counted of a component's activation over all tokens: moments, extremes and a log-spaced histogram."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from . import sums

# Half-octaves of |a| from 2⁻¹⁴ to 2¹⁸ for each sign, and one bin between them for all that is smaller; the outermost
# bins are open.
LOWEST, HIGHEST = -14, 18
SIDE = 2 * (HIGHEST - LOWEST)
BINS = 2 * SIDE + 1
OCTAVES = HIGHEST - LOWEST
_CACHED = 2**18  # values
STRONG = 6  # half-octaves below the largest activation's bin that count as strong


class Tally:
    """Counts of n components; merging is addition, or the larger and smaller of two."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.sums = sums.zero_sum(4, n, device=device)
        self.count = torch.zeros(1, dtype=torch.int64, device=device)
        self._counts = torch.zeros(n * BINS, dtype=torch.int64, device=device)
        self.minimum = torch.full((n,), torch.inf, device=device)
        self.maximum = torch.full((n,), -torch.inf, device=device)
        self._base = (torch.arange(n, dtype=torch.int32, device=device) * BINS + SIDE)[None, :, None]

    def see(
        self, x: Float[Tensor, "b n t"], lowest: Float[Tensor, "b n"], highest: Float[Tensor, "b n"], what: str
    ) -> None:
        """Count float32 activations whose extremes are known. Raises NotFinite, naming `what`."""
        at = torch.empty(x.shape, dtype=torch.int32, device=x.device)
        powers = torch.zeros(4, x.shape[1], dtype=torch.float64, device=x.device)
        # On a CPU few contexts at once: what is made of them then stays in the cache.
        chunk = max(1, _CACHED // x[0].numel()) if x.device.type == "cpu" else len(x)
        for part, bin_of in zip(x.split(chunk), at.split(chunk), strict=True):
            wide = part.double()
            square = wide * wide
            powers[0] += wide.sum((0, 2))
            powers[1] += square.sum((0, 2))
            # A norm needs no array of its squares.
            powers[3] += torch.linalg.vector_norm(square, dim=2).square_().sum(0)
            powers[2] += wide.mul_(square).sum((0, 2))
            torch.add(bins(part), self._base, out=bin_of)
        self._counts += torch.bincount(at.view(-1), minlength=len(self._counts))
        sums.add(self.sums, powers, what)
        self.minimum = torch.minimum(self.minimum, lowest.amin(0))
        self.maximum = torch.maximum(self.maximum, highest.amax(0))
        self.count += x.shape[0] * x.shape[2]

    def state(self) -> dict[str, Tensor]:
        """Everything counted."""
        return {
            "sums": self.sums,
            "count": self.count,
            "histogram": self._counts.view(-1, BINS),
            "minimum": self.minimum,
            "maximum": self.maximum,
        }


class SparseTally(Tally):
    """The same of activations that are hardly ever anything but zero: only what is not is looked at one by one."""

    def see(
        self, x: Float[Tensor, "b n t"], lowest: Float[Tensor, "b n"], highest: Float[Tensor, "b n"], what: str
    ) -> None:
        by_token = x.transpose(1, 2)
        context, token, unit = by_token.nonzero(as_tuple=True)  # NaN is not zero either
        fired = by_token[context, token, unit]
        wide = fired.double()
        sums.add_at(self.sums, unit, torch.stack((wide, wide**2, wide**3, wide**4)), what)
        at = unit * BINS + SIDE + bins(fired)
        self._counts.index_add_(0, at, torch.ones_like(at))
        self.minimum = torch.minimum(self.minimum, lowest.amin(0))
        self.maximum = torch.maximum(self.maximum, highest.amax(0))
        self.count += x.shape[0] * x.shape[2]

    def state(self) -> dict[str, Tensor]:
        counts = self._counts.view(-1, BINS).clone()
        counts[:, SIDE] += self.count - counts.sum(1)  # the zeros
        return {**super().state(), "histogram": counts}


def bins(x: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """The bin of each activation, counted from the middle one: 0 below 2⁻¹⁴, ±1 to ±64 by ⌊2·log₂|a|⌋.

    The exponent of a² is ⌊2·log₂|a|⌋, and lies ready in its bits.
    """
    size = (x * x).view(torch.int32) >> 23
    size.sub_(127 + 2 * LOWEST - 1).clamp_(0, SIDE)
    sign = x.view(torch.int32) >> 31
    return size.bitwise_xor_(sign).sub_(sign)


def edges() -> Float64[Tensor, " bins+1"]:
    """The edges of all bins, lowest first; the outermost are where the open bins would end."""
    side = 2.0 ** (LOWEST + torch.arange(SIDE + 1, dtype=torch.float64) / 2)
    return torch.cat((-side.flip(0), side))


def moments(
    total: Float64[Tensor, "4 n"], count: int
) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " n"], Float64[Tensor, " n"], Float64[Tensor, " n"]]:
    """Mean, variance (over n), skewness and kurtosis (3 for a normal distribution) from sums of a, a², a³, a⁴.

    Skewness and kurtosis are NaN where nothing varies.
    """
    mean, second, third, fourth = total / count
    variance = (second - mean**2).clamp(min=0)
    # Below this the variance is rounding.
    varies = variance > 1e-12 * second
    deviation = torch.where(varies, variance, torch.nan).sqrt()
    skewness = (third - 3 * mean * second + 2 * mean**3) / deviation**3
    kurtosis = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / deviation**4
    return mean, variance, skewness, kurtosis


def strong_share(
    histogram: Int[Tensor, "n bins"], minimum: Float[Tensor, " n"], maximum: Float[Tensor, " n"], count: int
) -> Float64[Tensor, " n"]:
    """The share of tokens whose |activation| falls at most STRONG bins below that of the largest."""
    largest = bins(torch.maximum(maximum, -minimum).contiguous()).abs()
    distance = torch.arange(BINS).sub(SIDE).abs()
    near = (distance[None] >= (largest - STRONG).clamp(min=1)[:, None]) & (largest > 0)[:, None]
    return (histogram * near).sum(1).double() / count


def octave(score: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """The octave of a score, ⌊log₂⌋ from LOWEST to HIGHEST−1 counted from 0; −1 below, and for what is not positive."""
    exponent = (score.view(torch.int32) >> 23) - 127
    return torch.where(score > 0, (exponent - LOWEST).clamp(-1, OCTAVES - 1), -1)
