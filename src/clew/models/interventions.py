"""Edits made in a forward pass: of the embedding, heads, attention patterns, neurons, latents and the stream.

What `mean` and `patch` put in place, and the directions that `steer` adds, come from unedited runs and are read before
the pass, so that an edit means the same whatever else is edited. Edits of one value are made in the order of the stack;
those of different values in the order in which the model computes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..edits import Edit, Place
from ..nodes import Site
from .anatomy import Anatomy
from .attention import editing
from .sites import Coder, Parts, See, projection, tap

Rows = Callable[[], Int[Tensor, " r"]]
"""The positions of the rows that the model is computing now."""

_Function = Callable[[Float[Tensor, "r w"], Int[Tensor, " r"]], Float[Tensor, "r w"]]


@dataclass(frozen=True)
class Change:
    """One edit, ready: at `positions` (None: all) the columns `columns` become `function(values, positions)`.

    `there` says at which positions of the prompt the edit has something to put in place; None everywhere.
    """

    columns: slice
    positions: Int[Tensor, " n"] | None
    there: Bool[Tensor, " t"] | None
    function: _Function

    def __call__(self, x: Float[Tensor, "*b r w"], at: Int[Tensor, " r"]) -> Float[Tensor, "*b r w"]:
        keep = torch.ones_like(at, dtype=torch.bool)
        if self.positions is not None:
            keep &= torch.isin(at, self.positions)
        if self.there is not None:
            # What is generated has no counterpart.
            inside = at < len(self.there)
            keep &= inside & self.there[at.clamp_max(len(self.there) - 1)]
        rows = keep.nonzero()[:, 0]
        if not len(rows):
            return x
        changed = x.clone()
        changed[..., rows, self.columns] = self.function(x[..., rows, self.columns], at[rows]).to(x.dtype)
        return changed


@dataclass(frozen=True)
class PatternChange:
    """One edit of attention patterns: entries of `heads` at `positions` and `sources` become A × `scale` + `shift`.

    With `renormalise` the rest of each row is scaled so that it sums to what it summed to before.
    """

    heads: slice
    positions: Int[Tensor, " n"] | None
    sources: Int[Tensor, " m"]
    scale: float
    shift: float
    renormalise: bool

    def __call__(self, pattern: Float[Tensor, "*b h r s"], at: Int[Tensor, " r"]) -> Float[Tensor, "*b h r s"]:
        keep = torch.ones_like(at, dtype=torch.bool) if self.positions is None else torch.isin(at, self.positions)
        chosen = torch.zeros(pattern.shape[-1], dtype=torch.bool, device=at.device)
        chosen[self.sources[self.sources < pattern.shape[-1]]] = True
        there = torch.arange(pattern.shape[-1], device=at.device) <= at[:, None]
        entries = keep[:, None] & chosen & there
        part = pattern[..., self.heads, :, :]
        changed = torch.where(entries, part * self.scale + self.shift, part)
        if self.renormalise:
            rest = changed.sum(-1, keepdim=True)
            # A row that read nothing else is left empty: there is nothing to scale.
            factor = torch.where(rest > 0, part.sum(-1, keepdim=True) / rest.clamp_min(1e-30), torch.ones_like(rest))
            changed = torch.where(entries.any(-1, keepdim=True), changed * factor, changed)
        whole = pattern.clone()
        whole[..., self.heads, :, :] = changed
        return whole


@dataclass
class SiteChange:
    """Edits of the latents and the error of one site's autoencoder; what they do not touch stays as it is.

    Latents are read once, from the site's value before any of them is edited.
    """

    coder: Coder
    latents: list[Change] = field(default_factory=list)
    error: list[Change] = field(default_factory=list)

    def __call__(
        self, read: Float[Tensor, "*b r d_in"], value: Float[Tensor, "*b r d"], at: Int[Tensor, " r"]
    ) -> tuple[Float[Tensor, "*b r d"], Parts]:
        """The site's value, edited, and what it is then made of."""
        parts = Parts.of(self.coder, read, value)
        split = parts.split
        latents, error = _all(self.latents, split.latents, at), _all(self.error, parts.error, at)
        more = latents - split.latents
        columns = more.flatten(0, -2).any(0).nonzero()[:, 0]
        more = more[..., columns] if split.scale is None else more[..., columns] * split.scale
        changed = parts.value + more @ self.coder.w_dec[columns] + (error - parts.error)
        return changed.to(value.dtype), Parts(read, changed, replace(split, latents=latents), error)


