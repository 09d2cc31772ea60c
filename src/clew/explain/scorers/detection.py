"""Detection scoring: from the words, in which of some texts does the component fire?

Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models" (detection scoring). True
are the texts in which it fires, false the random texts and near misses in which it is quiet. The headline is balanced
accuracy: 0.5 is chance.
"""

from __future__ import annotations

import numpy as np

from ...nodes import Node
from ..evidence import Evidence, Sample
from ..explainers.examples import text_of
from ..records import ScorerName, Split
from ..samples import QUIET
from ..simulators.shots import SHOTS
from .by_item import ByItem
from .items import FIRES, Item, together
from .judges import Form

FORM = Form(
    "detection-1",  # raised whenever the same text would be asked about in other words
    "A component of a language model fires on some tokens of a text and not on others. From an explanation of what it "
    "fires on, say whether it fires anywhere in a text.",
    tuple(
        (shot.words, tuple((text_of(one.tokens), one.kind == "top") for one in shot.evidence.samples)) for shot in SHOTS
    ),
    lambda activations: float(activations.max()),
)


class DetectionScorer(ByItem):
    """Asks of whole texts whether the component fires in them: in some of a split, or there is no value.

    `measures` as in items.scored, kinds being those of the samples.
    """

    name: ScorerName = "detection"
    form = FORM

    def refuses(self, component: Node) -> str | None:
        """Nothing: of a head, a token's activation is the largest value into it."""
        return None

    def _items(self, evidence: Evidence, split: Split, seed: int) -> list[Item]:
        samples = evidence.of(split)
        peaks = [float(sample.activations[sample.peak]) / evidence.maximum for sample in samples]
        fires = [_item(number, samples[number], True) for number, peak in enumerate(peaks) if peak >= FIRES]
        quiet = [_item(number, samples[number], False) for number, peak in enumerate(peaks) if peak < QUIET]
        return together(fires, quiet)


def _item(number: int, sample: Sample, label: bool) -> Item:
    at = tuple(np.arange(sample.first, len(sample.tokens)).tolist())
    return Item(sample, text_of(sample.tokens), label, sample.kind, at, number)
