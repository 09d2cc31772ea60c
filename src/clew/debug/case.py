"""One prompt under its edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from ..edits import Edit, Place
from ..errors import BadEdit, UsageError
from ..models.clean import Clean, clean_run
from ..models.interventions import Interventions, Source, interventions
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..settings import MAX_EDITS
from .align import Alignment

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
            clean = clean_run(anatomy, self.ids, here) if here else None
            other = clean_run(anatomy, self.second.ids, there) if there and self.second is not None else None

            def held(place: Place) -> Tensor:
                assert clean is not None
                return clean.of(place)

            source = Source(
                here=held,
                there=None if other is None else other.of,
                counterpart=None if self.second is None else self.second.counterpart,
                position=self.position,
            )
            with torch.no_grad():
                return interventions(anatomy, len(self.ids), self.edits, source)

    def clean(self, places: Sequence[Place], stop: Stop | None = None) -> Clean:
        """The clean run under the edits, for these places. The caller holds the subject's lock. Raises Cancelled.

        That of a short prompt is kept whole, so that verifying one more node costs its cone alone.
        """
        if self._kept and self._kept[0].holds(places):
            return self._kept[0]
        anatomy = self.subject.anatomy
        layers, heads, length = len(anatomy.layers), anatomy.n_heads, len(self.ids)
        # Stream, both blocks, z, keys and values of every layer are at most six vectors a token.
        numbers = layers * length * (6 * anatomy.d_model + anatomy.n_neurons + heads * length)
        if 4 * numbers > KEPT_BYTES:
            return clean_run(anatomy, self.ids, places, self.interventions, stop)
        everything = [Place(kind, layer) for kind in ("attn", "neuron") for layer in range(layers)]
        self._kept[:] = [clean_run(anatomy, self.ids, everything, self.interventions, stop)]
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


def check_edits(subject: SubjectModel, length: int, edits: Sequence[Edit], second: Second | None) -> None:
    """Raises BadEdit for what this model or prompt does not have, or UsageError for too many."""
    if len(edits) > MAX_EDITS:
        raise UsageError(
            f"A stack of {len(edits)} edits is more than {MAX_EDITS}.", "Edit whole heads or layers at once."
        )
    for edit in edits:
        check_place(subject, length, edit.place)
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


def check_place(subject: SubjectModel, length: int, place: Place) -> None:
    """Raises BadEdit when a place is not one of this model and prompt."""
    anatomy = subject.anatomy
    parts = {"attn": ("heads", anatomy.n_heads), "neuron": ("neurons a layer", anatomy.n_neurons)}
    limits = [("layers", len(anatomy.layers), place.layer), ("tokens", length, max(place.positions or (0,)))]
    limits.append(("tokens", length, max(place.sources or (0,))))
    if place.kind in parts:
        limits.append((*parts[place.kind], place.index))
    for what, size, value in limits:
        if value is not None and value >= size:
            raise BadEdit(
                f"{place} does not exist: there are {size} {what}.", f"Counting starts at 0, so the last is {size - 1}."
            )
