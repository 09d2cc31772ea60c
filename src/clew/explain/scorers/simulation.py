"""Simulation scoring: how close activations simulated from words come to the real ones.

Bills et al. 2023, "Language models can explain neurons in language models" (Methods, Score). The headline is the
correlation over all tokens of the split's texts, pooled: the strongest, random ones, and near misses, which the paper
does not have and which words that say too much fail on. Real activations are taken from 0 on, since the words are of
what the component fires on, and as they are where they exceed the maximum that the explainer saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ...models.tape import Stop
from ...nodes import Node
from ..baselines import Table, fitted, table_of, turns
from ..calibration import Linear, Percentile
from ..evidence import Evidence, Sample
from ..records import Baseline, Failure, Score, ScorerName, Split, Strip
from ..roles import Estimate, Simulation, Simulator
from ..scores import absolute_deviation, bootstrap, correlation, correlations, r_squared

_Values = Float64[np.ndarray, " t"]


class SimulationScorer:
    """Compares what a simulator expects of tokens with what the component does on them."""

    name: ScorerName = "simulation"

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def refuses(self, component: Node) -> str | None:
        """Nothing: of a head, a token's activation is the largest value into it."""
        return None

    def estimate(self, words: str, evidence: Evidence, split: Split) -> Estimate:
        """Simulating the split, and the one that calibrates."""
        return self._simulator.estimate(words, (*_calibrating(evidence, split), *evidence.of(split)))

    def score(self, words: str, evidence: Evidence, split: Split, seed: int, stop: Stop | None = None) -> Score:
        """`measures` has:

        - `top`, `random`, `near_miss`, `band`: the correlation on texts of one kind alone; `top_and_random`: on both,
          which is the figure of the paper;
        - `r_squared`, `absolute_deviation`: after linear calibration, and with `_percentile` and `_uncalibrated` after
          the other and none; `correlation_calibrated`, `correlation_percentile`: the correlation likewise;
          `r_squared_table`, `r_squared_mean`: of those baselines, calibrated as well;
        - `calibrated_on`, `calibration_failures`: texts of the calibrate split that were answered, and that were not.

        On the validation split nothing is calibrated, since the headline alone chooses there. A strip has the tokens
        that count, with what was simulated as it was said.
        """
        calibrating, samples = _calibrating(evidence, split), evidence.of(split)
        answers, cost = self._simulator.simulate(words, (*calibrating, *samples), stop)
        told = answers[len(calibrating) :]
        table = table_of(evidence)
        fit = _Texts.of(evidence, table, calibrating, answers[: len(calibrating)])
        texts = _Texts.of(evidence, table, samples, told)
        value = _correlation(texts.real, texts.simulated)
        low = high = None
        if value is not None:
            low, high = bootstrap(texts.kinds, correlations(texts.real, texts.simulated), seed)
        measures = texts.by_kind() | texts.distances("uncalibrated", lambda simulated: simulated)
        if calibrating:
            measures |= _calibrated(fit, texts)
            measures |= {
                "calibrated_on": float(len(fit.kinds)),
                "calibration_failures": float(len(calibrating) - len(fit.kinds)),
            }
        return Score(
            scorer=self.name,
            split=split,
            llm=self._simulator.reference,
            method=self._simulator.method,
            prompt=self._simulator.prompt,
            value=value,
            low=low,
            high=high,
            tokens=sum(map(len, texts.real)),
            texts=Counter(texts.kinds),
            failures=[one for one in told if isinstance(one, Failure)],
            measures=measures,
            baselines=[
                Baseline("table", _correlation(texts.real, texts.table)),
                Baseline("mean", None),
                Baseline("shuffled", _shuffled(texts)),
            ],
            cost=cost,
            seed=seed,
            strips=[_strip(evidence, sample, answer) for sample, answer in zip(samples, told, strict=True)],
        )


def _calibrating(evidence: Evidence, split: Split) -> tuple[Sample, ...]:
    return () if split == "validate" else evidence.of("calibrate")


