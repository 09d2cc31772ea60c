"""Questions as HTTP asks them, put to the model; the last few answers are kept.

Everything here runs on the job's worker thread, one call at a time, so nothing is locked.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from ..errors import NotFinite
from .jobs import Stop
from .schemas import Filters, Question, TableQuestion

if TYPE_CHECKING:
    from ..debug import Model, Run

KEPT = 8

_Key = tuple[object, ...]


class Answers:
    """Answers of one model. `debug`, `nodes`, `node` and `lens` raise what `Model.debug` and `Run` raise."""

    def __init__(self, model: Model, kept: int = KEPT) -> None:
        self._model = model
        self._kept = kept
        self._runs: OrderedDict[_Key, Run] = OrderedDict()

    def debug(self, question: TableQuestion, stop: Stop) -> bytes:
        """The document of `clew debug --json` with the sums the page draws, as JSON."""
        return encode(self._document(self._run(question, filters(question), stop), question, stop))

    def nodes(self, question: TableQuestion, stop: Stop) -> bytes:
        """The node table under other filters, as JSON."""
        run = self._run(question, filters(question), stop)
        return encode({"nodes": run.nodes(**filters(question), stop=stop).to_dict()})

    def node(self, question: Question, node: str, stop: Stop) -> bytes:
        """One node in detail, as JSON."""
        return encode(self._run(question, {}, stop).node(node, stop=stop).to_dict())

    def lens(self, question: Question, stop: Stop) -> bytes:
        """The logit lens, as JSON."""
        return encode(self._run(question, {}, stop).lens(stop=stop).to_dict())

    def compare(self, question: CompareQuestion, stop: Stop) -> bytes:
        """The question as it is against itself with edits, or against its second prompt, as JSON."""
        table = filters(question)
        left, right, alignment = self._sides(question, table, stop)
        comparison = left.compare(right, alignment, **table, stop=stop)
        sides = {"left": self._document(left, question, stop), "right": self._document(right, question, stop)}
        return encode({**sides, "comparison": comparison.to_dict()})

    def align(self, question: AlignQuestion) -> bytes:
        """Two prompts token by token, as JSON."""
        left = self._model.tokens(question.prompt, question.bos)
        right = self._model.tokens(question.second, question.bos)
        pairs = align([token.id for token in left], [token.id for token in right])
        return encode({"left": left.to_dict(), "right": right.to_dict(), "alignment": pairs})

    def pattern(self, question: PatternQuestion, stop: Stop) -> bytes:
        """A head's attention, as JSON."""
        return encode(self._run(question, {}, stop).pattern(question.head, stop=stop).to_dict())

    def verify(self, question: VerifyQuestion, stop: Stop) -> Iterator[bytes]:
        """The events of a verification."""
        run = self._run(question, {}, stop)
        other = self._second(question, stop) if question.ablation == "resample" else None
        top = None if question.nodes is not None else question.top
        measured: list[NodeEffect] = []
        start = time.perf_counter()
        for batch in run.verifying(top, question.nodes, question.ablation, question.renormalise, other, stop):
            if not measured:
                yield event("start", encode({"total": batch.total}))
            measured += batch
            progress = {"done": len(measured), "total": batch.total}
            yield event("rows", encode({**progress, "nodes": batch.to_dict()}))
        seconds = time.perf_counter() - start
        yield event("done", encode({"seconds": seconds, "agreement": agreement(measured).to_dict()}))

    def sweep(self, question: SweepQuestion, stop: Stop) -> Iterator[bytes]:
        """The events of a sweep."""
        run = self._run(question, {}, stop)
        second = self._second(question, stop)
        done, start = 0, time.perf_counter()
        for batch in run.sweeping(second, question.kinds, question.alignment, stop):
            if not done:
                yield event("start", encode({
                    "total": batch.total, "first": run.value, "second": second.value, "alignment": batch.alignment,
                }))  # fmt: skip
            done += len(batch)
            yield event("cells", encode({"done": done, "total": batch.total, "cells": batch.to_dict()}))
        yield event("done", encode({"seconds": time.perf_counter() - start}))

    def generate(self, question: GenerateQuestion, stop: Stop) -> Iterator[bytes]:
        """The events of a continuation."""
        run = self._run(question, {}, stop)
        text = ""
        for token in run.generating(question.n, question.temperature, question.seed, stop):
            text += token.text
            yield event("token", encode(token.to_dict()))
        yield event("done", encode({"text": text}))

    def _document(self, run: Run, question: TableQuestion, stop: Stop) -> dict[str, Any]:
        """The document of `clew debug --json` with the sums the page draws."""
        document = run.to_dict()
        document["nodes"] = run.nodes(**filters(question), stop=stop).to_dict()
        document["by_token"] = run.by_token().to_dict()
        document["by_layer"] = run.by_layer().to_dict()
        document["by_layer_position"] = run.by_layer_position().to_dict()
        document["edits"] = run.edits
        document["trace"] = run.steps.to_dict()
        return document

    def _run(self, question: Question, first_table: dict[str, Any], stop: Stop) -> Run:
        """The kept run of this question, or a new one whose first pass makes `first_table`."""
        run = self._plain(question, first_table, stop)
        key: _Key = (*_asked(question), *question.edits)
        if question.edits:
            if question.second is not None:
                key = (*key, question.second.prompt, question.second.position, str(question.alignment))

            def edited() -> Run:
                second = None if question.second is None else self._second(question, stop)
                return run.edit(*question.edits, second=second, alignment=question.alignment)

            plain = run
            run = self._keep(key, edited)
        return self._traced(run, key, question.trace, stop)

    def _sides(
        self, question: CompareQuestion, table: dict[str, Any], stop: Stop
    ) -> tuple[Run, Run, list[int | None] | None]: ...


def filters(question: Filters) -> dict[str, Any]:
    """The filters as keywords of `Model.debug` and `Run.nodes`."""
    return {
        "top": question.top,
        "threshold": question.threshold,
        "kinds": question.kinds,
        "layers": _distinct(question.layers),
        "positions": _distinct(question.positions),
        "sources": _distinct(question.sources),
    }


def encode(document: Any) -> bytes:
    """UTF-8 JSON. Raises NotFinite for NaN or infinity, which JSON does not have."""
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise NotFinite(
            "The answer holds a number that is not finite.", "Try another dtype: float32 has the widest range."
        ) from error


def _distinct(numbers: list[int] | None) -> list[int] | None:
    return None if numbers is None else sorted(set(numbers))
