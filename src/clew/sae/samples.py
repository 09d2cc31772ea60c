"""Latents drawn at random, each with the pieces of text that it fires on most: for a person to look at."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..corpus.contexts import Contexts
from ..models.subject import SubjectModel
from .measures import Firing
from .records import Excerpt, LatentSample, Rating

EXCERPTS = 10  # of a latent, each from another context
BEFORE, AFTER = 20, 12  # tokens shown around the strongest


def drawn(n: int, samples: int, seed: int) -> Int[Tensor, " s"]:
    """Which latents: none twice, the dead as likely as any, in order."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:samples].sort().values


class Excerpts:
    """The contexts that each of some latents fires on most, by its maximum there; of equal ones the earlier."""

    def __init__(self, indexes: Int[Tensor, " s"], length: int) -> None:
        self.indexes = indexes
        self._context = torch.full((len(indexes), EXCERPTS), -1)
        self._values = torch.zeros(len(indexes), EXCERPTS, length)

    def see(self, context: int, latents: Float[Tensor, "b t s"]) -> None:
        """What the latents do in the contexts from number `context` on, zero where nothing was counted."""
        new = latents.cpu().float().permute(2, 0, 1)
        values = torch.cat((self._values, new), 1)
        contexts = torch.arange(context, context + new.shape[1]).expand(len(new), -1)
        contexts = torch.cat((self._context, contexts), 1)
        at = values.amax(2).sort(dim=1, descending=True, stable=True).indices[:, :EXCERPTS]
        self._values = values.gather(1, at[..., None].expand(-1, -1, values.shape[2]))
        self._context = contexts.gather(1, at)

    def of(self, i: int, subject: SubjectModel, contexts: Contexts) -> list[Excerpt]:
        """Those of the i-th latent, strongest first; as many as there are where it fires."""
        found = []
        for context, values in zip(self._context[i].tolist(), self._values[i], strict=True):
            if float(values.max()) <= 0:
                break
            peak = int(values.argmax())
            first, end = max(0, peak - BEFORE), peak + AFTER + 1
            texts = [subject.text(int(token)) for token in contexts.tokens(context)[first:end]]
            found.append(Excerpt(texts, values[first:end].tolist(), peak - first))
        return found


def samples_of(
    excerpts: Excerpts,
    firing: Firing,
    max_cosines: Float[Tensor, " n"],
    subject: SubjectModel,
    contexts: Contexts,
    ratings: Mapping[int, Rating],
) -> list[LatentSample]:
    """The records of the latents that were drawn."""
    densities, means = firing.densities, firing.means
    return [
        LatentSample(
            index=index,
            density=float(densities[index]),
            maximum=float(firing.maxima[index]),
            mean_active=float(means[index]),
            max_cosine=float(max_cosines[index]),
            excerpts=excerpts.of(i, subject, contexts),
            rating=ratings.get(index),
        )
        for i, index in enumerate(excerpts.indexes.tolist())
    ]
