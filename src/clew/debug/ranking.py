"""Which nodes a table shows: the ends of every metric, found layer by layer without keeping the middle.

The k largest of a matrix lie in the k rows with the largest maxima, so one reduction per metric and layer finds the
candidates; a row whose maximum is below the running k-th value is never looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import TooManyNodes, UsageError
from ..nodes import KINDS, Kind, Node
from ..settings import MAX_NODES, TOP

METRICS = ("activation", "write_norm", "direct_effect", "estimated_effect")

Row = tuple[float | None, float, float, float]
"""The four metrics of one node, in the order of METRICS; activation is None where a node has none."""


@dataclass(frozen=True)
class Selection:
    """Which rows of the node table to keep.

    Either the union of the `top` largest and smallest of each metric, or, with `threshold`, every node whose direct
    or estimated effect is at least that large. The filters keep nodes whose field is listed; `sources` keeps only
    heads split by source. `wanted` are kept whatever their rank.
    """

    top: int = TOP
    threshold: float | None = None
    kinds: tuple[Kind, ...] | None = None
    layers: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    sources: tuple[int, ...] | None = None
    wanted: frozenset[Node] = frozenset()

    @classmethod
    def of(
        cls,
        top: int = TOP,
        threshold: float | None = None,
        kinds: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        sources: Sequence[int] | None = None,
    ) -> Selection:
        """A checked selection. Raises UsageError for a negative top or threshold, or a kind that does not exist."""
        if top < 0:
            raise UsageError(f"top must not be negative, and is {top}.", "Use --top 30.")
        if threshold is not None and not 0 <= threshold < float("inf"):
            raise UsageError(f"threshold must be a positive number of logits, and is {threshold}.", "Use 0.05.")
        unknown = [kind for kind in kinds or () if kind not in KINDS]
        if unknown:
            raise UsageError(f"{unknown[0]!r} is not a kind of node.", f"Kinds: {', '.join(KINDS)}.")
        return cls(
            top,
            threshold,
            None if kinds is None else tuple(kind for kind in KINDS if kind in kinds),
            None if layers is None else tuple(layers),
            None if positions is None else tuple(positions),
            None if sources is None else tuple(sources),
        )

    def has_kind(self, kind: Kind) -> bool:
        return self.kinds is None or kind in self.kinds

    def has_layer(self, layer: int | None) -> bool:
        return self.layers is None or layer in self.layers


@dataclass(frozen=True)
class Block:
    """Nodes of one layer and group, laid out as a tensor [rows…, columns] per metric.

    `group` names what shares a unit of activation (`attn` whole heads, `pair` heads by source, `neuron`, `latent`).
    `direct` is the slice of direct effects at the position of interest, all others being zero; `direct_ids` are its
    flat indices in the full layout, ascending. `index` selects what the filters keep of the layout, None for all.
    `node` names the node at a flat index, or None where there is none (a masked pair).
    """

    group: str
    activation: Float[Tensor, "*n"]
    write_norm: Float[Tensor, "*n"]
    estimated: Float[Tensor, "*n"]
    direct: Float[Tensor, " m"]
    direct_ids: Int[Tensor, " m"]
    index: tuple[Any, ...] | None
    wanted: Sequence[int]
    node: Callable[[int], Node | None]


@dataclass
class _End:
    """The running k largest values of one end of one metric (the smallest, negated)."""

    best: Float[Tensor, " k"]
    bar: float = float("-inf")
    """What a value must reach to be among them; kept as a number, since most blocks have nothing that does."""

    def add(self, values: Float[Tensor, " n"], k: int) -> None:
        self.best = torch.cat([self.best, values]).sort(descending=True).values[:k]
        if len(self.best) == k:
            self.bar = float(self.best[-1])


@dataclass
class Ranking:
    """Collects candidate nodes block by block; `rows()` gives the selection."""

    selection: Selection
    _ends: dict[tuple[str, str, int], _End] = field(default_factory=dict)
    _nodes: list[Node] = field(default_factory=list)
    _values: list[Row] = field(default_factory=list)
    _groups: list[str] = field(default_factory=list)

    def block(self, block: Block) -> None:
        """Keep the nodes of a block that may belong to the selection."""
        device = block.direct_ids.device
        metrics = [block.activation, block.write_norm, block.estimated]
        ids = None
        if block.index is None:
            kept = [values.reshape(-1, values.shape[-1]) for values in metrics]
        else:
            kept = [values[block.index].flatten(0, -2) for values in metrics]
            ids = torch.arange(block.activation.numel(), device=device).view(block.activation.shape)[block.index]
        if self.selection.threshold is not None:
            found, at_position = self._above(kept[2]), self._above(block.direct)
        else:
            found, at_position = self._extremes(block.group, kept, block.direct)
        if not (len(found) or len(at_position) or block.wanted):
            return
        if ids is not None:
            found = ids.flatten()[found]
        at_position = block.direct_ids[at_position]
        wanted = torch.tensor(list(block.wanted), dtype=torch.long, device=device)
        chosen = torch.cat([found, at_position, wanted]).unique()
        direct = torch.zeros(len(chosen), device=device)
        if len(block.direct_ids):
            place = torch.searchsorted(block.direct_ids, chosen).clamp_max(len(block.direct_ids) - 1)
            direct = torch.where(block.direct_ids[place] == chosen, block.direct[place], direct)
        columns = [block.activation.flatten()[chosen], block.write_norm.flatten()[chosen], direct]
        table = torch.stack([*columns, block.estimated.flatten()[chosen]], dim=1).tolist()
        for flat, values in zip(chosen.tolist(), table, strict=True):
            node = block.node(flat)
            if node is not None:
                self.add(node, (values[0], values[1], values[2], values[3]), block.group)

    def add(self, node: Node, values: Row, group: str) -> None:
        """Keep one candidate with its four metrics, in the order of METRICS. Raises TooManyNodes."""
        bar = self.selection.threshold
        small = bar is not None and max(abs(values[2]), abs(values[3])) < bar
        if small and node not in self.selection.wanted:
            return
        self._nodes.append(node)
        self._values.append(values)
        self._groups.append(group)
        if bar is not None and len(self._nodes) > MAX_NODES:
            raise TooManyNodes(
                f"More than {MAX_NODES:,} nodes have an effect of at least {bar:g}.",
                "Raise the threshold, or narrow it to a layer, position or kind.",
            )

    def rows(self) -> list[tuple[Node, Row]]:
        """The selection, largest |direct effect| first, then largest |estimated effect|."""
        keep = range(len(self._nodes)) if self.selection.threshold is not None else self._union()
        rows = [(self._nodes[i], self._values[i]) for i in keep]
        return sorted(rows, key=lambda row: (-abs(row[1][2]), -abs(row[1][3]), row[0].order))

    def _union(self) -> list[int]:
        k = self.selection.top
        chosen = {i for i, node in enumerate(self._nodes) if node in self.selection.wanted}
        for metric, name in enumerate(METRICS):
            for group in sorted(set(self._groups)) if name == "activation" else [None]:
                ranked = sorted(
                    (value, i)
                    for i, row in enumerate(self._values)
                    if (value := row[metric]) is not None and group in (None, self._groups[i])
                )
                chosen.update(i for _, i in ranked[max(0, len(ranked) - k) :])
                if self._two_sided(name, group):
                    chosen.update(i for _, i in ranked[:k])
        return sorted(chosen)

    @staticmethod
    def _two_sided(metric: str, group: str | None) -> bool:
        """Norms, attention weights and latents are never negative: their small end is noise around zero."""
        return metric != "write_norm" and not (metric == "activation" and group in ("attn", "pair", "latent"))

    def _above(self, values: Float[Tensor, "*n"]) -> Int[Tensor, " m"]:
        bar = self.selection.threshold
        assert bar is not None
        # A threshold of zero means every node that has an effect, not every node there is.
        return ((values.abs() >= bar) & (values != 0)).flatten().nonzero().flatten()

    def _extremes(
        self, group: str, metrics: Sequence[Float[Tensor, "r c"]], direct: Float[Tensor, " m"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " k"]]:
        """Flat indices of what may be at an end of a metric: in the block, and in `direct`."""
        activation, norm, estimated = metrics
        sides = [(activation, "activation", group, 1), (norm, "write_norm", "", 1)]
        if self._two_sided("activation", group):
            sides.append((activation, "activation", group, -1))
        sides += [(estimated, "estimated_effect", "", sign) for sign in (1, -1)]
        sides += [(direct[None], "direct_effect", "", sign) for sign in (1, -1)]
        # Filters may leave nothing of a block, and an empty tensor has no largest.
        sides = [side for side in sides if side[0].numel()] if self.selection.top else []
        nothing = torch.empty(0, dtype=torch.long, device=direct.device)
        if not sides:
            return nothing, nothing
        # One look at the extremes of every metric: past the first layers most blocks have nothing that reaches a bar.
        tops = torch.stack([values.max() if sign > 0 else -values.min() for values, *_, sign in sides]).tolist()
        found, at_position = [nothing], [nothing]
        for (values, metric, unit, sign), top in zip(sides, tops, strict=True):
            end = self._ends.setdefault((metric, unit, sign), _End(values.new_empty(0)))
            if top > end.bar:
                (at_position if metric == "direct_effect" else found).append(self._end(values, end, sign))
        return torch.cat(found), torch.cat(at_position)

    def _end(self, values: Float[Tensor, "r c"], end: _End, sign: int) -> Int[Tensor, " m"]:
        """Flat indices of the values that belong to one end so far; what only ties with the k-th does not."""
        k = self.selection.top
        best = (values.amax(-1) if sign > 0 else -values.amin(-1)).topk(min(k, len(values)))
        rows = best.indices[best.values > end.bar]
        inside = values[rows].flatten() * sign
        top = inside.topk(min(k, len(inside)))
        enough = top.values > end.bar
        end.add(top.values[enough], k)
        flat, width = top.indices[enough], values.shape[1]
        return rows[flat // width] * width + flat % width