@dataclass(frozen=True)
class _Texts:
    """The texts that were answered: their kinds, and of the tokens that count what is real, simulated and in the
    table, from 0 to 10."""

    kinds: Sequence[str]
    real: Sequence[_Values]
    simulated: Sequence[_Values]
    table: Sequence[_Values]

    @classmethod
    def of(
        cls, evidence: Evidence, table: Table, samples: Sequence[Sample], answers: Sequence[Simulation | Failure]
    ) -> _Texts:
        answered = [
            (sample, answer) for sample, answer in zip(samples, answers, strict=True) if isinstance(answer, Simulation)
        ]
        return cls(
            [sample.kind for sample, _ in answered],
            [evidence.scaled(sample)[sample.first :] for sample, _ in answered],
            [answer.expected[sample.first :] for sample, answer in answered],
            [table(sample)[sample.first :] for sample, _ in answered],
        )

    def by_kind(self) -> dict[str, float | None]:
        """The correlation on some of the kinds alone."""
        found: dict[str, float | None] = {}
        kinds = {kind: (kind,) for kind in dict.fromkeys(self.kinds)}
        for name, some in {**kinds, "top_and_random": ("top", "random")}.items():
            at = [index for index, kind in enumerate(self.kinds) if kind in some]
            found[name] = _correlation([self.real[i] for i in at], [self.simulated[i] for i in at])
        return found

    def distances(self, name: str, calibration: Callable[[_Values], _Values]) -> dict[str, float | None]:
        """Measures of distance after a calibration."""
        if not self.kinds:
            return {f"r_squared_{name}": None, f"absolute_deviation_{name}": None}
        real, simulated = np.concatenate(self.real), calibration(np.concatenate(self.simulated))
        return {
            f"r_squared_{name}": r_squared(real, simulated),
            f"absolute_deviation_{name}": absolute_deviation(real, simulated),
        }


def _calibrated(fit: _Texts, texts: _Texts) -> dict[str, float | None]:
    """What is measured after calibrations that are fitted on other texts; None where none of either was answered."""
    names = (
        "r_squared", "absolute_deviation", "correlation_calibrated", "r_squared_percentile",
        "absolute_deviation_percentile", "correlation_percentile", "r_squared_table", "r_squared_mean",
    )  # fmt: skip
    if not fit.kinds or not texts.kinds:
        return dict.fromkeys(names)
    known, said = np.concatenate(fit.real), np.concatenate(fit.simulated)
    real, simulated = np.concatenate(texts.real), np.concatenate(texts.simulated)
    by_line, by_rank = Linear.fit(said, known)(simulated), Percentile.fit(said, known)(simulated)
    table = Linear.fit(np.concatenate(fit.table), known)(np.concatenate(texts.table))
    measured = (
        r_squared(real, by_line), absolute_deviation(real, by_line), correlation(real, by_line),
        r_squared(real, by_rank), absolute_deviation(real, by_rank), correlation(real, by_rank),
        r_squared(real, table), r_squared(real, np.full(len(real), known.mean())),
    )  # fmt: skip
    return dict(zip(names, measured, strict=True))


def _correlation(real: Sequence[_Values], simulated: Sequence[_Values]) -> float | None:
    return correlation(np.concatenate(real), np.concatenate(simulated)) if real else None


def _shuffled(texts: _Texts) -> float | None:
    """The mean of the correlations when every text has the simulation of another, in each turn that there is."""
    found = [_correlation(texts.real, fitted(texts.simulated, turn)) for turn in turns(len(texts.kinds))]
    defined = [value for value in found if value is not None]
    return float(np.mean(defined)) if defined else None


def _strip(evidence: Evidence, sample: Sample, answer: Simulation | Failure) -> Strip:
    simulated = answer.expected[sample.first :].tolist() if isinstance(answer, Simulation) else None
    return Strip(
        kind=sample.kind,
        context=sample.context,
        start=sample.start + sample.first,
        tokens=sample.tokens[sample.first :],
        real=evidence.scaled(sample)[sample.first :].tolist(),
        simulated=simulated,
        failure=answer if isinstance(answer, Failure) else None,
    )
