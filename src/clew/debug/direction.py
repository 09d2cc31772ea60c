"""The direction of interest: which tokens against which, at which position.

D = mean logit(targets) − mean logit(distractors), before any soft-cap. Without distractors the second term is the
mean logit over the vocabulary, so that D does not move when every logit does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import BadDirection
from ..models.anatomy import Anatomy
from ..models.subject import SubjectModel
from ..models.vocabulary import one_token
from ..settings import MAX_TOKENS_PER_SIDE


@dataclass(frozen=True)
class Reading:
    """How D is read off the stream after the final norm: D = h·vector + bias."""

    targets: tuple[int, ...]
    distractors: tuple[int, ...]
    vector: Float[Tensor, " d"]
    bias: float

    def value(self, logits: Float[Tensor, " v"]) -> float:
        """D from logits (before the soft-cap), the one way that uses no decomposition."""
        logits = logits.cpu().double()  # mps has no float64
        against = logits[list(self.distractors)] if self.distractors else logits
        return float(logits[list(self.targets)].mean() - against.mean())


def reading(anatomy: Anatomy, targets: Sequence[int], distractors: Sequence[int]) -> Reading:
    """Raises BadDirection when targets and distractors are the same set, so that D is zero by definition."""
    if set(targets) == set(distractors):
        raise BadDirection(
            "Targets and distractors are the same tokens, so there is no difference to explain.",
            "Name a distractor that differs from the target.",
        )
    device = anatomy.unembed.weight.device
    vector, bias = anatomy.unembedding(torch.tensor(list(targets), device=device))
    if distractors:
        against, against_bias = anatomy.unembedding(torch.tensor(list(distractors), device=device))
    else:
        against, against_bias = anatomy.unembed_mean
    return Reading(tuple(targets), tuple(distractors), vector - against, bias - against_bias)


def token_ids(subject: SubjectModel, named: Sequence[str | int], side: str) -> list[int]:
    """The one token each text or id is, duplicates dropped. Raises NotOneToken, BadDirection (too many) or BadText."""
    if len(named) > MAX_TOKENS_PER_SIDE:
        raise BadDirection(f"{len(named)} {side}s are more than {MAX_TOKENS_PER_SIDE}.", "Name fewer.")
    return list(dict.fromkeys(one_token(subject, token, side) for token in named))
