"""Detection scoring: from the words, in which of some texts does the component fire?

Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models" (detection scoring). True
are the texts in which it fires, false the random texts and near misses in which it is quiet. The headline is balanced
accuracy: 0.5 is chance.
"""

from __future__ import annotations

import numpy as np

from ...models.tape import Stop
from ...nodes import Node
from ..baselines import table_of
from ..evidence import Evidence, Sample
from ..explainers.examples import text_of
from ..records import Score, ScorerName, Split
from ..roles import Estimate
from ..samples import QUIET
from ..simulators.shots import SHOTS
from .items import FIRES, Item, looked_up, scored, together
from .judges import Form, Judge

FORM = Form(
    "detection-1",  # raised whenever the same text would be asked about in other words
    "A component of a language model fires on some tokens of a text and not on others. From an explanation of what it "
    "fires on, say whether it fires anywhere in a text.",
    tuple(
        (shot.words, tuple((text_of(one.tokens), one.kind == "top") for one in shot.evidence.samples)) for shot in SHOTS
    ),
    lambda activations: float(activations.max()),
)


class DetectionScorer:
    """Asks of whole texts whether the component fires in them."""

    name: ScorerName = "detection"

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def refuses(self, component: Node) -> str | None:
        """Nothing: of a head, a token's activation is the largest value into it."""
        return None

    def estimate(self, words: str, evidence: Evidence, split: Split) -> Estimate:
        return self._judge.estimate(FORM, words, _items(evidence, split))

    def score(self, words: str, evidence: Evidence, split: Split, seed: int, stop: Stop | None = None) -> Score:
        """The value is None when it fires in all texts of the split or in none; then nothing is asked. `measures` as in
        items.scored, kinds being those of the samples."""
        items = _items(evidence, split)
        return scored(
            self.name,
            self._judge.judge(FORM, words, items, seed, stop),
            items,
            looked_up(table_of(evidence), items, FORM.reduce),
            split=split,
            llm=self._judge.reference,
            method=self._judge.method,
            prompt=self._judge.prompt_of(FORM),
            seed=seed,
        )


def _items(evidence: Evidence, split: Split) -> list[Item]:
    samples = evidence.of(split)
    peaks = [float(sample.activations[sample.peak]) / evidence.maximum for sample in samples]
    fires = [_item(number, samples[number], True) for number, peak in enumerate(peaks) if peak >= FIRES]
    quiet = [_item(number, samples[number], False) for number, peak in enumerate(peaks) if peak < QUIET]
    return together(fires, quiet)


def _item(number: int, sample: Sample, label: bool) -> Item:
    at = tuple(np.arange(sample.first, len(sample.tokens)).tolist())
    return Item(sample, text_of(sample.tokens), label, sample.kind, at, number)
