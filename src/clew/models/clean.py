"""The clean run, kept for what is measured against it: streams, keys and values, and what chosen components hold.

Memory is a few vectors a token and layer; patterns and activations are read as they pass and let go. Under edits the
clean run is the edited one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..edits import Place
from ..errors import Cancelled
from ..nodes import Site
from .anatomy import Anatomy, Depth
from .attention import watching
from .forward import forward
from .interventions import Interventions
from .sites import Coder, Parts, See, tap
from .tape import Stop


@dataclass
class Clean:
    """One prompt as the model runs it, without gradients.

    `resid[l]` is the stream before layer l, `resid[n_layers]` that before the final norm; `attn_out` and `mlp_out` are
    what a layer's blocks give before any post-norm; `kwargs` is what the model calls a layer's attention with.
    `mixed`, `act` and `pattern` are z, activations and attention weights of the layers that were wanted, `parts` what
    the sites of autoencoders are made of. `attn_out` and `mlp_out` are before edits of a block's own site; `attn_write`
    is what attention then adds to the stream.
    """

    ids: Int[Tensor, " t"]
    mixed: dict[int, Float[Tensor, "t z"]] = field(default_factory=dict)
    act: dict[int, Float[Tensor, "t n"]] = field(default_factory=dict)
    pattern: dict[int, Float[Tensor, "h t t"]] = field(default_factory=dict)
    resid: list[Float[Tensor, "t d"]] = field(default_factory=list)
    attn_out: list[Float[Tensor, "t d"]] = field(default_factory=list)
    attn_write: list[Float[Tensor, "t d"]] = field(default_factory=list)
    mlp_out: list[Float[Tensor, "t d"]] = field(default_factory=list)
    key: list[Float[Tensor, "kv t dh"]] = field(default_factory=list)
    value: list[Float[Tensor, "kv t dh"]] = field(default_factory=list)
    kwargs: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[Site, Parts] = field(default_factory=dict)

    def mask(self, layer: int) -> Float[Tensor, "t t"] | None:
        """What is added to a layer's attention scores; None where the model gave no mask."""
        mask = self.kwargs[layer].get("attention_mask")
        return None if mask is None else mask[0, 0]

    def of(self, place: Place) -> Float[Tensor, "t w"]:
        """What the component of a place holds at every position; its layer must have been wanted."""
        if place.kind == "embed":
            return self.resid[0]
        assert place.layer is not None
        if place.kind == "resid":
            return self.resid[place.layer + 1]
        if place.kind == "error":
            return self.parts[place.site].error
        if place.kind == "latent":
            latents = self.parts[place.site].split.latents
            return latents if place.index is None else latents[:, place.index, None]
        whole = (self.act if place.kind == "neuron" else self.mixed)[place.layer]
        if place.index is None:
            return whole
        width = 1 if place.kind == "neuron" else whole.shape[1] // len(self.pattern[place.layer])
        return whole[:, place.index * width : (place.index + 1) * width]

    def weight(self, place: Place) -> Float[Tensor, ""]:
        """The attention weight of a pair."""
        assert place.layer is not None and place.index is not None and place.sources is not None
        return self.pattern[place.layer][place.index, place.position, place.sources[0]]

    def holds(self, places: Iterable[Place]) -> bool:
        """Whether it was run for these places."""
        kept = {"attn": self.mixed, "neuron": self.act}
        return all(
            place.site in self.parts if place.part is not None else place.layer in kept[place.kind]
            for place in places
            if place.part is not None or place.kind in kept
        )

    def stream(self, anatomy: Anatomy, depth: Depth) -> Float[Tensor, "t d"]:
        """The stream at a depth."""
        before = self.resid[depth.layer]
        return before + self.attn_write[depth.layer] if depth.mid else before


def clean_run(
    anatomy: Anatomy,
    ids: Int[Tensor, " t"],
    places: Iterable[Place] = (),
    edits: Interventions | None = None,
    stop: Stop | None = None,
    coders: Iterable[Coder] = (),
) -> Clean:
    """Run the model once and keep what `Clean` holds, for the layers of `places` and the sites of `coders`.

    Raises Cancelled.
    """
    recorder = _Recorder(anatomy, Clean(ids), places, stop)
    clean = recorder.clean
    coders = tuple(coders)
    seen: dict[Site, Tensor] = {}
    with torch.no_grad(), ExitStack() as stack:
        if edits is not None:
            stack.enter_context(edits.hooks(parts=clean.parts))
        stack.enter_context(recorder.hooks())
        stack.enter_context(watching(recorder))
        for site in {site for coder in coders for site in (coder.reads, coder.writes)}:
            stack.enter_context(tap(anatomy, site, _seeing(seen, site)))
        clean.resid.append(forward(anatomy, ids))
        for coder in coders:
            if coder.writes not in clean.parts:
                clean.parts[coder.writes] = Parts.of(coder, seen[coder.reads], seen[coder.writes])
    return clean


class _Recorder:
    def __init__(self, anatomy: Anatomy, clean: Clean, places: Iterable[Place], stop: Stop | None) -> None:
        self.clean = clean
        self._anatomy = anatomy
        self._stop = stop
        self._wanted = {(place.kind, place.layer) for place in places}

    @contextmanager
    def hooks(self) -> Iterator[None]:
        clean = self.clean
        with ExitStack() as stack:

            def before(module: nn.Module, hook: Callable[..., Any], kwargs: bool = False) -> None:
                stack.callback(module.register_forward_pre_hook(hook, with_kwargs=kwargs).remove)

            def after(module: nn.Module, kept: list[Tensor], prepend: bool = True) -> None:
                def keep(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
                    kept.append(output[0])

                stack.callback(module.register_forward_hook(keep, prepend=prepend).remove)

            for layer in self._anatomy.layers:
                before(layer.block, self._enter)
                before(layer.attn, self._call, kwargs=True)
                for kind, module, kept in (
                    ("attn", layer.attn_out_module, clean.mixed),
                    ("neuron", layer.mlp_out_module, clean.act),
                ):
                    if (kind, layer.index) in self._wanted:
                        before(module, _keeping(kept, layer.index))
                after(layer.attn_out_module, clean.attn_out)
                after(layer.attn_post_module or layer.attn_out_module, clean.attn_write, prepend=False)
                after(layer.mlp_out_module, clean.mlp_out)
            yield

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
    ) -> None:
        """AttentionWatcher."""
        self.clean.key.append(key[0])
        self.clean.value.append(value[0])
        if ("attn", layer) in self._wanted:
            self.clean.pattern[layer] = pattern[0]

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The question was cancelled before it was answered.")
        self.clean.resid.append(args[0][0])

    def _call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.clean.kwargs.append({name: value for name, value in kwargs.items() if name != "hidden_states"})


def _seeing(seen: dict[Site, Tensor], site: Site) -> See:
    return lambda value: seen.__setitem__(site, value[0])


def _keeping(kept: dict[int, Tensor], layer: int) -> Callable[..., None]:
    return lambda module, args: kept.__setitem__(layer, args[0][0])
