"""Pieces of text in the terminal, each token on the colour of what a component does there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from .terminal import visible

_Colour = tuple[int, int, int]

# Emerald for an activation, orange for one below zero; of a head pink for a token attended from, light blue for one
# attended to.
_ACTIVE: _Colour = (16, 185, 129)
_BELOW: _Colour = (249, 115, 22)
_ATTENDING: _Colour = (244, 114, 182)
_ATTENDED: _Colour = (56, 189, 248)
_DARK: _Colour = (24, 24, 27)
_LIGHT: _Colour = (255, 255, 255)
_GAP = " … "


@dataclass(frozen=True)
class Strip:
    """Tokens and a component's value on each; `attended` is a head's largest value out of each, `source` of its peak.

    Without colours the peak stands in « » and its source in ‹ ›.
    """

    tokens: Sequence[str]
    values: Sequence[float]
    peak: int
    attended: Sequence[float] | None = None
    source: int | None = None

    def line(self, width: int, coloured: bool) -> Text:
        """As much as fits `width` cells: around the peak and its source, more of what came before than after."""
        cells = [cell_len(self._shown(i, coloured)) for i in range(len(self.tokens))]
        kept = {self.peak, self.peak if self.source is None else self.source}
        room = width - sum(cells[i] for i in kept) - 3 * len(_GAP)
        ends = [(place, step) for place in sorted(kept, reverse=True) for step in (-1, -1, 1)]
        while ends:
            for place, step in list(ends):
                at = place
                while at in kept:
                    at += step
                if not 0 <= at < len(cells) or cells[at] > room:
                    ends.remove((place, step))
                    continue
                kept.add(at)
                room -= cells[at]
        return self._text(sorted(kept), coloured)

    def whole(self, coloured: bool) -> Text:
        """All tokens."""
        return self._text(range(len(self.tokens)), coloured)

    def _text(self, kept: Sequence[int], coloured: bool) -> Text:
        text = Text()
        text.append(_GAP.lstrip() if kept and kept[0] > 0 else "", "dim")
        before = None
        for i in kept:
            if before is not None and i != before + 1:
                text.append(_GAP, "dim")
            text.append(self._shown(i, coloured), self._style(i))
            before = i
        if before is not None and before + 1 < len(self.tokens):
            text.append(_GAP.rstrip(), "dim")
        return text

    def _shown(self, i: int, coloured: bool) -> str:
        shown = visible(self.tokens[i])
        if coloured:
            return shown
        return f"«{shown}»" if i == self.peak else f"‹{shown}›" if i == self.source else shown

    def _style(self, i: int) -> Style:
        largest = max(map(abs, self.values), default=0.0)
        if self.attended is None:
            value = self.values[i]
            shades = [(_ACTIVE if value > 0 else _BELOW, _opacity(value, largest))]
        else:
            out_of = max(self.attended, default=0.0)
            shades = [
                (_ATTENDING, _opacity(self.values[i], largest)),
                (_ATTENDED, _opacity(self.attended[i], out_of)),
            ]
        total = sum(opacity for _, opacity in shades)
        if not total:
            return Style(bold=i == self.peak)
        # One cell has one background: of two colours their mixture.
        mixed = _mix([(colour, opacity / total) for colour, opacity in shades])
        opacity = max(opacity for _, opacity in shades)
        red, green, blue = _mix([(mixed, opacity), (_background(), 1 - opacity)])
        ink = "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else "#ffffff"
        peak = "bold underline " if i == self.peak else ""
        return Style.parse(f"{peak}{ink} on #{red:02x}{green:02x}{blue:02x}")


def _opacity(value: float, largest: float) -> float:
    """0.05 + 0.95·log10(1 + 9·|v|/max), so that weak activations stay visible."""
    if not value or not largest:
        return 0.0
    return 0.05 + 0.95 * log10(1 + 9 * min(1.0, abs(value) / largest))


def _mix(parts: Sequence[tuple[_Colour, float]]) -> _Colour:
    red, green, blue = (round(sum(colour[i] * share for colour, share in parts)) for i in range(3))
    return red, green, blue


def _background() -> _Colour:
    """What a colour fades into: dark, unless the terminal says in the usual variable that it is light."""
    return _LIGHT if os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else _DARK
