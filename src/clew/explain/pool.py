"""Texts that components were not chosen for: random pieces of the atlas's own, read again by the model.

What random examples and near misses are taken from. An atlas keeps the texts where a component fires; what it does on
others is read here, in one pass of the model over a few contexts for many components at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from .. import settings
from ..atlas.blocks import pieces
from ..atlas.components import Components
from ..atlas.observation import Block, Heads, observe
from ..atlas.plan import lots
from ..errors import Cancelled
from ..models.progress import Progress
from ..models.tape import Stop
from ..nodes import Node
from ..sae.autoencoder import Autoencoder

ALIKE = 3  # similar components told of each

_HELD = 2**26  # numbers held of one reading: 256 MB
_ROUNDING = 1e-6  # of float32 products: what varies less than this varies by rounding alone
_STREAM = 2  # of the numbers that contexts are drawn by; those of atlases are 0 and 1


@dataclass(frozen=True)
class Similar:
    """A component of the same block whose activations go with another's: by `correlation` over all counted tokens of
    the pool, negative ones taken as 0. `peaks` has its largest in each context, at token `at` of it."""

    component: Node
    correlation: float
    peaks: Float32[np.ndarray, " contexts"]
    at: Int64[np.ndarray, " contexts"]


@dataclass(frozen=True)
class Activity:
    """What a component does on the pool, and those that do most alike, the most similar first."""

    activations: Float32[np.ndarray, "contexts tokens"]
    similar: tuple[Similar, ...]


class Pool:
    """Contexts of an atlas's text, drawn by seed: their numbers, and their tokens `ids`.

    The first `skip` tokens of each are not counted, as in the atlas.
    """

    def __init__(self, components: Components, contexts: Int64[np.ndarray, " contexts"], skip: int) -> None:
        assert components.atlas is not None
        self.contexts, self.skip = contexts, skip
        self.ids: Int64[np.ndarray, "contexts tokens"] = np.stack(
            [components.atlas.contexts.tokens(int(number)) for number in contexts]
        ).astype(np.int64)
        self._components = components

    @classmethod
    def draw(cls, components: Components, seed: int, size: int = settings.POOL) -> Pool | None:
        """As many contexts as the atlas has, up to `size`; None without an atlas that the model's own tokens are in.

        Raises BadAtlas.
        """
        atlas = components.atlas
        if atlas is None or atlas.info().imported is not None:
            return None
        drawn = np.argsort(lots(seed, np.arange(len(atlas.contexts)), _STREAM), kind="stable")[:size]
        return cls(components, np.sort(drawn), atlas.info().skip)

    def reads(self, component: Node) -> bool:
        """Whether what a component does here can be told: not of heads, nor of latents without their autoencoder."""
        return component.kind == "neuron" or replace(component, index=None) in self._components.autoencoders

    def lots(self, nodes: Sequence[Node]) -> Iterator[list[Node]]:
        """Components in their order, as many at once as can be read in one pass."""
        lot: list[Node] = []
        held = 0
        for node in nodes:
            cost = self.ids.size + self._size(node) if self.reads(node) else 0
            if lot and held + cost > _HELD:
                yield lot
                lot, held = [], 0
            lot.append(node)
            held += cost
        if lot:
            yield lot

    def read(
        self, nodes: Collection[Node], stop: Stop | None = None, progress: Progress | None = None
    ) -> Mapping[Node, Activity]:
        """What some components do, in one pass; only of those that it `reads`. `progress` counts contexts.

        Raises NotFinite or Cancelled.
        """
        subject, autoencoders = self._components.subject, self._components.autoencoders
        chosen: dict[Block, list[Node]] = {}
        for node in nodes:
            if self.reads(node):
                chosen.setdefault(replace(node, index=None), []).append(node)
        contexts, tokens = len(self.ids), self.ids.shape[1]
        seen = {
            block: _Seen(contexts, tokens, self.skip, self._size(block), [_index(node) for node in those])
            for block, those in chosen.items()
        }
        for first in range(0, contexts if seen else 0, settings.BATCH):
            if stop is not None and stop():
                raise Cancelled("It was cancelled before it was done.")
            batch = torch.from_numpy(self.ids[first : first + settings.BATCH]).to(subject.device)
            observe(subject, batch, list(seen), _Observer(seen, first), autoencoders, stop)
            for block in seen.values():
                subject.finite(torch.from_numpy(block.peaks[first : first + len(batch)]))
            if progress is not None:
                progress("read", first + len(batch), contexts)
        return {
            node: Activity(seen[block].kept[row], seen[block].similar(block, row))
            for block, those in chosen.items()
            for row, node in enumerate(those)
        }

    def _size(self, node: Node) -> int:
        """How many components there are in a block."""
        if node.kind == "neuron":
            return self._components.subject.anatomy.n_neurons
        return self._components.autoencoders[replace(node, index=None)].n_latents


class _Seen:
    """What is kept of one block: all of some components, and of all of them the peaks and how they go with those."""

    def __init__(self, contexts: int, tokens: int, skip: int, size: int, chosen: list[int]) -> None:
        self.kept: Float32[np.ndarray, "chosen contexts tokens"] = np.zeros((len(chosen), contexts, tokens), np.float32)
        self.peaks: Float32[np.ndarray, "contexts size"] = np.zeros((contexts, size), np.float32)
        self._at = np.zeros((contexts, size), np.int64)
        self._skip, self._chosen = skip, chosen
        self._n = 0
        self._sums: Float64[Tensor, " size"] = torch.zeros(size, dtype=torch.float64)
        self._squares: Float64[Tensor, " size"] = torch.zeros(size, dtype=torch.float64)
        self._products: Float32[Tensor, "chosen size"] = torch.zeros(len(chosen), size)

    def see(self, first: int, activation: Float[Tensor, "b t size"]) -> None:
        """What all components of the block do in contexts `first` and on."""
        activation = activation.float()
        rows = slice(first, first + len(activation))
        self.kept[:, rows] = activation[:, :, self._chosen].permute(2, 0, 1).cpu().numpy()
        counted = activation[:, self._skip :]
        peaks, at = counted.max(1)
        self.peaks[rows], self._at[rows] = peaks.cpu().numpy(), at.cpu().numpy() + self._skip
        fired = counted.clamp_min(0).flatten(0, 1)
        self._n += len(fired)
        self._sums += fired.sum(0).double().cpu()
        self._squares += fired.square().sum(0).double().cpu()
        self._products += (fired[:, self._chosen].T @ fired).cpu()

    def similar(self, block: Block, row: int) -> tuple[Similar, ...]:
        """The components that are most alike to a chosen one."""
        own = self._chosen[row]
        means, squares = self._sums / self._n, self._squares / self._n
        variances = squares - means.square()
        varies = variances > _ROUNDING * squares
        shared = self._products[row].double() / self._n - means[own] * means
        correlations = torch.where(varies & varies[own], shared / (variances[own] * variances).sqrt(), 0)
        correlations[own] = 0
        best = correlations.sort(descending=True, stable=True).indices[:ALIKE].tolist()
        return tuple(
            Similar(
                replace(block, index=index),
                float(correlations[index]),
                self.peaks[:, index],
                self._at[:, index],
            )
            for index in best
            if correlations[index] > 0
        )


@dataclass(frozen=True)
class _Observer:
    """Hands on what a batch of contexts shows, `first` being the number of its first."""

    seen: Mapping[Block, _Seen]
    first: int

    def heads(self, heads: Heads) -> None:
        """Heads are not read here."""

    def neurons(self, block: Block, activation: Float[Tensor, "b t n"]) -> None:
        self.seen[block].see(self.first, activation)

    def latents(self, block: Block, autoencoder: Autoencoder, x: Float[Tensor, "b t w"]) -> None:
        for at in pieces(autoencoder, len(x), x.shape[1], x.device):
            self.seen[block].see(self.first + at.start, autoencoder.encode(x[at]))


def _index(node: Node) -> int:
    assert node.index is not None
    return node.index
