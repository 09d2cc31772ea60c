"""Explanations, scores and strips as rows of the database, and back."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from ...nodes import parse
from ..records import Baseline, Cost, Explanation, Failure, Problem, Score, Strip, Subject

HEADLINES = ("simulation", "pairs")  # of neurons and latents, and of heads


def now() -> str:
    """The time as it is kept: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def subject_row(subject: Subject) -> dict[str, Any]:
    """What is missing is an empty text."""
    return {
        "model": subject.model,
        "fingerprint": subject.fingerprint or "",
        "autoencoder": subject.autoencoder or "",
    }


def explanation_row(explanation: Explanation, subject: int) -> dict[str, Any]:
    """Without scores. Raises BadNode for a component that has no id."""
    component = parse(explanation.component).component
    return {
        "digest": _digest(
            subject,
            explanation.component,
            explanation.text,
            explanation.llm,
            explanation.variant,
            explanation.prompt,
            explanation.seed,
            explanation.parent,
            explanation.node,
            explanation.question,
        ),
        "subject": subject,
        "component": explanation.component,
        "kind": component.kind,
        "layer": component.layer,
        "number": component.index,
        "text": explanation.text,
        "llm": explanation.llm,
        "variant": explanation.variant,
        "prompt": explanation.prompt,
        "atlas": explanation.atlas,
        "seed": explanation.seed,
        "chosen": explanation.chosen,
        "cost": explanation.cost.to_dict(),
        "validation": _finite(explanation.validation),
        "parent": explanation.parent,
        "node": explanation.node,
        "question": explanation.question,
        "cited": list(explanation.cited),
        "density": _finite(explanation.density),
        "created": explanation.created or now(),
    }


def score_row(score: Score, explanation: int) -> dict[str, Any]:
    """Without strips."""
    baselines = {one.name: _finite(one.value) for one in score.baselines}
    return {
        "explanation": explanation,
        "scorer": score.scorer,
        "split": score.split,
        "llm": score.llm,
        "method": score.method,
        "prompt": score.prompt,
        "value": _finite(score.value),
        "low": _finite(score.low),
        "high": _finite(score.high),
        "tokens": int(score.tokens),
        "texts": {kind: int(count) for kind, count in score.texts.items()},
        "failures": [failure.to_dict() for failure in score.failures],
        "failed": _finite(score.value) is None and bool(score.failures),
        "measures": {name: _finite(value) for name, value in score.measures.items()},
        "baselines": [{"name": name, "value": value} for name, value in baselines.items()],
        "table": baselines.get("table"),
        "cost": score.cost.to_dict(),
        "seed": score.seed,
        "created": score.created or now(),
    }


def problem_row(problem: Problem, subject: int, llm: str) -> dict[str, Any]:
    """The same problem has the same digest."""
    failure = problem.failure
    return {
        "digest": _digest(subject, problem.component, llm, problem.stage, failure.kind, failure.message),
        "subject": subject,
        "component": problem.component,
        "llm": llm,
        "stage": problem.stage,
        "kind": failure.kind,
        "message": failure.message,
        "created": now(),
    }


def headline(scores: Sequence[Score]) -> float | None:
    """What the last of these says that an explanation is worth; None where none says."""
    said = [one.value for one in scores if one.scorer in HEADLINES and one.split == "test" and one.value is not None]
    return _finite(said[-1]) if said else None


def read_explanation(row: Row[Any], scores: Sequence[Score]) -> Explanation:
    """From the columns of explanations and of its subject."""
    found = row._mapping
    return Explanation(
        subject=Subject(found["model"], found["fingerprint"] or None, found["autoencoder"] or None),
        component=found["component"],
        text=found["text"],
        llm=found["llm"],
        variant=found["variant"],
        prompt=found["prompt"],
        atlas=found["atlas"],
        seed=found["seed"],
        chosen=bool(found["chosen"]),
        cost=Cost(**found["cost"]),
        validation=found["validation"],
        parent=found["parent"],
        node=found["node"],
        question=found["question"],
        cited=tuple(found["cited"]),
        scores=tuple(scores),
        density=found["density"],
        id=found["id"],
        created=found["created"],
    )


def read_score(row: Row[Any]) -> Score:
    """From the columns of scores."""
    found = row._mapping
    return Score(
        scorer=found["scorer"],
        split=found["split"],
        llm=found["llm"],
        method=found["method"],
        prompt=found["prompt"],
        value=found["value"],
        low=found["low"],
        high=found["high"],
        tokens=found["tokens"],
        texts=found["texts"],
        failures=tuple(Failure(**failure) for failure in found["failures"]),
        measures=found["measures"],
        baselines=tuple(Baseline(**baseline) for baseline in found["baselines"]),
        cost=Cost(**found["cost"]),
        seed=found["seed"],
        id=found["id"],
        created=found["created"],
    )


def read_problem(row: Row[Any]) -> Problem:
    """From the columns of problems."""
    found = row._mapping
    return Problem(found["component"], found["stage"], Failure(found["kind"], found["message"]))


def pack(strips: Sequence[Strip]) -> bytes:
    """Strips as they are kept; activations to six digits, which halves their size."""
    documents = [
        {
            "kind": strip.kind,
            "context": int(strip.context),
            "start": int(strip.start),
            "tokens": list(strip.tokens),
            "real": _numbers(strip.real),
            "simulated": None if strip.simulated is None else _numbers(strip.simulated),
            "failure": None if strip.failure is None else strip.failure.to_dict(),
        }
        for strip in strips
    ]
    return zlib.compress(json.dumps(documents, separators=(",", ":")).encode())


def unpack(content: bytes) -> list[Strip]:
    """What `pack` made."""
    documents: list[Mapping[str, Any]] = json.loads(zlib.decompress(content))
    return [
        Strip(**{**found, "failure": None if found["failure"] is None else Failure(**found["failure"])})
        for found in documents
    ]


def _digest(*parts: str | int | None) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _numbers(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _finite(value: float | None) -> float | None:
    """A number that JSON and every database have; None for others, which say nothing either."""
    return None if value is None or not math.isfinite(value) else float(value)
