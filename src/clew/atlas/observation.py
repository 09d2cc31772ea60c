"""What blocks do in one forward pass, shown as it is computed and kept by nobody but who asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from ..models.anatomy import Anatomy, Depth, Layer
from ..models.attention import watching
from ..models.forward import forward_batch
from ..models.sites import tap
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node, Site
from ..sae.autoencoder import Autoencoder
from .heads import pair_values, write_norms

Block = Node
"""All components of one kind at one place, as a component without an index: the heads or neurons of a layer, the
latents of an autoencoder."""

Autoencoders = Mapping[Block, Autoencoder]


@dataclass(frozen=True)
class Heads:
    """What the heads of one layer do on some prompts; `post_scale` is a post-norm's 1/σ, None without one."""

    layer: Layer
    pattern: Float[Tensor, "b h t t"]
    value: Float[Tensor, "b kv t dh"]
    mixed: Float[Tensor, "b t h dh"]
    post_scale: Float[Tensor, "b t 1"] | None

    def pairs(self) -> Float[Tensor, "b h t t"]:
        """The norm of what each token receives from each."""
        return pair_values(self.layer, self.pattern, self.value, self.post_scale)

    def writes(self) -> Float[Tensor, "b t h"]:
        """The norm of what each head adds at each token."""
        return write_norms(self.layer, self.mixed, self.post_scale)


class Observer(Protocol):
    """Is shown what each block does, and keeps of it what it needs."""

    def heads(self, heads: Heads) -> None: ...
    def neurons(self, block: Block, activation: Float[Tensor, "b t n"]) -> None: ...
    def latents(self, block: Block, autoencoder: Autoencoder, x: Float[Tensor, "b t w"]) -> None:
        """Is given what the autoencoder reads: all latents of all tokens are more than most need at once."""
        ...


def observe(
    subject: SubjectModel,
    ids: Int[Tensor, "b t"],
    blocks: Collection[Block],
    observer: Observer,
    autoencoders: Autoencoders,
    stop: Stop | None = None,
) -> None:
    """Run the model up to the last of some blocks and show each to the observer. Raises Cancelled.

    `autoencoders` has that of every block of latents.
    """
    if not blocks:
        return
    reader = _Reader(subject.anatomy, blocks, observer, autoencoders, stop)
    with subject.lock, torch.no_grad(), reader.hooks(), watching(reader):
        forward_batch(subject.anatomy, ids, Depth(reader.last + 1))


class _Reader:
    """Holds a layer's attention until the post-norm behind it, if there is one, has been given its input."""

    def __init__(
        self,
        anatomy: Anatomy,
        blocks: Collection[Block],
        observer: Observer,
        autoencoders: Autoencoders,
        stop: Stop | None,
    ) -> None:
        self._anatomy, self._observer, self._stop = anatomy, observer, stop
        self._heads = {block.layer for block in blocks if block.kind == "attn"}
        self._neurons = [block for block in blocks if block.kind == "neuron"]
        self._latents = {block: autoencoders[block] for block in blocks if block.kind == "latent"}
        self._held: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def last(self) -> int:
        """The last layer that has to be run."""
        layers = [*self._heads, *(block.layer for block in self._neurons)]
        layers += [autoencoder.reads.layer for autoencoder in self._latents.values()]
        return max(layer for layer in layers if layer is not None)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        layers = self._anatomy.layers
        with ExitStack() as stack:
            for index in self._heads:
                assert index is not None
                post = layers[index].attn_post_module
                if post is not None:
                    stack.callback(post.register_forward_pre_hook(partial(self._post, layers[index])).remove)
            for block in self._neurons:
                assert block.layer is not None
                show = partial(self._observer.neurons, block)
                stack.enter_context(tap(self._anatomy, Site("mlp_act", block.layer), show))
            for block, autoencoder in self._latents.items():
                show = partial(self._observer.latents, block, autoencoder)
                stack.enter_context(tap(self._anatomy, autoencoder.reads, show))
            yield

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
    ) -> None:
        """AttentionWatcher."""
        if self._stop is not None and self._stop():
            raise Cancelled("It was cancelled before it was done.")
        if layer in self._heads:
            found = self._anatomy.layers[layer]
            if found.attn_post_module is None:
                self._observer.heads(Heads(found, pattern, value, mixed, None))
            else:
                self._held = pattern, value, mixed

    def _post(self, layer: Layer, module: nn.Module, args: tuple[Any, ...]) -> None:
        assert self._held is not None and layer.attn_post_norm is not None
        held, self._held = self._held, None
        self._observer.heads(Heads(layer, *held, layer.attn_post_norm.scale(args[0])))
