"""One layer looked at closely: a forward pass that stops there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..nodes import Node
from .anatomy import Anatomy, Depth, Layer, Norm
from .attention import watching
from .forward import forward
from .interventions import Interventions


@dataclass(frozen=True)
class LayerProbe:
    """What one layer held on one prompt.

    `embed` is the stream before the first layer, `stream` that before this one; `read` is what the layer's attention
    reads, a leaf that query, key and value are functions of.
    """

    layer: Layer
    embed: Float[Tensor, "t d"]
    stream: Float[Tensor, "t d"]
    read: Float[Tensor, "1 t d"]
    pattern: Float[Tensor, "h t t"]
    value: Float[Tensor, "kv t dh"]
    mixed: Float[Tensor, "t h dh"]
    act: Float[Tensor, "t n"]
    attn_scale: Float[Tensor, "t 1"] | None
    mlp_scale: Float[Tensor, "t 1"] | None
    query: Float[Tensor, "h t dh"]
    key: Float[Tensor, "kv t dh"]
    graphed_value: Float[Tensor, "kv t dh"]
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
        query, key = self.sides(head, position, source)
        found = {}
        for through, score, at in (("query", query @ key.detach(), position), ("key", query.detach() @ key, source)):
            found[through] = self.gradient(score * self.scaling)[at]
        return found

    def sides(self, head: int, position: int, source: int) -> tuple[Float[Tensor, " dh"], Float[Tensor, " dh"]]:
        """The query at `position` and the key at `source`, as functions of `read`."""
        group = head // (self.query.shape[0] // self.key.shape[0])
        return self.query[head, position], self.key[group, source]

    def gradient(self, scalar: Float[Tensor, ""]) -> Float[Tensor, "t d"]:
        """∂ scalar by what the attention reads at every position."""
        (grad,) = torch.autograd.grad(scalar, self.read, retain_graph=True)
        return grad[0].float()


def probe(
    anatomy: Anatomy,
    ids: Int[Tensor, " t"],
    index: int,
    edits: Interventions | None = None,
    hold_norms: bool = False,
) -> LayerProbe:
    """Run the model up to layer `index` and keep what it held there.

    `hold_norms` holds the scale of norms on queries and keys, so that both are linear in what the attention reads.
    """
    layer = anatomy.layers[index]
    kept: dict[str, Any] = {"attn_scale": None, "mlp_scale": None}

    class Watcher:
        def attention(
            self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
        ) -> None:
            if layer == index:
                kept.update(query=query[0], key=key[0], graphed_value=value[0], scaling=scaling)
                kept.update(value=value.detach()[0], pattern=pattern.detach()[0], mixed=mixed.detach()[0])

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args: kept.__setitem__(name, args[0].detach()[0])

    def leaf(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = args[0] if args else kwargs["hidden_states"]
        kept["read"] = given.detach().requires_grad_()
        return ((kept["read"], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": kept["read"]})

    def held(norm: Norm) -> Callable[..., Tensor]:
        return lambda module, args, output: (norm.gain * args[0] * norm.scale(args[0].detach())).to(output.dtype)

    def hold(name: str, norm: Any) -> Any:
        return lambda module, args: kept.__setitem__(name, norm.scale(args[0].detach())[0])

    with ExitStack() as stack, torch.enable_grad(), watching(Watcher()):
        if edits is not None:
            stack.enter_context(edits.hooks())
        stack.callback(anatomy.layers[0].block.register_forward_pre_hook(keep("embed")).remove)
        stack.callback(layer.block.register_forward_pre_hook(keep("stream")).remove)
        stack.callback(layer.attn.register_forward_pre_hook(leaf, with_kwargs=True).remove)
        stack.callback(layer.mlp_out_module.register_forward_pre_hook(keep("act")).remove)
        for module, norm in ((layer.q_norm_module, layer.q_norm), (layer.k_norm_module, layer.k_norm)):
            if hold_norms and module is not None and norm is not None:
                stack.callback(module.register_forward_hook(held(norm)).remove)
        for name, module, norm in (
            ("attn_scale", layer.attn_post_module, layer.attn_post_norm),
            ("mlp_scale", layer.mlp_post_module, layer.mlp_post_norm),
        ):
            if module is not None:
                stack.callback(module.register_forward_pre_hook(hold(name, norm)).remove)
        forward(anatomy, ids, Depth(index + 1))
    return LayerProbe(layer=layer, **kept)


def _held(
    write: Float[Tensor, " d"], norm: Any, scale: Float[Tensor, "t 1"] | None, position: int
) -> Float[Tensor, " d"]:
    return write if norm is None or scale is None else norm.gain * write * scale[position]
