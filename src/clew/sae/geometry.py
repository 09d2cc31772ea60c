"""How the directions that latents write lie to each other."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .records import Histogram

_AT_ONCE = 2**24  # cosines held at once: 64 MiB
_EDGES = np.linspace(-1, 1, 41)


def max_cosines(rows: Float[Tensor, "n d"], others: Float[Tensor, "m d"] | None = None) -> Float[Tensor, " n"]:
    """The largest cosine of each row with any of the others, by default with any row but itself.

    A row of zeros has cosine 0 with everything, and so has a row without another. Never holds n × m numbers.
    """
    rows = torch.nn.functional.normalize(rows.float(), dim=1)
    theirs = rows if others is None else torch.nn.functional.normalize(others.float(), dim=1)
    if len(theirs) <= (others is None):
        return torch.zeros(len(rows), device=rows.device)
    step = max(1, _AT_ONCE // len(theirs))
    found: list[Tensor] = []
    for start in range(0, len(rows), step):
        cosines = rows[start : start + step] @ theirs.T
        if others is None:
            cosines.diagonal(start).fill_(-torch.inf)
        found.append(cosines.amax(1))
    return torch.cat(found)


def cosine_histogram(cosines: Float[Tensor, " n"]) -> Histogram:
    """In 40 bins from −1 to 1."""
    counts, edges = np.histogram(cosines.cpu().double().numpy().clip(-1, 1), _EDGES)
    return Histogram(edges.tolist(), counts.tolist(), 0)
