"""What would be simulated without the words: by a table of tokens, by the mean, or for another text.

Words that do not beat the table say no more than which tokens the component fires on. A simulator that does as well on
another text's words goes by where in a text tokens stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from .evidence import Evidence, Sample


@dataclass(frozen=True)
class Table:
    """An activation from 0 to 10 for each token of the vocabulary that was seen, and one for those that were not."""

    means: Mapping[int, float]
    unseen: float

    def __call__(self, sample: Sample) -> Float64[np.ndarray, " t"]:
        """What it says of a text."""
        return np.array([self.means.get(token, self.unseen) for token in sample.ids])


def table_of(evidence: Evidence) -> Table:
    """The mean activation of each token over the counted tokens of the explain split.

    A token that was not seen there gets the median of these means: what a token does whose kind was not looked for.
    The mean would be raised by the very tokens that the examples were chosen for.
    """
    ids: list[int] = []
    values: list[float] = []
    for sample in evidence.of("explain"):
        ids += sample.ids[sample.first :]
        values += evidence.scaled(sample)[sample.first :].tolist()
    if not ids:
        return Table({}, 0.0)
    seen, at, counts = np.unique(ids, return_inverse=True, return_counts=True)
    means = np.bincount(at, values) / counts
    return Table(dict(zip(seen.tolist(), means.tolist(), strict=True)), float(np.median(means)))


def turns(n: int) -> Iterator[list[int]]:
    """Whose answer each of n texts is given, so that none gets its own: of all, the one 1, 2, … n − 1 places on."""
    for offset in range(1, n):
        yield [(at + offset) % n for at in range(n)]


def fitted(simulated: Sequence[Float64[np.ndarray, " t"]], turn: Sequence[int]) -> list[Float64[np.ndarray, " t"]]:
    """The simulation of another text for each, token by token from its start; begun anew where it is too short."""
    return [np.resize(simulated[other], len(own)) for own, other in zip(simulated, turn, strict=True)]


def shuffled(simulated: Sequence[Float64[np.ndarray, " t"]], seed: int) -> list[Float64[np.ndarray, " t"]]:
    """The simulation of another text for each, in one turn drawn by seed; of a single text nothing."""
    every = list(turns(len(simulated)))
    return fitted(simulated, every[int(np.random.default_rng(seed).integers(len(every)))]) if every else []
