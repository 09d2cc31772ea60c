"""One forward pass with its graph kept, for what needs more than one gradient of it (debug/estimators.py).

The tape (models/tape.py) lets go of every activation as soon as it is reduced; this holds all of them, as long as the
recording lives: about what autograd keeps itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from .anatomy import Anatomy, Depth, Layer
from .attention import watching
from .forward import forward
from .interventions import Interventions
from .tape import Stop


@dataclass
class Recording:
    """Every activation of one prompt up to a depth, by layer, with a leading batch of one where the model has it.

    `resid[l]` is the stream before layer l, `end` that at the depth. `attn_out` and `mlp_out` are what the output
    projections give, `attn_write` and `mlp_write` the same after any post-norm: what is added to the stream.
    """

    ids: Int[Tensor, " t"]
    depth: Depth
    resid: list[Float[Tensor, "1 t d"]] = field(default_factory=list)
    mixed: list[Float[Tensor, "1 t h*dh"]] = field(default_factory=list)
    act: list[Float[Tensor, "1 t n"]] = field(default_factory=list)
    attn_out: list[Float[Tensor, "1 t d"]] = field(default_factory=list)
    mlp_out: list[Float[Tensor, "1 t d"]] = field(default_factory=list)
    attn_write: list[Float[Tensor, "1 t d"]] = field(default_factory=list)
    mlp_write: list[Float[Tensor, "1 t d"]] = field(default_factory=list)
    query: list[Float[Tensor, "h t dh"]] = field(default_factory=list)
    key: list[Float[Tensor, "kv t dh"]] = field(default_factory=list)
    value: list[Float[Tensor, "kv t dh"]] = field(default_factory=list)
    pattern: list[Float[Tensor, "h t t"]] = field(default_factory=list)
    kwargs: list[dict[str, Any]] = field(default_factory=list)
    end: Float[Tensor, "t d"] = field(default_factory=lambda: torch.empty(0, 0))

    def mask(self, layer: int) -> Float[Tensor, "t t"] | None:
        """What is added to a layer's attention scores; None where the model gave no mask."""
        mask = self.kwargs[layer].get("attention_mask")
        return None if mask is None else mask[0, 0]

    def gradients(self, value: Float[Tensor, ""], keep: bool = False) -> Gradients:
        """∂value of everything recorded; with `keep` another gradient can follow."""
        lists = (self.resid, self.mixed, self.act, self.attn_write, self.mlp_write)
        wanted = [x for each in lists for x in each]
        found = _grad(value, wanted, keep=keep)
        sizes = [len(each) for each in lists]
        parts = [found[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]
        return Gradients(*parts)

    def below(
        self, layer: int, grad: Float[Tensor, "t d"]
    ) -> tuple[list[Float[Tensor, "t d"]], list[Float[Tensor, "t h*dh"]], list[Float[Tensor, "t n"]]]:
        """The gradients of the embedding (a list of one), and of z and activations in the layers below `layer`, when
        that of the stream before the layer is `grad`. The graph is kept."""
        wanted = [self.resid[0], *self.mixed[:layer], *self.act[:layer]]
        found = _grad(self.resid[layer], wanted, grad[None], keep=True)
        return found[:1], found[1 : layer + 1], found[layer + 1 :]


@dataclass(frozen=True)
class Gradients:
    """Gradients of one number by layer: of the streams, z, activations and what is added to the stream."""

    resid: list[Float[Tensor, "t d"]]
    mixed: list[Float[Tensor, "t h*dh"]]
    act: list[Float[Tensor, "t n"]]
    attn_write: list[Float[Tensor, "t d"]]
    mlp_write: list[Float[Tensor, "t d"]]


def record(
    anatomy: Anatomy,
    ids: Int[Tensor, " t"],
    depth: Depth | None = None,
    edits: Interventions | None = None,
    stop: Stop | None = None,
) -> Recording:
    """Run the model up to a depth (default: before the final norm) and keep the graph.

    Raises Cancelled, and so may its gradients.
    """
    depth = anatomy.end if depth is None else depth
    recorder = _Recorder(anatomy, Recording(ids, depth), stop)
    with torch.enable_grad(), ExitStack() as stack:
        if edits is not None:
            stack.enter_context(edits.hooks())
        stack.enter_context(recorder.hooks())
        stack.enter_context(watching(recorder))
        recorder.recording.end = forward(anatomy, ids, depth)
    return recorder.recording


class _Recorder:
    def __init__(self, anatomy: Anatomy, recording: Recording, stop: Stop | None) -> None:
        self.recording = recording
        self._anatomy = anatomy
        self._stop = stop

    @contextmanager
    def hooks(self) -> Iterator[None]:
        kept = self.recording
        with ExitStack() as stack:

            def before(module: nn.Module, hook: Callable[..., Any], kwargs: bool = False) -> None:
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=kwargs).remove)

            def after(module: nn.Module, into: list[Tensor]) -> None:
                def keep(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
                    into.append(output)

                stack.callback(module.register_forward_hook(keep).remove)

            def given(module: nn.Module, into: list[Tensor]) -> None:
                before(module, lambda m, args: into.append(args[0]))

            for layer in self._anatomy.layers:
                before(layer.block, self._enter)
                before(layer.attn, self._call, kwargs=True)
                given(layer.attn_out_module, kept.mixed)
                given(layer.mlp_out_module, kept.act)
                after(layer.attn_out_module, kept.attn_out)
                after(layer.mlp_out_module, kept.mlp_out)
                after(layer.attn_post_module or layer.attn_out_module, kept.attn_write)
                after(layer.mlp_post_module or layer.mlp_out_module, kept.mlp_write)
            yield

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
    ) -> None:
        """AttentionWatcher."""
        kept = self.recording
        kept.query.append(query.detach()[0])
        kept.key.append(key.detach()[0])
        kept.value.append(value.detach()[0])
        kept.pattern.append(pattern.detach()[0])

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._check()
        first = not self.recording.resid
        stream = args[0].detach().requires_grad_() if first else args[0]
        stream.register_hook(lambda grad: self._check())
        self.recording.resid.append(stream)
        return (stream, *args[1:]) if first else None

    def _call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.recording.kwargs.append({name: value for name, value in kwargs.items() if name != "hidden_states"})

    def _check(self) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The question was cancelled before it was answered.")


def write_at(
    layer: Layer, part: str, recording: Recording, out: Float[Tensor, "n d"], at: Int[Tensor, " n"]
) -> Float[Tensor, "n d"]:
    """The stream at positions `at` after a block, when its output projection gives `out` there instead."""
    before = recording.resid[layer.index].detach()[0, at]
    if part == "attn":
        return before + (out if layer.attn_post_module is None else layer.attn_post_module(out))
    mid = before + recording.attn_write[layer.index].detach()[0, at]
    return mid + (out if layer.mlp_post_module is None else layer.mlp_post_module(out))


def _grad(value: Tensor, wanted: Sequence[Tensor], seed: Tensor | None = None, keep: bool = False) -> list[Tensor]:
    found = torch.autograd.grad(value, wanted, seed, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(x[0]) if g is None else g[0] for x, g in zip(wanted, found, strict=True)]
