"""Questions as HTTP asks them, put to the model; the last few answers are kept.

Everything here runs on the job's worker thread, one call at a time, so nothing is locked.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import NotFinite, UsageError
from .events import event
from .jobs import Stop
from .schemas.questions import (
    AlignQuestion,
    CompareQuestion,
    Filters,
    GenerateQuestion,
    PatternQuestion,
    Question,
    SweepQuestion,
    TableQuestion,
    VerifyQuestion,
)

if TYPE_CHECKING:
    from ..debug import Model, Run
    from ..debug.records import NodeEffect
    from ..sae import Autoencoder
    from .attached import Attached

KEPT = 24  # runs: a question, its second prompt, its edits and each step of a trace count one each

_Key = tuple[object, ...]


class Answers:
    """Answers of one model. Every method raises what `Model.debug` and `Run` raise."""

    def __init__(self, model: Model, attached: Attached, kept: int = KEPT) -> None:
        self._model = model
        self._attached = attached
        self._kept = kept
        self._models: dict[tuple[Autoencoder, ...], Model] = {}
        self._runs: OrderedDict[_Key, Run] = OrderedDict()

    def run(self, question: Question, stop: Stop) -> Run:
        """The run that answers a question."""
        return self._run(question, {}, stop)

    def debug(self, question: TableQuestion, stop: Stop) -> bytes:
        """The document of `clew debug --json` with the sums the page draws, as JSON."""
        return encode(_document(self._run(question, filters(question), stop), question, stop))

    def nodes(self, question: TableQuestion, stop: Stop) -> bytes:
        """The node table under other filters, as JSON."""
        run = self._run(question, filters(question), stop)
        return encode({"nodes": run.nodes(**filters(question), stop=stop).to_dict()})

    def node(self, question: Question, node: str, stop: Stop) -> bytes:
        """One node in detail, as JSON."""
        return encode(self.run(question, stop).node(node, stop=stop).to_dict())

    def lens(self, question: Question, stop: Stop) -> bytes:
        """The logit lens, as JSON."""
        return encode(self.run(question, stop).lens(stop=stop).to_dict())

    def compare(self, question: CompareQuestion, stop: Stop) -> bytes:
        """The question as it is beside itself with edits, or beside its second prompt, as JSON."""
        table = filters(question)
        plain = question.model_copy(update={"edits": []})
        left = self._run(plain, table, stop)
        if question.against == "edited":
            right = self._run(question, table, stop)
            comparison = right.compare(stop=stop, **table)
        else:
            right = left.alongside(self._second(question, stop), question.alignment).ready(stop)
            comparison = left.compare(right, question.alignment, stop, **table)
        sides = {"left": _document(left, question, stop), "right": _document(right, question, stop)}
        return encode({**sides, "comparison": comparison.to_dict()})

    def align(self, question: AlignQuestion) -> bytes:
        """Two prompts token by token, as JSON."""
        left, right, pairs = self._model.align(question.prompt, question.second, question.bos)
        return encode({"left": left.to_dict(), "right": right.to_dict(), "alignment": pairs})

    def pattern(self, question: PatternQuestion, stop: Stop) -> bytes:
        """A head's attention, as JSON."""
        return encode(self.run(question, stop).pattern(question.head).to_dict())

    def verify(self, question: VerifyQuestion, stop: Stop) -> Iterator[bytes]:
        """The events of a verification."""
        from ..debug.agreement import agreement

        run = self.run(question, stop)
        other = self._second(question, stop) if question.ablation == "resample" else None
        measured: list[NodeEffect] = []
        start = time.perf_counter()
        for batch in run.verifying(
            question.top, question.nodes, question.ablation, question.renormalise, other, question.alignment, stop
        ):
            if not measured:
                yield event("start", encode({"total": batch.total}))
            measured += batch
            progress = {"done": len(measured), "total": batch.total}
            yield event("rows", encode({**progress, "nodes": batch.to_dict()}))
        if not measured:
            yield event("start", encode({"total": 0}))
        seconds = time.perf_counter() - start
        yield event("done", encode({"seconds": seconds, "agreement": agreement(measured).to_dict()}))

    def sweep(self, question: SweepQuestion, stop: Stop) -> Iterator[bytes]:
        """The events of a sweep."""
        run, second = self.run(question, stop), self._second(question, stop)
        target = run.alongside(second, question.alignment).value
        ends = {"first": run.value, "second": target, "alignment": run.alignment(second, question.alignment)}
        done, start = 0, time.perf_counter()
        for batch in run.sweeping(second, question.kinds, question.alignment, stop):
            if not done:
                yield event("start", encode({"total": batch.total, **ends}))
            done += len(batch)
            yield event("cells", encode({"done": done, "total": batch.total, "cells": batch.to_dict()}))
        yield event("done", encode({"seconds": time.perf_counter() - start}))

    def generate(self, question: GenerateQuestion, stop: Stop) -> Iterator[bytes]:
        """The events of a continuation."""
        run = self.run(question.model_copy(update={"trace": []}), stop)
        ids: list[int] = []
        for token in run.generating(question.n, question.temperature, question.seed, stop):
            ids.append(token.id)
            yield event("token", encode(token.to_dict()))
        yield event("done", encode({"text": self._model.subject.decode(ids)}))

    def _run(self, question: Question, first_table: dict[str, Any], stop: Stop) -> Run:
        """The kept run of this question, or a new one whose first pass makes `first_table`."""
        key = _asked(question)
        targets, distractors = tuple(question.targets), tuple(question.distractors)
        run = self._keep(
            key,
            lambda: self._explainer(question).debug(
                question.prompt, targets, distractors, question.position, question.bos, **first_table, stop=stop
            ),
        )
        if question.edits:
            key = (*key, tuple(question.edits), *_paired(question))
            plain = run
            run = self._keep(key, lambda: self._edited(plain, question, stop))
        for step in question.trace:
            key = (*key, "trace", step)
            run = self._keep(key, lambda run=run, step=step: run.trace(step).ready(stop))
        return run

    def _edited(self, plain: Run, question: Question, stop: Stop) -> Run:
        patched = question.second is not None and any(edit.startswith("patch:") for edit in question.edits)
        second = self._second(question, stop) if patched else None
        return plain.edit(*question.edits, second=second, alignment=question.alignment).ready(stop)

    def _second(self, question: Question, stop: Stop) -> Run:
        """The kept run of a question's second prompt, for the same targets and distractors. Raises UsageError."""
        second = question.second
        if second is None:
            raise UsageError("This takes a second prompt, and there is none.", 'Send "second": {"prompt": "…"}.')
        targets: tuple[str | int, ...] = tuple(question.targets)
        distractors = tuple(question.distractors)
        if not targets:
            # The model's top prediction is that of the first prompt: both sides explain the same difference.
            plain = question.model_copy(update={"edits": [], "trace": []})
            targets = tuple(token.id for token in self.run(plain, stop).direction.targets)
        attached = tuple(question.autoencoders)
        key = ("second", second.prompt, second.position, targets, distractors, question.bos, attached)
        model = self._explainer(question)
        return self._keep(
            key, lambda: model.debug(second.prompt, targets, distractors, second.position, question.bos, stop=stop)
        )

    def _explainer(self, question: Question) -> Model:
        """The model with the question's autoencoders attached."""
        if not question.autoencoders:
            return self._model
        wanted = self._attached.named(list(dict.fromkeys(question.autoencoders)))
        if wanted not in self._models:
            # What is kept of one that was replaced on the shelf goes with the others.
            if len(self._models) >= self._kept:
                self._models.clear()
            self._models[wanted] = self._model.attach(*wanted)
        return self._models[wanted]

    def _keep(self, key: _Key, make: Callable[[], Run]) -> Run:
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = make()
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


def _document(run: Run, question: TableQuestion, stop: Stop) -> dict[str, Any]:
    """The document of `clew debug --json` with the sums the page draws."""
    return run.to_dict() | {
        "nodes": run.nodes(**filters(question), stop=stop).to_dict(),
        "by_token": run.by_token().to_dict(),
        "by_layer": run.by_layer().to_dict(),
        "by_layer_position": run.by_layer_position().to_dict(),
        "autoencoders": run.autoencoders,
        "edits": run.edits,
        "trace": run.steps.to_dict(),
    }


def _asked(question: Question) -> _Key:
    lists = (question.targets, question.distractors, question.autoencoders)
    return (question.prompt, *map(tuple, lists), question.position, question.bos)


def _paired(question: Question) -> _Key:
    """What of the second prompt an edit depends on."""
    if question.second is None:
        return ()
    return (question.second.prompt, None if question.alignment is None else tuple(question.alignment))


def _distinct(numbers: list[int] | None) -> list[int] | None:
    return None if numbers is None else sorted(set(numbers))
