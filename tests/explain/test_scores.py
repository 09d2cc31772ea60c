"""What a score is: by hand on small numbers, against numpy and scikit-learn on many."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from clew.explain.scores import (
    absolute_deviation,
    accuracies,
    auc,
    aucs,
    balanced_accuracy,
    bootstrap,
    correlation,
    correlations,
    once,
    r_squared,
)

TRUE, FALSE = np.array([True]), np.array([False])


def texts(n: int, seed: int = 0, noise: float = 1.0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Real and simulated activations of texts of different lengths."""
    draw = np.random.default_rng(seed)
    real = [np.maximum(draw.normal(size=20 + 3 * at), 0) for at in range(n)]
    return real, [one + noise * draw.normal(size=len(one)) for one in real]


def test_correlation_by_hand() -> None:
    # Deviations (−1.5, −.5, .5, 1.5) and (−.5, −1.5, 1.5, .5): 3 / 5.
    assert correlation(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 4, 3])) == pytest.approx(0.6)
    assert correlation(np.array([1.0, 2, 3]), np.array([5.0, 4, 3])) == pytest.approx(-1)


@pytest.mark.parametrize("flat", [0.0, 0.1, 1e6 + 0.1])
def test_what_does_not_vary_has_no_correlation(flat: float) -> None:
    varied = np.arange(7.0)
    assert correlation(np.full(7, flat), varied) is None
    assert correlation(varied, np.full(7, flat)) is None


def test_what_varies_little_has_one() -> None:
    varied = np.arange(7.0)
    assert correlation(varied, 1000 + 1e-6 * varied) == pytest.approx(1, abs=1e-6)


def test_distances_by_hand() -> None:
    real, simulated = np.array([0.0, 3, 4]), np.array([1.0, 3, 2])
    assert r_squared(real, simulated) == pytest.approx(1 - 5 / 25)
    assert absolute_deviation(real, simulated) == pytest.approx(1 - 3 / 7)
    assert r_squared(real, 0 * real) == absolute_deviation(real, 0 * real) == 0
    assert r_squared(0 * real, simulated) is absolute_deviation(0 * real, simulated) is None


def test_pooling_goes_over_tokens_and_not_over_texts() -> None:
    real, simulated = texts(9)
    pooled = np.corrcoef(np.concatenate(real), np.concatenate(simulated))[0, 1]
    assert once(correlations(real, simulated), 9) == pytest.approx(pooled, abs=1e-12)
    # A text that is drawn twice counts twice, and one that is not drawn does not.
    weights = np.array([[2.0, 0, 1, 0, 0, 0, 0, 0, 0]])
    drawn = np.corrcoef(
        np.concatenate([real[0], real[0], real[2]]), np.concatenate([simulated[0], simulated[0], simulated[2]])
    )[0, 1]
    assert correlations(real, simulated)(weights)[0] == pytest.approx(drawn, abs=1e-12)


def test_balanced_accuracy_by_hand() -> None:
    labels = np.array([True, True, True, True, False])
    assert balanced_accuracy(labels, np.array([True, True, True, False, True])) == pytest.approx(0.375)
    assert balanced_accuracy(labels, np.ones(5, bool)) == 0.5
    assert balanced_accuracy(TRUE, TRUE) is balanced_accuracy(FALSE, FALSE) is None


def test_auc_by_hand() -> None:
    labels = np.array([True, True, False, False])
    # Of four comparisons: .9 beats both, .4 beats .2 and ties with .4.
    assert auc(labels, np.array([0.9, 0.4, 0.4, 0.2])) == pytest.approx(3.5 / 4)
    assert auc(labels, np.zeros(4)) == 0.5
    assert auc(TRUE, np.ones(1)) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_judgements_as_scikit_learn_has_them(rows: list[tuple[bool, int]]) -> None:
    labels, values = np.array([a for a, _ in rows]), np.array([b for _, b in rows], float)
    said = values > 2
    if labels.all() or not labels.any():
        assert auc(labels, values) is balanced_accuracy(labels, said) is None
        return
    assert auc(labels, values) == pytest.approx(roc_auc_score(labels, values))
    assert balanced_accuracy(labels, said) == pytest.approx(balanced_accuracy_score(labels, said))


def test_weights_are_repetitions() -> None:
    draw = np.random.default_rng(0)
    labels, values = draw.random(12) < 0.5, draw.integers(0, 4, 12).astype(float)
    counts = draw.integers(0, 3, 12)
    assert labels[counts > 0].any() and not labels[counts > 0].all()
    more, their = np.repeat(labels, counts), np.repeat(values, counts)
    assert aucs(labels, values)(counts[None].astype(float))[0] == pytest.approx(roc_auc_score(more, their))
    assert accuracies(labels, values > 1)(counts[None].astype(float))[0] == pytest.approx(
        balanced_accuracy_score(more, their > 1)
    )


def test_bounds_cover_what_they_are_of() -> None:
    """A mean of 40 normal numbers, whose 95 % interval is known: it is met, and about as wide."""
    met, widths = 0, []
    for seed in range(200):
        values = np.random.default_rng(seed).normal(size=40)
        low, high = bootstrap(["one"] * 40, lambda weights, of=values: weights @ of / weights.sum(1), seed, n=400)
        assert low is not None and high is not None
        met += low <= 0 <= high
        widths.append(high - low)
    assert 0.90 <= met / 200 <= 0.98
    assert np.mean(widths) == pytest.approx(2 * 1.96 / np.sqrt(40), rel=0.1)


def test_of_each_stratum_as_many_are_drawn_as_it_has() -> None:
    seen = []

    def statistic(weights: np.ndarray) -> np.ndarray:
        seen.append(weights)
        return weights[:, 0]

    bootstrap(["top", "random", "top", "random", "random"], statistic, 0, n=50)
    (weights,) = seen
    assert (weights[:, [0, 2]].sum(1) == 2).all()
    assert (weights[:, [1, 3, 4]].sum(1) == 3).all()
    assert len({tuple(row) for row in weights.tolist()}) > 10


def test_bounds_are_the_same_for_a_seed_and_none_where_there_are_none() -> None:
    real, simulated = texts(6)
    statistic = correlations(real, simulated)
    kinds = ["top"] * 3 + ["random"] * 3
    assert bootstrap(kinds, statistic, 1) == bootstrap(kinds, statistic, 1) != bootstrap(kinds, statistic, 2)
    assert bootstrap(["top"], correlations(real[:1], simulated[:1]), 0) == (None, None)
    assert bootstrap(["top", "random", "near_miss"], correlations(real[:3], simulated[:3]), 0) == (None, None)
    flat = correlations(real, [np.ones(len(one)) for one in real])
    assert bootstrap(kinds, flat, 0) == (None, None)


def test_bounds_take_little_time() -> None:
    real, simulated = texts(15)
    statistic = correlations(real, simulated)
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        bootstrap(["top"] * 15, statistic, 0)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.05
