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
        pass

    def gather(self, rows: Tensor) -> list[Tensor]:
        return [rows]

    def spread_(self, tensors: Sequence[Tensor]) -> None:
        pass

    def agree(self, flag: bool) -> bool:
        return flag


class Together:
    """The ranks of torch.distributed's default process group, or of another one, which has to be there already.

    Tensors on a CPU go through gloo, whatever the group's own backend is: to be made by all ranks at the same time.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        whole = dist.group.WORLD if group is None else group
        assert whole is not None
        self.rank, self.size = dist.get_rank(whole), dist.get_world_size(whole)
        self._quick = self._slow = whole
        if dist.get_backend(whole) != "gloo":
            slow = dist.new_group(dist.get_process_group_ranks(whole), backend="gloo")
            assert isinstance(slow, dist.ProcessGroup)
            self._slow = slow

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        large = [tensor for tensor in tensors if tensor.numel() >= _LARGE and tensor.is_contiguous()]
        with _reaching():
            under_way = [dist.all_reduce(tensor, group=self._of(tensor), async_op=True) for tensor in large]
            for some in _alike([tensor for tensor in tensors if all(tensor is not other for other in large)]):
                flat = torch.cat([tensor.reshape(-1) for tensor in some])
                dist.all_reduce(flat, group=self._of(flat))
                _pour(flat, some)
            for work in under_way:
                assert work is not None
                work.wait()

    def gather(self, rows: Tensor) -> list[Tensor]:
        with _reaching():
            lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
            dist.all_gather(lengths, torch.tensor([len(rows)]), group=self._slow)
            counts = [int(length) for length in lengths]
            most = max(counts)
            if not most:
                return [rows] * self.size
            # As bytes, since gloo does not know all types.
            padded = rows.new_zeros((most, *rows.shape[1:]))
            padded[: len(rows)] = rows
            mine = padded.reshape(-1).view(torch.uint8)
            parts = [torch.empty_like(mine) for _ in range(self.size)]
            dist.all_gather(parts, mine, group=self._of(mine))
        return [part.view(rows.dtype).view(padded.shape)[:count] for part, count in zip(parts, counts, strict=True)]

    def spread_(self, tensors: Sequence[Tensor]) -> None:
        with _reaching():
            for some in _alike(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in some])
                dist.broadcast(flat, group=self._of(flat), group_src=0)
                _pour(flat, some)

    def agree(self, flag: bool) -> bool:
        told = torch.tensor([float(flag)])
        with _reaching():
            dist.all_reduce(told, group=self._slow)
        return bool(told)

    def _of(self, tensor: Tensor) -> dist.ProcessGroup:
        return self._slow if tensor.device.type == "cpu" else self._quick


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
    except RuntimeError as error:
        raise WorkersLost(
            "Another worker of this training is gone, or does not answer.",
            "Its own message says why; the same command goes on from the last checkpoint.",
        ) from error
