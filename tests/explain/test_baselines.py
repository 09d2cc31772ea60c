"""What would be simulated without the words, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clew.explain.baselines import fitted, shuffled, table_of, turns
from clew.explain.evidence import Evidence, Sample
from clew.explain.records import Split
from clew.nodes import Node


def sample(ids: list[int], activations: list[float], split: Split = "explain", first: int = 0) -> Sample:
    return Sample("top", split, 0, 0, tuple(map(str, ids)), tuple(ids), np.array(activations, float), first)


def test_a_table_has_the_mean_of_each_token_and_the_median_for_others() -> None:
    evidence = Evidence(
        Node("neuron", 0, 0),
        20.0,
        (
            sample([1, 2, 3], [20, -4, 2]),
            sample([9, 1, 4], [90, 10, 0], first=1),
            sample([1, 7], [0, 20], split="test"),
        ),
    )
    table = table_of(evidence)
    # On a scale of ten: token 1 has 10 and 5, what is negative counts as nothing, 9 is not counted, 7 was not seen.
    assert table.means == {1: 7.5, 2: 0, 3: 1, 4: 0}
    assert table.unseen == 0.5
    assert table(sample([4, 1, 7], [0, 0, 0])).tolist() == [0, 7.5, 0.5]


def test_in_turn_each_text_has_every_other_once_and_never_itself() -> None:
    every = list(turns(5))
    for at in range(5):
        assert sorted(turn[at] for turn in every) == [other for other in range(5) if other != at]
    assert list(turns(1)) == list(turns(0)) == []


def test_a_simulation_is_fitted_to_another_text() -> None:
    long, short = np.arange(5.0), np.array([7.0, 8])
    one, other = fitted([long, short], [1, 0])
    assert one.tolist() == [7, 8, 7, 8, 7]
    assert other.tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_texts_have_none_of_their_own(seed: int) -> None:
    texts = [np.full(3, at) for at in range(6)]
    found = [int(one[0]) for one in shuffled(texts, seed)]
    assert sorted(found) == list(range(6))
    assert all(at != other for at, other in enumerate(found))
    assert found == [int(one[0]) for one in shuffled(texts, seed)]
    assert shuffled(texts[:1], seed) == []
