"""What components do on a prompt, read in one forward pass that goes no further than it has to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node
from ..records import Token
from .observation import Block, Heads, Kind, observe
from .records import Histogram, OnPrompt

if TYPE_CHECKING:
    from .atlas import Atlas


@dataclass(frozen=True)
class Peaks:
    """The activation of every component of one block, float64, and where on the prompt it is."""

    kind: Kind
    layer: int
    activation: Float64[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]


def on_prompt(
    subject: SubjectModel, ids: Int[Tensor, " t"], node: Node, atlas: Atlas | None = None, stop: Stop | None = None
) -> OnPrompt:
    """What a head or neuron does on every token of a prompt. Raises NotFinite or Cancelled."""
    assert node.layer is not None and node.index is not None
    index, block = node.index, _block(node)
    tokens = [Token(position, i, subject.text(i)) for position, i in enumerate(ids.tolist())]
    if node.kind == "neuron":
        row = _Kept.of(subject, ids, block, stop).activation[:, index]
        values = subject.finite(row).tolist()
        z, below = _usual(atlas, node, values)
        return OnPrompt(str(node), tokens, values, None, None, None, None, z, below)
    heads = _Kept.of(subject, ids, block, stop).seen
    assert heads is not None
    pairs, writes = subject.finite(heads.pairs()[0, index]), heads.writes()[0, :, index].tolist()
    z, below = _usual(atlas, node, writes)
    return OnPrompt(
        id=str(node),
        tokens=tokens,
        activations=pairs.amax(1).tolist(),
        attended=pairs.amax(0).tolist(),
        writes=writes,
        pattern=_triangle(heads.pattern[0, index].float()),
        pairs=_triangle(pairs),
        z=z,
        below=below,
    )


def firings(
    subject: SubjectModel,
    ids: Int[Tensor, " t"],
    blocks: Collection[Block],
    position: int | None = None,
    skip: int = 0,
    stop: Stop | None = None,
) -> list[Peaks]:
    """The activation of every component of some blocks at one position; without one, at each one's own strongest.

    A head's activation is here the norm of its whole write. The first `skip` positions, if there are others, are no
    one's strongest. Raises NotFinite or Cancelled.
    """
    start = skip if len(ids) > skip else 0
    peaks = _Peaks(slice(start, None) if position is None else slice(position, position + 1))
    observe(subject, ids[None], blocks, peaks, stop)
    for found in peaks.found.values():
        subject.finite(torch.from_numpy(found.activation))
    return [peaks.found[block] for block in blocks]


class _Kept:
    """Keeps one block as it is."""

    def __init__(self) -> None:
        self.seen: Heads | None = None
        self.activation: Float[Tensor, "t n"] = torch.empty(0, 0)

    @classmethod
    def of(cls, subject: SubjectModel, ids: Int[Tensor, " t"], block: Block, stop: Stop | None) -> _Kept:
        kept = cls()
        observe(subject, ids[None], [block], kept, stop)
        return kept

    def heads(self, heads: Heads) -> None:
        self.seen = heads

    def neurons(self, layer: int, activation: Float[Tensor, "1 t n"]) -> None:
        self.activation = activation[0].float()


class _Peaks:
    """Keeps of each block the largest activation of every component among some positions."""

    def __init__(self, among: slice) -> None:
        self._among = among
        self.found: dict[Block, Peaks] = {}

    def heads(self, heads: Heads) -> None:
        self._keep("attn", heads.layer.index, heads.writes()[0])

    def neurons(self, layer: int, activation: Float[Tensor, "1 t n"]) -> None:
        self._keep("neuron", layer, activation[0].float())

    def _keep(self, kind: Kind, layer: int, activation: Float[Tensor, "t n"]) -> None:
        best = activation[self._among].max(0)
        at = best.indices.cpu().numpy() + (self._among.start or 0)
        self.found[kind, layer] = Peaks(kind, layer, best.values.cpu().double().numpy(), at)


def _block(node: Node) -> Block:
    assert node.layer is not None and node.kind in ("attn", "neuron")
    return node.kind, node.layer


def _usual(atlas: Atlas | None, node: Node, values: Sequence[float]) -> tuple[list[float] | None, list[float] | None]:
    """Standard deviations above the mean, and the share of the corpus's tokens below, where the atlas can tell."""
    kind, layer = _block(node)
    summary = None if atlas is None else atlas.summary(kind, layer)
    if atlas is None or summary is None:
        return None, None
    mean, deviation = summary.mean[node.index], summary.deviation[node.index]
    z = ((np.asarray(values) - mean) / deviation).tolist() if deviation > 0 else None
    histogram = atlas.histogram(node)
    return z, None if histogram is None else share_below(histogram, values)


def share_below(histogram: Histogram, values: Sequence[float]) -> list[float]:
    """The share of tokens whose activation is smaller, as if those of a bin were spread evenly over it."""
    counted = np.concatenate([[0], np.cumsum(histogram.counts)])
    return np.interp(values, histogram.edges, counted / counted[-1]).tolist()


def _triangle(rows: Float[Tensor, "t t"]) -> list[list[float]]:
    return [row[: position + 1] for position, row in enumerate(rows.tolist())]
