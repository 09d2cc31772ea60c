"""A component of a tiny model on pieces of an atlas's text, edited by plain hooks on transformers' own modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clew.atlas.components import Components
from clew.explain.evidence import Evidence, Sample
from clew.explain.records import SampleKind, Split
from clew.nodes import Node
from clew.sae.autoencoder import Autoencoder

from ...atlas.dictionaries import literal

LENGTH, WINDOW = 24, 16
FAMILIES = ["llama", "gpt2", "gpt_neox", "gemma2", "phi3"]
# What is cut out of which context: kind, split, context, start.
PIECES: list[tuple[SampleKind, Split, int, int]] = [
    ("top", "explain", 0, 3), ("top", "explain", 1, 0),
    ("top", "calibrate", 2, 8), ("random", "calibrate", 3, 0), ("random", "calibrate", 4, 5),
    ("top", "test", 5, 0), ("top", "test", 6, 8), ("random", "test", 7, 2), ("near_miss", "test", 8, 4),
]  # fmt: skip

Made = Callable[..., "Case"]


@dataclass(frozen=True)
class Case:
    """A component of a tiny model, what it does on pieces of an atlas's text, and its autoencoder if it is a latent."""

    components: Components
    component: Node
    evidence: Evidence
    autoencoder: Autoencoder | None

    @property
    def hf(self) -> Any:
        return self.components.subject.hf

    def ids(self, sample: Sample) -> Tensor:
        """The context that a sample is cut out of, up to its end."""
        assert self.components.atlas is not None
        whole = self.components.atlas.contexts.tokens(sample.context)[: sample.start + len(sample.ids)]
        return torch.tensor(whole, dtype=torch.long)

    @contextmanager
    def replaced(self, positions: Sequence[int], values: Sequence[float]) -> Iterator[None]:
        """Puts values in the place of activations at some positions, by plain hooks on the modules."""
        with plain_edit(self, lambda x, at: put(x, at, positions, values)):
            yield


def put(x: Tensor, at: range, positions: Sequence[int], values: Sequence[float]) -> Tensor:
    x = x.clone()
    for position, value in zip(positions, values, strict=True):
        if position in at:
            x[0, position - at.start] = value
    return x


@contextmanager
def plain_edit(case: Case, change: Callable[[Tensor, range], Tensor]) -> Iterator[None]:
    """Changes the component's activations [1, rows]; rows are told by how many tokens went by since the block began."""
    layers, node, one = case.components.subject.anatomy.layers, case.component, case.autoencoder
    assert node.layer is not None and node.index is not None
    seen: dict[str, Any] = {"done": 0, "read": None}
    handles = []

    def rows(n: int) -> range:
        begun, seen["done"] = seen["done"], seen["done"] + n
        return range(begun, begun + n)

    def neuron(module: nn.Module, args: Any) -> Any:
        x = args[0].clone()
        x[..., node.index] = change(x[..., node.index], rows(x.shape[1]))
        return (x,)

    def read(module: nn.Module, args: Any) -> None:
        seen["read"] = args[0]

    def write(value: Tensor) -> Tensor:
        assert one is not None
        x = value if seen["read"] is None else seen["read"]
        f = literal(one, x)[..., node.index]
        scale = x.std(-1, keepdim=True) if one.normalisation == "layer_norm" else 1
        return value + (change(f, rows(x.shape[1])) - f)[..., None] * scale * one.w_dec[node.index]

    def leaving(module: nn.Module, args: Any, output: Any) -> Any:
        return (write(output[0]), *output[1:]) if isinstance(output, tuple) else write(output)

    if one is None:
        handles.append(layers[node.layer].mlp_out_module.register_forward_pre_hook(neuron))
    else:
        if one.is_transcoder:
            assert one.reads.name == "mlp_in"
            handles.append(layers[one.reads.layer].mlp.register_forward_pre_hook(read))
        layer = layers[one.writes.layer]
        at: nn.Module = {
            "mlp_out": layer.mlp_post_module or layer.mlp_out_module,
            "attn_out": layer.attn_post_module or layer.attn_out_module,
            "resid": layer.block,
        }[one.writes.name]
        handles.append(at.register_forward_hook(leaving))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def sample_of(case: Case, kind: SampleKind, split: Split, context: int, start: int) -> Sample:
    assert case.components.atlas is not None
    ids = tuple(int(i) for i in case.components.atlas.contexts.tokens(context)[start : start + WINDOW])
    first = 1 if start == 0 else 0
    sample = Sample(
        kind, split, context, start, tuple(case.components.subject.text(i) for i in ids), ids, np.zeros(WINDOW), first
    )
    kept: list[Tensor] = []

    def keep(x: Tensor, at: range) -> Tensor:
        kept.append(x[0])
        return x

    with torch.no_grad(), plain_edit(case, keep):
        case.hf(case.ids(sample)[None])
    return replace(sample, activations=kept[0][start:].double().numpy())
