"""Which token pairs with which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.debug.align import align, checked
from clew.errors import UsageError

ids = st.lists(st.integers(0, 5), max_size=12)


@given(ids)
def test_a_prompt_pairs_with_itself(one: list[int]) -> None:
    assert align(one, one) == list(range(len(one)))


@given(ids, ids)
def test_pairs_keep_their_order(one: list[int], other: list[int]) -> None:
    pairs = align(one, other)
    assert len(pairs) == len(one)
    there = [pair for pair in pairs if pair is not None]
    assert there == sorted(set(there))
    assert all(0 <= pair < len(other) for pair in there)


def test_a_token_that_is_replaced_pairs_with_what_replaces_it() -> None:
    assert align([1, 2, 3, 4], [1, 9, 3, 4]) == [0, 1, 2, 3]


def test_of_a_replacement_by_more_the_last_ones_pair() -> None:
    assert align([1, 2, 3], [1, 7, 8, 9, 3]) == [0, 3, 4]
    assert align([1, 7, 8, 9, 3], [1, 2, 3]) == [0, None, None, 1, 2]


def test_what_is_inserted_pairs_with_nothing() -> None:
    assert align([1, 2, 3], [1, 8, 2, 3]) == [0, 2, 3]
    assert align([1, 8, 2, 3], [1, 2, 3]) == [0, None, 1, 2]


@pytest.mark.parametrize(
    ("given", "says"), [([0, 1], "2 entries"), ([0, 1, 4], "names token 4"), ([0, -1, 2], "token -1")]
)
def test_an_alignment_by_hand_must_fit(given: list[int | None], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        checked(given, 3, 4)
