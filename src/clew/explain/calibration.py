"""From what a simulator says to a component's own units (Bills et al. 2023, Methods).

A language model that follows words well may still say 3 where the component does 8. A calibration is fitted on texts
that are neither shown to the explainer nor scored by, and measures of distance are taken after it. Correlation needs
none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Linear:
    """slope · x + intercept, the least squares fit; the slope is 0 where what is simulated does not vary."""

    slope: float
    intercept: float

    @classmethod
    def fit(cls, simulated: Float64[np.ndarray, " t"], real: Float64[np.ndarray, " t"]) -> Linear:
        """Of at least one token."""
        moved = simulated - simulated.mean()
        spread = float((moved**2).sum())
        slope = float(moved @ (real - real.mean())) / spread if spread > 0 else 0.0
        return cls(slope, float(real.mean()) - slope * float(simulated.mean()))

    def __call__(self, simulated: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
        return self.slope * simulated + self.intercept


@dataclass(frozen=True)
class Percentile:
    """Quantile to quantile: what is simulated takes the real value of the same rank.

    A value that was simulated for several tokens takes the mean of their ranks' real values; between two values it is
    interpolated, and beyond the last it stays there.
    """

    simulated: Float64[np.ndarray, " k"]
    real: Float64[np.ndarray, " k"]

    @classmethod
    def fit(cls, simulated: Float64[np.ndarray, " t"], real: Float64[np.ndarray, " t"]) -> Percentile:
        """Of at least one token."""
        values, rank, counts = np.unique(np.sort(simulated), return_inverse=True, return_counts=True)
        return cls(values, np.bincount(rank, np.sort(real)) / counts)

    def __call__(self, simulated: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
        return np.interp(simulated, self.simulated, self.real)
