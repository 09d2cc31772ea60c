"""Files of neurons and heads as OpenAI published them, with every field of the schema."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

WORDS = ["The", " cat", " sat", " on", " the", " mat", ".", "\n", " naïve", " \ufffd", "<|endoftext|>", " \u732b"]
BOUNDARIES = [None, 0.25, 1.0, 2.5, 6.0, None]
TOP = "most_positive_activation_records"
NEURONS, HEADS = "collated-activations", "attn_write_norm/collated-activations-by-token-pair"


def record(draw: Random, low: float, high: float, *, pairs: bool, length: int) -> dict[str, Any]:
    """A text whose largest activation lies in [low, high)."""
    n = length * (length + 1) // 2 if pairs else length
    peak = draw.uniform(low, high)
    activations = [draw.uniform(0.0 if pairs else -0.17, 0.9 * peak) for _ in range(n)]
    activations[draw.randrange(n)] = peak
    return {
        "dataclass_name": "ActivationRecord",
        "tokens": draw.choices(WORDS, k=length),
        "activations": activations,
    }


def component(
    layer: int, index: int, *, pairs: bool = False, length: int = 16, shared: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """A NeuronRecord; `shared` records come first in its random sample."""
    draw = Random(1000 * layer + 2 * index + pairs)

    def records(n: int, low: float, high: float) -> list[dict[str, Any]]:
        return [record(draw, low, high, pairs=pairs, length=length) for _ in range(n)]

    ends = [0.01, 0.25, 1.0, 2.5, 6.0, 12.0]
    top = sorted(records(6, 6.0, 12.0), key=lambda found: -max(found["activations"]))
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": index},
        "random_sample": (shared or []) + records(3, 0.01, 6.0),
        "random_sample_by_quantile": [records(2, low, high) for low, high in itertools.pairwise(ends)],
        "quantile_boundaries": list(BOUNDARIES),
        "mean": draw.uniform(-0.1, 0.1),
        "variance": draw.uniform(0.01, 0.3),
        "skewness": draw.uniform(2, 9),
        "kurtosis": draw.uniform(10, 200),
        TOP: top,
    }


def write(root: Path, records: Mapping[str, Any]) -> None:
    """The files of records, by their paths below `root`."""
    for path, document in records.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document), encoding="utf-8")


def small(*, layers: int = 2, neurons: int = 5, heads: int = 3) -> dict[str, Any]:
    """A small model's records by path; the first neuron of every layer shares a text with the first of the model."""
    first = record(Random(7), 1.0, 2.0, pairs=False, length=16)
    found: dict[str, Any] = {}
    for layer in range(layers):
        for index in range(neurons):
            shared = [{**first, "activations": [index + value for value in first["activations"]]}]
            found[f"{NEURONS}/{layer}/{index}.json"] = component(layer, index, shared=shared)
        for index in range(heads):
            found[f"{HEADS}/{layer}/{index}.json"] = component(layer, index, pairs=True, length=9)
    return found
