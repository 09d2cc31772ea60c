"""Fuzzing scoring: are the right tokens marked?

Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models" (fuzzing scoring). Each
text in which the component fires is shown twice, never in one question: with the tokens it fires on marked «so», and
with as many on which it is quiet. The wrong marks stand where another text has its right ones, or as near to that as
there are quiet tokens, so that places alone tell nothing. The headline is balanced accuracy: 0.5 is chance.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

import numpy as np

from ...nodes import Node
from ..evidence import Evidence, Sample
from ..records import ScorerName, Split
from ..samples import QUIET
from ..simulators.shots import SHOTS
from ..spelling import spelled
from .by_item import ByItem
from .items import FIRES, Item, together
from .judges import Form

RIGHT, WRONG = "right_marks", "wrong_marks"


def marked(tokens: Sequence[str], at: Collection[int]) -> str:
    """A text on one line with some of its tokens marked; what it has of these marks itself becomes ‹ and ›."""
    parts = []
    for number, token in enumerate(tokens):
        text = spelled(token).replace("«", "‹").replace("»", "›")
        word = text.lstrip(" ") or text
        parts.append(f"{text[: len(text) - len(word)]}«{word}»" if number in at else text)
    return "".join(parts).strip()


def _wrong(evidence: Evidence, sample: Sample, places: Sequence[int], draw: Random) -> tuple[int, ...] | None:
    """As many quiet tokens as fire, each nearest to a place drawn from some; None where there are too few."""
    loud = _loud(evidence, sample)
    relative = sample.activations / evidence.maximum
    quiet = [at for at in range(sample.first, len(relative)) if relative[at] < QUIET]
    if len(quiet) < len(loud):
        return None
    drawn = draw.sample(places, len(loud)) if len(places) >= len(loud) else draw.choices(places, k=len(loud))
    found: list[int] = []
    for place in drawn:
        nearest = min((at for at in quiet if at not in found), key=lambda at: (abs(at - place), at))
        found.append(nearest)
    return tuple(sorted(found))


def _loud(evidence: Evidence, sample: Sample) -> tuple[int, ...]:
    """The tokens that count on which it fires."""
    relative = sample.activations / evidence.maximum
    return tuple(at for at in range(sample.first, len(relative)) if relative[at] >= FIRES)


def items_of(evidence: Evidence, samples: Sequence[Sample], seed: int) -> list[Item]:
    """Each text in which it fires with right marks, and with wrong ones; those without room for wrong ones left out."""
    draw = Random(f"{seed} {evidence.component}")
    fires = [(number, sample, _loud(evidence, sample)) for number, sample in enumerate(samples)]
    fires = [(number, sample, loud) for number, sample, loud in fires if loud]
    right, wrong = [], []
    for number, sample, loud in fires:
        # Of other texts; of a single one there are none, and any place does.
        places = [at for other, _, there in fires if other != number for at in there if at < len(sample.tokens)]
        places = [at for at in places if at >= sample.first] or list(range(sample.first, len(sample.tokens)))
        quiet = _wrong(evidence, sample, places, draw)
        if quiet is not None:
            right.append(Item(sample, marked(sample.tokens, loud), True, RIGHT, loud, number))
            wrong.append(Item(sample, marked(sample.tokens, quiet), False, WRONG, quiet, number))
    return together(right, wrong)


def _shots() -> tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]:
    """Each example's texts, with right marks and with wrong ones in turn."""
    found = []
    for number, shot in enumerate(SHOTS):
        evidence = shot.evidence
        items = items_of(evidence, evidence.samples, 0)
        pairs = list(zip(items[: len(items) // 2], items[len(items) // 2 :], strict=True))
        shown = [pair[(number + at) % 2] for at, pair in enumerate(pairs)]
        found.append((shot.words, tuple((item.shown, item.label) for item in shown)))
    return tuple(found)


FORM = Form(
    "fuzzing-1",  # raised whenever the same text would be asked about in other words
    "A component of a language model fires on some tokens of a text and not on others. In a text some tokens are "
    "marked «so». From an explanation of what it fires on, say whether the marked tokens are those that it fires on.",
    _shots(),
    lambda activations: float(np.mean(activations)),
)


class FuzzingScorer(ByItem):
    """Asks of marked texts whether the marks are right: there is no value where it fires in no text of the split, or on
    nearly all tokens.

    `measures` as in items.scored, the kinds being `right_marks` and `wrong_marks`.
    """

    name: ScorerName = "fuzzing"
    form = FORM

    def refuses(self, component: Node) -> str | None:
        """Heads, whose two tokens are marked apart."""
        return "Fuzzing marks single tokens; heads are scored by pairs." if component.kind == "attn" else None

    def _items(self, evidence: Evidence, split: Split, seed: int) -> list[Item]:
        return items_of(evidence, evidence.of(split), seed)
