"""What blocks do in one forward pass, shown as it is computed and kept by nobody but who asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from ..models.anatomy import Anatomy, Depth, Layer
from ..models.attention import watching
from ..models.forward import forward_batch
from ..models.subject import SubjectModel
from ..models.tape import Stop
from .heads import pair_values, write_norms

Kind = Literal["attn", "neuron"]
Block = tuple[Kind, int]


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
    def neurons(self, layer: int, activation: Float[Tensor, "b t n"]) -> None: ...


def observe(
    subject: SubjectModel,
    ids: Int[Tensor, "b t"],
    blocks: Collection[Block],
    observer: Observer,
    stop: Stop | None = None,
) -> None:
    """Run the model up to the last of some blocks and show each to the observer. Raises Cancelled."""
    if not blocks:
        return
    reader = _Reader(subject.anatomy, blocks, observer, stop)
    with subject.lock, torch.no_grad(), reader.hooks(), watching(reader):
        forward_batch(subject.anatomy, ids, Depth(max(layer for _, layer in blocks) + 1))


class _Reader:
    """Holds a layer's attention until the post-norm behind it, if there is one, has been given its input."""

    def __init__(self, anatomy: Anatomy, blocks: Collection[Block], observer: Observer, stop: Stop | None) -> None:
        self._layers = anatomy.layers
        self._blocks, self._observer, self._stop = blocks, observer, stop
        self._held: tuple[Tensor, Tensor, Tensor] | None = None

    @contextmanager
    def hooks(self) -> Iterator[None]:
        with ExitStack() as stack:
            for kind, index in self._blocks:
                layer = self._layers[index]
                module = layer.mlp_out_module if kind == "neuron" else layer.attn_post_module
                hook = self._neurons if kind == "neuron" else self._post
                if module is not None:
                    stack.callback(module.register_forward_pre_hook(partial(hook, layer)).remove)
            yield

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
    ) -> None:
        """AttentionWatcher."""
        if self._stop is not None and self._stop():
            raise Cancelled("It was cancelled before it was done.")
        if ("attn", layer) in self._blocks:
            if self._layers[layer].attn_post_module is None:
                self._observer.heads(Heads(self._layers[layer], pattern, value, mixed, None))
            else:
                self._held = pattern, value, mixed

    def _post(self, layer: Layer, module: nn.Module, args: tuple[Any, ...]) -> None:
        assert self._held is not None and layer.attn_post_norm is not None
        held, self._held = self._held, None
        self._observer.heads(Heads(layer, *held, layer.attn_post_norm.scale(args[0])))

    def _neurons(self, layer: Layer, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._observer.neurons(layer.index, args[0])
