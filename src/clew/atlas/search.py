"""What every search for components needs: whom it is among, what is usual of them, one page of what it found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from ..errors import NoAtlas, UsageError
from ..models.anatomy import Anatomy
from ..nodes import Node
from .observation import Autoencoders, Block
from .plan import KINDS

if TYPE_CHECKING:
    from .atlas import Atlas


@dataclass(frozen=True)
class Paging:
    """Which of the found components are listed: those of at most `max_density` (as `strong` counts it), in order."""

    sort: str
    max_density: float | None
    ascending: bool
    offset: int
    limit: int

    def page(self, keys: Float64[np.ndarray, " n"], strong: Float64[np.ndarray, " n"]) -> tuple[list[int], int]:
        """Which rows the page has, by their sort keys, and how many there are in all.

        What is unknown (NaN) comes last either way, and what has no known density is no answer to a bound on it; equal
        keys keep their order.
        """
        rows = np.arange(len(keys))
        if self.max_density is not None:
            rows = rows[strong <= self.max_density]
        found = keys[rows]
        order = np.argsort(found if self.ascending else -found, kind="stable")
        return rows[order][self.offset : self.offset + self.limit].tolist(), len(rows)

    def check(self, allowed: Sequence[str], without_atlas: Sequence[str], atlas: Atlas | None) -> None:
        """Raises UsageError for a sort that there is not, NoAtlas where an atlas is needed and there is none."""
        if self.sort not in allowed:
            raise UsageError(f"{self.sort!r} is nothing to sort by.", f"Sort by {', '.join(allowed)}.")
        if self.offset < 0 or self.limit < 1:
            raise UsageError("A page starts at 0 or later and lists at least one.", "Leave both out for the first.")
        if atlas is None and self.sort not in without_atlas:
            raise no_atlas(f"Sorting by {self.sort}")
        if atlas is None and self.max_density is not None:
            raise no_atlas("A bound on density")


@dataclass(frozen=True)
class Population:
    """The components of some blocks, one block after another, and what is usual of each; NaN where no atlas says."""

    blocks: Sequence[Block]
    starts: Sequence[int]
    mean: Float64[np.ndarray, " n"]
    deviation: Float64[np.ndarray, " n"]
    maximum: Float64[np.ndarray, " n"]
    density: Float64[np.ndarray, " n"]
    strong: Float64[np.ndarray, " n"]

    @classmethod
    def of(
        cls, anatomy: Anatomy, blocks: Sequence[Block], atlas: Atlas | None, autoencoders: Autoencoders
    ) -> Population:
        """All components of some blocks."""
        names = ("mean", "deviation", "maximum", "density", "strong")
        fixed = {"attn": anatomy.n_heads, "neuron": anatomy.n_neurons}
        sizes = [fixed.get(block.kind) or autoencoders[block].n_latents for block in blocks]
        columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for block, n in zip(blocks, sizes, strict=True):
            summary = None if atlas is None else atlas.summary(block)
            for name in names:
                columns[name].append(np.full(n, np.nan) if summary is None else getattr(summary, name))
        starts = list(accumulate(sizes, initial=0))[:-1]
        return cls(blocks, starts, **{name: np.concatenate([*parts, np.empty(0)]) for name, parts in columns.items()})

    def name(self, row: int) -> str:
        """The id of a component."""
        block = bisect_right(self.starts, row) - 1
        return str(replace(self.blocks[block], index=row - self.starts[block]))


def check_kinds(kinds: Sequence[str] | None) -> None:
    """Raises UsageError for a kind of component that there is not."""
    unknown = set(kinds or ()) - set(KINDS)
    if unknown:
        raise UsageError(f"{min(unknown)!r} is not a kind of component.", f"Kinds: {', '.join(KINDS)}.")


def blocks_of(
    anatomy: Anatomy, kinds: Sequence[str] | None, layers: Sequence[int] | None, autoencoders: Autoencoders
) -> list[Block]:
    """The blocks of some kinds and layers (default: all) that there are, in the model's order. Raises UsageError."""
    check_kinds(kinds)
    if "latent" in (kinds or ()) and not autoencoders:
        raise UsageError("There are no latents: no autoencoder is attached.", "Attach one with --sae.")
    found: list[Block] = []
    for layer in anatomy.layers:
        found += [Node("attn", layer.index), Node("neuron", layer.index)]
        found += [block for block in autoencoders if block.layer == layer.index]
    return [
        block for block in found if (kinds is None or block.kind in kinds) and (layers is None or block.layer in layers)
    ]


def known(value: float) -> float | None:
    """A number, or None for one that is not known."""
    return None if np.isnan(value) else float(value)


def no_atlas(what: str) -> NoAtlas:
    """The refusal of something that only an atlas can answer."""
    return NoAtlas(f"{what} needs an atlas, and none is open.", "Collect one: clew collect")
