"""Which latents fire on which tokens, and the three products of a training step over just these pairs.

A *pair* is a token and a latent. With k of n latents firing, a step's products over the pairs cost k/n of the dense
ones; nothing of the size tokens × k × d is ever made: every product contracts before it expands. Where too many
latents fire for that to pay, the pairs are all of them and the products are matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from .group import Group

WORTHWHILE = 1 / 24  # of all pairs: with fewer, gathering rows is quicker than multiplying matrices (measured)
_GROUPS, _ROOM = 16, 4  # groups that a row is cut into to find its largest, and how many k must fit into a group
_STRIDES = (509, 127, 31, 1)  # primes, so that a sample of every so many sees all latents


class Pairs(Protocol):
    """Some pairs of b tokens and n latents; numbers on them are kept as the class likes: one per pair."""

    @property
    def latents(self) -> int: ...

    def spread(self, row: Float[Tensor, " n"]) -> Tensor:
        """A latent's number on each of its pairs."""
        ...

    def decode(self, values: Tensor, w_dec: Float[Tensor, "n d"]) -> Float[Tensor, "b d"]:
        """Σ_j v_bj·W[j]."""
        ...

    def pull(
        self, g: Float[Tensor, "b d"], w_dec: Float[Tensor, "n d"], plus: Float[Tensor, " n"] | None = None
    ) -> Tensor:
        """g_b·W[j] + plus_j: what a gradient of reconstructions asks of the pairs' values."""
        ...

    def push(self, values: Tensor, rows: Float[Tensor, "b d"], out: Tensor | None = None) -> Float[Tensor, "n d"]:
        """Σ_b v_bj·rows_b; into `out` if that helps."""
        ...

    def totals(self, values: Tensor) -> Float[Tensor, " n"]:
        """Σ_b v_bj."""
        ...


