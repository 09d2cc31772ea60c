"""The parts that explaining is made of: what simulates, and what scores. The pipeline knows them by these alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from jaxtyping import Float64

from ..models.tape import Stop
from ..nodes import Node
from .evidence import Evidence, Sample
from .records import Cost, Failure, Method, Score, ScorerName, Split, Variant


@dataclass(frozen=True)
class Draft:
    """Words that an explainer proposes, the version of its prompt, what they cost, and the rows they cite."""

    text: str
    variant: Variant
    llm: str
    prompt: str
    cost: Cost = field(default_factory=Cost)
    cited: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What something takes at most, before it is asked."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __mul__(self, times: int) -> Estimate:
        return Estimate(self.requests * times, self.prompt_tokens * times, self.completion_tokens * times)


@dataclass(frozen=True)
class Simulation:
    """What words say a text's tokens would do: an activation from 0 to 10 (settings.SCALE) for each."""

    expected: Float64[np.ndarray, " t"]


class Explainer(Protocol):
    """Finds words for a component."""

    @property
    def reference(self) -> str:
        """lookup, or the language model's."""
        ...

    def prompt_of(self, variant: Variant) -> str:
        """The version of its prompt for a variant."""
        ...

    def explain(
        self, evidence: Evidence, variant: Variant, candidates: int, seed: int, stop: Stop | None = None
    ) -> list[Draft | Failure]:
        """As many candidates as are wanted. Raises BudgetSpent, UnknownLLM, NothingToExplain or Cancelled."""
        ...

    def estimate(self, evidence: Evidence, variant: Variant, candidates: int) -> Estimate:
        """What that takes at most."""
        ...


class Simulator(Protocol):
    """Says from words alone how strongly each token of a text would excite the component."""

    @property
    def reference(self) -> str:
        """lookup, or the language model's."""
        ...

    @property
    def method(self) -> Method: ...

    @property
    def prompt(self) -> str:
        """The version of its prompt."""
        ...

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        """One for each text, in order; a failure is one, and never zeros. It is shown tokens alone.

        Raises BudgetSpent, UnknownLLM, UsageError for words it cannot read, or Cancelled.
        """
        ...

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        """What that takes at most."""
        ...


class Scorer(Protocol):
    """Measures how far words say what a component does."""

    @property
    def name(self) -> ScorerName: ...

    def refuses(self, component: Node) -> str | None:
        """Why it cannot score this kind of component, in a sentence; None when it can."""
        ...

    def score(self, words: str, evidence: Evidence, split: Split, seed: int, stop: Stop | None = None) -> Score:
        """The score on a split, with strips where it simulates, and its baselines.

        Raises BudgetSpent, UnknownLLM, UsageError or Cancelled; answers that fail are counted in the score.
        """
        ...

    def estimate(self, words: str, evidence: Evidence, split: Split) -> Estimate:
        """What that takes at most."""
        ...
