"""Words without a language model: token statistics, said in a form that can be read back.

    Fires on " store" (10) and " shop" (7), on any token after " the" (4); elsewhere about 0.3.

The explainer finds such words from the examples; the simulator reads them, and any others that quote tokens the same
way, so that what a person writes is scored by the same machinery. A quoted token without a number counts as 10. It is
the least that an explanation by a language model should beat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from .. import settings
from ..errors import UsageError
from ..models.tape import Stop
from .evidence import Evidence, Sample
from .records import Cost, Failure, Method, Variant
from .roles import Draft, Estimate, Simulation

REFERENCE = "lookup"
PROMPT = "lookup-1"  # raised when the same examples give other words, or the same words another reading
RULES = 10  # tokens named at most
_WORTH = 0.01  # of the variation that a token has to explain to be named

_QUOTED = r'"((?:[^"\\]|\\.)+)"'
_LEVEL = r"(?:\s*\((\d+(?:\.\d+)?)\))?"
_RULE = re.compile(rf"(after\s+)?{_QUOTED}{_LEVEL}")
_ELSEWHERE = re.compile(r"elsewhere about (\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Rule:
    """`token`, or any token `after` it, has an activation of `level`, from 0 to 10."""

    token: str
    level: float
    after: bool

    def __str__(self) -> str:
        # As JSON, since a token may be a newline; not escaped beyond need, since it may be Chinese.
        return f"{'after ' * self.after}{json.dumps(self.token, ensure_ascii=False)} ({self.level:g})"

    def matches(self, tokens: Sequence[str]) -> Bool[np.ndarray, " t"]:
        """Which tokens of a text it speaks of."""
        found = np.array([token == self.token for token in tokens], bool)
        return np.concatenate(([False], found[:-1])) if self.after else found


class LookupExplainer:
    """Finds the tokens that a component fires on."""

    reference = REFERENCE

    def prompt_of(self, variant: Variant) -> str:
        """The version of how it finds words."""
        return PROMPT

    def explain(
        self, evidence: Evidence, variant: Variant, candidates: int, seed: int, stop: Stop | None = None
    ) -> list[Draft | Failure]:
        """One draft: the same examples give the same words, whatever the seed."""
        rules, elsewhere = _fitted(evidence)
        if not rules:
            return [Failure("nothing", "No token or pair of tokens tells where it fires.")]
        return [Draft(_words(rules, elsewhere), "tokens", REFERENCE, PROMPT)]

    def estimate(self, evidence: Evidence, variant: Variant, candidates: int) -> Estimate:
        """Nothing is asked."""
        return Estimate()


class LookupSimulator:
    """Reads the tokens that words quote."""

    reference = REFERENCE
    method: Method = "lookup"
    prompt = PROMPT

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        """Reads the quoted tokens. Raises UsageError for words that quote none."""
        rules, elsewhere = read(words)
        return [Simulation(_expected(rules, elsewhere, sample.tokens)) for sample in samples], Cost()

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        """Nothing is asked."""
        return Estimate()


def read(words: str) -> tuple[list[Rule], float]:
    """The rules that words quote, and the activation elsewhere. Raises UsageError."""
    rules = []
    for after, quoted, level in _RULE.findall(words):
        try:
            token = json.loads(f'"{quoted}"', strict=False)
        except ValueError:  # an escape that JSON does not have: as it stands
            token = quoted
        rules.append(Rule(token, min(float(level), settings.SCALE) if level else settings.SCALE, bool(after)))
    if not rules:
        raise UsageError(
            "These words quote no token, and without a language model only quoted tokens can be simulated.",
            'Write for example: " store" (10), any token after " the" (4). Or name a language model.',
        )
    elsewhere = _ELSEWHERE.search(words)
    return rules, float(elsewhere[1]) if elsewhere else 0.0


def _expected(rules: Sequence[Rule], elsewhere: float, tokens: Sequence[str]) -> Float64[np.ndarray, " t"]:
    """The strongest rule that speaks of a token decides."""
    expected = np.full(len(tokens), -1.0)
    for rule in rules:
        expected = np.maximum(expected, np.where(rule.matches(tokens), rule.level, -1.0))
    return np.where(expected < 0, elsewhere, expected)


def _fitted(evidence: Evidence) -> tuple[list[Rule], float]:
    """Rules that explain most of the squared activations of the explain split, one after the other.

    A token's level is its mean activation there. What follows a token is a rule of its own when at least two different
    tokens do: otherwise it says no more than the token itself.
    """
    samples = evidence.of("explain")
    tokens = [token for sample in samples for token in sample.tokens[sample.first :]]
    before = [
        sample.tokens[at - 1] if at else "" for sample in samples for at in range(sample.first, len(sample.tokens))
    ]
    real = np.concatenate([evidence.scaled(sample)[sample.first :] for sample in samples] or [np.empty(0)])
    real = np.minimum(real, settings.SCALE)
    if not len(real):
        return [], 0.0
    names, at = np.unique(np.array(tokens, object).astype(str), return_inverse=True)
    earlier, behind = np.unique(np.array(before, object).astype(str), return_inverse=True)
    # How many different tokens come after each.
    follows = np.bincount(np.unique(np.stack([behind, at]), axis=1)[0], minlength=len(earlier))
    offers = [(name, False, at == number) for number, name in enumerate(names)]
    offers += [(name, True, behind == number) for number, name in enumerate(earlier) if name and follows[number] > 1]
    variation = float(((real - real.mean()) ** 2).sum())
    covered = np.zeros(len(real), bool)
    said = np.full(len(real), real.mean())
    rules: list[Rule] = []
    masks = np.stack([mask for _, _, mask in offers])
    while len(rules) < RULES and variation > 0:
        # Where several rules speak of a token the strongest decides, so a new one only raises.
        counts = np.maximum(masks.sum(1), 1)
        levels = np.round(masks @ real / counts)
        after = np.where(masks & (~covered | (levels[:, None] > said)), levels[:, None], said)
        gains = ((real - said) ** 2).sum() - ((real - after) ** 2).sum(1)
        gains[levels < 1] = -np.inf
        best = int(gains.argmax())
        if gains[best] < _WORTH * variation:
            break
        name, follows_it, mask = offers[best]
        rules.append(Rule(str(name), float(levels[best]), follows_it))
        said = np.where(mask & (~covered | (levels[best] > said)), levels[best], said)
        covered |= mask
        said = np.where(covered, said, real[~covered].mean() if (~covered).any() else 0.0)
    elsewhere = float(real[~covered].mean()) if (~covered).any() else 0.0
    return rules, round(elsewhere, 1)


def _words(rules: Sequence[Rule], elsewhere: float) -> str:
    ordered = sorted(rules, key=lambda rule: -rule.level)
    parts = [
        f"{start} {_listed([str(rule) for rule in ordered if rule.after is after])}"
        for start, after in (("on", False), ("on any token", True))
        if any(rule.after is after for rule in ordered)
    ]
    text = "Fires " + ", ".join(parts)
    return f"{text}; elsewhere about {elsewhere:g}." if elsewhere else f"{text}."


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
