"""What every simulator that asks a language model does alike: all requests at once, and what came back text by text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice

from ...errors import LLMFailed
from ...models.tape import Stop
from ..evidence import Sample
from ..explainers.questions import estimate
from ..llm.client import LLM, Answer, Request, cost_of
from ..records import Cost, Failure, Method
from ..roles import Estimate, Simulation


class ByText(ABC):
    """A Simulator: asks about texts, each by itself."""

    method: Method
    prompt: str

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    @property
    def reference(self) -> str:
        """The language model's."""
        return self._llm.reference

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        """One for each text; where an answer did not come, its failure."""
        asked = [self._requests(words, sample.tokens) for sample in samples]
        answers = self._llm.ask_all([request for some in asked for request in some], stop)
        left = iter(answers)
        found: list[Simulation | Failure] = []
        for sample, some in zip(samples, asked, strict=True):
            told = list(islice(left, len(some)))
            failed = next((one for one in told if isinstance(one, LLMFailed)), None)
            if failed is not None:
                found.append(Failure(failed.kind, failed.message))
            else:
                found.append(self._read(words, sample.tokens, [one for one in told if isinstance(one, Answer)]))
        return found, cost_of(answers)

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        """What the requests take at most."""
        return estimate(self._llm, [one for sample in samples for one in self._requests(words, sample.tokens)])

    @abstractmethod
    def _requests(self, words: str, tokens: Sequence[str]) -> list[Request]:
        """What is asked about a text."""

    @abstractmethod
    def _read(self, words: str, tokens: Sequence[str], answers: Sequence[Answer]) -> Simulation | Failure:
        """What the answers to that say."""
