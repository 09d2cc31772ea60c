"""One layer looked at closely: a forward pass that stops there."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..nodes import Node
from .anatomy import Anatomy, Layer
from .attention import watching


class _Reached(Exception):
    """Ends the forward pass once the layer is done; never leaves this module."""


@dataclass(frozen=True)
class LayerProbe:
    """What one layer held on one prompt. `embed` is the stream before the first layer, [t, d]."""

    layer: Layer
    embed: Float[Tensor, "t d"]
    pattern: Float[Tensor, "h t t"]
    value: Float[Tensor, "kv t dh"]
    mixed: Float[Tensor, "t h dh"]
    act: Float[Tensor, "t n"]
    attn_scale: Float[Tensor, "t 1"] | None
    mlp_scale: Float[Tensor, "t 1"] | None
    query: Float[Tensor, "h t dh"]
    key: Float[Tensor, "kv t dh"]
    query_input: Float[Tensor, "1 t d"]
    key_input: Float[Tensor, "1 t d"]
    scaling: float

    def write(self, node: Node) -> Float[Tensor, " d"]:
        """The vector that an embedding, head, part of a head or neuron adds to the stream."""
        position, index = node.position, node.index
        assert position is not None
        if node.kind == "embed":
            return self.embed[position].float()
        assert index is not None
        if node.kind == "neuron":
            write = self.act[position, index].float() * self.layer.mlp_out.by_input[index].float()
            return _held(write, self.layer.mlp_post_norm, self.mlp_scale, position)
        out = self.layer.head_out()[index]
        if node.source is None:
            mixed = self.mixed[position, index].float()
        else:
            group = index // (self.pattern.shape[0] // self.value.shape[0])
            mixed = self.pattern[index, position, node.source].float() * self.value[group, node.source].float()
        return _held(mixed @ out, self.layer.attn_post_norm, self.attn_scale, position)

    def score_gradients(self, head: int, position: int, source: int) -> dict[str, Float[Tensor, " d"]]:
        """∂ attention score of (position, source) by the normed stream, through the query and through the key alone.

        The score is q·k·scaling before any soft-cap; the other side is held.
        """
        group = head // (self.query.shape[0] // self.key.shape[0])
        query, key = self.query[head, position], self.key[group, source]
        found = {}
        for through, score, leaf, at in (
            ("query", query @ key.detach(), self.query_input, position),
            ("key", query.detach() @ key, self.key_input, source),
        ):
            (grad,) = torch.autograd.grad(score * self.scaling, leaf, retain_graph=True)
            found[through] = grad[0, at].float()
        return found


def probe(anatomy: Anatomy, ids: Int[Tensor, " t"], index: int) -> LayerProbe:
    """Run the model up to layer `index` and keep what it held there."""
    layer = anatomy.layers[index]
    kept: dict[str, Any] = {"attn_scale": None, "mlp_scale": None}

    class Watcher:
        def attention(
            self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
        ) -> None:
            if layer == index:
                kept.update(query=query[0], key=key[0], scaling=scaling)
                kept.update(value=value.detach()[0], pattern=pattern.detach()[0], mixed=mixed.detach()[0])

    def embed(module: nn.Module, args: tuple[Any, ...]) -> None:
        kept["embed"] = args[0].detach()[0]

    def leaf(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
            # A fused projection is hooked twice: both names then mean the same leaf.
            given = cast(Tensor, args[0])
            held = given if given.is_leaf and given.requires_grad else given.detach().requires_grad_()
            kept[name] = held
            return (held,)

        return hook

    def hold(name: str, norm: Any) -> Any:
        return lambda module, args: kept.__setitem__(name, norm.scale(args[0].detach())[0])

    def neurons(module: nn.Module, args: tuple[Any, ...]) -> None:
        kept["act"] = args[0].detach()[0]

    def done(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        raise _Reached

    with ExitStack() as stack, torch.enable_grad(), watching(Watcher()):
        stack.callback(anatomy.layers[0].block.register_forward_pre_hook(embed).remove)
        stack.callback(layer.q.register_forward_pre_hook(leaf("query_input")).remove)
        stack.callback(layer.k.register_forward_pre_hook(leaf("key_input")).remove)
        stack.callback(layer.mlp_out_module.register_forward_pre_hook(neurons).remove)
        for name, module, norm in (
            ("attn_scale", layer.attn_post_module, layer.attn_post_norm),
            ("mlp_scale", layer.mlp_post_module, layer.mlp_post_norm),
        ):
            if module is not None:
                stack.callback(module.register_forward_pre_hook(hold(name, norm)).remove)
        stack.callback(layer.block.register_forward_hook(done).remove)
        with suppress(_Reached):
            anatomy.base(input_ids=ids[None], use_cache=False)
    return LayerProbe(layer=layer, **kept)


def _held(
    write: Float[Tensor, " d"], norm: Any, scale: Float[Tensor, "t 1"] | None, position: int
) -> Float[Tensor, " d"]:
    return write if norm is None or scale is None else norm.gain * write * scale[position]
