"""Resampling of dead latents, as in the 2023 recipe (Bricken et al. 2023, "Towards Monosemanticity", appendix).

At 25,000, 50,000, 75,000 and 100,000 steps, for the latents that fired on nothing in the 12,500 steps before: take
819,200 random inputs; draw one for every dead latent, each on its own, with a probability proportional to the square of
its loss; the decoder row becomes that input at norm 1, the encoder row that input at 0.2 × the mean norm of the living
latents' encoder rows, the encoder bias 0; and Adam forgets what it knew of these numbers. Shorter runs do this at the
same shares of 200,000 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .group import ALONE, Group

_STEPS, _SPACING, _TIMES, _INPUTS = 200_000, 25_000, 4, 819_200
_LEAST_BATCHES = 4  # inputs are drawn from at least so many, however short the run
ENCODER_NORM = 0.2

Pair = tuple[Float[Tensor, "b d_in"], Float[Tensor, "b d_out"]]


@dataclass(frozen=True)
class Schedule:
    """When dead latents are replaced: every `spacing` steps, a few times; 0 is never."""

    spacing: int
    inputs: int

    @property
    def window(self) -> int:
        """Steps without firing after which a latent is replaced."""
        return max(1, self.spacing // 2)

    def due(self, step: int) -> bool:
        """Whether it is time after so many steps."""
        return self.spacing > 0 and step > 0 and step % self.spacing == 0 and step // self.spacing <= _TIMES

    def times(self, steps: int) -> int:
        """How often it is time in a run of so many steps, after the last of which it never is."""
        return min(_TIMES, (steps - 1) // self.spacing) if self.spacing else 0


def schedule(steps: int, batch: int) -> Schedule:
    """That of a run of `steps` steps."""
    shrunk = min(1.0, steps / _STEPS)
    return Schedule(int(_SPACING * shrunk), max(_LEAST_BATCHES * batch, int(_INPUTS * shrunk)))


def draw(
    batches: Iterable[Pair],
    weigh: Callable[[Pair], Float[Tensor, " b"]],
    count: int,
    generator: torch.Generator,
    group: Group = ALONE,
) -> Pair | None:
    """`count` inputs with their targets, each drawn on its own with a probability proportional to its weight.

    Only what is drawn is held: after each batch, every draw moves to an input of that batch with the probability that
    the batch's share of the weight so far gives it. Per batch the generator gives two uniform numbers a draw: whether
    to move, and where to. None if all weights are 0.

    The ranks of a group have the batches in turns (the last ones may be empty); what is drawn is the same on all, and
    the same as one rank would draw from all batches.
    """
    drawn: Pair | None = None
    total = 0.0
    for pair in batches:
        for rank, weight in enumerate(group.gather(weigh(pair).to("cpu", torch.float64))):
            if not len(weight):
                continue
            ends = weight.cumsum(0)
            uniform = torch.rand(2, count, dtype=torch.float64, generator=generator)
            here = float(ends[-1])
            if here == 0:
                continue
            total += here
            moves = (uniform[0] * total < here).nonzero()[:, 0]
            at = _places(ends, uniform[1, moves] * here).to(pair[0].device)
            moves = moves.to(pair[0].device)
            if drawn is None:
                drawn = pair[0].new_empty(count, pair[0].shape[1]), pair[1].new_empty(count, pair[1].shape[1])
            for kept, rows in zip(drawn, pair, strict=True):
                kept[moves] = rows[at] if rank == group.rank else 0.0
    if drawn is not None:
        group.sum_(drawn)
    return drawn


def _places(ends: Float[Tensor, " b"], at: Float[Tensor, " m"]) -> Int[Tensor, " m"]:
    """Which interval each number lies in; intervals of no length hold none."""
    return torch.searchsorted(ends, at, right=True).clamp_max(int((ends < ends[-1]).sum()))


def replace_rows(
    weights: dict[str, Tensor], dead: Int[Tensor, " m"], drawn: Pair, group: Group = ALONE
) -> dict[str, Int[Tensor, " m"]]:
    """Give the dead latents rows made of what was drawn for each. Returns which rows of which weights changed.

    The ranks of a group have a portion of the latents each, and what was drawn for theirs.
    """
    living = torch.ones(len(weights["b_enc"]), dtype=torch.bool, device=dead.device)
    living[dead] = False
    norms = weights["w_enc"].norm(dim=1)
    sums = torch.stack([norms[living].sum(), living.sum().to(norms), norms.sum(), norms.new_tensor(len(norms))])
    group.sum_([sums])
    total, count = sums[:2] if sums[1] > 0 else sums[2:]
    size = ENCODER_NORM * total / count
    read, written = (rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12) for rows in drawn)
    weights["w_enc"][dead] = read * size
    weights["w_dec"][dead] = written
    weights["b_enc"][dead] = 0.0
    return dict.fromkeys(("w_enc", "w_dec", "b_enc"), dead)
