"""One instrumented pass: a forward pass that records, a backward pass that reports and forgets.

Weights are frozen, so the only gradients are of activations. As the backward pass reaches each layer, an Observer is
shown that layer's activations with their gradients and reduces them; the tape then lets go of both. Nothing the size
of all activations, and no T×T×H×d tensor, is ever held by Clew beyond what autograd itself keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from ..nodes import Site
from .anatomy import Anatomy, Depth, Layer
from .attention import watching
from .forward import forward
from .interventions import Interventions
from .sites import Coder, Parts, See, tap


@dataclass(frozen=True)
class AttentionRecord:
    """One layer's attention with the gradient of D; `mixed` is z, `post_scale` a post-norm's held 1/σ (or None).

    Under edits everything is as edited, and z may be no mix of values any more: the head at a position then writes
    `share` × Σ_s A·V_s and a remainder that is read from nowhere. `share` is None where nothing was edited.
    """

    layer: int
    pattern: Float[Tensor, "h t t"]
    pattern_grad: Float[Tensor, "h t t"]
    value: Float[Tensor, "kv t dh"]
    mixed: Float[Tensor, "t h dh"]
    mixed_grad: Float[Tensor, "t h dh"]
    post_scale: Float[Tensor, "t 1"] | None
    share: Float[Tensor, "h t"] | None = None


@dataclass(frozen=True)
class MlpRecord:
    """One layer's neurons with the gradient of D."""

    layer: int
    act: Float[Tensor, "t n"]
    act_grad: Float[Tensor, "t n"]
    post_scale: Float[Tensor, "t 1"] | None


@dataclass(frozen=True)
class SiteRecord:
    """The value at an autoencoder's site, taken apart, with the gradient of D by it.

    `post_scale` is the held 1/σ of the post-norm that the value is yet to pass, or None.
    """

    coder: Coder
    parts: Parts
    grad: Float[Tensor, "t d"]
    post_scale: Float[Tensor, "t 1"] | None


class Observer(Protocol):
    """Reduces what the backward pass reports, last layer first."""

    def attention(self, record: AttentionRecord) -> None: ...
    def mlp(self, record: MlpRecord) -> None: ...
    def site(self, record: SiteRecord) -> None: ...
    def embed(self, write: Float[Tensor, "t d"], grad: Float[Tensor, "t d"]) -> None: ...
    def bias(self, part: str, layer: int, grad: Float[Tensor, " d"]) -> None:
        """`grad` is ∂D over the bias: summed over positions."""


Stop = Callable[[], bool]


