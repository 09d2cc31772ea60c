"""Sums that do not depend on the order of their terms.

Floating-point addition is not associative, so partial sums of shards merged in another order would differ in the last
bit. Here every term is cut into limbs of 40 bits on a fixed grid and the limbs are added as integers: merging is exact,
whatever the grouping. What lies below the grid (2⁻⁸⁰) is cut off term by term.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import NotFinite

BITS = 40
EXPONENTS = (80, 40, 0, -40, -80)
LIMBS = len(EXPONENTS)
_LIMIT = 2.0 ** (EXPONENTS[0] + BITS)


def zero_sum(*shape: int, device: torch.device | str = "cpu") -> Int[Tensor, "limbs ..."]:
    """The sum of nothing. It can take 2²² terms, each below 2¹²⁰."""
    return torch.zeros(LIMBS, *shape, dtype=torch.int64, device=device)


def add(total: Int[Tensor, "limbs ..."], terms: Float[Tensor, "..."], what: str) -> None:
    """Add float64 terms to a sum, in place. Raises NotFinite, naming `what`, for NaN, infinity or 2¹²⁰ and above."""
    for limb, whole in enumerate(_limbs(terms, what)):
        total[limb] += whole


def add_at(total: Int[Tensor, "limbs k n"], index: Int[Tensor, " m"], terms: Float[Tensor, "k m"], what: str) -> None:
    """Add term i to the sums at index[i], for at most 2²² terms. Raises as `add` does."""
    there, place = index.unique(return_inverse=True)
    fresh = zero_sum(len(terms), len(there), device=total.device)
    for limb, whole in enumerate(_limbs(terms, what)):
        fresh[limb].scatter_add_(1, place.expand(len(terms), -1), whole)
    # Carried, so that all of them together take as much of the room in a sum as one term.
    total[:, :, there] += _carried(fresh)


def _limbs(terms: Float[Tensor, "..."], what: str) -> Iterator[Int[Tensor, "..."]]:
    """The limbs of some terms, the highest first."""
    if not bool((terms.abs() < _LIMIT).all()):
        raise NotFinite(
            f"{what} is not finite on this text.", "The weights may be damaged; or try --dtype float32, the widest."
        )
    rest = terms.double()
    for exponent in EXPONENTS:
        whole = torch.trunc(rest * 2.0**-exponent)
        yield whole.long()
        rest = rest - whole * 2.0**exponent


def value(total: Int[Tensor, "limbs ..."]) -> Float[Tensor, "..."]:
    """A sum as float64, to within one unit in the last place. Equal sums give equal bits."""
    negative = _carried(total)[0] < 0
    # Limbs of one sign: adding them up then loses nothing to cancellation.
    carried = _carried(torch.where(negative, -total, total))
    result = torch.zeros_like(total[0], dtype=torch.float64)
    for limb in range(LIMBS - 1, -1, -1):
        result += carried[limb].double() * 2.0 ** EXPONENTS[limb]
    return torch.where(negative, -result, result)


def _carried(total: Int[Tensor, "limbs ..."]) -> Int[Tensor, "limbs ..."]:
    """The same sum with every limb but the first from 0 to 2⁴⁰−1."""
    carried = total.clone()
    for limb in range(LIMBS - 1, 0, -1):
        carry = carried[limb] >> BITS
        carried[limb] -= carry << BITS
        carried[limb - 1] += carry
    return carried
