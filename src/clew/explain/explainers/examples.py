"""What a neuron or latent does on its examples, as text for a language model: a token a line with its activation.

Activations are whole numbers from 0 to 10 (Evidence.levels; Bills et al. 2023, Methods). Only samples of the explain
split are shown, by any of the explainers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence import Evidence, Sample
from ..spelling import spelled

SPARSE = 0.2  # of a text's tokens: when fewer fire they are listed once more, so that none is overlooked
CONTRASTED = 5  # texts shown as contrast at most


def text_of(tokens: Sequence[str]) -> str:
    """Tokens as the text that they make, on one line."""
    return spelled("".join(tokens)).strip()


def listed(tokens: Sequence[str], levels: Sequence[int], first: int) -> str:
    """`token<TAB>activation`, a token a line; those that do not count have a - instead."""
    return "\n".join(
        f"{spelled(token)}\t{'-' if at < first else level}"
        for at, (token, level) in enumerate(zip(tokens, levels, strict=True))
    )


def examples(evidence: Evidence) -> str:
    """Top and band examples, strongest first, and of those that fire on few tokens these tokens again."""
    return _shown(evidence, strongest_first(evidence.of("explain", "top", "band")))


def contrast(evidence: Evidence) -> str:
    """Examples, then texts of which it would be thought that it fires there, and that it hardly does; empty without."""
    shown, near = contrasted(evidence)
    if not shown or not near:
        return ""
    faint = [
        f"Text {number}: {text_of(one.tokens)}\n{_strongest(evidence, one)}"
        for number, one in enumerate(near, len(shown) + 1)
    ]
    return "\n\n".join(
        [
            "Texts in which it fires:",
            _shown(evidence, shown),
            "Texts that look alike, in which it fires weakly or not at all:",
            *faint,
        ]
    )


def contrasted(evidence: Evidence) -> tuple[list[Sample], list[Sample]]:
    """The examples to show and the texts to hold against them: near misses and random texts of the explain split, or
    where it has none the weaker half of its band examples."""
    near = strongest_first(evidence.of("explain", "near_miss", "random"))
    band = strongest_first(evidence.of("explain", "band"))
    shown = strongest_first(evidence.of("explain", "top"))
    if near:
        return shown or band, near[:CONTRASTED]
    half = (len(band) + 1) // 2
    return shown + band[:-half], band[-half:][-CONTRASTED:] if band else []


def strongest_first(samples: Sequence[Sample]) -> list[Sample]:
    """Samples by their largest activation; of a head that is the value of its strongest pair."""
    return sorted(samples, key=lambda one: -float(one.activations[one.peak]))


def _shown(evidence: Evidence, samples: Sequence[Sample]) -> str:
    parts: list[str] = []
    again: list[str] = []
    for number, sample in enumerate(samples, 1):
        levels = evidence.levels(sample).tolist()
        parts.append(f"Text {number}:\n{listed(sample.tokens, levels, sample.first)}")
        firing = [at for at in range(sample.first, len(levels)) if levels[at] > 0]
        if firing and len(firing) < SPARSE * (len(levels) - sample.first):
            tokens, strengths = [sample.tokens[at] for at in firing], [levels[at] for at in firing]
            again.append(f"Text {number}:\n{listed(tokens, strengths, 0)}")
    if again:
        parts += ["The same without the tokens it does not fire on:", *again]
    return "\n\n".join(parts)


def _strongest(evidence: Evidence, sample: Sample) -> str:
    level = int(evidence.levels(sample)[sample.peak])
    return f'Strongest: {level} on "{spelled(sample.tokens[sample.peak])}"' if level else "It fires nowhere in it."