class Tape:
    """Records one forward pass over `anatomy`, with `edits` made in it, and reports its backward pass.

    `resid[l]` is the residual stream before layer l ([t, d], no graph), `resid[n_layers]` that before the final norm.
    `added[l]` is what edits of the stream add to it there. `coders` are the autoencoders whose sites are reported.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        edits: Interventions | None = None,
        stop: Stop | None = None,
        coders: Sequence[Coder] = (),
    ) -> None:
        self._anatomy = anatomy
        self._edits = edits
        self._stop = stop
        self._coders = coders
        self._reads: dict[Site, Tensor] = {}
        self._parts: dict[Site, Parts] = {}
        self._grad = True
        self._observer: Observer | None = None
        self._attention: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._act: dict[int, Tensor] = {}
        self._attn_scale: dict[int, Tensor] = {}
        self._mlp_scale: dict[int, Tensor] = {}
        self._mixed_grad: dict[int, Tensor] = {}
        self._edited: dict[int, Tensor] = {}
        self.resid: list[Float[Tensor, "t d"]] = []
        self.added: dict[int, Float[Tensor, "t d"]] = {}

    def forward(self, ids: Int[Tensor, " t"], depth: Depth | None = None, grad: bool = True) -> Float[Tensor, "t d"]:
        """Run the model up to `depth` (default: before the final norm); returns the stream there.

        Without `grad` only `resid` is kept and no backward pass can follow. Raises Cancelled when `stop` says so.
        """
        self._grad = grad
        with torch.set_grad_enabled(grad), ExitStack() as stack:
            if self._edits is not None:
                stack.enter_context(self._edits.hooks(added=self.added, parts=self._parts))
            stack.enter_context(self._hooks())
            stack.enter_context(watching(self))
            stream = forward(self._anatomy, ids, depth)
        if depth is None or not depth.mid:
            self.resid.append(stream.detach())
        return stream

    def backward(self, scalar: Float[Tensor, ""], observer: Observer) -> None:
        """Send the gradient of `scalar` back, reporting to `observer`; the graph is freed."""
        self._observer = observer
        try:
            scalar.backward()
        finally:
            self._observer = None
            self._attention.clear()
            self._mixed_grad.clear()
            self._edited.clear()
            self._act.clear()
            self._parts.clear()

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
            scale, mixed_grad = self._attn_scale.get(layer), self._mixed_grad.pop(layer)
            edited = self._edited.pop(layer, None)
            share = None if edited is None else shares(edited, mixed)
            mixed = mixed if edited is None else edited
            self._report.attention(AttentionRecord(layer, pattern, grad[0], value, mixed, mixed_grad, scale, share))

        def keep(grad: Tensor) -> None:
            self._mixed_grad[layer] = grad[0]

        if self._edits is None or layer not in self._edits.heads:
            mixed.register_hook(keep)
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

            for layer in self._anatomy.layers:
                before(layer.block, self._enter_first if self._grad and layer.index == 0 else self._enter)
                if not self._grad:
                    continue
                before(layer.mlp_out_module, self._neurons(layer))
                if self._edits is not None and layer.index in self._edits.heads:
                    before(layer.attn_out_module, self._heads(layer))
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
            for coder in self._coders if self._grad else ():
                if coder.reads != coder.writes:
                    stack.enter_context(tap(self._anatomy, coder.reads, self._read(coder)))
                stack.enter_context(tap(self._anatomy, coder.writes, self._site(coder)))
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

    def _heads(self, layer: Layer) -> Callable[..., None]:
        """Keeps the z that a layer's edits leave, and its gradient."""

        def split(x: Tensor) -> Tensor:
            return x[0].view(x.shape[1], layer.n_heads, -1)

        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._edited[layer.index] = split(args[0].detach())
            args[0].register_hook(lambda grad: self._mixed_grad.__setitem__(layer.index, split(grad)))

        return hook

    def _read(self, coder: Coder) -> See:
        return lambda value: self._reads.__setitem__(coder.reads, value.detach()[0])

    def _site(self, coder: Coder) -> See:
        site = coder.writes
        layer = self._anatomy.layers[site.layer]

        def see(value: Tensor) -> None:
            edited, whole = self._parts.get(site), value.detach()[0]
            if edited is None:
                parts = Parts.of(coder, self._reads.pop(coder.reads, whole), whole)
            else:
                parts = edited.detach()

            def report(grad: Tensor) -> None:
                self._check()
                scales = {"mlp_act": self._mlp_scale, "attn_act": self._attn_scale}.get(site.name, {})
                self._report.site(SiteRecord(coder, parts, grad[0], scales.get(layer.index)))

            value.register_hook(report)

        return see

    def _bias(self, part: str, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            output.register_hook(lambda grad: self._report.bias(part, layer, grad[0].float().sum(0)))

        return hook


def _hold(scales: dict[int, Tensor], layer: int, scale: Callable[[Tensor], Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        scales[layer] = scale(args[0].detach())[0]

    return hook


def shares(edited: Float[Tensor, "t h dh"], mixed: Float[Tensor, "t h dh"]) -> Float[Tensor, "h t"]:
    """c where the edited z is c times the mix of values, else 0: then nothing of it is read from any one token."""
    edited, mixed = edited.float(), mixed.float()
    share = (edited * mixed).sum(-1) / mixed.square().sum(-1).clamp_min(1e-30)
    left = (edited - share[..., None] * mixed).norm(dim=-1)
    return torch.where(left <= 1e-5 * edited.norm(dim=-1), share, torch.zeros_like(share)).T
