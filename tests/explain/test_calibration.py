"""Calibrations, by hand and against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from clew.explain.calibration import Linear, Percentile


def test_a_line_is_that_of_least_squares() -> None:
    draw = np.random.default_rng(0)
    simulated, real = draw.random(50), draw.random(50)
    line = Linear.fit(simulated, real)
    assert (line.slope, line.intercept) == pytest.approx(tuple(np.polyfit(simulated, real, 1)))
    assert Linear.fit(np.array([0.0, 1, 2]), np.array([1.0, 3, 5])) == Linear(2, 1)
    assert Linear(2, 1)(np.array([4.0])).tolist() == [9]


def test_the_same_everywhere_becomes_the_mean() -> None:
    line = Linear.fit(np.full(4, 0.1), np.array([0.0, 0, 0, 8]))
    assert line(np.array([0.1, 5])).tolist() == [2, 2]


def test_ranks_take_the_values_of_their_ranks() -> None:
    # Ranks 1 and 2 are both 0 and take the mean of 0 and 1; 5 takes 4, 10 takes 9, whatever stood beside what.
    mapping = Percentile.fit(np.array([10.0, 0, 5, 0]), np.array([1.0, 4, 0, 9]))
    assert mapping(np.array([0.0, 5, 10])).tolist() == [0.5, 4, 9]
    assert mapping(np.array([2.5, -3, 20])).tolist() == [2.25, 0.5, 9]


def test_a_monotone_distortion_is_undone() -> None:
    real = np.random.default_rng(1).exponential(size=200)
    mapping = Percentile.fit(np.sqrt(real), real)
    assert mapping(np.sqrt(real)) == pytest.approx(real)
