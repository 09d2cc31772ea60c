"""Steering: what the model goes on with while a component's activation is held at a strength.

The strength is not chosen by hand but by what it does: k times a reference activation, k in [2⁻², 2¹⁰] such that the
mean KL(steered ‖ as is) of the next token's distribution after the prompts is 1 nat, so that components are compared by
what they make the model say and not by how loudly (Paulo et al. 2024 fix the divergence likewise).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from ...atlas.components import Components
from ...errors import Cancelled
from ...models.interventions import Interventions
from ...models.rest import Rest
from ...models.subject import SubjectModel
from ...models.tape import Stop
from ...nodes import Node
from .replacement import first_layer, replacing

TARGET = 1.0  # nats
_WEAKEST, _STRONGEST = -2.0, 10.0  # log2 of the least and the largest k
_HALVINGS = 10  # of that range: k is found to 0.8 %


@dataclass(frozen=True)
class Steering:
    """Edits that hold an activation from the last token of a prompt on at `k` times a reference, and the KL that gives:
    below the target where the component cannot move the output so far."""

    edits: Interventions
    k: float
    kl: float


def tuned(
    components: Components, component: Node, reference: float, ids: Int[Tensor, "b p"], stop: Stop | None = None
) -> Steering:
    """The steering of prompts of one length that makes the target's difference.

    Takes the subject's lock. Raises NotFinite or Cancelled.
    """
    subject, length = components.subject, ids.shape[1]
    with subject.lock:
        rest = Rest.of(subject.anatomy, ids, first_layer(components, component), stop)
    clean = subject.finite(_logits(subject, rest.normed[:, -1])).log_softmax(-1)

    def steered(power: float) -> Steering:
        edits = replacing(components, component, length, _Held(length - 1, reference * 2**power))
        with subject.lock:
            logs = _logits(subject, rest.again(edits, stop)[:, -1]).log_softmax(-1)
        kl = float((logs.exp() * (logs - clean)).sum(-1).mean())
        # What is not a number any more was steered too hard.
        return Steering(edits, 2**power, kl if kl == kl else float("inf"))

    low, high = steered(_WEAKEST), steered(_STRONGEST)
    if low.kl >= TARGET or high.kl < TARGET:
        return low if low.kl >= TARGET else high
    weak, strong = _WEAKEST, _STRONGEST
    for _ in range(_HALVINGS):
        middle = steered((weak + strong) / 2)
        if middle.kl < TARGET:
            low, weak = middle, (weak + strong) / 2
        else:
            high, strong = middle, (weak + strong) / 2
    return low


@torch.no_grad()
def continued(
    subject: SubjectModel, ids: Int[Tensor, "b p"], n: int, edits: Interventions | None, stop: Stop | None = None
) -> list[str]:
    """What the model goes on with, token by token the likeliest, up to its end token or `n` tokens.

    Takes the subject's lock. Raises NotFinite or Cancelled.
    """
    # Without a configuration every layer keeps all keys.
    cache = DynamicCache()
    rows = torch.arange(ids.shape[1], device=ids.device)
    tokens, made = ids, []
    for _ in range(min(n, subject.max_length - ids.shape[1])):
        if stop is not None and stop():
            raise Cancelled("It was cancelled before it was done.")
        with subject.lock, nullcontext() if edits is None else edits.hooks(partial(_same, rows)):
            output = subject.anatomy.base(input_ids=tokens, cache=cache, use_cache=True)
        tokens = subject.finite(_logits(subject, output.last_hidden_state[:, -1])).argmax(-1)[:, None]
        rows = rows[-1:] + 1
        made.append(tokens)
    end = subject.tokenizer.eos_token_id
    return [
        subject.decode(row[: row.index(end)] if isinstance(end, int) and end in row else row)
        for row in torch.cat(made, 1).tolist()
    ]


@dataclass(frozen=True)
class _Held:
    """Puts one value in the place of activations from a position on."""

    first: int
    value: float

    def __call__(self, x: Float[Tensor, "b r 1"], at: Int[Tensor, " r"]) -> Float[Tensor, "b r 1"]:
        return torch.where(at[:, None] >= self.first, torch.full_like(x, self.value), x)


@torch.no_grad()
def _logits(subject: SubjectModel, normed: Float[Tensor, "b d"]) -> Float[Tensor, "b v"]:
    return subject.anatomy.cap(subject.anatomy.unembed(normed)).float()


def _same(rows: Int[Tensor, " r"]) -> Int[Tensor, " r"]:
    return rows
