"""The clean run, kept for what is measured against it: streams, keys and values, and the values of chosen nodes.

Memory is a few vectors a token and layer; patterns and activations are read as they pass and let go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from ..nodes import Node
from .anatomy import Anatomy
from .attention import watching
from .tape import Stop


@dataclass(frozen=True)
class Value:
    """What a node holds on a prompt, and what it holds on average at the prompt's other positions.

    A head's mixed values z [dh], a pair's share A·V of them [dh] (no mean), a neuron's activation [], or an embedding
    [d]. `weight` is a pair's attention weight and `whole` its head's z.
    """

    here: Tensor
    mean: Tensor | None
    weight: Tensor | None = None
    whole: Tensor | None = None


@dataclass
class Clean:
    """One prompt as the model runs it, without gradients.

    `resid[l]` is the stream before layer l, `resid[n_layers]` that before the final norm; `attn_out` and `mlp_out` are
    what a layer's blocks give before any post-norm; `kwargs` is what the model calls a layer's attention with.
    """

    ids: Int[Tensor, " t"]
    values: dict[Node, Value] = field(default_factory=dict)
    resid: list[Float[Tensor, "t d"]] = field(default_factory=list)
    attn_out: list[Float[Tensor, "t d"]] = field(default_factory=list)
    mlp_out: list[Float[Tensor, "t d"]] = field(default_factory=list)
    key: list[Float[Tensor, "kv t dh"]] = field(default_factory=list)
    value: list[Float[Tensor, "kv t dh"]] = field(default_factory=list)
    kwargs: list[dict[str, Any]] = field(default_factory=list)

    def mask(self, layer: int) -> Float[Tensor, "t t"] | None:
        """What is added to a layer's attention scores; None where the model gave no mask."""
        mask = self.kwargs[layer].get("attention_mask")
        return None if mask is None else mask[0, 0]


def clean_run(anatomy: Anatomy, ids: Int[Tensor, " t"], nodes: Iterable[Node] = (), stop: Stop | None = None) -> Clean:
    """Run the model once and keep what `Clean` holds, with the values of `nodes`. Raises Cancelled."""
    recorder = _Recorder(anatomy, Clean(ids), nodes, stop)
    with torch.no_grad(), recorder.hooks(), watching(recorder):
        anatomy.base(input_ids=ids[None], use_cache=False)
    return recorder.clean


class _Recorder:
    def __init__(self, anatomy: Anatomy, clean: Clean, nodes: Iterable[Node], stop: Stop | None) -> None:
        self.clean = clean
        self._anatomy = anatomy
        self._stop = stop
        self._wanted: dict[tuple[str, int], list[Node]] = defaultdict(list)
        for node in nodes:
            self._wanted[node.kind, node.layer or 0].append(node)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        clean = self.clean
        with ExitStack() as stack:

            def before(module: nn.Module, hook: Callable[..., Any], kwargs: bool = False) -> None:
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=kwargs).remove)

            def after(module: nn.Module, kept: list[Tensor]) -> None:
                stack.callback(module.register_forward_hook(lambda m, a, out: kept.append(out[0])).remove)

            before(self._anatomy.final_norm_module, lambda m, args: clean.resid.append(args[0][0]))
            for layer in self._anatomy.layers:
                before(layer.block, self._enter)
                before(layer.attn, self._call, kwargs=True)
                before(layer.mlp_out_module, self._neurons(layer.index))
                after(layer.attn_out_module, clean.attn_out)
                after(layer.mlp_out_module, clean.mlp_out)
            yield

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
    ) -> None:
        """AttentionWatcher."""
        self.clean.key.append(key[0])
        self.clean.value.append(value[0])
        z, total = mixed[0], None
        for node in self._wanted["attn", layer]:
            assert node.index is not None
            here = z[node.position, node.index]
            if node.source is None:
                total = z.sum(0) if total is None else total
                self.clean.values[node] = Value(here, _others(total[node.index], here, len(z)))
                continue
            group = node.index // (pattern.shape[1] // value.shape[1])
            weight = pattern[0, node.index, node.position, node.source]
            share = weight * value[0, group, node.source]
            self.clean.values[node] = Value(share, None, weight, here)

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The question was cancelled before it was answered.")
        stream = args[0][0]
        if not self.clean.resid:
            for node in self._wanted["embed", 0]:
                here = stream[node.position]
                self.clean.values[node] = Value(here, _others(stream.sum(0), here, len(stream)))
        self.clean.resid.append(stream)

    def _call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.clean.kwargs.append({name: value for name, value in kwargs.items() if name != "hidden_states"})

    def _neurons(self, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            act, total = args[0][0], None
            for node in self._wanted["neuron", layer]:
                total = act.sum(0) if total is None else total
                here = act[node.position, node.index]
                self.clean.values[node] = Value(here, _others(total[node.index], here, len(act)))

        return hook


def _others(total: Tensor, here: Tensor, length: int) -> Tensor | None:
    """The mean at all positions but one; None when there is no other."""
    return None if length == 1 else (total - here) / (length - 1)
