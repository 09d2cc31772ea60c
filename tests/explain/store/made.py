"""Explanations and scores with every field said."""

from __future__ import annotations

from typing import Any

from clew.explain.records import Baseline, Cost, Explanation, Failure, Score, Strip, Subject

MODEL = Subject("tiny", "f00d")
LATENTS = Subject("tiny", "f00d", "beef")


def explanation(component: str = "neuron.1.2", text: str = "names of cities", **changes: Any) -> Explanation:
    """An explanation of a neuron, chosen and without scores."""
    fields: dict[str, Any] = {
        "subject": MODEL,
        "component": component,
        "text": text,
        "llm": "some@http://127.0.0.1:1/v1",
        "variant": "examples",
        "prompt": "examples-1",
        "atlas": "tiny",
        "seed": 3,
        "chosen": True,
        "cost": Cost(2, 1, 300, 40, 0.25),
        "validation": 0.5,
        "cited": ("neuron.0.1@3", "embed@1"),
        "density": 0.01,
    }
    return Explanation(**{**fields, **changes})


def score(value: float | None = 0.5, **changes: Any) -> Score:
    """A simulation score on the test split, with a strip that failed."""
    fields: dict[str, Any] = {
        "scorer": "simulation",
        "split": "test",
        "llm": "some@http://127.0.0.1:1/v1",
        "method": "json",
        "prompt": "json-1",
        "value": value,
        "low": None if value is None else value - 0.1,
        "high": None if value is None else value + 0.1,
        "tokens": 128,
        "texts": {"top": 5, "random": 4},
        "failures": (Failure("malformed", "no JSON"),),
        "measures": {"r_squared": 0.25, "near_miss": None},
        "baselines": (Baseline("table", 0.125), Baseline("mean", None), Baseline("shuffled", -0.0625)),
        "cost": Cost(10, 0, 1000, 500),
        "seed": 3,
        "strips": (
            Strip("top", 7, 3, ["a", " b"], [0.0, 10.0], [0.5, 9.0], None),
            Strip("random", 8, 0, ["c\n", "\x00"], [0.0, 1 / 3], None, Failure("malformed", "no JSON")),
        ),
    }
    return Score(**{**fields, **changes})
