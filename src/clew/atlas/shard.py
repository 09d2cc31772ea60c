"""Collecting one shard of a corpus: what a worker does, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..corpus.contexts import Contexts
from ..disk import on_disk
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node
from ..pool import Desk
from ..sae.autoencoder import Autoencoder
from . import partial
from .attached import device_of
from .blocks import Batch, HeadBlock, LatentBlock, NeuronBlock
from .observation import Autoencoders, Block, Heads, observe
from .plan import Plan, lots, site_of


class Collector:
    """Collects shards into a folder: a task is the contexts [first, end), what is said the tokens done of it so far.

    A shard gives the same bytes whoever collects it, and however often.
    """

    def __init__(
        self, subject: SubjectModel, plan: Plan, contexts: Contexts, autoencoders: Autoencoders, shards: Path
    ) -> None:
        self._subject, self._plan, self._contexts = subject, plan, contexts
        self._autoencoders = {block: one.to(device_of(subject, one)) for block, one in autoencoders.items()}
        self._shards = shards

    def do(self, task: tuple[int, int], desk: Desk, stop: Stop) -> Iterator[int]:
        """Raises NotFinite, NoSpace or Cancelled."""
        first, end = task
        shard = Shard(self._subject, self._plan, self._contexts, self._autoencoders)
        for at in range(first, end, self._plan.batch):
            until = min(at + self._plan.batch, end)
            shard.see(at, until, stop)
            yield (until - first) * self._plan.length
        with on_disk(self._shards):
            partial.save(self._shards, first, end, shard.emptied())


class Shard:
    """The blocks of one shard, filled batch by batch."""

    def __init__(
        self, subject: SubjectModel, plan: Plan, contexts: Contexts, autoencoders: Mapping[Block, Autoencoder]
    ) -> None:
        self._subject, self._plan, self._contexts = subject, plan, contexts
        self._autoencoders = autoencoders
        keep, length = plan.keep, plan.length
        self._heads: dict[Block, HeadBlock] = {}
        self._neurons: dict[Block, NeuronBlock] = {}
        self._latents: dict[Block, LatentBlock] = {}
        for block in plan.blocks:
            assert block.layer is not None
            layer = subject.anatomy.layers[block.layer]
            device = layer.device
            match block.kind:
                case "attn":
                    width = layer.head_out().shape[1]
                    self._heads[block] = HeadBlock(layer.n_heads, width, keep, length, device)
                case "neuron":
                    self._neurons[block] = NeuronBlock(layer.n_neurons, keep, length, device)
                case _:
                    of = autoencoders[block]
                    self._latents[block] = LatentBlock(of, keep, length, device_of(subject, of))
        numbers = np.arange(len(contexts))
        self._lots = lots(plan.seed, numbers, 0)
        self._drawn = np.isin(numbers, np.argsort(self._lots, kind="stable")[: keep.random])
        room = length - keep.window + 1
        self._starts = np.minimum((lots(plan.seed, numbers, 1) * room).astype(np.int64), room - 1)

    def see(self, first: int, end: int, stop: Stop | None = None) -> None:
        """Run the contexts [first, end) and collect from them. Raises Cancelled, asked layer by layer."""
        at = slice(first, end)
        batch = Batch(
            context=torch.arange(first, end),
            lot=torch.from_numpy(self._lots[at]),
            start=torch.from_numpy(self._starts[at]),
            drawn=torch.from_numpy(self._drawn[at]),
            ids=self._contexts.batch(first, end - first),
        ).to(self._subject.device)
        observer = _BatchObserver(batch, self._heads, self._neurons, self._latents)
        observe(self._subject, batch.ids, self._plan.blocks, observer, self._autoencoders, stop)

    def emptied(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Every block's name and what it collected. Each block is let go: its state takes as much memory again."""
        for blocks in (self._heads, self._neurons, self._latents):
            while blocks:
                block, collected = blocks.popitem()
                yield site_of(block), collected.state()


class _BatchObserver:
    """Shows the blocks of a shard what they do in one batch."""

    def __init__(
        self,
        batch: Batch,
        heads: dict[Block, HeadBlock],
        neurons: dict[Block, NeuronBlock],
        latents: dict[Block, LatentBlock],
    ) -> None:
        self._heads, self._neurons, self._latents = heads, neurons, latents
        self._batches = {batch.ids.device: batch}  # a model that is split has layers elsewhere

    def heads(self, heads: Heads) -> None:
        block = Node("attn", heads.layer.index)
        batch = self._on(heads.pattern.device)
        self._heads[block].see(batch, heads, f"What heads write in layer {block.layer}")

    def neurons(self, block: Block, activation: Float[Tensor, "b t n"]) -> None:
        self._neurons[block].see(
            self._on(activation.device), activation, f"The activation of neurons in layer {block.layer}"
        )

    def latents(self, block: Block, autoencoder: Autoencoder, x: Float[Tensor, "b t w"]) -> None:
        self._latents[block].see(self._on(x.device), x, f"The activation of latents at {block.site}")

    def _on(self, device: torch.device) -> Batch:
        if device not in self._batches:
            self._batches[device] = next(iter(self._batches.values())).to(device)
        return self._batches[device]
