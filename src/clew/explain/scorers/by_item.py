"""What every scorer that judges texts does alike: makes items of them, has them judged, and counts what is right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ...models.tape import Stop
from ...nodes import Node
from ..baselines import table_of
from ..evidence import Evidence
from ..records import Score, ScorerName, Split
from ..roles import Estimate
from .items import Item, looked_up, scored
from .judges import Form, Judge


class ByItem(ABC):
    """A Scorer: asks a judge what `form` asks about items. `headline_auc` as in items.scored, which says the rest."""

    name: ScorerName
    form: Form
    headline_auc: bool = False

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    @abstractmethod
    def refuses(self, component: Node) -> str | None:
        """Why it cannot score this kind of component, in a sentence; None when it can."""

    def estimate(self, words: str, evidence: Evidence, split: Split) -> Estimate:
        return self._judge.estimate(self.form, words, self._items(evidence, split, 0))

    def score(self, words: str, evidence: Evidence, split: Split, seed: int, stop: Stop | None = None) -> Score:
        """The value is None where there are no items; then nothing is asked."""
        items = self._items(evidence, split, seed)
        return scored(
            self.name,
            self._judge.judge(self.form, words, items, seed, stop),
            items,
            looked_up(table_of(evidence), items, self.form.reduce),
            split=split,
            llm=self._judge.reference,
            method=self._judge.method,
            prompt=self._judge.prompt_of(self.form),
            seed=seed,
            headline_auc=self.headline_auc,
        )

    @abstractmethod
    def _items(self, evidence: Evidence, split: Split, seed: int) -> Sequence[Item]:
        """What is asked about: how many there are does not depend on the seed; none unless some are true and some
        false."""
