"""An atlas in memory, of components whose activations are given: what is done with one can be held to the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from jaxtyping import Float64, Int64

from clew import settings
from clew.atlas.atlas import Atlas
from clew.atlas.records import Band, Component, Example
from clew.explain.evidence import Evidence
from clew.explain.pool import ALIKE, Activity, Pool, Similar
from clew.explain.records import Failure
from clew.explain.samples import _evidence
from clew.nodes import Node, parse
from clew.records import ExampleKind


@dataclass(frozen=True)
class SyntheticAtlas:
    """Neurons of layer 0 over some contexts; examples are kept as a collection keeps them (docs/atlas.md)."""

    vocabulary: Sequence[str]
    ids: Int64[np.ndarray, "contexts tokens"]
    activations: Mapping[int, Float64[np.ndarray, "contexts tokens"]]
    window: int = settings.WINDOW
    skip: int = settings.SKIPPED
    seed: int = 0
    pool: int = settings.POOL

    folder = Path("synthetic")

    @property
    def sizes(self) -> Mapping[str, int]:
        """The blocks there are."""
        return {"neuron.0": len(self.activations)}

    def info(self) -> Any:
        """The settings that are asked for."""
        return SimpleNamespace(window=self.window, skip=self.skip, imported=None)

    def component(self, node: Node) -> Component:
        """What a collection would have kept of a neuron."""
        assert node.index is not None
        draw = Random(f"{self.seed} {node}")
        activations = self.activations[node.index]
        counted = activations[:, self.skip :]
        scores, peaks = counted.max(1), counted.argmax(1) + self.skip
        best = np.argsort(-scores, kind="stable")
        top = [row for row in best.tolist() if scores[row] > 0][: settings.TOP_EXAMPLES]
        bands = []
        for number in range(settings.BANDS if top else 0):
            high = 2.0 ** (np.floor(np.log2(scores.max())) + 1 - number)
            rows = ((scores >= high / 2) & (scores < high)).nonzero()[0].tolist()
            drawn = draw.sample(rows, min(len(rows), settings.BAND_EXAMPLES))
            examples = [
                self._around(activations, "band", i, row, int(peaks[row]), number) for i, row in enumerate(drawn)
            ]
            bands.append(Band(high / 2, high, None, None, len(rows), examples))
        rows = draw.sample(range(len(self.ids)), min(len(self.ids), settings.RANDOM_EXAMPLES))
        starts = [draw.randint(0, self.ids.shape[1] - self.window) for _ in rows]
        unknown = Component.unknown(node)
        return Component(
            **{
                **vars(unknown),
                "top": [self._around(activations, "top", i, row, int(peaks[row])) for i, row in enumerate(top)],
                "bands": bands,
                "random": [
                    self._example(activations, "random", i, row, start, start)
                    for i, (row, start) in enumerate(zip(rows, starts, strict=True))
                ],
            }
        )

    def evidence(self, index: int, seed: int = 0, pooled: bool = True) -> Evidence | Failure:
        """A neuron's evidence; without a pool when told so."""
        node = Node("neuron", 0, index)
        seen = (self._pool, self.activity(index)) if pooled else None
        return _evidence(cast(Atlas, self), node, seen, Random(f"{seed} {node}"))

    def activity(self, index: int) -> Activity:
        """What reading the pool would give."""
        rows = self._pool.contexts
        scored = sorted(((self._correlations[index, other], other) for other in self.activations), reverse=True)
        similar = []
        for correlation, other in [(value, other) for value, other in scored if other != index and value > 0][:ALIKE]:
            counted = self.activations[other][rows, self.skip :]
            name = parse(f"neuron.0.{other}")
            peaks, at = counted.max(1), counted.argmax(1) + self.skip
            similar.append(Similar(name, float(correlation), peaks.astype(np.float32), at))
        return Activity(self.activations[index][rows].astype(np.float32), tuple(similar))

    @cached_property
    def _pool(self) -> Pool:
        rows = np.array(sorted(Random(self.seed).sample(range(len(self.ids)), min(self.pool, len(self.ids)))))
        return cast(Pool, SimpleNamespace(contexts=rows, ids=self.ids[rows], skip=self.skip))

    @cached_property
    def _correlations(self) -> dict[tuple[int, int], float]:
        names = list(self.activations)
        fired = np.stack([self.activations[name][self._pool.contexts, self.skip :].ravel() for name in names])
        centred = np.maximum(fired, 0) - np.maximum(fired, 0).mean(1, keepdims=True)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        unit = centred / np.where(length > 0, length, 1)
        table = unit @ unit.T
        return {(a, b): table[i, j] for i, a in enumerate(names) for j, b in enumerate(names)}

    def _around(
        self, activations: np.ndarray, kind: ExampleKind, rank: int, row: int, peak: int, band: int | None = None
    ) -> Example:
        start = min(max(peak - 3 * self.window // 4, 0), self.ids.shape[1] - self.window)
        return self._example(activations, kind, rank, row, start, peak, band)

    def _example(
        self,
        activations: np.ndarray,
        kind: ExampleKind,
        rank: int,
        row: int,
        start: int,
        peak: int,
        band: int | None = None,
    ) -> Example:
        part = slice(start, start + self.window)
        ids: list[int] = self.ids[row, part].tolist()
        tokens = [self.vocabulary[token] for token in ids]
        return Example(
            kind, band, rank, "".join(tokens), tokens, ids, activations[row, part].tolist(), None,
            float(activations[row, peak]), peak - start, None, row, start, "",
        )  # fmt: skip
