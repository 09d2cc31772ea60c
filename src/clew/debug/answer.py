"""One question answered: a forward and a backward pass over one prompt, reduced to sums and a ranked table."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.subject import SubjectModel
from ..models.tape import Stop, Tape
from ..records import Records
from .case import Case
from .effects import Effects
from .ranking import Selection
from .records import NodeEffect
from .scalar import Final, Scalar


@dataclass(frozen=True)
class Answer:
    """What one pass leaves behind.

    `value` is what is explained. When that is D, `logits` are those at the position of interest, before any soft-cap,
    and `final_scale` is the final norm's 1/σ at every position; None in a trace, whose pass ends before them.
    """

    effects: Effects
    nodes: Records[NodeEffect]
    value: float
    logits: Float[Tensor, " v"] | None
    final_scale: Float[Tensor, " t"] | None
    pass_s: float
    table_s: float


def predict(case: Case, stop: Stop | None = None) -> Float[Tensor, " v"]:
    """Logits at the position of interest, before any soft-cap, no backward pass. Raises NotFinite or Cancelled."""
    edits = case.interventions
    with case.subject.lock, torch.no_grad():
        stream = Tape(case.subject.anatomy, edits, stop).forward(case.ids, grad=False)
        return _logits(case.subject, stream[case.position])


def answer(case: Case, scalar: Scalar, selection: Selection, stop: Stop | None = None) -> Answer:
    """Explain a number on a prompt under its edits. Raises NotFinite, Cancelled or TooManyNodes."""
    subject, anatomy = case.subject, case.subject.anatomy
    norm, edits = anatomy.final_norm, case.interventions
    start = time.perf_counter()
    logits = scale = None
    with subject.lock:
        attached = case.upstream(scalar.depth, scalar.own)
        tape = Tape(anatomy, edits, stop, [d.autoencoder for d in attached.values()])
        stream = tape.forward(case.ids, scalar.depth)
        read = stream[scalar.positions]
        with torch.no_grad():
            effects = Effects(anatomy, len(case.ids), scalar.positions, scalar.directions(read), selection, attached)
            if isinstance(scalar, Final):
                logits, scale = _logits(subject, stream[case.position]), norm.scale(stream)[:, 0]
                value = scalar.reading.value(logits)
                if norm.bias is not None:
                    effect = float(norm.bias @ scalar.reading.vector)
                    effects.end("final_norm", float(norm.bias.norm()), effect)
                if anatomy.unembed.bias is not None:
                    effects.end("unembed", 0.0, scalar.reading.bias)
            else:
                value = float(scalar.value(read[None])[0])
                subject.finite(torch.tensor(value))
            # What is added to a stream that is taken apart into latents is in them.
            added = [more for layer, more in tape.added.items() if layer > effects.cut + 1]
            if added:
                written = torch.stack(added).float().sum(0)[scalar.positions]
                effects.extra("edit", float((written * scalar.directions(read)).sum()))
            for name, effect in scalar.extras(read).items():
                effects.extra(name, effect)
        tape.backward(scalar.value(read[None])[0], effects)
    passed = time.perf_counter()
    nodes = Records(
        NodeEffect(str(n), n.kind, n.layer, n.index, n.position, n.source, *values) for n, values in effects.rows()
    )
    return Answer(effects, nodes, value, logits, scale, passed - start, time.perf_counter() - passed)


def _logits(subject: SubjectModel, stream: Float[Tensor, " d"]) -> Float[Tensor, " v"]:
    anatomy = subject.anatomy
    return subject.finite(anatomy.unembed(anatomy.final_norm_module(stream[None]))[0].float())
