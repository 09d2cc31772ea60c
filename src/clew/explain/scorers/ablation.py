"""Ablation scoring: what the model's output loses when a component does what the words say, and not what it does.

Bills et al. 2023, "Language models can explain neurons in language models", Methods (ablation scoring):

    score = 1 − mean_x AvgJSD(m(x, s = ŝ_x) ‖ m(x)) / mean_x AvgJSD(m(x, s = μ) ‖ m(x))

m(x, s = ŝ_x) is the model on text x with the component's activation s replaced by its simulation at every counted
token, AvgJSD the Jensen–Shannon divergence of the next token's distribution, averaged over these tokens, and μ the
component's mean activation. 1 is as good as the component itself, 0 no better than its mean, and below 0 worse.

The simulation is calibrated linearly on the calibrate split, and μ is the mean over that split: what the calibration
makes of words that say the same of every token. Each text is run within the context it was cut out of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ... import settings
from ...atlas.components import Components
from ...errors import Cancelled
from ...models.rest import Rest
from ...models.subject import SubjectModel
from ...models.tape import Stop
from ...nodes import Node
from ..baselines import shuffled, table_of
from ..calibration import Linear
from ..evidence import Evidence, Sample
from ..records import Baseline, Failure, Score, ScorerName, Split, Strip
from ..roles import Estimate, Simulation, Simulator
from ..scores import Statistic, Texts, bootstrap, once
from .replacement import as_tensor, contexts_of, first_layer, refused, replacing

_SIMULATED, _MEAN, _TABLE, _SHUFFLED = "simulated", "mean", "table", "shuffled"
_AT_ONCE = 2**23  # probabilities held at once: 32 MiB
_BELOW_ONE = 1 - torch.finfo(torch.float32).eps / 2


class AblationScorer:
    """Puts simulated activations in the place of a neuron's or latent's own, and compares the model's output."""

    name: ScorerName = "ablation"

    def __init__(self, simulator: Simulator, components: Components) -> None:
        self._simulator, self._components = simulator, components

    def refuses(self, component: Node) -> str | None:
        """Heads, latents without their autoencoder, and imported atlases."""
        return refused(self._components, component)

    def estimate(self, words: str, evidence: Evidence, split: Split) -> Estimate:
        """Simulating the split, and the one that calibrates."""
        return self._simulator.estimate(words, (*evidence.of("calibrate"), *evidence.of(split)))

    def score(self, words: str, evidence: Evidence, split: Split, seed: int, stop: Stop | None = None) -> Score:
        """The value is None when every answer failed, and when putting the mean in place changes no more than rounding
        does: then there is nothing that words could keep from being lost. `measures` has both divergences, in nats,
        the score on texts of each kind, and how many texts were calibrated on and how many of these failed.

        Raises BudgetSpent, UnknownLLM, UsageError, NotFinite, BadAtlas or Cancelled.
        """
        calibrating, samples = evidence.of("calibrate"), evidence.of(split)
        answers, cost = self._simulator.simulate(words, (*calibrating, *samples), stop)
        told = answers[len(calibrating) :]
        fitted = _answered(calibrating, answers[: len(calibrating)])
        scored = _answered(samples, told)
        divergences: Mapping[str, Float64[np.ndarray, " n"]] = {}
        noise = 0.0
        put: Mapping[str, Texts] = {}
        if fitted and scored:
            put = _put(evidence, fitted, scored, seed)
            divergences, noise = self._divergences(evidence.component, [sample for sample, _ in scored], put, stop)
        kinds = [sample.kind for sample, _ in scored]
        value = _value(divergences, _SIMULATED, noise)
        low, high = (None, None) if value is None else bootstrap(kinds, _lost(divergences, _SIMULATED), seed)
        measures: dict[str, float | None] = {
            "calibrated_on": float(len(fitted)),
            "calibration_failures": float(len(calibrating) - len(fitted)),
            **{f"jsd_{name}": float(divergences[name].mean()) for name in (_SIMULATED, _MEAN) if divergences},
        }
        for kind in dict.fromkeys(kinds):
            rows = np.array([one == kind for one in kinds])
            measures[kind] = _value({name: of[rows] for name, of in divergences.items()}, _SIMULATED, noise)
        simulated = iter(put.get(_SIMULATED, ()))
        return Score(
            scorer=self.name,
            split=split,
            llm=self._simulator.reference,
            method=self._simulator.method,
            prompt=self._simulator.prompt,
            value=value,
            low=low,
            high=high,
            tokens=sum(len(sample.ids) - sample.first for sample, _ in scored),
            texts=Counter(kinds),
            failures=[answer for answer in told if isinstance(answer, Failure)],
            measures=measures,
            baselines=[
                Baseline("table", _value(divergences, _TABLE, noise)),
                Baseline("mean", _value(divergences, _MEAN, noise)),
                Baseline("shuffled", _value(divergences, _SHUFFLED, noise)),
            ],
            cost=cost,
            seed=seed,
            strips=[
                _strip(evidence, sample, answer, None if isinstance(answer, Failure) else next(simulated, None))
                for sample, answer in zip(samples, told, strict=True)
                if put or isinstance(answer, Failure)
            ],
        )

    def _divergences(
        self, component: Node, samples: Sequence[Sample], put: Mapping[str, Texts], stop: Stop | None
    ) -> tuple[dict[str, Float64[np.ndarray, " n"]], float]:
        """What each replacement makes of the output, a text, and what rounding the logits once would make of it."""
        found: dict[str, list[Float64[np.ndarray, " b"]]] = {name: [] for name in put}
        noise = 0.0
        for begin in range(0, len(samples), settings.BATCH):
            part = slice(begin, begin + settings.BATCH)
            some, rounding = self._batch(component, samples[part], {name: of[part] for name, of in put.items()}, stop)
            noise = max(noise, rounding)
            for name, of in some.items():
                found[name].append(of)
        return {name: np.concatenate(of) for name, of in found.items()}, noise

    def _batch(
        self, component: Node, samples: Sequence[Sample], put: Mapping[str, Texts], stop: Stop | None
    ) -> tuple[dict[str, Float64[np.ndarray, " b"]], float]:
        subject = self._components.subject
        ids = as_tensor(self._components, contexts_of(self._components, samples))
        counted = torch.zeros(ids.shape, dtype=torch.bool)
        for row, sample in enumerate(samples):
            counted[row, sample.start + sample.first : sample.start + len(sample.ids)] = True
        counted = counted.to(ids.device)
        with subject.lock:
            rest = Rest.of(subject.anatomy, ids, first_layer(self._components, component), stop)
        streams: dict[str, Float[Tensor, "r d"]] = {}
        for name, texts in put.items():
            values = torch.zeros(ids.shape)
            for row, (sample, text) in enumerate(zip(samples, texts, strict=True)):
                values[row, sample.start + sample.first : sample.start + len(sample.ids)] = torch.from_numpy(text)
            edits = replacing(self._components, component, ids.shape[1], _Placed(values.to(ids.device), counted))
            with subject.lock:
                streams[name] = rest.again(edits, stop)[counted]
        rows, noise = _divergence(subject, rest.normed[counted], streams, stop)
        sizes = [len(text) for text in next(iter(put.values()))]
        ends = np.cumsum(sizes)[:-1]
        return {name: np.array([of.mean() for of in np.split(row, ends)]) for name, row in rows.items()}, noise


