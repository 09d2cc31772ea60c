"""What is to be done to each component, settled before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

from .. import settings
from ..errors import UsageError
from . import lookup
from .llm.references import read_reference
from .records import Method, ScorerName, Variant

VARIANTS: tuple[Variant, ...] = ("examples", "tokens", "contrast")
SCORERS: tuple[ScorerName, ...] = get_args(ScorerName)
METHODS: tuple[Method, ...] = ("all_at_once", "token_by_token", "json")

_MOST_AT_ONCE = 512


@dataclass(frozen=True)
class Recipe:
    """How components are explained and scored.

    `llm` explains; `simulator` simulates and judges, by default the same. `method`: how it simulates, by default the
    best that its endpoint has. Each of `variants` gives `candidates`, and each of `revisions` rounds one more, from
    texts that the language model proposed; the best by simulation on the validation split is chosen, and that alone is
    scored by each of `scorers` on the test split. `budget` is in tokens sent and received, `money` in the unit of
    `prices`, which are for a million tokens sent and a million received; nothing more is asked once either is spent.
    """

    llm: str = settings.LLM
    simulator: str | None = None
    method: Method | None = None
    variants: tuple[Variant, ...] = ("examples",)
    candidates: int = 1
    revisions: int = 0
    scorers: tuple[ScorerName, ...] = ("simulation",)
    seed: int = 0
    budget: int | None = None
    money: float | None = None
    prices: tuple[float, float] | None = None
    concurrency: int = settings.CONCURRENCY

    @property
    def judge(self) -> str:
        """Who simulates and judges."""
        return self.simulator or self.llm

    def checked(self) -> Recipe:
        """The same, with what a lookup makes of it.

        Raises UsageError for what cannot be done, and UnknownLLM for what names no language model.
        """
        for given, known, what in (
            (self.variants, VARIANTS, "variant"), (self.scorers, SCORERS, "scorer"),
        ):  # fmt: skip
            for one in given:
                if one not in known:
                    raise UsageError(f"{one!r} is not a {what}.", f"Name one of {', '.join(known)}.")
        if not self.variants:
            raise UsageError("Nothing is explained by no variant.", f"Name one of {', '.join(VARIANTS)}.")
        if self.method is not None and self.method not in (*METHODS, "lookup"):
            raise UsageError(f"{self.method!r} is no way to simulate.", f"Name one of {', '.join(METHODS)}.")
        for number, most, what in (
            (self.candidates, settings.MAX_CANDIDATES, "candidates"),
            (self.concurrency, _MOST_AT_ONCE, "requests at once"),
        ):
            if not 1 <= number <= most:
                raise UsageError(f"There cannot be {number} {what}.", f"Ask for 1 to {most}.")
        if not 0 <= self.revisions <= settings.MAX_REVISIONS:
            raise UsageError(f"There cannot be {self.revisions} revisions.", f"Ask for 0 to {settings.MAX_REVISIONS}.")
        if self.budget is not None and self.budget < 1:
            raise UsageError("A budget of no tokens buys nothing.", "Leave it out for none, or raise it.")
        if self.money is not None and (self.money <= 0 or self.prices is None):
            raise UsageError(
                "A budget in money needs to know what tokens cost.",
                "Give a price for a million tokens sent, and for a million received.",
            )
        for reference in {self.llm, self.judge} - {lookup.REFERENCE}:
            read_reference(reference)
        if self.judge == lookup.REFERENCE and self.method not in (None, "lookup"):
            raise UsageError("Without a language model nothing is simulated but by lookup.", "Leave the method out.")
        if self.llm != lookup.REFERENCE:
            return self
        if self.revisions:
            raise UsageError("Without a language model nothing is revised.", "Leave out revisions, or name one.")
        # It has one way to find words, and finds the same ones each time.
        return replace(self, variants=("tokens",), candidates=1)
