"""What components do on a prompt, read in one forward pass that goes no further than it has to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node
from ..records import Token
from ..sae.autoencoder import Autoencoder
from .blocks import pieces
from .observation import Autoencoders, Block, Heads, observe
from .records import Histogram, OnPrompt

if TYPE_CHECKING:
    from .atlas import Atlas


@dataclass(frozen=True)
class Peaks:
    """The activation of every component of one block, float64, and where on the prompt it is."""

    block: Block
    activation: Float64[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]


def on_prompt(
    subject: SubjectModel,
    ids: Int[Tensor, " t"],
    node: Node,
    atlas: Atlas | None = None,
    autoencoders: Autoencoders = MappingProxyType({}),
    stop: Stop | None = None,
) -> OnPrompt:
    """What a component does on every token of a prompt; for a latent its autoencoder is among those given.

    Raises NotFinite or Cancelled.
    """
    assert node.index is not None
    index, kept = node.index, _Kept(node.index)
    tokens = [Token(position, i, subject.text(i)) for position, i in enumerate(ids.tolist())]
    observe(subject, ids[None], [replace(node, index=None)], kept, autoencoders, stop)
    if node.kind != "attn":
        values = subject.finite(kept.activation).tolist()
        z, below = _usual(atlas, node, values)
        return OnPrompt(str(node), tokens, values, None, None, None, None, z, below)
    heads = kept.seen
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
    autoencoders: Autoencoders = MappingProxyType({}),
    stop: Stop | None = None,
) -> list[Peaks]:
    """The activation of every component of some blocks at one position; without one, at each one's own strongest.

    A head's activation is here the norm of its whole write. The first `skip` positions, if there are others, are no
    one's strongest. Raises NotFinite or Cancelled.
    """
    start = skip if len(ids) > skip else 0
    peaks = _Peaks(slice(start, None) if position is None else slice(position, position + 1))
    observe(subject, ids[None], blocks, peaks, autoencoders, stop)
    for found in peaks.found.values():
        subject.finite(torch.from_numpy(found.activation))
    return [peaks.found[block] for block in blocks]


class _Kept:
    """Keeps a layer's heads, or the activation of one neuron or latent."""

    def __init__(self, index: int) -> None:
        self._index = index
        self.seen: Heads | None = None
        self.activation: Float[Tensor, " t"] = torch.empty(0)

    def heads(self, heads: Heads) -> None:
        self.seen = heads

    def neurons(self, block: Block, activation: Float[Tensor, "1 t n"]) -> None:
        self.activation = activation[0, :, self._index].float()

    def latents(self, block: Block, autoencoder: Autoencoder, x: Float[Tensor, "1 t w"]) -> None:
        # Of all latents, as which of them fire may depend on the others.
        self.activation = torch.cat([latents[:, self._index] for _, latents in _encoded(autoencoder, x[0])])


class _Peaks:
    """Keeps of each block the largest activation of every component among some positions."""

    def __init__(self, among: slice) -> None:
        self._among = among
        self.found: dict[Block, Peaks] = {}

    def heads(self, heads: Heads) -> None:
        self._keep(Node("attn", heads.layer.index), *heads.writes()[0][self._among].max(0))

    def neurons(self, block: Block, activation: Float[Tensor, "1 t n"]) -> None:
        self._keep(block, *activation[0, self._among].float().max(0))

    def latents(self, block: Block, autoencoder: Autoencoder, x: Float[Tensor, "1 t w"]) -> None:
        best: list[Tensor] = []
        at: list[Tensor] = []
        for first, latents in _encoded(autoencoder, x[0, self._among]):
            found = latents.max(0)
            best.append(found.values)
            at.append(found.indices + first)
        highest = torch.stack(best).max(0)
        self._keep(block, highest.values, torch.stack(at).gather(0, highest.indices[None])[0])

    def _keep(self, block: Block, activation: Float[Tensor, " n"], at: Int[Tensor, " n"]) -> None:
        position = at.cpu().numpy() + (self._among.start or 0)
        self.found[block] = Peaks(block, activation.cpu().double().numpy(), position)


def _encoded(autoencoder: Autoencoder, x: Float[Tensor, "t w"]) -> Iterator[tuple[int, Float[Tensor, "p n"]]]:
    """The latents of some tokens, few at a time, and which is the first."""
    for at in pieces(autoencoder, len(x), 1, x.device):
        yield at.start, autoencoder.encode(x[at])


def _usual(atlas: Atlas | None, node: Node, values: Sequence[float]) -> tuple[list[float] | None, list[float] | None]:
    """Standard deviations above the mean, and the share of the corpus's tokens below, where the atlas can tell."""
    summary = None if atlas is None else atlas.summary(node)
    if atlas is None or summary is None:
        return None, None
    mean, deviation = summary.mean[node.index], summary.deviation[node.index]
    z = ((np.asarray(values) - mean) / deviation).tolist() if deviation > 0 else None
    histogram = atlas.histogram(node)
    if histogram is not None and node.kind == "latent":
        # Never negative: one that does not fire is above no token.
        histogram = replace(histogram, edges=[max(edge, 0.0) for edge in histogram.edges])
    return z, None if histogram is None else share_below(histogram, values)


def share_below(histogram: Histogram, values: Sequence[float]) -> list[float]:
    """The share of tokens whose activation is smaller, as if those of a bin were spread evenly over it."""
    counted = np.concatenate([[0], np.cumsum(histogram.counts)])
    return np.interp(values, histogram.edges, counted / counted[-1]).tolist()


def _triangle(rows: Float[Tensor, "t t"]) -> list[list[float]]:
    return [row[: position + 1] for position, row in enumerate(rows.tolist())]