@dataclass(frozen=True)
class _Placed:
    """Puts values in the place of activations at counted tokens."""

    values: Float[Tensor, "b t"]
    counted: Bool[Tensor, "b t"]

    def __call__(self, x: Float[Tensor, "b r 1"], at: Tensor) -> Float[Tensor, "b r 1"]:
        return torch.where(self.counted[:, at, None], self.values[:, at, None].to(x.dtype), x)


@torch.no_grad()
def _divergence(
    subject: SubjectModel, clean: Float[Tensor, "r d"], others: Mapping[str, Float[Tensor, "r d"]], stop: Stop | None
) -> tuple[dict[str, Float64[np.ndarray, " r"]], float]:
    """JSD(other ‖ clean) of the next token's distribution in nats, a row; and (ε·max|logit|)²/8, the divergence of two
    distributions whose logits differ by a rounding error, as JSD is an eighth of the variance of a small difference.

    With t = tanh(½ log q/p) and m = (p + q)/2 it is Σ m·½[(1 + t) log(1 + t) + (1 − t) log(1 − t)]: a sum of terms of
    second order, so that in float32 nothing is lost of the small differences that one neuron makes.
    Raises NotFinite or Cancelled.
    """
    anatomy = subject.anatomy
    size = max(1, _AT_ONCE // anatomy.unembed.weight.shape[0])
    found: dict[str, list[Tensor]] = {name: [] for name in others}
    largest = 0.0

    def logs(rows: Float[Tensor, "k d"]) -> tuple[Float[Tensor, "k v"], float]:
        logits = subject.finite(anatomy.cap(anatomy.unembed(rows)).float())
        return logits.log_softmax(-1), float(logits.abs().max())

    for begin in range(0, len(clean), size):
        if stop is not None and stop():
            raise Cancelled("It was cancelled before it was done.")
        part = slice(begin, begin + size)
        as_is, most = logs(clean[part])
        chances = as_is.exp()
        largest = max(largest, most)
        for name, rows in others.items():
            other, _ = logs(rows[part])
            t = ((other - as_is) / 2).tanh_().clamp_(-_BELOW_ONE, _BELOW_ONE)
            terms = (1 + t) * t.log1p() + (1 - t) * (-t).log1p()
            found[name].append(((chances + other.exp_()) * terms).sum(-1).cpu().double() / 4)
    epsilon = torch.finfo(anatomy.unembed.weight.dtype).eps
    return {name: torch.cat(of).numpy() for name, of in found.items()}, (epsilon * largest) ** 2 / 8


def _answered(
    samples: Sequence[Sample], answers: Sequence[Simulation | Failure]
) -> list[tuple[Sample, Float64[np.ndarray, " t"]]]:
    """The texts that were simulated, with what is expected of their counted tokens."""
    return [
        (sample, answer.expected[sample.first :])
        for sample, answer in zip(samples, answers, strict=True)
        if isinstance(answer, Simulation)
    ]


def _put(
    evidence: Evidence,
    fitted: Sequence[tuple[Sample, Float64[np.ndarray, " t"]]],
    scored: Sequence[tuple[Sample, Float64[np.ndarray, " t"]]],
    seed: int,
) -> dict[str, Texts]:
    """What takes the activations' place at the counted tokens of each scored text, in the model's own units."""
    real = np.concatenate([sample.activations[sample.first :] for sample, _ in fitted])
    expected, table = [of for _, of in scored], table_of(evidence)

    def looked_up(texts: Sequence[tuple[Sample, Float64[np.ndarray, " t"]]]) -> Texts:
        return [table(sample)[sample.first :] for sample, _ in texts]

    line = Linear.fit(np.concatenate([of for _, of in fitted]), real)
    by_table = Linear.fit(np.concatenate(looked_up(fitted)), real)
    put: dict[str, Texts] = {
        _SIMULATED: [line(of) for of in expected],
        _MEAN: [np.full(len(of), real.mean()) for of in expected],
        _TABLE: [by_table(of) for of in looked_up(scored)],
    }
    if other := shuffled(expected, seed):
        put[_SHUFFLED] = [line(of) for of in other]
    return put


def _lost(divergences: Mapping[str, Float64[np.ndarray, " n"]], name: str) -> Statistic:
    """1 − JSD(name) / JSD(mean), over texts that count as often as they are weighted."""

    def statistic(weights: Float64[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - (weights @ divergences[name]) / (weights @ divergences[_MEAN])

    return statistic


def _value(divergences: Mapping[str, Float64[np.ndarray, " n"]], name: str, noise: float) -> float | None:
    """The score; None where the mean loses no more than `noise`."""
    if name not in divergences or divergences[_MEAN].mean() <= noise:
        return None
    return once(_lost(divergences, name), len(divergences[name]))


def _strip(
    evidence: Evidence, sample: Sample, answer: Simulation | Failure, put: Float64[np.ndarray, " t"] | None
) -> Strip:
    """The tokens of a text that count, with the calibrated simulation that took their activations' place."""
    raised = None if put is None else settings.SCALE * np.maximum(put, 0) / evidence.maximum
    return Strip(
        kind=sample.kind,
        context=sample.context,
        start=sample.start + sample.first,
        tokens=sample.tokens[sample.first :],
        real=evidence.scaled(sample)[sample.first :].tolist(),
        simulated=None if raised is None else raised.tolist(),
        failure=answer if isinstance(answer, Failure) else None,
    )
