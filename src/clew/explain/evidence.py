"""What is known of a component when words for it are looked for, split so that what scores it was never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from .. import settings
from ..nodes import Node
from .records import SampleKind, Split


@dataclass(frozen=True)
class Sample:
    """A piece of text and what the component does on each of its tokens.

    `context` and `start` say where in the atlas's text it was cut out. The first `first` tokens are shown and not
    counted: nothing stands before them. Of a head, `activations` holds for each token the largest value into it and
    `pairs` the value of token P from S, [P, S], zero above the diagonal.
    """

    kind: SampleKind
    split: Split
    context: int
    start: int
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    activations: Float64[np.ndarray, " t"]
    first: int
    pairs: Float64[np.ndarray, "t t"] | None = None

    @property
    def peak(self) -> int:
        """The token with the largest activation that counts."""
        return self.first + int(self.activations[self.first :].argmax())

    @property
    def strongest(self) -> tuple[int, int]:
        """Of a head, the token and its source of the largest value that counts."""
        assert self.pairs is not None
        counted = self.pairs[self.first :]
        row, source = np.unravel_index(int(counted.argmax()), counted.shape)
        return self.first + int(row), int(source)


@dataclass(frozen=True)
class Evidence:
    """All samples of a component. `maximum` is its largest activation in those that the explainer sees; `alike` names
    components whose texts near misses were taken from; `density` is the share of the corpus's tokens it fires on."""

    component: Node
    maximum: float
    samples: tuple[Sample, ...]
    alike: tuple[str, ...] = ()
    density: float | None = None

    def of(self, split: Split, *kinds: SampleKind) -> tuple[Sample, ...]:
        """The samples of a split, of some kinds or of all."""
        return tuple(one for one in self.samples if one.split == split and (not kinds or one.kind in kinds))

    def scaled(self, sample: Sample) -> Float64[np.ndarray, " t"]:
        """A sample's activations from 0 to 10 of the maximum, not rounded; above 10 where it is exceeded."""
        return settings.SCALE * np.maximum(sample.activations, 0) / self.maximum

    def levels(self, sample: Sample, top: int = settings.SCALE) -> Int64[np.ndarray, " t"]:
        """A sample's activations as whole numbers: min(top, ⌊top·relu(a)/max⌋) (Bills et al. 2023, Methods)."""
        return np.minimum(top, np.floor(top * np.maximum(sample.activations, 0) / self.maximum)).astype(np.int64)
