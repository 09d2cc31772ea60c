"""Activations as numbers that a language model writes: which there are, and what its chances of each amount to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ... import settings
from ..llm.client import Capabilities

ALTERNATIVES = 40  # asked for at each token, where there are so many: numbers are not always among fewer


def highest(capabilities: Capabilities) -> int:
    """The largest level that a language model is asked for: 10 where it writes "10" as one token, otherwise 9.

    A tokenizer that takes "10" apart gives "1" the chances of both 1 and 10, and a component at its strongest would be
    simulated as nearly silent. So all levels have one digit then, and are stretched to end at 10.
    """
    return settings.SCALE if capabilities.whole_ten is True else settings.SCALE - 1


def stretched(level: float, most: int) -> float:
    """A level from 0 to `most` as an activation from 0 to 10."""
    return settings.SCALE * level / most


def expected(top: Sequence[tuple[str, float]], most: int, before: str = "") -> float | None:
    """The expected activation, from 0 to 10: Σ p·level / Σ p over the alternatives of a token that are a level.

    They begin with `before`, where the tokenizer has merged that with the number. None when no level is among them.
    """
    found: list[tuple[int, float]] = []
    for text, chance in top:
        level = text[len(before) :].strip() if text.startswith(before) else ""
        if level in _LEVELS and int(level) <= most:
            found.append((int(level), chance))
    if not found:
        return None
    # Relative to the likeliest, so that chances too small for a float still compare.
    likeliest = max(chance for _, chance in found)
    weights = [math.exp(chance - likeliest) for _, chance in found]
    return stretched(sum(level * w for (level, _), w in zip(found, weights, strict=True)) / sum(weights), most)


_LEVELS = frozenset(str(level) for level in range(settings.SCALE + 1))
