"""What a head does on its examples, as text for a language model: the pair of tokens it moves most between, marked.

The token that reads is in [[brackets]], the token that is read in **stars** (as OpenAI's transformer debugger did).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import settings
from ..evidence import Evidence, Sample
from ..spelling import spelled
from .examples import contrasted, strongest_first

MORE = 3  # pairs told of a text besides the one that is marked
LEAST = 3  # of 10: weaker pairs are not told


def marked(tokens: Sequence[str], reader: int, source: int) -> str:
    """A text with one pair of its tokens marked. What the text itself has of these marks is spaced out."""
    parts = []
    for at, token in enumerate(tokens):
        text = spelled(token).replace("[[", "[ [").replace("]]", "] ]").replace("**", "* *")
        word = text.lstrip(" ") or text
        space = text[: len(text) - len(word)]
        if at == source:
            word = f"**{word}**"
        if at == reader:
            word = f"[[{word}]]"
        parts.append(space + word)
    return "".join(parts).strip()


def level(value: float, maximum: float) -> int:
    """The value of a pair as a whole number from 0 to 10."""
    return int(min(settings.SCALE, np.floor(settings.SCALE * max(value, 0.0) / maximum)))


def examples(evidence: Evidence) -> str:
    """Top and band examples, strongest first."""
    return _shown(evidence, strongest_first(evidence.of("explain", "top", "band")), 1)


def contrast(evidence: Evidence) -> str:
    """Examples, then those texts of the explain split in which it does least; empty without."""
    shown, near = contrasted(evidence)
    if not shown or not near:
        return ""
    return "\n\n".join(
        [
            "Texts in which it does much:",
            _shown(evidence, shown, 1),
            "Texts in which even its strongest pair is weak:",
            _shown(evidence, near, len(shown) + 1),
        ]
    )


def strongest(sample: Sample, most: int) -> list[tuple[int, int, float]]:
    """The reader, the source and the value of the pairs with the largest values, each reader once."""
    assert sample.pairs is not None
    sources = sample.pairs.argmax(1)
    values = sample.pairs[np.arange(len(sources)), sources]
    readers = sorted(range(sample.first, len(sources)), key=lambda at: -float(values[at]))[:most]
    return [(at, int(sources[at]), float(values[at])) for at in readers]


def _shown(evidence: Evidence, samples: Sequence[Sample], number: int) -> str:
    return "\n\n".join(_text(evidence, sample, at) for at, sample in enumerate(samples, number))


def _text(evidence: Evidence, sample: Sample, number: int) -> str:
    (reader, source, value), *others = strongest(sample, 1 + MORE)
    lines = [
        f"Text {number}, strength {level(value, evidence.maximum)}:",
        marked(sample.tokens, reader, source),
    ]
    for at, read, strength in others:
        told = level(strength, evidence.maximum)
        if told >= LEAST:
            lines.append(f'also "{spelled(sample.tokens[at])}" from "{spelled(sample.tokens[read])}", strength {told}')
    return "\n".join(lines)
