"""Verified effects: what is explained as is − with a node ablated, measured in its causal cone (models/replay.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..edits import Place
from ..errors import BadNode, UsageError
from ..models.clean import Clean, clean_run
from ..models.interventions import others_mean
from ..models.replay import Change, Cone, replay
from ..models.sites import projection
from ..models.tape import Stop
from .case import Case, Second
from .scalar import Scalar

Ablation = Literal["zero", "mean", "resample"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)


def measure(
    case: Case,
    scalar: Scalar,
    places: Sequence[Place],
    ablation: Ablation = "zero",
    renormalise: bool = False,
    second: Second | None = None,
    stop: Stop | None = None,
) -> Iterator[list[float]]:
    """The verified effects of places at one position each, batch by batch, in the order given.

    `zero` sets what a place holds (a head's z, a neuron's or latent's activation, an error, an embedding, the stream)
    to zero, `mean` to its mean over the prompt's other positions, `resample` to what it is on the second prompt at the
    aligned position. A pair is zeroed only: its attention weight becomes 0, and with `renormalise` the rest of the row
    is scaled to sum to 1 again. Raises BadNode, UsageError or Cancelled.
    """
    _check(case, places, ablation, second)
    anatomy, subject = case.subject.anatomy, case.subject
    edits = case.interventions
    with subject.lock, torch.no_grad():
        clean = case.clean(places, stop)
        other = None
        if ablation == "resample" and second is not None:
            other = clean_run(anatomy, second.ids, places, stop=stop, coders=case.coders(places))
        cone = Cone(anatomy, clean, edits, scalar.depth, scalar.positions)
        value = scalar.value(clean.stream(anatomy, scalar.depth)[scalar.positions][None])
        deltas = _Deltas(case, clean, ablation, renormalise, other, second)
        changes = [deltas.change(place) for place in places]
    batches = replay(cone, changes, stop)
    while True:
        with subject.lock, torch.no_grad():  # hooks of another pass must not see these rows
            batch = next(batches, None)
            if batch is None:
                return
            found = value - scalar.value(batch[1])
        yield found.tolist()


def _check(case: Case, places: Sequence[Place], ablation: str, second: Second | None) -> None:
    if ablation not in ABLATIONS:
        raise UsageError(f"{ablation!r} is not a way to ablate.", f"Use one of {', '.join(ABLATIONS)}.")
    if ablation == "resample" and second is None:
        raise UsageError("Resampling takes its values from a second prompt.", "Give one.")
    if ablation == "mean" and len(case.ids) == 1:
        raise UsageError("A prompt of one token has no other positions to take a mean over.", "Ablate to zero.")
    edited = {edit.place.site for edit in case.edits if edit.place.part in ("attn_act", "mlp_act")}
    for place in places:
        block = {"attn": "attn_act", "neuron": "mlp_act"}.get(place.kind)
        if any((site.name, site.layer) == (block, place.layer) for site in edited):
            raise BadNode(
                f"{place} holds what the edited latents of its layer make of it.", "Take those edits off to measure it."
            )
        if place.sources is not None and ablation != "zero":
            raise UsageError(
                f"{place} is one entry of an attention pattern: it can be zeroed, not set to a mean or resampled.",
                "Ablate it to zero, or ablate its whole head.",
            )
        if place.sources is not None and case.replaces(place):
            raise BadNode(
                f"{place} is part of a head that is edited there.", "Take the edit off, or verify the whole head."
            )
        if ablation == "resample" and second is not None and second.alignment[place.position] is None:
            raise BadNode(
                f"{place} has no counterpart: its token is not paired with one of the second prompt.",
                "Pair it in the alignment, or leave it out.",
            )


class _Deltas:
    """What ablating a place adds to what its block gives."""

    def __init__(
        self,
        case: Case,
        clean: Clean,
        ablation: Ablation,
        renormalise: bool,
        other: Clean | None,
        second: Second | None,
    ) -> None:
        self._anatomy = case.subject.anatomy
        self._dictionaries = case.dictionaries
        self._clean = clean
        self._ablation = ablation
        self._renormalise = renormalise
        self._other = other
        self._second = second
        self._means: dict[Place, Float[Tensor, "t w"]] = {}

    def change(self, place: Place) -> Change:
        delta = self._pair(place) if place.sources is not None else self._instead(place) - self._held(place)
        match place.kind:
            case "embed":
                return Change("embed", 0, place.position, delta)
            case "resid":
                assert place.layer is not None
                return Change("resid", place.layer, place.position, delta)
            case "latent" | "error":
                return self._at_site(place, delta)
            case "neuron":
                assert place.layer is not None
                out = self._anatomy.layers[place.layer].mlp_out.by_input
                write = delta @ out if place.index is None else delta * out[place.index]
                return Change("mlp", place.layer, place.position, write)
            case _:
                assert place.layer is not None
                out = self._anatomy.layers[place.layer].attn_out.by_input
                width = len(delta)
                start = 0 if place.index is None else place.index * width
                return Change("attn", place.layer, place.position, delta @ out[start : start + width])

    def _at_site(self, place: Place, delta: Float[Tensor, " w"]) -> Change:
        """What a change of latents, or of the error, adds where the site's value is written."""
        made = self._dictionaries[place.site]
        value = delta
        if place.kind == "latent":
            rows = made.autoencoder.w_dec
            scale = self._clean.parts[place.site].split.scale
            value = delta if scale is None else delta * scale[place.position]
            value = value @ rows if place.index is None else value * rows[place.index]
        out = projection(self._anatomy, place.site)
        write = value if out is None else value @ out.float()
        return Change(made.block, place.site.layer, place.position, write, outer=not made.before_projection)

    def _held(self, place: Place) -> Float[Tensor, " w"]:
        return self._clean.of(place)[place.position]

    def _instead(self, place: Place) -> Float[Tensor, " w"]:
        """What the place holds when it is ablated."""
        match self._ablation:
            case "mean":
                component = Place(place.kind, place.layer, place.index, part=place.part)
                if component not in self._means:
                    self._means[component] = others_mean(self._clean.of(place))
                return self._means[component][place.position]
            case "resample":
                assert self._other is not None and self._second is not None
                there = self._second.alignment[place.position]
                assert there is not None
                return self._other.of(place)[there]
            case _:
                return torch.zeros_like(self._held(place))

    def _pair(self, place: Place) -> Float[Tensor, " dh"]:
        assert place.layer is not None and place.index is not None and place.sources is not None
        whole, weight, value = self._held(place), self._clean.weight(place), self._clean.value[place.layer]
        group = place.index // (self._anatomy.layers[place.layer].n_heads // len(value))
        share = weight * value[group, place.sources[0]]
        if not self._renormalise:
            return -share
        # As `cut` does it: the row sums to what it summed to, which under edits need not be 1.
        row = self._clean.pattern[place.layer][place.index, place.position]
        rest = row.sum() - weight
        return (whole - share) * (row.sum() / rest if rest > 0 else 1.0) - whole
