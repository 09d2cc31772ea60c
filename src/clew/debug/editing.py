"""Edits by their names: one method an op."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..edits import Edit, Op, edit_of, parse_place
from ..errors import UsageError

if TYPE_CHECKING:
    from .run import Run


class Editable(ABC):
    """A run, as far as it is edited. Every method gives another run, with more edits on its stack."""

    @abstractmethod
    def edit(
        self,
        *edits: str | Edit,
        second: Run | None = None,
        alignment: Sequence[int | None] | None = None,
    ) -> Run:
        """With any edits. Raises BadEdit or UsageError."""

    def ablate(self, places: str | Sequence[str], to: str | float = "zero") -> Run:
        """With places set to "zero", to their "mean" over the prompt's other positions, or to a number."""
        if to in ("zero", "mean"):
            return self._each("zero" if to == "zero" else "mean", places)
        if isinstance(to, str):
            raise UsageError(f"{to!r} is not what a place can be set to.", 'Use "zero", "mean" or a number.')
        return self._each("set", places, to)

    def scale(self, places: str | Sequence[str], by: float) -> Run:
        """With what places hold times `by`."""
        return self._each("scale", places, by)

    def steer(self, places: str | Sequence[str], strength: float) -> Run:
        """With `strength` times the unit direction of each place's write added to it."""
        return self._each("steer", places, strength)

    def cut(self, pairs: str | Sequence[str]) -> Run:
        """With attention weights set to zero and the rest of each row scaled to sum to 1 again.

        `ablate` leaves the rest as it is.
        """
        return self._each("cut", pairs)

    def patch(self, places: str | Sequence[str], second: Run, alignment: Sequence[int | None] | None = None) -> Run:
        """With places set to what they hold on another prompt, at the aligned position."""
        return self._each("patch", places, second=second, alignment=alignment)

    def _each(
        self,
        op: Op,
        places: str | Sequence[str],
        value: float | None = None,
        second: Run | None = None,
        alignment: Sequence[int | None] | None = None,
    ) -> Run:
        named = [places] if isinstance(places, str) else places
        edits = [edit_of(op, parse_place(place), value) for place in named]
        return self.edit(*edits, second=second, alignment=alignment)
