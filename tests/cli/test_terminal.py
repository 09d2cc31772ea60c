"""Numbers and tokens as the terminal shows them."""

from __future__ import annotations

import pytest

from clew.cli.terminal import number, percent, signed, visible


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (6.1234, "+6.12"),
        (-0.04567, "−0.0457"),
        (6.1, "+6.10"),
        (123.4, "+123"),
        (999.6, "+1000"),
        (1234, "+1230"),
        (99_999, "+1.00e5"),
        (1_234_567, "+1.23e6"),
        (0.000123, "+1.23e−4"),
        (-0.00099999, "−0.00100"),
        (0.0, "0"),
        (-0.0, "0"),
        (None, "–"),
    ],
)
def test_a_sign_and_three_digits(value: float | None, text: str) -> None:
    assert signed(value) == text
    assert number(value) == text.replace("+", "")


@pytest.mark.parametrize(("share", "text"), [(0.92134, "92.1%"), (1.0, "100%"), (0.000123, "0.0123%"), (0.0, "0%")])
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("token", "text"),
    [(" Mary", "␣Mary"), ("\n\t", "↵⇥"), ("\x1b[31m", "\\x1b[31m"), ("", "∅"), ("☃", "☃"), ("\u200b", "\\u200b")],
)
def test_white_space_is_visible_and_nothing_commands_the_terminal(token: str, text: str) -> None:
    assert visible(token) == text
