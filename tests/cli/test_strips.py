"""Texts in a line of the terminal, and durations beside them."""

from __future__ import annotations

from typing import Any

import pytest

from clew.cli.collect import duration
from clew.cli.strips import Strip

TOKENS = ["When", " Mary", " went", " to", " the", " 店", "\n", ",", " John", " gave", " a", " drink", " to"]


@pytest.mark.parametrize("width", [20, 30, 45, 100])
@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize(("peak", "source"), [(0, None), (12, 1), (5, 5), (6, None)])
def test_a_strip_keeps_its_peak_and_source_and_the_width(
    width: int, coloured: bool, peak: int, source: int | None
) -> None:
    values = [float(i == peak) for i in range(len(TOKENS))]
    attended = None if source is None else [float(i == source) for i in range(len(TOKENS))]
    strip = Strip(TOKENS, values, peak, attended, source)
    line = strip.line(width, coloured)
    assert line.cell_len <= width
    shown = TOKENS[peak].replace(" ", "␣").replace("\n", "↵")
    assert (shown if coloured else f"«{shown}»") in line.plain
    assert coloured or source in (None, peak) or "‹␣Mary›" in line.plain
    if width == 100:
        assert "…" not in line.plain


def test_a_strips_colours_say_what_a_token_is() -> None:
    neuron = Strip(["a", "b", "c", "d"], [2.0, 0.0, -1.0, 0.2], 0).whole(True)
    strong, none, negative, weak = (neuron.get_style_at_offset(_console(), i) for i in range(4))
    assert none.bgcolor is None
    assert strong.bgcolor is not None and negative.bgcolor is not None and weak.bgcolor is not None
    assert strong.bgcolor.triplet == (16, 185, 129)
    red, green, _ = negative.bgcolor.triplet or (0, 0, 0)
    assert red > green
    assert (weak.bgcolor.triplet or (0, 0, 0))[1] < 185
    head = Strip(["a", "b"], [0.0, 3.0], 1, [3.0, 0.0], 0).whole(True)
    attended, attending = (head.get_style_at_offset(_console(), i).bgcolor for i in range(2))
    assert attended is not None and attended.triplet == (56, 189, 248)
    assert attending is not None and attending.triplet == (244, 114, 182)


def _console() -> Any:
    from rich.console import Console

    return Console()


def test_durations() -> None:
    assert [duration(s) for s in (0.04, 4.21, 9.96, 59.4, 187, 7435)] == [
        "0.0 s",
        "4.2 s",
        "10 s",
        "59 s",
        "3:07",
        "2:03:55",
    ]
