"""The tokens that a model may go on with, by how likely they are."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ..models.subject import SubjectModel
from ..records import Records
from .records import Candidate


def candidates(
    subject: SubjectModel, logits: Float[Tensor, " vocab"], k: int, also: Sequence[int]
) -> Records[Candidate]:
    """The k likeliest tokens and those of `also`, best first; `logits` are before any soft-cap, what is told after."""
    logits = subject.anatomy.cap(logits)
    logprobs = logits.log_softmax(-1)
    ids = logits.topk(min(k, len(logits))).indices.tolist()
    ids = list(dict.fromkeys([*ids, *also]))
    ranks = (logits[None] > logits[ids][:, None]).sum(1).tolist()
    return Records(
        Candidate(i, subject.text(i), float(logits[i]), float(logprobs[i]), float(logprobs[i].exp()), rank)
        for i, rank in sorted(zip(ids, ranks, strict=True), key=lambda pair: pair[1])
    )
