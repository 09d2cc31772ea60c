"""The same quantities computed another way: transformers' own forward pass with a dial on every activation.

Each node's activation is multiplied by a dial of value 1; the derivative of D by the dial is the estimated effect,
and what the block's output loses when the dial is 0 is the node's write. Nothing of Clew's passes is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from clew.models.anatomy import Anatomy
from clew.nodes import Node

IMPLEMENTATION = "clew-test-reference"


@dataclass
class Dials:
    """Multipliers of activations by layer; absent layers are left alone."""

    pattern: dict[int, Tensor] = field(default_factory=dict)
    head: dict[int, Tensor] = field(default_factory=dict)
    neuron: dict[int, Tensor] = field(default_factory=dict)
    embed: Tensor | None = None


_dials = Dials()


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    repeat = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeat, dim=1), value.repeat_interleave(repeat, dim=1)
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = scores.softmax(-1)
    if module.layer_idx in _dials.pattern:
        pattern = pattern * _dials.pattern[module.layer_idx]
    mixed = torch.einsum("bhqk,bhkd->bqhd", pattern, value)
    if module.layer_idx in _dials.head:
        mixed = mixed * _dials.head[module.layer_idx][None, :, :, None]
    return mixed, pattern


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)


@contextmanager
def dialled(anatomy: Anatomy, dials: Dials) -> Iterator[None]:
    """Apply the dials to every forward pass inside the block."""
    global _dials
    before = _dials
    _dials = dials

    def neurons(layer: int) -> Any:
        return lambda module, args: (args[0] * dials.neuron[layer],)

    handles = [anatomy.layers[i].mlp_out_module.register_forward_pre_hook(neurons(i)) for i in dials.neuron]
    if dials.embed is not None:
        scale = dials.embed
        first = anatomy.layers[0].block
        handles.append(
            first.register_forward_pre_hook(lambda module, args: (args[0] * scale[None, :, None], *args[1:]))
        )
    try:
        yield
    finally:
        _dials = before
        for handle in handles:
            handle.remove()


def direction(model: PreTrainedModel, ids: Tensor, position: int, targets: list[int], distractors: list[int]) -> Tensor:
    """D from the logits the model itself returns, soft-cap undone."""
    logits = model(ids[None]).logits[0, position]
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap is not None:
        logits = torch.atanh(logits / cap) * cap
    against = logits[distractors].mean() if distractors else logits.mean()
    return logits[targets].mean() - against


def estimated_effects(
    model: PreTrainedModel, anatomy: Anatomy, ids: Tensor, position: int, targets: list[int], distractors: list[int]
) -> Dials:
    """∂D/∂dial at 1 for every dial: pattern [h,t,t], head [t,h], neuron [t,n], embed [t]."""
    t, heads, neurons = len(ids), anatomy.n_heads, anatomy.n_neurons

    def dial(*shape: int) -> Tensor:
        return torch.ones(*shape, requires_grad=True)

    layers = range(len(anatomy.layers))
    dials = Dials(
        {layer: dial(heads, t, t) for layer in layers},
        {layer: dial(t, heads) for layer in layers},
        {layer: dial(t, neurons) for layer in layers},
        dial(t),
    )
    with dialled(anatomy, dials):
        direction(model, ids, position, targets, distractors).backward()

    def grad(x: Tensor | None) -> Tensor:
        assert x is not None and x.grad is not None
        return x.grad

    return Dials(
        {layer: grad(x) for layer, x in dials.pattern.items()},
        {layer: grad(x) for layer, x in dials.head.items()},
        {layer: grad(x) for layer, x in dials.neuron.items()},
        grad(dials.embed),
    )


def without(anatomy: Anatomy, t: int, node: Node) -> Dials:
    """Dials that switch one node of a prompt of t tokens off."""
    if node.kind == "embed":
        dial = torch.ones(t)
        dial[node.position] = 0
        return Dials(embed=dial)
    assert node.layer is not None
    if node.kind == "neuron":
        dial = torch.ones(t, anatomy.n_neurons)
        dial[node.position, node.index] = 0
        return Dials(neuron={node.layer: dial})
    dial = torch.ones(anatomy.n_heads, t, t)
    dial[node.index, node.position, slice(None) if node.source is None else node.source] = 0
    return Dials(pattern={node.layer: dial})


@torch.no_grad()
def write(model: PreTrainedModel, anatomy: Anatomy, ids: Tensor, node: Node) -> Tensor:
    """The node's write: what its block adds to the stream at its position, less what it adds without the node.

    A post-norm is held: as an elementwise factor, it is what it did to the clean output.
    """
    t = len(ids)
    assert node.position is not None
    if node.kind == "embed":
        return _seen(anatomy.layers[0].block, model, ids, inputs=True)[node.position]
    assert node.layer is not None and node.index is not None
    layer = anatomy.layers[node.layer]
    neuron = node.kind == "neuron"
    module = layer.mlp_out_module if neuron else layer.attn_out_module
    post = layer.mlp_post_module if neuron else layer.attn_post_module
    dials = without(anatomy, t, node)
    clean = _seen(module, model, ids)[node.position]
    with dialled(anatomy, dials):
        lost = clean - _seen(module, model, ids)[node.position]
    return lost if post is None else lost * (post(clean) / clean)


@torch.no_grad()
def held_difference(
    model: PreTrainedModel,
    anatomy: Anatomy,
    ids: Tensor,
    position: int,
    targets: list[int],
    distractors: list[int],
    lost: Tensor,
) -> float:
    """D(x) − D(x − lost) at the final stream, the final norm's scale held at that of x."""
    logits = held_logits(model, anatomy, ids, position, lost)
    against = logits[distractors].mean() if distractors else logits.mean()
    return float(logits[targets].mean() - against)


@torch.no_grad()
def held_logits(model: PreTrainedModel, anatomy: Anatomy, ids: Tensor, position: int, lost: Tensor) -> Tensor:
    """logits(x) − logits(x − lost), before any soft-cap, the final norm's scale held at that of x: [v]."""
    module = anatomy.final_norm_module
    x = _seen(module, model, ids, inputs=True)[position]
    if isinstance(module, nn.LayerNorm):
        change = (lost - lost.mean()) * ((module(x) - module.bias) / (x - x.mean()))
    else:
        change = lost * (module(x) / x)
    return change @ anatomy.unembed.weight.T


def _seen(module: nn.Module, model: PreTrainedModel, ids: Tensor, inputs: bool = False) -> Tensor:
    """What enters or leaves a module on one prompt, [t, d]."""
    kept: list[Tensor] = []
    handle = (
        module.register_forward_pre_hook(lambda m, args: kept.append(args[0].detach()[0]))
        if inputs
        else module.register_forward_hook(lambda m, args, output: kept.append(output.detach()[0]))
    )
    try:
        model(ids[None])
    finally:
        handle.remove()
    return kept[0]
