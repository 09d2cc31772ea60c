"""The best few of what passes by, for thousands of rows at once.

Every row keeps the K offers with the largest keys, of equal ones the earliest; which K these are does not depend on
how the offers were cut into batches or shards. Values of an offer are written once into a slot and never moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# What is kept of an offer. Positions count within the context; `source` is −1 where there is none.
FIELDS: Mapping[str, torch.dtype] = {
    "context": torch.int32,
    "start": torch.int16,
    "position": torch.int16,
    "source": torch.int16,
    "score": torch.float32,
    "scale": torch.float32,
}
EMPTY = -1  # the context of an empty slot


@dataclass(frozen=True)
class Offers:
    """Kept examples, one per entry: their fields, and `values`, the strip over its largest size, which is `scale`."""

    fields: dict[str, Tensor]
    values: Float[Tensor, "m w"]


# Makes the offers of (row, column) pairs, once it is known which are kept.
Fill = Callable[[Int[Tensor, " m"], Int[Tensor, " m"]], Offers]


class Best:
    """The K best offers of each of n rows, values of width w."""

    def __init__(self, n: int, k: int, w: int, device: torch.device, key: torch.dtype = torch.float32) -> None:
        self.k = k
        # Sorted, best first; `order` says in which slot the rest of each entry lies.
        self.key = torch.full((n, k), -torch.inf, dtype=key, device=device)
        self.order = torch.arange(k, device=device).repeat(n, 1)
        self.fields = {name: torch.zeros(n, k, dtype=kind, device=device) for name, kind in FIELDS.items()}
        self.fields["context"].fill_(EMPTY)
        self.values = torch.zeros(n, k, w, dtype=torch.float16, device=device)

    def offer(self, key: Float[Tensor, "n b"], fill: Fill) -> None:
        """Offer b entries to every row, in their order; a key of −∞ is no offer."""
        if self.k == 0:
            return
        rows = (key > self.key[:, -1:]).any(1).nonzero()[:, 0]
        if len(rows):
            self.offer_some(rows, key[rows], fill)

    def offer_some(self, rows: Int[Tensor, " r"], key: Float[Tensor, "r b"], fill: Fill) -> None:
        """The same for some rows only, none of them twice."""
        k = self.k
        # A stable sort leaves the earlier of equal keys first, and what was kept stands before what is new.
        keys, at = torch.sort(torch.cat((self.key[rows], key), 1), dim=1, descending=True, stable=True)
        keys, at = keys[:, :k], at[:, :k]
        new = at >= k
        staying = torch.zeros(len(rows), k + key.shape[1], dtype=torch.bool, device=key.device)
        staying.scatter_(1, at, True)
        order = self.order[rows]
        # As many slots of a row come free as it has new entries, so both lists run through the rows in step.
        free = order[~staying[:, :k]]
        order = order.gather(1, at.clamp(max=k - 1))
        order[new] = free
        self.key[rows], self.order[rows] = keys, order
        row, column = rows[new.nonzero()[:, 0]], at[new] - k
        offers = fill(row, column)
        for name, field in self.fields.items():
            field[row, free] = offers.fields[name].to(field.dtype)
        self.values[row, free] = offers.values.to(torch.float16)

    def state(self) -> dict[str, Tensor]:
        """Everything kept, best first: `key`, the fields, `values`, each [n, K, …]."""
        rows = torch.arange(len(self.key), device=self.key.device)[:, None]
        kept = {name: field[rows, self.order] for name, field in self.fields.items()}
        return {"key": self.key, **kept, "values": self.values[rows, self.order]}


def merged(states: list[dict[str, Tensor]], k: int) -> dict[str, Tensor]:
    """The best k of several states of the same rows, [n, K, …] each, in any order and grouping."""
    together = {name: torch.cat([state[name] for state in states], 1) for name in states[0]}
    # By key, and of equal keys the earlier context first; empty slots have the least key and lie last.
    by_context = torch.sort(together["context"], dim=1, stable=True).indices
    by_key = torch.sort(together["key"].gather(1, by_context), dim=1, descending=True, stable=True).indices
    at = by_context.gather(1, by_key)[:, :k]
    rows = torch.arange(len(at))[:, None]
    return {name: field[rows, at] for name, field in together.items()}
