"""Verified effects of one run: which nodes to measure first, and what has been measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ..edits import Place
from ..errors import UsageError
from ..models.tape import Stop
from ..nodes import Node, parse
from ..records import Batch, Records
from ..settings import MAX_NODES
from .case import Case, Second
from .estimators import refined
from .records import NodeEffect
from .scalar import Scalar
from .verify import Ablation, measure

Find = Callable[[Sequence[Node], Stop | None], list[NodeEffect]]
"""The rows of these nodes. Raises BadNode."""

Sparse = Callable[[int, Stop | None], list[NodeEffect]]
"""Rows of latents and errors: so many with the largest estimated effects of either sign, and others."""

There = Callable[[Node], bool]
"""Whether a node is one that is explained with: those that latents replace are not."""


class Verification:
    """Measures nodes of a case, and remembers the effects of zeroing them.

    `seconds` is how long the last measurement took, None before the first.
    """

    def __init__(self, case: Case, find: Find, sparse: Sparse, there: There) -> None:
        self._case = case
        self._find = find
        self._sparse = sparse
        self._there = there
        self._known: dict[str, NodeEffect] = {}
        self.seconds: float | None = None

    def rows(self) -> Records[NodeEffect]:
        """Every node whose zero ablation has been measured, largest |verified effect| first."""
        return by_verified(self._known.values())

    def filled(self, rows: Iterable[NodeEffect]) -> Records[NodeEffect]:
        """The rows, with the verified effects measured so far."""
        return Records(self._known.get(row.id, row) for row in rows)

    def measure(
        self,
        scalar: Scalar,
        top: int,
        nodes: Sequence[Node] | None,
        ablation: Ablation,
        renormalise: bool,
        second: Second | None,
        stop: Stop | None,
    ) -> Iterator[Batch[NodeEffect]]:
        """Effects of `nodes`, or of the `top` most promising ones: what is known already, then the rest as measured.

        Raises BadNode, UsageError or Cancelled.
        """
        start = time.perf_counter()
        paired = second if ablation == "resample" else None
        rows = self._promising(scalar, top, paired, stop) if nodes is None else self._find(nodes, stop)
        remembered = ablation == "zero" and not renormalise
        known = [self._known[row.id] for row in rows if remembered and row.id in self._known]
        left = [row for row in rows if not (remembered and row.id in self._known)]
        self.seconds, done = time.perf_counter() - start, 0
        if known:
            yield Batch(known, len(rows))
        if not left:
            return
        places = [Place.of(parse(row.id)) for row in left]
        for effects in measure(self._case, scalar, places, ablation, renormalise, second, stop):
            found = zip(left[done:], effects, strict=False)
            batch = Batch((replace(row, verified_effect=effect) for row, effect in found), len(rows))
            done += len(batch)
            if remembered:
                self._known.update((row.id, row) for row in batch)
            self.seconds = time.perf_counter() - start
            yield batch

    def _promising(self, scalar: Scalar, top: int, paired: Second | None, stop: Stop | None) -> list[NodeEffect]:
        """The `top` nodes but pairs and biases with the largest effect by the best estimate there is.

        That is act×grad for latents and errors. To be resampled a node needs a counterpart.
        """
        if not 1 <= top <= MAX_NODES:
            raise UsageError(f"{top:,} is not a number of nodes to verify.", f"Take 1 to {MAX_NODES:,}.")

        attached = bool(self._case.dictionaries)

        def fits(node: Node) -> bool:
            if attached and not self._there(node):
                return False
            return paired is None or (node.position is not None and paired.alignment[node.position] is not None)

        guess = refined(self._case, scalar, stop)
        ranked = [(abs(guess.of(n)), n) for n in guess.largest(MAX_NODES if attached or paired is not None else top)]
        if attached:
            sparse = [(abs(row.estimated_effect), parse(row.id)) for row in self._sparse(top, stop)]
            ranked = sorted([*ranked, *sparse], key=lambda pair: -pair[0])
        rows = self._find([node for _, node in ranked if fits(node)][:top], stop)
        # What the estimate had to measure is measured.
        truths = {str(node): effect for node, effect in guess.measured.items()}
        self._known.update((row.id, replace(row, verified_effect=truths[row.id])) for row in rows if row.id in truths)
        return rows


def by_verified(rows: Iterable[NodeEffect]) -> Records[NodeEffect]:
    """Rows by size of their verified effect, largest first."""
    return Records(sorted(rows, key=lambda row: -abs(row.verified_effect or 0.0)))
