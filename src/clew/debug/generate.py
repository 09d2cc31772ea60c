"""The text that the model goes on with, under edits.

Edits at every position also hold for what is generated; a patch has nothing to put in place there, and leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from ..errors import Cancelled, NotFinite, PromptTooLong, UsageError
from ..models.tape import Stop
from ..settings import MAX_GENERATED
from .case import Case
from .records import GeneratedToken


def generate(case: Case, n: int, temperature: float, seed: int, stop: Stop | None) -> Iterator[GeneratedToken]:
    """Up to n tokens, each as it is chosen; ends early at the model's end token or longest prompt.

    `temperature` 0 takes the likeliest token; otherwise tokens are drawn from softmax(logits / temperature) with a
    generator of their own. Raises UsageError, PromptTooLong, NotFinite or Cancelled.
    """
    subject = case.subject
    if not 1 <= n <= MAX_GENERATED:
        raise UsageError(f"{n} is not a number of tokens to add.", f"Take 1 to {MAX_GENERATED}.")
    if not 0 <= temperature < float("inf"):
        raise UsageError(f"{temperature} is not a temperature.", "Use 0 for the likeliest token, or 0.7.")
    room = subject.max_length - len(case.ids)
    if room < 1:
        raise PromptTooLong(
            f"The prompt is as long as {subject.name} reads: {subject.max_length:,} tokens.", "Shorten it to go on."
        )
    draw = torch.Generator().manual_seed(seed)
    # Without a configuration every layer keeps all keys, so that columns of a pattern stay positions of the prompt.
    cache = DynamicCache()
    rows = torch.arange(len(case.ids), device=subject.device)
    tokens = case.ids
    end = subject.tokenizer.eos_token_id if subject.tokenizer is not None else None
    for _ in range(min(n, room)):
        if stop is not None and stop():
            raise Cancelled("The continuation was cancelled before it was done.")
        logits = _step(case, tokens, rows, cache)
        if not torch.isfinite(logits).all():
            raise NotFinite(
                "The model's logits are NaN or infinite, so it cannot go on.", "Try weaker edits, or float32."
            )
        token = _choose(logits, temperature, draw)
        position = int(rows[-1]) + 1
        yield GeneratedToken(position, token, subject.text(token), float(logits.softmax(-1)[token]))
        if token == end:
            return
        tokens = torch.tensor([token], device=subject.device)
        rows = torch.tensor([position], device=subject.device)


@torch.no_grad()
def _step(case: Case, tokens: Int[Tensor, " r"], rows: Int[Tensor, " r"], cache: DynamicCache) -> Float[Tensor, " v"]:
    """Logits after tokens at positions `rows`, soft-cap included; the cache grows by their keys and values."""
    subject, edits = case.subject, case.interventions
    with subject.lock, nullcontext() if edits is None else edits.hooks(lambda: rows):
        output = subject.anatomy.base(input_ids=tokens[None], cache=cache, use_cache=True)
    return subject.anatomy.cap(subject.anatomy.unembed(output.last_hidden_state[0, -1]).float())


def _choose(logits: Float[Tensor, " v"], temperature: float, draw: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    # From the largest down and in float64, so that however low the temperature nothing overflows.
    scores = (logits.cpu().double() - logits.max().item()) / temperature
    return int(torch.multinomial(scores.softmax(-1).float(), 1, generator=draw))
