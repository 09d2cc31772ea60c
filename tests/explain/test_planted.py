"""Components whose meaning is known: right words score high, nearly right ones less, wrong ones nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from clew.debug import Model
from clew.explain.evidence import Evidence
from clew.explain.roles import Simulation

from .planted import MEANINGS, PLANTED, Garden, Oracle, Planted


@pytest.fixture(scope="module")
def garden(smollm2: Model) -> Garden:
    return Garden.of(smollm2.subject)


NUMBERED = pytest.mark.parametrize(
    ("number", "planted"), list(enumerate(PLANTED)), ids=[planted.name for planted in PLANTED]
)


def test_there_are_many_and_their_words_differ() -> None:
    assert len(PLANTED) >= 30
    assert len({meaning.words for meaning in MEANINGS.values()}) == len(MEANINGS)
    assert len({planted.name for planted in PLANTED}) == len(PLANTED)


def test_planted_components_look_back_only(garden: Garden) -> None:
    """As the components of a causal model do."""
    ids: list[int] = garden.atlas.ids[0].tolist()
    tokens = [garden.atlas.vocabulary[number] for number in ids]
    for meaning in MEANINGS.values():
        whole = meaning.rule(tokens)
        assert ((whole >= 0) & (whole <= 1)).all()
        np.testing.assert_array_equal(meaning.rule(tokens[:50]), whole[:50])


def test_every_split_has_what_a_score_needs(garden: Garden) -> None:
    for evidence in garden.evidence:
        for split in ("explain", "calibrate", "validate", "test"):
            counts = Counter(one.kind for one in evidence.of(split))
            assert counts["top"] >= 4  # a text that repeats another is left out
            assert split == "explain" or counts["random"] == 5
    # Those that fire on nearly every text have no near misses; most do.
    assert sum(bool(evidence.of("test", "near_miss")) for evidence in garden.evidence) >= 30
    assert sum(bool(evidence.alike) for evidence in garden.evidence) >= 30


def correlation(words: str, evidence: Evidence) -> float:
    """By hand: over all tokens of the test split that count."""
    samples = evidence.of("test")
    simulations, _ = Oracle().simulate(words, samples)
    real: list[float] = []
    simulated: list[float] = []
    for sample, simulation in zip(samples, simulations, strict=True):
        assert isinstance(simulation, Simulation)
        real += evidence.scaled(sample)[sample.first :].tolist()
        simulated += simulation.expected[sample.first :].tolist()
    return float(np.corrcoef(real, simulated)[0, 1])


@NUMBERED
def test_an_oracle_simulates_right_words_near_words_and_wrong_ones(
    garden: Garden, number: int, planted: Planted
) -> None:
    right, near, wrong = (
        correlation(meaning.words, garden.evidence[number]) for meaning in (planted.right, planted.near, planted.wrong)
    )
    assert right >= 0.95
    assert right > near > wrong + 0.1
    assert abs(wrong) < 0.15
