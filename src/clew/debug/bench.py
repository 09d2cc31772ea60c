"""What an answer costs, as a ratio to its floor: a bare forward and backward pass of the same model.

Both run in this process, in turns, on the same weights and tokens. The floor is transformers with its own fastest
attention, weights frozen, logits at one position only, the gradient of D sent back to the embeddings.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import PromptTooLong
from ..models import attention
from ..models.subject import SubjectModel
from ..records import Record, Records
from .answer import answer
from .case import Case
from .direction import Reading, reading
from .model import Model
from .ranking import Selection
from .scalar import Final

FLOOR_ATTENTION = "sdpa"
SECONDS = 6.0  # about how long one prompt length is measured
ROUNDS = (3, 25)


@dataclass(frozen=True)
class Cost(Record):
    """Medians over `rounds` turns, in seconds; `ratio` is the median of the turns' ratios."""

    tokens: int
    bare_s: float
    node_table_s: float
    ratio: float
    rounds: int


def measure(model: Model, tokens: Sequence[int], seconds: float = SECONDS) -> Records[Cost]:
    """The cost of the full node table at several prompt lengths, on random tokens. Raises PromptTooLong."""
    return Records(_cost(model.subject, length, seconds) for length in tokens)


def _cost(subject: SubjectModel, length: int, seconds: float) -> Cost:
    if length > subject.max_length:
        raise PromptTooLong(
            f"{length:,} tokens are more than the {subject.max_length:,} that {subject.name} reads.", "Measure fewer."
        )
    vocabulary = subject.anatomy.unembed.out_features
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(vocabulary, (length,), generator=generator).to(subject.device)
    look = reading(subject.anatomy, [1], [2])
    case = Case(subject, ids, length - 1)

    def table() -> None:
        answer(case, Final(subject.anatomy, look, length - 1), Selection())

    def floor() -> None:
        bare(subject, ids, look)

    first = _turn(floor, table, subject)  # warms caches; not counted
    rounds = max(ROUNDS[0], min(ROUNDS[1], round(seconds / sum(first))))
    turns = [_turn(floor, table, subject) for _ in range(rounds)]
    return Cost(
        tokens=length,
        bare_s=statistics.median(one for one, _ in turns),
        node_table_s=statistics.median(other for _, other in turns),
        ratio=statistics.median(other / one for one, other in turns),
        rounds=rounds,
    )


def bare(subject: SubjectModel, ids: Int[Tensor, " t"], look: Reading) -> None:
    """transformers' own forward pass and the backward pass of D, nothing recorded."""
    embedded = subject.anatomy.embed(ids[None]).detach().requires_grad_()
    with torch.enable_grad():
        logits = subject.hf(inputs_embeds=embedded, use_cache=False, logits_to_keep=1).logits[0, -1]
        (logits[list(look.targets)].mean() - logits[list(look.distractors)].mean()).backward()


def _turn(floor: Callable[[], None], table: Callable[[], None], subject: SubjectModel) -> tuple[float, float]:
    with own_attention(subject):
        start = time.perf_counter()
        floor()
        middle = time.perf_counter()
    resumed = time.perf_counter()
    table()
    return middle - start, time.perf_counter() - resumed


@contextmanager
def own_attention(subject: SubjectModel) -> Iterator[None]:
    """The model under transformers' own fastest attention."""
    subject.hf.set_attn_implementation(FLOOR_ATTENTION)
    try:
        yield
    finally:
        subject.hf.set_attn_implementation(attention.IMPLEMENTATION)
