"""One line is one token, and the token can be read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.explain.spelling import spelled, unspelled


@pytest.mark.parametrize(
    ("token", "line"),
    [(" store", " store"), ("\n", "\\n"), ("\r\n\t", "\\r\\n\\t"), ("\\n", "\\\\n"), ('"', '"'), ("\u2028", "\\u2028")],
)
def test_tokens_are_written_as_one_expects(token: str, line: str) -> None:
    assert spelled(token) == line


@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\\nrtu0\n\r\t\x85\u2028"))))
def test_a_token_is_one_line_and_is_read_back(token: str) -> None:
    line = spelled(token)
    assert len(f"{line}.".splitlines()) == 1 and "\t" not in line
    assert unspelled(line) == token


@given(st.text())
def test_whatever_a_model_writes_is_read_as_something(line: str) -> None:
    assert isinstance(unspelled(line), str)
