"""How far estimated effects agree with measured ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from .records import Agreement, NodeEffect


def agreement(nodes: Iterable[NodeEffect]) -> Agreement:
    """Pearson's and Spearman's correlation of estimated with verified effects, over the nodes that were verified."""
    pairs = [(row.estimated_effect, row.verified_effect) for row in nodes if row.verified_effect is not None]
    if not pairs:
        return Agreement(0, None, None)
    both = torch.tensor(pairs, dtype=torch.float64).T
    return Agreement(len(pairs), pearson(both[0], both[1]), pearson(ranks(both[0]), ranks(both[1])))


def pearson(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float | None:
    """The correlation of two samples; None where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    size = float(x.norm() * y.norm())
    return float(x @ y) / size if size > 0 else None


def ranks(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Ranks from 0, equal values sharing their mean rank."""
    _, group, counts = x.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    return (last - (counts + 1) / 2)[group].double()
