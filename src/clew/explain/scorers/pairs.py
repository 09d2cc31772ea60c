"""Pair scoring of heads: from the words, between which of two marked tokens does it move much?

As OpenAI's automated-interpretability scored attention heads: in each text one pair is marked, the token that reads in
[[brackets]] and the token that is read in **stars**; five strong pairs are asked about and as many that stay below a
tenth of the maximum. The headline is the area under the ROC curve: 0.5 is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from ... import settings
from ...nodes import Node
from ..evidence import Evidence, Sample
from ..explainers.pairs import marked
from ..explainers.shots import PAIR_SHOTS
from ..llm.client import LLM
from ..records import ScorerName, Split
from ..samples import QUIET
from .by_item import ByItem
from .items import FIRES, Item, together
from .judges import Form, Reader

STRONG, WEAK = "strong_pairs", "weak_pairs"

FORM = Form(
    "pairs-1",  # raised whenever the same text would be asked about in other words
    "An attention head of a language model reads at some tokens from others and at most hardly at all. In a text one "
    "pair is marked: [[the token that reads]] and **the token that is read**. From an explanation of which tokens read "
    "from which, say whether the head reads strongly between the marked ones.",
    tuple(
        (
            shot.words,
            tuple((marked(one.tokens, *one.strongest), one.kind == "top") for one in shot.evidence.samples),
        )
        for shot in PAIR_SHOTS
    ),
    lambda activations: float(activations.max()),
)


class PairsScorer(ByItem):
    """Asks a language model which pairs a head moves much between: there is no value without strong ones and weak ones.

    `measures` as in items.scored, the kinds being `strong_pairs` and `weak_pairs`. The token table knows the token that
    reads.
    """

    name: ScorerName = "pairs"
    form = FORM
    headline_auc = True

    def __init__(self, llm: LLM) -> None:
        super().__init__(Reader(llm))

    def refuses(self, component: Node) -> str | None:
        """Neurons and latents, which have no pairs."""
        return None if component.kind == "attn" else "Pairs of tokens are what heads have, and no other component."

    def _items(self, evidence: Evidence, split: Split, seed: int) -> list[Item]:
        return items_of(evidence, split, seed)


def items_of(evidence: Evidence, split: Split, seed: int) -> list[Item]:
    """The strongest pair of each strong text, and one weak pair, drawn by seed, of as many texts: random ones first."""
    draw = Random(f"{seed} {evidence.component}")
    numbered = [(number, sample) for number, sample in enumerate(evidence.of(split)) if sample.pairs is not None]
    tops = [(number, sample) for number, sample in numbered if sample.kind == "top" and _value(sample) > 0]
    tops = [(number, sample) for number, sample in tops if _value(sample) >= FIRES * evidence.maximum]
    strong = [_item(number, sample, sample.strongest, True) for number, sample in tops[: settings.SPLIT_TOP]]
    others = [one for one in numbered if one[1].kind != "top"]
    weak: list[Item] = []
    for number, sample in [*others, *tops]:
        quiet = _quiet(evidence, sample)
        if quiet and len(weak) < len(strong):
            weak.append(_item(number, sample, draw.choice(quiet), False))
    return together(strong, weak)


def _value(sample: Sample) -> float:
    assert sample.pairs is not None
    return float(sample.pairs[sample.strongest])


def _quiet(evidence: Evidence, sample: Sample) -> Sequence[tuple[int, int]]:
    """The pairs that count and stay below a tenth of the maximum."""
    assert sample.pairs is not None
    rows, sources = np.tril_indices(len(sample.tokens))
    some = (rows >= sample.first) & (sample.pairs[rows, sources] < QUIET * evidence.maximum)
    return list(zip(rows[some].tolist(), sources[some].tolist(), strict=True))


def _item(number: int, sample: Sample, pair: tuple[int, int], label: bool) -> Item:
    reader, source = pair
    return Item(sample, marked(sample.tokens, reader, source), label, STRONG if label else WEAK, (reader,), number)
