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

_Key = tuple[str, tuple[str, ...], tuple[str, ...], int | None, bool]


class Answers:
    """Answers of one model. `debug`, `nodes`, `node` and `lens` raise what `Model.debug` and `Run` raise."""

    def __init__(self, model: Model, kept: int = KEPT) -> None:
        self._model = model
        self._kept = kept
        self._runs: OrderedDict[_Key, Run] = OrderedDict()

    def debug(self, question: TableQuestion, stop: Stop) -> bytes:
        """The document of `clew debug --json` with the sums the page draws, as JSON."""
        run = self._run(question, filters(question), stop)
        document = run.to_dict()
        document["nodes"] = run.nodes(**filters(question), stop=stop).to_dict()
        document["by_token"] = run.by_token().to_dict()
        document["by_layer"] = run.by_layer().to_dict()
        document["by_layer_position"] = run.by_layer_position().to_dict()
        return encode(document)

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

    def _run(self, question: Question, first_table: dict[str, Any], stop: Stop) -> Run:
        """The kept run of this question, or a new one whose first pass makes `first_table`."""
        targets, distractors = tuple(question.targets), tuple(question.distractors)
        key = (question.prompt, targets, distractors, question.position, question.bos)
        run = self._runs.get(key)
        if run is None:
            run = self._model.debug(
                question.prompt, targets, distractors, question.position, question.bos, **first_table, stop=stop
            )
            self._runs[key] = run
            if len(self._runs) > self._kept:
                self._runs.popitem(last=False)
        self._runs.move_to_end(key)
        return run


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
