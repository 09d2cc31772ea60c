"""What the tests of scorers judge: texts made by hand, and who says of them what it is told to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from clew.explain.evidence import Evidence, Sample
from clew.explain.llm.client import Answer, Chances, Request
from clew.explain.records import Cost, Failure, Method, SampleKind, Score, Split
from clew.explain.roles import Estimate, Simulation
from clew.models.tape import Stop
from clew.nodes import Node

from ..scripted import CHAT

NEURON, HEAD = Node("neuron", 0, 0), Node("attn", 0, 0)
CHANCES = replace(CHAT, logprobs=20)


def sample(
    kind: SampleKind,
    split: Split,
    activations: Sequence[float] | np.ndarray,
    first: int = 0,
    words: str = "",
    number: int = 0,
) -> Sample:
    tokens = tuple(f" {word}" for word in words.split()) or tuple(f" w{at}" for at in range(len(activations)))
    return Sample(
        kind, split, number, 5, tokens, tuple(range(100 * number, 100 * number + len(tokens))),
        np.array(activations, float), first,
    )  # fmt: skip


class Told:
    """A simulator that says of each text, by its context, what it was told to."""

    reference, prompt = "told", "told-1"
    method: Method = "json"

    def __init__(self, of: Mapping[int, Sequence[float] | Failure]) -> None:
        self._of = of
        self.asked: list[Sample] = []

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        self.asked += samples
        said = [self._of[one.context] for one in samples]
        answers = [one if isinstance(one, Failure) else Simulation(np.array(one, float)) for one in said]
        return answers, Cost(requests=len(samples))

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        return Estimate(requests=len(samples))


def within(score: Score) -> bool:
    """Whether the value lies between its bounds."""
    assert score.value is not None and score.low is not None and score.high is not None
    return score.low <= score.value <= score.high and score.low < score.high


def baseline(score: Score, name: str) -> float | None:
    (value,) = [one.value for one in score.baselines if one.name == name]
    return value


FAILED = Failure("malformed", "It is no JSON.")


TEXTS: Sequence[tuple[SampleKind, float]] = (
    ("top", 4), ("top", 3), ("top", 1), ("top", 0.9), ("random", 0), ("random", 2), ("near_miss", 0.3),
    ("near_miss", 0.4), ("random", 0.1),
)  # fmt: skip
"""The largest activations of texts, the maximum being 4: 0.9 and 0.4 are neither a quarter of it nor below a tenth."""

DETECTED = Evidence(
    NEURON,
    4.0,
    (
        sample("top", "explain", [4, 0, 2], number=1),
        *(
            sample(kind, "test", [peak, 0, 9], 0, f"text {number} end", number=number)
            for number, (kind, peak) in enumerate(TEXTS, 2)
        ),
    ),
)
DETECTED = replace(
    DETECTED,
    samples=tuple(
        replace(one, activations=np.minimum(one.activations, 4) * [1, 1, 0]) if one.split == "test" else one
        for one in DETECTED.samples
    ),
)
LABELS = {2: True, 3: True, 4: True, 6: False, 7: True, 8: False, 10: False}


def number_of(request: Request) -> int:
    (found,) = re.findall(r"Text: text (\d+) end", request.messages[-1].content)
    return int(found)


def chances(yes: float, no: float, rest: float = 0.1) -> Answer:
    top = [(text, math.log(p)) for text, p in ((" Yes", yes * 0.5), ("yes", yes * 0.5), ("No", no), ("so", rest)) if p]
    return Answer("so", "length", 50, 1, (Chances("so", 0, tuple(top)),))


YES = {2: 0.9, 3: 0.4, 4: 0.6, 6: 0.2, 7: 0.7, 8: 0.6, 10: 0.1}


def fuzzed(seed: int = 0, n: int = 6, length: int = 20) -> Evidence:
    """Texts that fire on a few tokens each, and some that do not."""
    draw = np.random.default_rng(seed)
    samples = [sample("top", "explain", [4.0], number=1)]
    for number in range(2, 2 + n):
        activations = 0.2 * draw.random(length)
        activations[draw.choice(np.arange(2, length), 1 + number % 3, replace=False)] = 4 * draw.uniform(0.3, 1)
        activations[0] = 50
        made = sample("top", "test", activations, 1, number=number)
        samples.append(replace(made, tokens=(f" text{number}", *made.tokens[1:])))
    samples.append(sample("random", "test", 0.3 * draw.random(length), number=60))
    return Evidence(NEURON, 4.0, tuple(samples))


def head(number: int, kind: SampleKind, strong: float) -> Sample:
    """A text of eight tokens with one pair of some strength, others a twentieth of the maximum or less."""
    values = np.tril(0.2 * np.random.default_rng(number).random((8, 8)))
    values[5, 2] = strong
    values[0, 0] = 40
    made = sample(kind, "test", values.max(1), 1, number=number)
    return replace(made, pairs=values)


HEADS = Evidence(
    HEAD,
    4.0,
    (
        sample("top", "explain", [4.0], number=50),
        *(head(number, "top", 4 - 0.1 * number) for number in range(6)),
        *(head(number, "random", 0.1) for number in range(10, 14)),
        head(20, "random", 3.0),
    ),
)


def anything(request: Request) -> Answer:
    return Answer("{}", "stop", 1, 1, (Chances("yes", 0, (("yes", -0.1), ("no", -1.0))),))
