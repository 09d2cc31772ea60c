"""One question answered: a forward and a backward pass over one prompt, reduced to sums and a ranked table."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import NotFinite
from ..models.subject import SubjectModel
from ..models.tape import Stop, Tape
from .direction import Reading
from .effects import Effects
from .ranking import Selection
from .records import NodeEffect, Records


@dataclass(frozen=True)
class Answer:
    """What one pass leaves behind. `logits` are those at the position of interest, before any soft-cap.

    `final_scale` is the final norm's 1/σ at every position, [t].
    """

    effects: Effects
    nodes: Records[NodeEffect]
    logits: Float[Tensor, " v"]
    final_scale: Float[Tensor, " t"]
    pass_s: float
    table_s: float


def predict(
    subject: SubjectModel, ids: Int[Tensor, " t"], position: int, stop: Stop | None = None
) -> Float[Tensor, " v"]:
    """Logits at `position`, before any soft-cap, without a backward pass. Raises NotFinite or Cancelled."""
    with subject.lock, torch.no_grad():
        hidden = Tape(subject.anatomy, stop).forward(ids, grad=False)
        return _logits(subject, hidden[position])


def answer(
    subject: SubjectModel,
    ids: Int[Tensor, " t"],
    position: int,
    reading: Reading,
    selection: Selection,
    stop: Stop | None = None,
) -> Answer:
    """Explain D at `position`. Raises NotFinite, Cancelled or TooManyNodes."""
    anatomy = subject.anatomy
    norm = anatomy.final_norm
    start = time.perf_counter()
    with subject.lock:
        tape = Tape(anatomy, stop)
        hidden = tape.forward(ids)
        with torch.no_grad():
            logits = _logits(subject, hidden[position])
            scale = norm.scale(tape.resid[-1])
            direction = norm.pull(reading.vector) * scale[position]
        effects = Effects(anatomy, len(ids), position, direction, selection)
        if norm.bias is not None:
            effects.end("final_norm", float(norm.bias.norm()), float(norm.bias @ reading.vector))
        if anatomy.unembed.bias is not None:
            effects.end("unembed", 0.0, reading.bias)
        tape.backward(hidden[position].float() @ reading.vector, effects)
    passed = time.perf_counter()
    nodes = Records(
        NodeEffect(str(n), n.kind, n.layer, n.index, n.position, n.source, *values) for n, values in effects.rows()
    )
    return Answer(effects, nodes, logits, scale[:, 0], passed - start, time.perf_counter() - passed)


def _logits(subject: SubjectModel, hidden: Float[Tensor, " d"]) -> Float[Tensor, " v"]:
    logits = subject.anatomy.unembed(hidden).float()
    if not torch.isfinite(logits).all():
        raise NotFinite(
            f"{subject.name} gives NaN or infinite logits on this prompt, so nothing it says can be explained.",
            "Its weights may be damaged, or its dtype too narrow: pull it again, or try --dtype float32.",
        )
    return logits
