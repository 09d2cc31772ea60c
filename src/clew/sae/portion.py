"""The latents that a rank holds, where an autoencoder is too wide for one device, and tensors that lie with all ranks.

Every rank has a stretch of the latents: their rows of the encoder and the decoder, their biases and thresholds, what
Adam knows of these, and their counters. What belongs to no latent (b_dec, b_pre, w_skip) is the same on all ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from .group import ALONE, Group

_PIECE = 2**24  # bytes of a tensor that are sent at once


def check_portions(latents: int, ranks: int) -> None:
    """Raises UsageError when there is not a latent for every rank."""
    if latents < ranks:
        raise UsageError(
            f"{latents:,} latents cannot be shared out over {ranks:,} workers.",
            "Take fewer workers, or leave the latents on each of them.",
        )


@dataclass(frozen=True)
class Portion:
    """Those of `whole` latents that this rank of a group holds: from `low` to before `high`, or all of them."""

    whole: int
    group: Group = ALONE

    @property
    def low(self) -> int:
        return self.start(self.group.rank)

    @property
    def high(self) -> int:
        return self.start(self.group.rank + 1)

    @property
    def size(self) -> int:
        return self.high - self.low

    @property
    def is_whole(self) -> bool:
        return self.group.size == 1

    def start(self, rank: int) -> int:
        """The first latent of a rank."""
        return self.whole * rank // self.group.size

    def tokens(self, count: int) -> slice:
        """This rank's share of some tokens that all ranks have: what they do alike is done once."""
        rank, size = self.group.rank, self.group.size
        return slice(count * rank // size, count * (rank + 1) // size)

    def counts(self, here: int) -> list[int]:
        """Of some of its latents, how many each rank has. All ranks have to ask."""
        return [int(part) for part in self.group.gather(torch.tensor([here]))]

    def shared(self, rows: Tensor, dim: int = 0) -> Tensor | Shared:
        """A tensor of which this rank has what belongs to its latents; as it is where that is all."""
        return rows if self.is_whole else Shared(rows, self, dim)


class Shared:
    """A tensor that lies with all ranks of a portion, latents along `dim` (0 or 1); `rows` are those of this rank."""

    def __init__(self, rows: Tensor, portion: Portion, dim: int) -> None:
        self.rows, self._portion, self._dim = rows, portion, dim
        shape = list(rows.shape)
        shape[dim] = portion.whole
        self.shape, self.dtype = torch.Size(shape), rows.dtype
        self._pieces = self._sent()

    def pieces(self) -> Iterator[Tensor]:
        """The whole tensor on rank 0, piece by piece in the order of its numbers, and nothing on the others, who have
        to ask at the same time. It is sent once: who asks again is given what was left."""
        # One by one: what is under way must not be closed by a reader that fails.
        while (piece := next(self._pieces, None)) is not None:
            yield piece

    def _sent(self) -> Iterator[Tensor]:
        group, rows = self._portion.group, self.rows.detach()
        bytes_of_one = rows.element_size()
        if self._dim == 0:
            step = max(1, _PIECE // (bytes_of_one * max(1, self.shape[1:].numel())))
            for rank in range(group.size):
                for start in range(0, self._portion.start(rank + 1) - self._portion.start(rank), step):
                    mine = rows[start : start + step] if rank == group.rank else rows[:0]
                    parts = group.collect(mine.cpu())
                    yield parts[rank] if parts else mine[:0]
            return
        step = max(1, _PIECE // (bytes_of_one * self._portion.whole))
        for start in range(0, len(rows), step):
            mine = rows[start : start + step].cpu().contiguous()
            parts = group.collect(mine.view(-1))
            yield torch.cat([part.view(len(mine), -1) for part in parts], 1) if parts else mine[:0]


Storable = Mapping[str, Tensor | Shared]


def in_order(tensors: Storable) -> list[tuple[str, Tensor | Shared]]:
    """The order in which tensors are written to a file: all ranks go by it. Those of wide numbers come first, so that
    none lies across a boundary of its type."""
    return sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))


@contextmanager
def sending(*files: Storable) -> Iterator[None]:
    """A context in which rank 0 writes the tensors of files, one file after the other, and the others do nothing. At
    its end all that was not asked for is sent, so that no rank waits for another when the writing failed."""
    try:
        yield
    finally:
        for tensors in files:
            for _, tensor in in_order(tensors):
                if isinstance(tensor, Shared):
                    for _ in tensor.pieces():
                        pass
