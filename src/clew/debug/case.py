"""One prompt under its edits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from ..edits import Edit, Place
from ..errors import BadEdit, UsageError
from ..models.anatomy import Depth
from ..models.clean import Clean, clean_run
from ..models.interventions import Interventions, Source, interventions
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node, Site
from ..sae.autoencoder import Autoencoder
from ..settings import MAX_EDITS
from .align import Alignment
from .dictionary import Dictionaries, Dictionary

KEPT_BYTES = 2**25  # of a prompt's clean run


@dataclass(frozen=True)
class Second:
    """A second prompt, and the counterpart in it of each token of the first."""

    ids: Int[Tensor, " t2"]
    alignment: tuple[int | None, ...]

    @classmethod
    def of(cls, ids: Int[Tensor, " t2"], alignment: Alignment) -> Second:
        return cls(ids, tuple(alignment))

    @cached_property
    def counterpart(self) -> Int[Tensor, " t"]:
        """The alignment as a tensor, −1 for none."""
        pairs = [-1 if pair is None else pair for pair in self.alignment]
        return torch.tensor(pairs, device=self.ids.device)


@dataclass(frozen=True)
class Case:
    """A prompt, the position of interest and a stack of edits, checked to fit the model and each other."""

    subject: SubjectModel
    ids: Int[Tensor, " t"]
    position: int
    edits: tuple[Edit, ...] = ()
    second: Second | None = None
    dictionaries: Dictionaries = field(default_factory=dict)
    _kept: list[Clean] = field(default_factory=list, init=False, repr=False, compare=False)

    @cached_property
    def interventions(self) -> Interventions | None:
        """The edits, ready; None for an empty stack. Runs the unedited prompts when an edit takes values from them."""
        if not self.edits:
            return None
        anatomy = self.subject.anatomy
        here = [edit.place for edit in self.edits if edit.op in ("mean", "steer")]
        there = [edit.place for edit in self.edits if edit.op == "patch"]
        with self.subject.lock:
            clean = other = None
            if here:
                clean = clean_run(anatomy, self.ids, here, coders=self.coders(here))
            if there and self.second is not None:
                other = clean_run(anatomy, self.second.ids, there, coders=self.coders(there))

            def held(place: Place) -> Tensor:
                assert clean is not None
                return clean.of(place)

            source = Source(
                here=held,
                there=None if other is None else other.of,
                counterpart=None if self.second is None else self.second.counterpart,
                position=self.position,
                coders={site: made.autoencoder for site, made in self.dictionaries.items()},
            )
            with torch.no_grad():
                return interventions(anatomy, len(self.ids), self.edits, source)

    def standing_for(self, block: str | None, layer: int | None) -> Dictionary | None:
        """The autoencoder whose latents stand for a layer's heads (attn) or neurons (mlp), or the stream (resid)."""
        return next((d for d in self.dictionaries.values() if (d.block, d.site.layer) == (block, layer)), None)

    def writer(self, node: Node) -> Dictionary | None:
        """The autoencoder that writes a latent, an error, or the constant of the block it stands for."""
        if node.kind in ("latent", "error"):
            return self.dictionaries.get(node.site)
        return self.standing_for(node.part, node.layer) if node.kind == "bias" else None

    def coders(self, places: Iterable[Place] | None = None) -> list[Autoencoder]:
        """The autoencoders whose latents or errors are among the places (None: all)."""
        sites = None if places is None else {place.site for place in places if place.part is not None}
        return [made.autoencoder for site, made in self.dictionaries.items() if sites is None or site in sites]

    def upstream(self, depth: Depth, own: Site | None = None) -> Dictionaries:
        """The autoencoders whose latents are written before a depth, but for that of the site `own`."""
        return {site: d for site, d in self.dictionaries.items() if site != own and d.upstream_of(depth)}

    def clean(self, places: Sequence[Place], stop: Stop | None = None) -> Clean:
        """The clean run under the edits, for these places. The caller holds the subject's lock. Raises Cancelled.

        That of a short prompt is kept whole, so that verifying one more node costs its cone alone.
        """
        if self._kept and self._kept[0].holds(places):
            return self._kept[0]
        anatomy = self.subject.anatomy
        layers, heads, length = len(anatomy.layers), anatomy.n_heads, len(self.ids)
        # Stream, both blocks, z, keys and values of every layer are at most seven vectors a token.
        numbers = layers * length * (7 * anatomy.d_model + anatomy.n_neurons + heads * length)
        numbers += sum(length * (coder.n_latents + 4 * coder.d_out) for coder in self.coders())
        if 4 * numbers > KEPT_BYTES:
            return clean_run(anatomy, self.ids, places, self.interventions, stop, self.coders(places))
        everything = [Place(kind, layer) for kind in ("attn", "neuron") for layer in range(layers)]
        self._kept[:] = [clean_run(anatomy, self.ids, everything, self.interventions, stop, self.coders())]
        return self._kept[0]

    def replaces(self, place: Place) -> bool:
        """Whether an edit changes what a pair's head holds at its position: the pair is then no part of it."""
        return any(
            edit.place.kind == "attn"
            and edit.place.sources is None
            and edit.place.layer == place.layer
            and edit.place.index in (None, place.index)
            and (edit.place.positions is None or place.position in edit.place.positions)
            for edit in self.edits
        )


def check_edits(case: Case, edits: Sequence[Edit], second: Second | None) -> None:
    """Raises BadEdit for what this model or prompt does not have, or UsageError for too many."""
    if len(edits) > MAX_EDITS:
        raise UsageError(
            f"A stack of {len(edits)} edits is more than {MAX_EDITS}.", "Edit whole heads or layers at once."
        )
    length = len(case.ids)
    for edit in edits:
        check_place(case, edit.place)
        if edit.op == "mean" and length == 1:
            raise BadEdit(
                "A prompt of one token has no other positions to take a mean over.", f"Write zero:{edit.place}."
            )
        if edit.op != "patch":
            continue
        if second is None:
            raise BadEdit(f"{edit} takes its value from a second prompt, and there is none.", "Give a second prompt.")
        alone = [p for p in edit.place.positions or () if second.alignment[p] is None]
        if alone:
            raise BadEdit(
                f"{edit} has nothing to take: token {alone[0]} has no counterpart in the second prompt.",
                "Pair it in the alignment, or leave it out.",
            )


def check_place(case: Case, place: Place) -> None:
    """Raises BadEdit when a place is not one of this model, its autoencoders and this prompt."""
    anatomy, length = case.subject.anatomy, len(case.ids)
    parts = {"attn": ("heads", anatomy.n_heads), "neuron": ("neurons a layer", anatomy.n_neurons)}
    if place.part is not None:
        made = case.dictionaries.get(place.site)
        if made is None:
            raise BadEdit(
                f"{place} belongs to an autoencoder of {place.site}, and none is attached.",
                "Attach one that writes there, with --sae.",
            )
        parts["latent"] = (f"latents of {made.autoencoder.name}", made.autoencoder.n_latents)
    limits = [("layers", len(anatomy.layers), place.layer), ("tokens", length, max(place.positions or (0,)))]
    limits.append(("tokens", length, max(place.sources or (0,))))
    if place.kind in parts:
        limits.append((*parts[place.kind], place.index))
    for what, size, value in limits:
        if value is not None and value >= size:
            raise BadEdit(
                f"{place} does not exist: there are {size} {what}.", f"Counting starts at 0, so the last is {size - 1}."
            )
