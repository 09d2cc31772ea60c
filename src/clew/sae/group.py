"""The processes that train one plan together: ranks 0 to n − 1, which do the same at the same time.

Every rank makes the same calls in the same order with tensors of the same kind: a rank that leaves one out has all
others wait for it. What is summed is the same on all ranks, bit for bit, so that what each makes of it stays the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import ClewError, WorkersLost

_LARGE = 16_384  # numbers from which on a tensor is summed by itself, without a copy
_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8)


class Group(Protocol):
    """How the ranks of a training speak to each other. Everything but `rank` and `size` raises WorkersLost."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all ranks into every tensor, in place."""
        ...

    def gather(self, rows: Tensor) -> list[Tensor]:
        """What every rank gave, by rank; they may differ in length, which is their first dimension."""
        ...

    def collect(self, rows: Tensor) -> list[Tensor]:
        """The same on rank 0; nothing on the others."""
        ...

    def spread_(self, tensors: Sequence[Tensor]) -> None:
        """Put what rank 0 has into every tensor, in place."""
        ...

    def agree(self, flag: bool) -> bool:
        """Whether any rank says so: the same answer everywhere."""
        ...


class Alone:
    """One process, which is all there is: nothing here does anything."""

    rank, size = 0, 1

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """See `Group`."""

    def gather(self, rows: Tensor) -> list[Tensor]:
        """See `Group`."""
        return [rows]

    collect = gather

    def spread_(self, tensors: Sequence[Tensor]) -> None:
        """See `Group`."""

    def agree(self, flag: bool) -> bool:
        """See `Group`."""
        return flag


ALONE = Alone()


class Together:
    """The ranks of torch.distributed's default process group, which has to be there already.

    Its backend has to know tensors on the CPU too: gloo, or cpu:gloo,cuda:nccl.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """See `Group`."""
        large = [tensor.numel() >= _LARGE and tensor.is_contiguous() for tensor in tensors]
        with _reaching():
            under_way = [
                dist.all_reduce(tensor, async_op=True) for tensor, alone in zip(tensors, large, strict=True) if alone
            ]
            for some in _alike([tensor for tensor, alone in zip(tensors, large, strict=True) if not alone]):
                flat = torch.cat([tensor.reshape(-1) for tensor in some])
                dist.all_reduce(flat)
                _pour(flat, some)
            for work in under_way:
                assert work is not None
                work.wait()

    def gather(self, rows: Tensor) -> list[Tensor]:
        """See `Group`."""
        with _reaching():
            counts, dtype = self._counted(rows)
            # As bytes, since gloo does not know all types.
            padded = torch.zeros((max(counts), *rows.shape[1:]), dtype=dtype, device=rows.device)
            padded[: len(rows)] = rows
            mine = padded.reshape(-1).view(torch.uint8)
            parts = [torch.empty_like(mine) for _ in range(self.size)]
            if len(mine):
                dist.all_gather(parts, mine)
        return [part.view(dtype).view(padded.shape)[:count] for part, count in zip(parts, counts, strict=True)]

    def collect(self, rows: Tensor) -> list[Tensor]:
        """See `Group`."""
        with _reaching():
            counts, dtype = self._counted(rows)
            if self.rank > 0:
                if len(rows):
                    dist.send(rows.contiguous().reshape(-1).view(torch.uint8), 0)
                return []
            parts = [rows.to(dtype)]
            for rank, count in enumerate(counts[1:], 1):
                part = torch.empty((count, *rows.shape[1:]), dtype=dtype, device=rows.device)
                if count:
                    dist.recv(part.view(-1).view(torch.uint8), rank)
                parts.append(part)
        return parts

    def spread_(self, tensors: Sequence[Tensor]) -> None:
        """See `Group`."""
        with _reaching():
            for some in _alike(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in some])
                dist.broadcast(flat, 0)
                _pour(flat, some)

    def agree(self, flag: bool) -> bool:
        """See `Group`."""
        told = torch.tensor([float(flag)])
        with _reaching():
            dist.all_reduce(told)
        return bool(told)

    def _counted(self, rows: Tensor) -> tuple[list[int], torch.dtype]:
        """How many rows each rank has, and of which type they are: a rank with none need not know it."""
        told = [torch.zeros(2, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(told, torch.tensor([len(rows), _TYPES.index(rows.dtype)]))
        counts = [int(count) for count, _ in told]
        kinds = [_TYPES[int(kind)] for count, kind in told if count]
        return counts, kinds[0] if kinds else rows.dtype


class OneFate:
    """A context: what fails in it on one rank fails on all of them. Nothing in it may speak to other ranks."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._group.size == 1 or not self._group.agree(error is not None):
            return
        for rank, told in enumerate(self._group.gather(_told(error))):
            if error is None and len(told):
                code, message, hint = json.loads(bytes(told.tolist()))
                found = _kinds(ClewError).get(code, ClewError)
                raise found(message if code else f"Worker {rank} failed: {message}", hint)


def _told(failure: BaseException | None) -> Tensor:
    """An error as bytes, by its code; none are no bytes."""
    if failure is None:
        return torch.zeros(0, dtype=torch.uint8)
    if isinstance(failure, ClewError):
        words = failure.code, failure.message, failure.hint
    else:
        words = "", f"{type(failure).__name__}: {failure}", ""
    return torch.tensor(list(json.dumps(words).encode()), dtype=torch.uint8)


def _kinds(kind: type[ClewError]) -> dict[str, type[ClewError]]:
    """Every error by its code."""
    found = {kind.code: kind}
    for narrower in kind.__subclasses__():
        found |= _kinds(narrower)
    return found


def _alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors of one type and device together, in the order in which they come first."""
    found: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(found.values())


def _pour(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def _reaching() -> Iterator[None]:
    """Says what it means that other ranks are not reached. Raises WorkersLost."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # ValueError: the process group was taken down meanwhile
        raise WorkersLost(
            "Another worker of this training is gone, or does not answer.",
            "Its own message says why; the same command goes on from the last checkpoint.",
        ) from error
