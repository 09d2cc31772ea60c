"""Verified effects: D(as is) − D(node ablated), measured in the causal cone of each node (models/replay.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import BadNode, UsageError
from ..models.anatomy import Anatomy
from ..models.clean import Clean, Value, clean_run
from ..models.replay import Change, replay
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node
from .direction import Reading

Ablation = Literal["zero", "mean", "resample"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
KINDS = ("embed", "attn", "neuron")


def measure(
    subject: SubjectModel,
    ids: Int[Tensor, " t"],
    position: int,
    reading: Reading,
    nodes: Sequence[Node],
    ablation: Ablation = "zero",
    renormalise: bool = False,
    other: Int[Tensor, " t2"] | None = None,
    stop: Stop | None = None,
) -> Iterator[dict[Node, float]]:
    """The verified effects of `nodes`, batch by batch, in the order given.

    `zero` sets what a node holds (a head's z, a neuron's activation, an embedding) to zero, `mean` to its mean over the
    prompt's other positions, `resample` to what it is on the prompt `other` at the same position. A pair is zeroed
    only: its attention weight becomes 0, and with `renormalise` the rest of the row is scaled to sum to 1 again.
    Raises BadNode, UsageError or Cancelled.
    """
    _check(nodes, len(ids), ablation, other)
    anatomy = subject.anatomy
    with subject.lock:
        clean = clean_run(anatomy, ids, nodes, stop)
        instead = clean_run(anatomy, other, nodes, stop).values if ablation == "resample" and other is not None else {}
    value = _read(anatomy, reading, clean.resid[-1][position][None])
    changes = [_change(anatomy, node, clean, ablation, renormalise, instead.get(node)) for node in nodes]
    batches = replay(anatomy, clean, changes, position, stop)
    while True:
        with subject.lock:  # hooks of another pass must not see these rows
            batch = next(batches, None)
        if batch is None:
            return
        found = value - _read(anatomy, reading, batch[1])
        yield {nodes[index]: effect for index, effect in zip(batch[0], found.tolist(), strict=True)}


@torch.no_grad()
def _read(anatomy: Anatomy, reading: Reading, stream: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """D, less the unembedding's bias, from streams before the final norm. In float64: differences of D are reported."""
    dtype = anatomy.unembed.weight.dtype
    hidden = anatomy.final_norm_module(stream.to(dtype))
    return hidden.cpu().double() @ reading.vector.cpu().double()


def _check(nodes: Sequence[Node], length: int, ablation: str, other: Tensor | None) -> None:
    if ablation not in ABLATIONS:
        raise UsageError(f"{ablation!r} is not a way to ablate.", f"Use one of {', '.join(ABLATIONS)}.")
    if ablation == "resample" and other is None:
        raise UsageError("Resampling takes its values from a second prompt.", "Give one.")
    if ablation == "mean" and length == 1:
        raise UsageError("A prompt of one token has no other positions to take a mean over.", "Ablate to zero.")
    for node in nodes:
        if node.kind not in KINDS:
            raise BadNode(
                f"{node} is written at every position, so there is no one run of it to ablate.",
                "Name a head, neuron or embedding.",
            )
        if node.source is not None and ablation != "zero":
            raise UsageError(
                f"{node} is one entry of an attention pattern: it can be zeroed, not set to a mean or resampled.",
                "Ablate it to zero, or ablate its whole head.",
            )
        assert node.position is not None
        if other is not None and ablation == "resample" and node.position >= len(other):
            raise BadNode(
                f"{node} has no counterpart: the second prompt has {len(other)} tokens.",
                "Use a second prompt that is as long.",
            )


def _change(
    anatomy: Anatomy, node: Node, clean: Clean, ablation: Ablation, renormalise: bool, instead: Value | None
) -> Change:
    """What ablating a node adds to what its block gives."""
    value = clean.values[node]
    assert node.position is not None
    if node.source is not None:
        assert value.whole is not None and value.weight is not None
        left = value.whole - value.here
        rest = 1 - value.weight
        scaled = left / rest if rest > 0 else torch.zeros_like(left)
        change = (scaled if renormalise else left) - value.whole
    elif ablation == "mean":
        assert value.mean is not None
        change = value.mean - value.here
    else:
        change = (torch.zeros_like(value.here) if instead is None else instead.here) - value.here
    if node.kind == "embed":
        return Change("embed", 0, node.position, change)
    assert node.layer is not None and node.index is not None
    layer = anatomy.layers[node.layer]
    if node.kind == "neuron":
        return Change("mlp", node.layer, node.position, change * layer.mlp_out.by_input[node.index])
    width = change.shape[0]
    out = layer.attn_out.by_input[node.index * width : (node.index + 1) * width]
    return Change("attn", node.layer, node.position, change @ out)
