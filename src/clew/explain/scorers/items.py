"""What detection, fuzzing and pairs have in common: texts that are true of a component or false, judged from words
alone, and how often the judge is right.

A text is true where the component fires (at least FIRES of its maximum on a token that counts) and false where it stays
below QUIET of it; what lies between is neither, and is not asked about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from jaxtyping import Bool, Float64

from ... import settings
from ..baselines import Table, turns
from ..evidence import Sample
from ..records import Baseline, Cost, Failure, Method, Score, ScorerName, Split
from ..samples import QUIET
from ..scores import accuracies, auc, aucs, balanced_accuracy, bootstrap

FIRES = 0.25  # of the maximum that the explainer saw: from here on a component fires, two octaves below it
BETWEEN = settings.SCALE * (FIRES + QUIET) / 2  # an activation from 0 to 10 that tells the one from the other

Reduce = Callable[[Float64[np.ndarray, " k"]], float]
"""What activations of the tokens that are asked about amount to: their largest, or their mean."""


@dataclass(frozen=True)
class Item:
    """A text as it is shown to a judge, and whether what is asked of it is true (`label`).

    `at` are the tokens of the sample that are asked about, `kind` what is counted apart, `text` the number of the text,
    which several items may be of.
    """

    sample: Sample
    shown: str
    label: bool
    kind: str
    at: tuple[int, ...]
    text: int


@dataclass(frozen=True)
class Judged:
    """What a judge said of each item: from 0, false, to 1, true, and of more than `threshold` true; or why nothing."""

    values: Sequence[float | Failure]
    threshold: float
    cost: Cost


@dataclass(frozen=True)
class Said:
    """The items that were answered, with the answers as an array."""

    items: Sequence[Item]
    values: Float64[np.ndarray, " n"]
    threshold: float

    @property
    def labels(self) -> Bool[np.ndarray, " n"]:
        return np.array([item.label for item in self.items], bool)

    @property
    def said(self) -> Bool[np.ndarray, " n"]:
        return self.values > self.threshold


def together(true: Sequence[Item], false: Sequence[Item]) -> list[Item]:
    """All items where there are some of both; none otherwise, since there would be nothing to ask."""
    return [*true, *false] if true and false else []


def looked_up(table: Table, items: Sequence[Item], reduce: Reduce) -> Float64[np.ndarray, " n"]:
    """What the token table says of items, from 0 to 1."""
    return np.array([reduce(table(item.sample)[list(item.at)]) / settings.SCALE for item in items], np.float64)


def scored(
    name: ScorerName,
    judged: Judged,
    items: Sequence[Item],
    table: Float64[np.ndarray, " n"],
    *,
    split: Split,
    llm: str,
    method: Method | None,
    prompt: str,
    seed: int,
    headline_auc: bool = False,
) -> Score:
    """The score of judgements: balanced accuracy, or the area under the ROC curve, with the other among the measures.

    `measures` has `auc`, `balanced_accuracy`, `sensitivity` and `specificity` (the shares of true and of false ones
    judged right), and the share of each kind judged right. Baselines are of the same items: `table` by the token table,
    `mean` says the same everywhere, `shuffled` is the mean over every turn in which each item has another's answer.
    """
    rows = [at for at, value in enumerate(judged.values) if not isinstance(value, Failure)]
    values = np.array([judged.values[at] for at in rows], np.float64)
    said = Said([items[at] for at in rows], values, judged.threshold)
    by_table = Said(said.items, table[rows], BETWEEN / settings.SCALE)
    of = _auc if headline_auc else _balanced
    value = of(said)
    low = high = None
    if value is not None:
        low, high = _bounds(said, headline_auc, seed)
    measures: dict[str, float | None] = {
        "balanced_accuracy" if headline_auc else "auc": (_balanced if headline_auc else _auc)(said),
        "sensitivity": _share(said, said.labels),
        "specificity": _share(said, ~said.labels),
    }
    kinds = [item.kind for item in said.items]
    for kind in dict.fromkeys(kinds):
        measures[kind] = _share(said, np.array([one == kind for one in kinds]))
    return Score(
        scorer=name,
        split=split,
        llm=llm,
        method=method,
        prompt=prompt,
        value=value,
        low=low,
        high=high,
        tokens=sum(len(item.sample.tokens) - item.sample.first for item in said.items),
        texts=Counter(kinds),
        failures=[value for value in judged.values if isinstance(value, Failure)],
        measures=measures,
        baselines=[
            Baseline("table", of(by_table)),
            Baseline("mean", None if value is None else 0.5),
            Baseline("shuffled", _shuffled(said, of)),
        ],
        cost=judged.cost,
        seed=seed,
    )


def batches(items: Sequence[Item], most: int, seed: int) -> list[list[int]]:
    """Items by their numbers, at most so many together and in an order drawn by seed, so that it tells nothing.

    Two items of one text are never together: side by side they would give each other away. How many batches there are
    does not depend on the seed.
    """
    draw = Random(seed)
    of_text: dict[int, list[int]] = {}
    for number, item in enumerate(items):
        of_text.setdefault(item.text, []).append(number)
    texts = list(of_text.values())
    draw.shuffle(texts)
    count = max([-(-len(items) // most), *map(len, texts)])
    found: list[list[int]] = [[] for _ in range(count)]
    # Dealt one after the other, those of a text go to as many batches as there are of them.
    dealt = 0
    for numbers in texts:
        draw.shuffle(numbers)
        for number in numbers:
            found[dealt % count].append(number)
            dealt += 1
    for batch in found:
        draw.shuffle(batch)
    return found


def _bounds(said: Said, headline_auc: bool, seed: int) -> tuple[float | None, float | None]:
    """Whole texts are drawn: items of one text count together."""
    texts: dict[int, tuple[tuple[str, bool], ...]] = {}
    for item in said.items:
        texts[item.text] = (*texts.get(item.text, ()), (item.kind, item.label))
    order = {text: at for at, text in enumerate(texts)}
    of = [order[item.text] for item in said.items]
    statistic = aucs(said.labels, said.values) if headline_auc else accuracies(said.labels, said.said)
    # Strata of texts with the same kinds of items, so that every sample has both classes.
    return bootstrap([tuple(sorted(kinds)) for kinds in texts.values()], lambda n: statistic(n[:, of]), seed)


def _balanced(said: Said) -> float | None:
    return balanced_accuracy(said.labels, said.said)


def _auc(said: Said) -> float | None:
    return auc(said.labels, said.values)


def _share(said: Said, of: Bool[np.ndarray, " n"]) -> float | None:
    """The share of some items that is judged right."""
    return float((said.labels == said.said)[of].mean()) if of.any() else None


def _shuffled(said: Said, of: Callable[[Said], float | None]) -> float | None:
    found = [of(Said(said.items, said.values[turn], said.threshold)) for turn in turns(len(said.items))]
    defined = [value for value in found if value is not None]
    return float(np.mean(defined)) if defined else None