@dataclass
class Interventions:
    """A stack of edits of one prompt, to be made in any pass over it."""

    anatomy: Anatomy
    length: int
    stream: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    """By layer that reads it next: edits of the embedding (0) and of the stream after layer l (l + 1)."""
    heads: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    neurons: dict[int, list[Change]] = field(default_factory=lambda: defaultdict(list))
    patterns: dict[int, list[PatternChange]] = field(default_factory=lambda: defaultdict(list))
    sites: dict[Site, SiteChange] = field(default_factory=dict)
    """By the site whose value they change."""

    def edit_stream(
        self, layer: int, x: Float[Tensor, "*b r d"], at: Int[Tensor, " r"], parts: dict[Site, Parts] | None = None
    ) -> Float[Tensor, "*b r d"]:
        """The stream before a layer, rows at positions `at`, edited."""
        x = _all(self.stream.get(layer, ()), x, at)
        return self.edit_site(Site("resid", layer - 1), x, x, at, parts)

    def edit_site(
        self,
        site: Site,
        read: Float[Tensor, "*b r d_in"],
        value: Float[Tensor, "*b r d"],
        at: Int[Tensor, " r"],
        parts: dict[Site, Parts] | None = None,
    ) -> Float[Tensor, "*b r d"]:
        """A site's value with its latents and error edited; `parts` is given what it is then made of."""
        change = self.sites.get(site)
        if change is None:
            return value
        value, made = change(value if change.coder.reads == site else read, value, at)
        if parts is not None:
            parts[site] = made
        return value

    def edit_neurons(self, layer: int, act: Float[Tensor, "*b r n"], at: Int[Tensor, " r"]) -> Float[Tensor, "*b r n"]:
        """A layer's activations, rows at positions `at`, with the edits of its neurons."""
        return _all(self.neurons.get(layer, ()), act, at)

    def edit_pattern(
        self, layer: int, pattern: Float[Tensor, "*b h r s"], at: Int[Tensor, " r"]
    ) -> Float[Tensor, "*b h r s"]:
        """A layer's attention patterns, rows at positions `at`, edited."""
        for change in self.patterns.get(layer, ()):
            pattern = change(pattern, at)
        return pattern

    @contextmanager
    def hooks(
        self,
        rows: Rows | None = None,
        inner: bool = False,
        added: dict[int, Float[Tensor, "t d"]] | None = None,
        parts: dict[Site, Parts] | None = None,
    ) -> Iterator[None]:
        """Make the edits in every pass inside the block.

        `rows` tells the positions of the rows being computed (default: the prompt's, in order). `inner` leaves edits
        of the stream, of what blocks add to it and of patterns to the caller. `added` is given what edits of the stream
        after a layer add to it, `parts` (of one prompt) what edited sites are made of.
        """
        given = (lambda: torch.arange(self.length, device=self.anatomy.unembed.weight.device)) if rows is None else rows

        def values(changes: Sequence[Change]) -> Callable[..., Any]:
            return lambda module, args: (_all(changes, args[0], given()), *args[1:])

        alone: dict[Site, Parts] = {}
        reads: dict[Site, Tensor] = {}

        def site_of(site: Site) -> See:
            def see(value: Tensor) -> Tensor:
                value = self.edit_site(site, reads.get(site, value), value, given(), alone)
                if parts is not None:
                    parts[site] = alone[site].first
                return value

            return see

        def stream(layer: int) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
                edited = self.edit_stream(layer, args[0], given(), None if parts is None else alone)
                if parts is not None:
                    parts.update((site, whole.first) for site, whole in alone.items())
                if added is not None and layer:
                    added[layer] = (edited - args[0]).detach()[0]
                return (edited, *args[1:])

            return hook

        with ExitStack() as stack:

            def before(module: nn.Module, hook: Callable[..., Any]) -> None:
                stack.callback(module.register_forward_pre_hook(hook).remove)

            layers = self.anatomy.layers
            for layer, changes in self.heads.items():
                before(layers[layer].attn_out_module, values(changes))
            for layer, changes in self.neurons.items():
                before(layers[layer].mlp_out_module, values(changes))
            for site, change in self.sites.items():
                if site.name == "resid" or (inner and projection(self.anatomy, site) is None):
                    continue
                if change.coder.reads != site:
                    stack.enter_context(tap(self.anatomy, change.coder.reads, _keeping(reads, site)))
                stack.enter_context(tap(self.anatomy, site, site_of(site)))
            if not inner:
                after = [site.layer + 1 for site in self.sites if site.name == "resid"]
                for layer in {*self.stream, *after}:
                    end = layer == len(layers)
                    before(self.anatomy.final_norm_module if end else layers[layer].block, stream(layer))
                if self.patterns:
                    stack.enter_context(editing(_Patterns(self, given)))
            yield


@dataclass(frozen=True)
class _Patterns:
    edits: Interventions
    rows: Rows

    def pattern(self, layer: int, pattern: Tensor) -> Tensor:
        """PatternEditor."""
        return self.edits.edit_pattern(layer, pattern, self.rows())


def _keeping(kept: dict[Site, Tensor], site: Site) -> See:
    return lambda value: kept.__setitem__(site, value)


@dataclass(frozen=True)
class Source:
    """What unedited runs hold: the component of a place at every position of this prompt, and of the second one."""

    here: Callable[[Place], Float[Tensor, "t w"]]
    there: Callable[[Place], Float[Tensor, "t2 w"]] | None
    counterpart: Int[Tensor, " t"] | None
    """The second prompt's position for each of this one's, −1 for none."""
    position: int
    """The one of interest: where `steer` takes a head's direction from when it steers at every position."""
    coders: Mapping[Site, Coder] = field(default_factory=dict)
    """The autoencoders attached, by the site they write."""


