"""One instrumented pass: a forward pass that records, a backward pass that reports and forgets.

Weights are frozen, so the only gradients are of activations. As the backward pass reaches each layer, an Observer is
shown that layer's activations with their gradients and reduces them; the tape then lets go of both. Nothing the size
of all activations, and no T×T×H×d tensor, is ever held by Clew beyond what autograd itself keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from .anatomy import Anatomy, Layer
from .attention import watching


@dataclass(frozen=True)
class AttentionRecord:
    """One layer's attention with the gradient of D; `mixed` is z, `post_scale` a post-norm's held 1/σ (or None)."""

    layer: int
    pattern: Float[Tensor, "h t t"]
    pattern_grad: Float[Tensor, "h t t"]
    value: Float[Tensor, "kv t dh"]
    mixed: Float[Tensor, "t h dh"]
    post_scale: Float[Tensor, "t 1"] | None


@dataclass(frozen=True)
class MlpRecord:
    """One layer's neurons with the gradient of D."""

    layer: int
    act: Float[Tensor, "t n"]
    act_grad: Float[Tensor, "t n"]
    post_scale: Float[Tensor, "t 1"] | None


class Observer(Protocol):
    """Reduces what the backward pass reports, last layer first."""

    def attention(self, record: AttentionRecord) -> None: ...
    def mlp(self, record: MlpRecord) -> None: ...
    def embed(self, write: Float[Tensor, "t d"], grad: Float[Tensor, "t d"]) -> None: ...
    def bias(self, part: str, layer: int, grad: Float[Tensor, " d"]) -> None:
        """`grad` is ∂D over the bias: summed over positions."""


Stop = Callable[[], bool]


class Tape:
    """Records one forward pass over `anatomy` and reports its backward pass.

    `resid[l]` is the residual stream before layer l ([t, d], no graph), `resid[n_layers]` that before the final norm.
    """

    def __init__(self, anatomy: Anatomy, stop: Stop | None = None) -> None:
        self._anatomy = anatomy
        self._stop = stop
        self._grad = True
        self._observer: Observer | None = None
        self._attention: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._act: dict[int, Tensor] = {}
        self._attn_scale: dict[int, Tensor] = {}
        self._mlp_scale: dict[int, Tensor] = {}
        self.resid: list[Float[Tensor, "t d"]] = []

    def forward(self, ids: Int[Tensor, " t"], grad: bool = True) -> Float[Tensor, "t d"]:
        """Run the model; returns the stream after the final norm. Raises Cancelled when `stop` says so.

        Without `grad` only `resid` is kept and no backward pass can follow.
        """
        self._grad = grad
        with torch.set_grad_enabled(grad), self._hooks(), watching(self):
            output = self._anatomy.base(input_ids=ids[None], use_cache=False)
        return output.last_hidden_state[0]

    def backward(self, scalar: Float[Tensor, ""], observer: Observer) -> None:
        """Send the gradient of `scalar` back, reporting to `observer`; the graph is freed."""
        self._observer = observer
        try:
            scalar.backward()
        finally:
            self._observer = None
            self._attention.clear()
            self._act.clear()

    def attention(
        self,
        layer: int,
        query: Float[Tensor, "1 h t dh"],
        key: Float[Tensor, "1 kv t dh"],
        value: Float[Tensor, "1 kv t dh"],
        pattern: Float[Tensor, "1 h t t"],
        mixed: Float[Tensor, "1 t h dh"],
        scaling: float,
    ) -> None:
        """AttentionWatcher: keep what the backward report of this layer needs."""
        self._check()
        if not self._grad:
            return
        self._attention[layer] = (pattern.detach()[0], value.detach()[0], mixed.detach()[0])

        def report(grad: Tensor) -> None:
            self._check()
            pattern, value, mixed = self._attention.pop(layer)
            scale = self._attn_scale.get(layer)
            self._report.attention(AttentionRecord(layer, pattern, grad[0], value, mixed, scale))

        pattern.register_hook(report)

    @property
    def _report(self) -> Observer:
        assert self._observer is not None  # backward hooks run inside backward() only
        return self._observer

    def _check(self) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The question was cancelled before it was answered.")

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        with ExitStack() as stack:

            def before(module: nn.Module, hook: Callable[..., Any]) -> None:
                stack.callback(module.register_forward_pre_hook(hook).remove)

            def after(module: nn.Module, hook: Callable[..., Any]) -> None:
                stack.callback(module.register_forward_hook(hook).remove)

            before(self._anatomy.final_norm_module, self._enter)
            for layer in self._anatomy.layers:
                before(layer.block, self._enter_first if self._grad and layer.index == 0 else self._enter)
                if not self._grad:
                    continue
                before(layer.mlp_out_module, self._neurons(layer))
                for module, scales, norm in (
                    (layer.attn_post_module, self._attn_scale, layer.attn_post_norm),
                    (layer.mlp_post_module, self._mlp_scale, layer.mlp_post_norm),
                ):
                    if module is not None and norm is not None:
                        before(module, _hold(scales, layer.index, norm.scale))
                if layer.attn_out.bias is not None:
                    after(layer.attn_out_module, self._bias("attn", layer.index))
                if layer.mlp_out.bias is not None:
                    after(layer.mlp_out_module, self._bias("mlp", layer.index))
            yield

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.resid.append(args[0].detach()[0])

    def _enter_first(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Make the embedding a leaf: the backward pass ends there."""
        leaf = args[0].detach().requires_grad_()
        held = leaf.detach()[0]
        self.resid.append(held)
        leaf.register_hook(lambda grad: self._report.embed(held, grad[0]))
        return (leaf, *args[1:])

    def _neurons(self, layer: Layer) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._act[layer.index] = args[0].detach()[0]

            def report(grad: Tensor) -> None:
                self._check()
                act = self._act.pop(layer.index)
                self._report.mlp(MlpRecord(layer.index, act, grad[0], self._mlp_scale.get(layer.index)))

            args[0].register_hook(report)

        return hook

    def _bias(self, part: str, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            output.register_hook(lambda grad: self._report.bias(part, layer, grad[0].float().sum(0)))

        return hook


def _hold(scales: dict[int, Tensor], layer: int, scale: Callable[[Tensor], Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        scales[layer] = scale(args[0].detach())[0]

    return hook