@dataclass(frozen=True)
class Dense:
    """Every pair. Values are b × n; where `mask` is not positive, `pull` gives 0. `spare` is overwritten by `pull`."""

    latents: int
    spare: Float[Tensor, "b n"] | None = None
    mask: Float[Tensor, "b n"] | None = None

    def spread(self, row: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return row

    def decode(self, values: Float[Tensor, "b n"], w_dec: Float[Tensor, "n d"]) -> Float[Tensor, "b d"]:
        return values @ w_dec

    def pull(
        self, g: Float[Tensor, "b d"], w_dec: Float[Tensor, "n d"], plus: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, "b n"]:
        out = g.new_empty(len(g), self.latents) if self.spare is None else self.spare
        if plus is None:
            torch.mm(g, w_dec.T, out=out)
        else:
            torch.addmm(plus, g, w_dec.T, out=out)
        if self.mask is not None:
            # One pass: a product with a comparison would be two, and slow ones.
            torch.ops.aten.threshold_backward.grad_input(out, self.mask, 0.0, grad_input=out)
        return out

    def push(
        self, values: Float[Tensor, "b n"], rows: Float[Tensor, "b d"], out: Tensor | None = None
    ) -> Float[Tensor, "n d"]:
        return values.T @ rows if out is None else torch.mm(values.T, rows, out=out)

    def totals(self, values: Float[Tensor, "b n"]) -> Float[Tensor, " n"]:
        return values.sum(0)


@dataclass(frozen=True)
class Sparse:
    """Pairs by token: those of token t are starts[t] to starts[t + 1], and `column` says which latents they are."""

    latents: int
    starts: Int[Tensor, " b1"]
    column: Int[Tensor, " m"]

    @cached_property
    def token(self) -> Int[Tensor, " m"]:
        """Which token each pair belongs to."""
        return torch.repeat_interleave(self.starts.diff(), output_size=len(self.column))

    @cached_property
    def _by_latent(self) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"], Int[Tensor, " n1"]]:
        """The pairs' order by latent, their tokens in that order, and where each latent's begin."""
        # Sorting half as many bytes takes half as long; there are at most 2²⁴ latents.
        sorted_columns, order = self.column.to(torch.int32).sort(stable=True)
        edges = torch.arange(self.latents + 1, dtype=torch.int32, device=order.device)
        return order, self.token[order], torch.searchsorted(sorted_columns, edges)

    def spread(self, row: Float[Tensor, " n"]) -> Float[Tensor, " m"]:
        return row[self.column]

    def decode(self, values: Float[Tensor, " m"], w_dec: Float[Tensor, "n d"]) -> Float[Tensor, "b d"]:
        return _bags(self.column, self.starts, values, w_dec)

    def pull(
        self, g: Float[Tensor, "b d"], w_dec: Float[Tensor, "n d"], plus: Float[Tensor, " n"] | None = None
    ) -> Float[Tensor, " m"]:
        # The derivative of `decode` by its values. It has no other name: a gather and a batched product would write
        # pairs × d numbers.
        pulled = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            g, w_dec, self.column, self.starts, self.token, 0
        )
        return pulled if plus is None else pulled.add_(plus[self.column])

    def push(
        self, values: Float[Tensor, " m"], rows: Float[Tensor, "b d"], out: Tensor | None = None
    ) -> Float[Tensor, "n d"]:
        order, token, starts = self._by_latent
        return _bags(token, starts, values[order], rows)

    def totals(self, values: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
        return values.new_zeros(self.latents).index_add_(0, self.column, values)

    def within(self, low: int, high: int) -> tuple[Sparse, Int[Tensor, " s"]]:
        """The pairs of the latents from `low` to before `high`, counted from `low`; and which of these they are."""
        at = ((self.column >= low) & (self.column < high)).nonzero()[:, 0]
        return Sparse(high - low, torch.searchsorted(at, self.starts), self.column[at] - low), at

    def only(self, keep: Bool[Tensor, " m"]) -> Sparse:
        """Some of the pairs."""
        at = keep.nonzero()[:, 0]
        return Sparse(self.latents, torch.searchsorted(at, self.starts), self.column[at])


def _bags(
    index: Int[Tensor, " m"], starts: Int[Tensor, " r1"], values: Float[Tensor, " m"], rows: Float[Tensor, "s d"]
) -> Float[Tensor, "r d"]:
    """Sums of rows, weighted."""
    return embedding_bag(index, rows, starts, mode="sum", per_sample_weights=values, include_last_offset=True)


def above(z: Float[Tensor, "b n"], floor: Float[Tensor, " n"] | float) -> tuple[Sparse, Float[Tensor, " m"]]:
    """The pairs with z > floor, and z on them."""
    b, n = z.shape
    flat = (z > floor).view(-1).nonzero()[:, 0]
    return _from_flat(flat, b, n), z.view(-1)[flat]


def largest_of_each(z: Float[Tensor, "b n"], k: int) -> tuple[Sparse, Float[Tensor, " bk"]]:
    """Each token's k largest z, as they are."""
    b, n = z.shape
    if n % _GROUPS or n < _GROUPS * _ROOM * k:
        best = z.topk(k, dim=1, sorted=False)
        values, column = best.values, best.indices
    else:
        # The k largest lie in the k groups with the largest maxima, and those are found in one quick pass. Groups are
        # strided so that the pass runs along the rows.
        groups = z.view(b, _GROUPS, n // _GROUPS)
        group = groups.amax(1).topk(k, dim=1, sorted=False).indices
        candidates = groups.gather(2, group[:, None].expand(b, _GROUPS, k)).view(b, _GROUPS * k)
        best = candidates.topk(k, dim=1, sorted=False)
        values = best.values
        column = best.indices // k * (n // _GROUPS) + group.gather(1, best.indices % k)
    starts = torch.arange(0, b * k + 1, k, device=z.device)
    return Sparse(n, starts, column.reshape(-1)), values.reshape(-1)


def largest_of_all(z: Float[Tensor, "b n"], count: int) -> tuple[Sparse, Float[Tensor, " m"]]:
    """The `count` largest positive z of the whole batch, or all if there are fewer; of equal ones the first."""
    b, n = z.shape
    flat = z.view(-1)
    candidates = (flat > _floor(flat, count)).nonzero()[:, 0]
    if len(candidates) < count:
        candidates = (flat > 0).nonzero()[:, 0]
    values = flat[candidates]
    if len(candidates) > count:
        least = values.topk(count, sorted=False).values.min()
        keep = values > least
        equal = (values == least).nonzero()[:, 0]
        keep[equal[: count - int(keep.sum())]] = True
        candidates, values = candidates[keep], values[keep]
    return _from_flat(candidates, b, n), values


def largest_of_ranks(
    pairs: Sparse, f: Float[Tensor, " m"], count: int, group: Group
) -> tuple[Sparse, Float[Tensor, " s"], Float[Tensor, " t"]]:
    """Those of each rank's candidates that are among the `count` largest of all ranks; of equal ones the lower ranks'.
    With their activations, and those of all ranks."""
    parts = group.gather(f)
    of_all = torch.cat(parts)
    if len(of_all) <= count:
        return pairs, f, of_all
    of_all = of_all.topk(count, sorted=False).values
    least = of_all.min()
    keep = f > least
    before = sum(int((part == least).sum()) for part in parts[: group.rank])
    equal = (f == least).nonzero()[:, 0]
    keep[equal[: max(0, int((of_all == least).sum()) - before)]] = True
    return pairs.only(keep), f[keep], of_all


def among_largest(values: Float[Tensor, "b m"], k: int, group: Group) -> Bool[Tensor, "b m"]:
    """Which of each token's candidates on this rank are among the k largest of that token on all ranks; of equal ones
    the lower ranks'."""
    parts = [part.T for part in group.gather(values.T.contiguous())]
    of_all = torch.cat(parts, 1)
    if of_all.shape[1] <= k:
        return torch.ones_like(values, dtype=torch.bool)
    least = of_all.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    room = k - (of_all > least).sum(1, keepdim=True)
    for part in parts[: group.rank]:
        room -= (part == least).sum(1, keepdim=True)
    equal = values == least
    return (values > least) | (equal & (equal.cumsum(1) <= room))


def _floor(flat: Float[Tensor, " m"], count: int) -> float:
    """A number, not below 0, that probably not many more than `count` are above, from one in so many."""
    stride = next(prime for prime in _STRIDES if prime * 65536 <= max(len(flat), 65536))
    some = flat[::stride]
    wanted = int(1.25 * count / stride) + 16
    return 0.0 if wanted >= len(some) else max(0.0, some.topk(wanted, sorted=False).values.min().item())


def _from_flat(flat: Int[Tensor, " m"], b: int, n: int) -> Sparse:
    """Pairs from their sorted places in a b × n array."""
    edges = torch.arange(0, (b + 1) * n, n, device=flat.device)
    return Sparse(n, torch.searchsorted(flat, edges), flat % n)
