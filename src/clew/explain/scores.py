"""What a score is, as arithmetic: how close simulated activations are to real ones, how often judgements are right, and
between which bounds that lies.

Definitions after Bills et al. 2023, "Language models can explain neurons in language models" (Methods). A number that
is not defined, since nothing varies or a class is empty, is None, never 0.

Each statistic is written once, as a function of how often each text counts: once each for the score itself, as often
as it was drawn for a sample of the bootstrap. So a thousand samples are a product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float64

from .. import settings

Texts = Sequence[Float64[np.ndarray, " t"]]
"""A number for each token of each text."""

Statistic = Callable[[Float64[np.ndarray, "b n"]], Float64[np.ndarray, " b"]]
"""A number for each row of weights, one weight a text; NaN where it is not defined."""

_ROUNDING = 1e-12  # of its mean square: what varies less varies by rounding alone


def correlation(real: Float64[np.ndarray, " t"], simulated: Float64[np.ndarray, " t"]) -> float | None:
    """Pearson's correlation; None when either side does not vary."""
    return once(correlations([real], [simulated]), 1)


def r_squared(real: Float64[np.ndarray, " t"], simulated: Float64[np.ndarray, " t"]) -> float | None:
    """1 − MSE / mean(y²): predicting zero scores 0, whatever the mean is. None when nothing fires."""
    square = float((real**2).sum())
    return 1 - float(((real - simulated) ** 2).sum()) / square if square > 0 else None


def absolute_deviation(real: Float64[np.ndarray, " t"], simulated: Float64[np.ndarray, " t"]) -> float | None:
    """1 − mean|y − ŷ| / mean|y|: predicting zero scores 0. None when nothing fires."""
    size = float(np.abs(real).sum())
    return 1 - float(np.abs(real - simulated).sum()) / size if size > 0 else None


def balanced_accuracy(labels: Bool[np.ndarray, " n"], said: Bool[np.ndarray, " n"]) -> float | None:
    """The mean of the shares of the two classes that are judged right; None when one is empty."""
    return once(accuracies(labels, said), len(labels))


def auc(labels: Bool[np.ndarray, " n"], values: Float64[np.ndarray, " n"]) -> float | None:
    """The chance that a true text has a larger value than a false one, a tie counting half; None when a class is
    empty."""
    return once(aucs(labels, values), len(labels))


def correlations(real: Texts, simulated: Texts) -> Statistic:
    """Pearson's correlation over all tokens of the texts, pooled."""
    x, y = np.concatenate(simulated), np.concatenate(real)
    # Around the mean, so that sums of squares lose no digits.
    sums = np.array([_sums(a - x.mean(), b - y.mean()) for a, b in zip(simulated, real, strict=True)])
    sizes = np.array([[(a**2).sum(), (b**2).sum()] for a, b in zip(simulated, real, strict=True)])

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        n, sx, sy, sxx, syy, sxy = (weights @ sums).T
        size_x, size_y = (weights @ sizes).T
        with np.errstate(divide="ignore", invalid="ignore"):
            vx, vy, together = sxx - sx**2 / n, syy - sy**2 / n, sxy - sx * sy / n
            varies = (vx > _ROUNDING * sxx) & (vy > _ROUNDING * syy)
            varies &= (vx > _ROUNDING**2 * size_x) & (vy > _ROUNDING**2 * size_y)
            return np.where(varies, np.clip(together / np.sqrt(vx * vy), -1, 1), np.nan)

    return statistic


def accuracies(labels: Bool[np.ndarray, " n"], said: Bool[np.ndarray, " n"]) -> Statistic:
    """Balanced accuracy of one judgement a text."""
    right = (labels == said).astype(float)

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        with np.errstate(invalid="ignore"):
            shares = [(weights[:, of] @ right[of]) / weights[:, of].sum(1) for of in (labels, ~labels)]
        return (shares[0] + shares[1]) / 2

    return statistic


def aucs(labels: Bool[np.ndarray, " n"], values: Float64[np.ndarray, " n"]) -> Statistic:
    """Area under the ROC curve of one value a text."""
    true, false = values[labels][:, None], values[~labels][None, :]
    wins = (true > false) + 0.5 * (true == false)

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        of_true, of_false = weights[:, labels], weights[:, ~labels]
        with np.errstate(invalid="ignore"):
            return ((of_true @ wins) * of_false).sum(1) / (of_true.sum(1) * of_false.sum(1))

    return statistic


def once(statistic: Statistic, n: int) -> float | None:
    """A statistic in which each of n texts counts once."""
    (value,) = statistic(np.ones((1, n)))
    return None if np.isnan(value) else float(value)


def bootstrap(
    strata: Sequence[Hashable], statistic: Statistic, seed: int, n: int = settings.BOOTSTRAPS
) -> tuple[float | None, float | None]:
    """Between which bounds a statistic lies with 95 %: percentiles over n samples of the texts, drawn with replacement.

    Whole texts are drawn, since tokens of one text are not independent, and of each stratum (one entry a text) as many
    as it has. None when no stratum has two texts, so that all samples are the same, and when the statistic is defined
    in less than half of them.
    """
    if len(set(strata)) == len(strata):
        return None, None
    draw = np.random.default_rng(seed)
    weights = np.zeros((n, len(strata)))
    for stratum in dict.fromkeys(strata):
        members = [at for at, one in enumerate(strata) if one == stratum]
        weights[:, members] = draw.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n)
    values = statistic(weights)
    values = values[~np.isnan(values)]
    if 2 * len(values) < n:
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _sums(x: Float64[np.ndarray, " t"], y: Float64[np.ndarray, " t"]) -> list[float]:
    return [len(x), x.sum(), y.sum(), (x**2).sum(), (y**2).sum(), (x * y).sum()]