def interventions(anatomy: Anatomy, length: int, edits: Sequence[Edit], source: Source) -> Interventions:
    """The edits of a prompt of `length` tokens, ready. They must fit the model and the prompt (debug/case.py)."""
    made = Interventions(anatomy, length)
    device = anatomy.unembed.weight.device
    for edit in edits:
        place = edit.place
        positions = None if place.positions is None else torch.tensor(place.positions, device=device)
        if place.sources is not None:
            assert place.layer is not None
            scale, shift = {"scale": (edit.value or 0.0, 0.0), "set": (0.0, edit.value or 0.0)}.get(edit.op, (0.0, 0.0))
            heads = slice(None) if place.index is None else slice(place.index, place.index + 1)
            sources = torch.tensor(place.sources, device=device)
            made.patterns[place.layer].append(
                PatternChange(heads, positions, sources, scale, shift, renormalise=edit.op == "cut")
            )
            continue
        there, function = _function(anatomy, edit, source)
        change = Change(_columns(anatomy, place), positions, there, function)
        match place.kind:
            case "embed":
                made.stream[0].append(change)
            case "resid":
                assert place.layer is not None
                made.stream[place.layer + 1].append(change)
            case "attn":
                assert place.layer is not None
                made.heads[place.layer].append(change)
            case "neuron":
                assert place.layer is not None
                made.neurons[place.layer].append(change)
            case "latent" | "error":
                site = made.sites.setdefault(place.site, SiteChange(source.coders[place.site]))
                (site.latents if place.kind == "latent" else site.error).append(change)
    return made


def _columns(anatomy: Anatomy, place: Place) -> slice:
    if place.index is None or place.layer is None:
        return slice(None)
    if place.kind in ("neuron", "latent"):
        return slice(place.index, place.index + 1)
    layer = anatomy.layers[place.layer]
    width = layer.attn_out.by_input.shape[0] // layer.n_heads
    return slice(place.index * width, (place.index + 1) * width)


def _function(anatomy: Anatomy, edit: Edit, source: Source) -> tuple[Bool[Tensor, " t"] | None, _Function]:
    """Where the edit has something to put in place, and what it makes of the values there."""
    value = 0.0 if edit.value is None else edit.value
    match edit.op:
        case "zero":
            return None, lambda x, at: torch.zeros_like(x)
        case "scale":
            return None, lambda x, at: x * value
        case "set":
            if edit.place.kind in ("neuron", "latent"):
                return None, lambda x, at: torch.full_like(x, value)
            return None, lambda x, at: x * (value / x.norm(dim=-1, keepdim=True).clamp_min(1e-30))
        case "mean":
            held = source.here(edit.place)
            # One row more, the mean over the whole prompt, for what is generated after it.
            table = torch.cat([others_mean(held), held.mean(0, keepdim=True)])
            return None, lambda x, at: table[at.clamp_max(len(table) - 1)].expand_as(x)
        case "patch":
            assert source.there is not None and source.counterpart is not None
            other = source.there(edit.place)
            table = other[source.counterpart.clamp_min(0)]
            return source.counterpart >= 0, lambda x, at: table[at].expand_as(x)
        case _:
            coder = source.coders[edit.place.site] if edit.place.kind == "latent" else None
            steps = unit_steps(anatomy, edit.place, source.here(edit.place), coder) * value
            if edit.place.positions is None:
                steps = steps[source.position : source.position + 1]
            return None, lambda x, at: x + steps[at.clamp_max(len(steps) - 1)]


def others_mean(held: Float[Tensor, "t w"]) -> Float[Tensor, "t w"]:
    """At each position the mean over all others; of one position alone, not a number."""
    return (held.sum(0) - held) / (len(held) - 1)


def unit_steps(
    anatomy: Anatomy, place: Place, held: Float[Tensor, "t w"], coder: Coder | None = None
) -> Float[Tensor, "t w"]:
    """What to add to what a component holds so that its write, before any post-norm, grows by a unit vector.

    A head grows along its own write at each position, an embedding along itself, a neuron along its output weights, a
    latent along its decoder row (times the scale of a normalisation, which is left out of the step).
    """
    if place.kind == "embed":
        return held / held.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    assert place.layer is not None and place.index is not None
    layer = anatomy.layers[place.layer]
    if place.kind == "latent":
        assert coder is not None
        row = coder.w_dec[place.index]
        out = projection(anatomy, place.site)
        return torch.ones_like(held) / (row if out is None else row @ out.float()).norm()
    if place.kind == "neuron":
        return torch.ones_like(held) / layer.mlp_out.by_input[place.index].float().norm()
    write = held @ layer.attn_out.by_input[_columns(anatomy, place)]
    return held / write.norm(dim=-1, keepdim=True).clamp_min(1e-30)


def _all(changes: Sequence[Change], x: Float[Tensor, "*b r w"], at: Int[Tensor, " r"]) -> Float[Tensor, "*b r w"]:
    for change in changes:
        x = change(x, at)
    return x
