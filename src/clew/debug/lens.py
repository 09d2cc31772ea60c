"""The logit lens: what the residual stream would predict if the model ended after each layer.

nostalgebraist, "interpreting GPT: the logit lens" (2020): the final norm (with its own scale at that point) and the
unembedding are applied to the stream after every layer.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import Cancelled
from ..models.subject import SubjectModel
from ..models.tape import Stop, Tape
from .case import Case
from .direction import Reading
from .records import Lens, LensCell

ROWS = 256  # residual vectors unembedded at once: 256 × 50k logits are 50 MB


def lens(case: Case, reading: Reading, stop: Stop | None = None) -> Lens:
    """Rows are the embeddings and then every layer; columns the tokens. Raises Cancelled."""
    subject, anatomy, edits = case.subject, case.subject.anatomy, case.interventions
    with subject.lock, torch.no_grad():
        tape = Tape(anatomy, edits, stop)
        tape.forward(case.ids, grad=False)
        values: list[list[float]] = []
        top: list[list[LensCell]] = []
        for resid in tape.resid:
            hidden = anatomy.final_norm_module(resid)
            values.append((hidden.float() @ reading.vector + reading.bias).tolist())
            top.append([cell for chunk in hidden.split(ROWS) for cell in _cells(subject, chunk, stop)])
    return Lens(values, top)


def _cells(subject: SubjectModel, hidden: Float[Tensor, "r d"], stop: Stop | None) -> list[LensCell]:
    if stop is not None and stop():
        raise Cancelled("The question was cancelled before it was answered.")
    logits = subject.anatomy.cap(subject.anatomy.unembed(hidden).float())
    best, ids = logits.max(-1)
    probabilities = (best - logits.logsumexp(-1)).exp()
    return [LensCell(i, subject.text(i), p) for i, p in zip(ids.tolist(), probabilities.tolist(), strict=True)]
