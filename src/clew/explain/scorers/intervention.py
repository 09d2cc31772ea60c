"""Intervention scoring: does steering a component make the model write what the words say?

Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models" (intervention scoring):
other scorers ask what makes a component fire, this one what it does when it fires. Each text is cut at half, and the
model goes on with it greedily twice: as it is, and steered (steering.py). A language model is shown both continuations,
in an order drawn by seed that puts either first equally often, and says which of them shows the words more. The score
is the share of right choices; chance is ½. A text that goes on the same when steered counts as ½ and is not asked of.

The baseline `shuffled` asks the same of texts where another component of the block is steered, drawn by seed, by the
same rule: as often as the steered text is chosen there, it is chosen for being odd and not for what the words say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from ...atlas.components import Components
from ...errors import LLMFailed
from ...models.tape import Stop
from ...nodes import Node
from ..evidence import Evidence, Sample
from ..explainers.answers import said
from ..explainers.questions import Question, estimate
from ..llm.client import LLM, Answer, Request
from ..records import Baseline, Cost, Failure, SampleKind, Score, ScorerName, Split
from ..roles import Estimate
from ..scores import bootstrap
from ..spelling import spelled
from .replacement import refused
from .steering import Steering, continued, tuned

PROMPT = "intervention-1"
NEW = 16  # tokens that a continuation adds

_TASK = (
    "A text was begun, and a language model went on with it in two ways. You are told what to look for, and say in "
    "which of the two there is more of it, or of what it leads to: 1 or 2."
)
_SHOTS = (
    (
        "Look for: words about the sea\n\n"
        "Beginning: On Sunday we walked as far as\n"
        "1: the old town hall, where a band was playing for the mayor and\n"
        "2: the harbour, where the tide was out and two boats lay on",
        "2",
    ),
    (
        "Look for: numbers after a currency sign\n\n"
        "Beginning: The repair of the roof was done within a week and\n"
        "1: cost $4,200, of which we had only paid $500 when\n"
        "2: cost far more than anybody in the village had thought when",
        "1",
    ),
)
_ASKED = "There is more of it in:"
_ANSWER_TOKENS = 8
_DIGIT = re.compile(r"(?<!\d)[12](?!\d)")


@dataclass(frozen=True)
class _Pair:
    """A beginning with its two continuations; `first`: the steered one is shown first."""

    beginning: str
    plain: str
    steered: str
    first: bool

    @property
    def shown(self) -> tuple[str, str]:
        return (self.steered, self.plain) if self.first else (self.plain, self.steered)

    @property
    def differs(self) -> bool:
        return self.plain != self.steered

    def read(self, answer: Answer | LLMFailed) -> float | Failure:
        """1 for the steered continuation, 0 for the other; a failure for an answer that names neither or both."""
        if isinstance(answer, LLMFailed):
            return Failure(answer.kind, answer.message)
        text = said(answer)
        if isinstance(text, Failure):
            return text
        named = set(_DIGIT.findall(text))
        if len(named) != 1:
            return Failure("malformed", f"The answer names no one continuation: {text[:80]!r}")
        return float((named == {"1"}) == self.first)


@dataclass(frozen=True)
class _Judged:
    """Texts of one steering, by kind, and what was said of them: 1 for the steered continuation, ½ where steering
    changes nothing, or a failure."""

    kinds: Sequence[SampleKind] = ()
    pairs: Sequence[_Pair] = ()
    right: Sequence[float | Failure] = ()

    @property
    def answered(self) -> list[tuple[SampleKind, float]]:
        return [(kind, one) for kind, one in zip(self.kinds, self.right, strict=True) if isinstance(one, float)]

    @property
    def shares(self) -> Float64[np.ndarray, " n"] | None:
        """None when no answer came: texts that steering does not change say nothing by themselves."""
        asked = [one for pair, one in zip(self.pairs, self.right, strict=True) if pair.differs]
        if all(isinstance(one, Failure) for one in asked):
            return None
        return np.array([one for _, one in self.answered])

    @property
    def failures(self) -> list[Failure]:
        return [one for one in self.right if isinstance(one, Failure)]


class InterventionScorer:
    """Steers a neuron or latent, and asks a language model which of two continuations shows the words."""

    name: ScorerName = "intervention"

    def __init__(self, llm: LLM, components: Components) -> None:
        self._llm, self._components = llm, components

    def refuses(self, component: Node) -> str | None:
        """Heads, latents without their autoencoder, and imported atlases."""
        return refused(self._components, component)

    def estimate(self, words: str, evidence: Evidence, split: Split) -> Estimate:
        """Two questions a text, one of them for the baseline."""
        requests = []
        for sample in evidence.of(split):
            half = len(sample.tokens) // 2
            text = "".join(sample.tokens[half : half + NEW])
            requests.append(self._request(words, _Pair("".join(sample.tokens[:half]), text, text, True)))
        return estimate(self._llm, requests) * 2

    def score(self, words: str, evidence: Evidence, split: Split, seed: int, stop: Stop | None = None) -> Score:
        """The value is None when every answer failed, and when steering changes no text. `measures` has `k` and `kl`,
        how many texts steering left `unchanged`, how many questions of the baseline failed, and the share by kind.

        Raises BudgetSpent, UnknownLLM, NotFinite, BadAtlas or Cancelled.
        """
        samples = evidence.of(split)
        own = other = _Judged()
        steering, cost = None, Cost()
        if samples:
            steering, pairs, others = self._steered(evidence, samples, seed, stop)
            right, cost = self._asked(words, [*pairs, *others], stop)
            kinds: list[SampleKind] = [sample.kind for sample in samples]
            own = _Judged(kinds, pairs, right[: len(pairs)])
            other = _Judged(kinds[: len(others)], others, right[len(pairs) :])
        shares, baseline = own.shares, other.shares
        value = low = high = None
        if shares is not None:
            value = float(shares.mean())
            # As many texts of each kind are drawn as there are, so that every draw has as many in all.
            low, high = bootstrap([kind for kind, _ in own.answered], lambda n: n @ shares / len(shares), seed)
        measures: dict[str, float | None] = {
            "unchanged": float(sum(not pair.differs for pair in own.pairs)),
            "shuffled_failed": float(len(other.failures)),
        }
        if steering is not None:
            measures |= {"k": steering.k, "kl": steering.kl}
        for kind in dict.fromkeys(kind for kind, _ in own.answered):
            measures[kind] = float(np.mean([one for of, one in own.answered if of == kind]))
        return Score(
            scorer=self.name,
            split=split,
            llm=self._llm.reference,
            method=None,
            prompt=PROMPT,
            value=value,
            low=low,
            high=high,
            tokens=NEW * len(own.answered),
            texts=Counter(kind for kind, _ in own.answered),
            failures=own.failures,
            measures=measures,
            baselines=[
                Baseline("table", None),
                Baseline("mean", None if value is None else 0.5),
                Baseline("shuffled", None if baseline is None else float(baseline.mean())),
            ],
            cost=cost,
            seed=seed,
        )

    def _steered(
        self, evidence: Evidence, samples: Sequence[Sample], seed: int, stop: Stop | None
    ) -> tuple[Steering, list[_Pair], list[_Pair]]:
        """The component's steering and its pairs, and those of the other component, if there is one."""
        components, draw = self._components, np.random.default_rng(seed)
        ids = self._prompts(samples)
        beginnings = [components.subject.decode(row) for row in ids.tolist()]
        # Either is shown first equally often, so that preferring a place is worth ½.
        first = draw.permutation(np.arange(len(samples)) % 2 == 0).tolist()
        plain = continued(components.subject, ids, NEW, None, stop)

        def pairs(steering: Steering) -> list[_Pair]:
            steered = continued(components.subject, ids, NEW, steering.edits, stop)
            return [_Pair(*one) for one in zip(beginnings, plain, steered, first, strict=True)]

        steering = tuned(components, evidence.component, evidence.maximum, ids, stop)
        other = self._other(evidence.component, draw)
        others = [] if other is None else pairs(tuned(components, *other, ids, stop))
        return steering, pairs(steering), others

    def _prompts(self, samples: Sequence[Sample]) -> Int[Tensor, "n p"]:
        """The first halves of texts, cut at their beginnings to the shortest of them; a start token where the atlas's
        texts have one."""
        atlas, subject = self._components.atlas, self._components.subject
        bos = [subject.bos_id] if atlas is not None and atlas.info().bos else []
        halves = [sample.ids[: len(sample.ids) // 2] for sample in samples]
        halves = [half[1:] if list(half[:1]) == bos else half for half in halves]
        length = min(len(half) for half in halves)
        return torch.tensor([[*bos, *half[len(half) - length :]] for half in halves], device=subject.device)

    def _other(self, component: Node, draw: np.random.Generator) -> tuple[Node, float] | None:
        """Another component of the block that fires over the atlas's text, and its largest activation."""
        atlas = self._components.atlas
        summary = None if atlas is None else atlas.summary(component)
        if summary is None:
            return None
        able = [i for i in np.flatnonzero(summary.maximum > 0).tolist() if i != component.index]
        if not able:
            return None
        index = int(draw.choice(able))
        return replace(component, index=index), float(summary.maximum[index])

    def _asked(self, words: str, pairs: Sequence[_Pair], stop: Stop | None) -> tuple[list[float | Failure], Cost]:
        differing = [pair for pair in pairs if pair.differs]
        answers = iter(self._llm.ask_all([self._request(words, pair) for pair in differing], stop))
        right: list[float | Failure] = []
        cost = Cost()
        for pair in pairs:
            if not pair.differs:
                right.append(0.5)
                continue
            answer = next(answers)
            if isinstance(answer, Answer):
                cost += answer.cost
            right.append(pair.read(answer))
        return right, cost

    def _request(self, words: str, pair: _Pair) -> Request:
        first, second = (spelled(text) for text in pair.shown)
        shown = f"Look for: {spelled(words)}\n\nBeginning: {spelled(pair.beginning)}\n1: {first}\n2: {second}"
        question = Question(_TASK, _SHOTS, shown, _ASKED, _ANSWER_TOKENS)
        return question.request(self._llm.capabilities)
