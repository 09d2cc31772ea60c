"""What ranks say to each other, between processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clew.errors import ClewError, NoSpace, WorkersLost
from clew.sae.group import ALONE, Group, OneFate

from .gang import gang

N = 3
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8)


def mine(rank: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rank))


def talk(group: Group) -> dict[str, Any]:
    """Everything that ranks can say, once."""
    rank = group.rank
    sums = [mine(rank, 5, 3), mine(rank, 200, 100), torch.tensor(float(rank)), torch.tensor([rank + 1])]
    group.sum_(sums)
    gathered = {kind: group.gather(mine(rank, rank, 2).mul(50).to(kind)) for kind in TYPES}
    collected = {kind: group.collect(mine(rank, 2 * rank, 3).mul(50).to(kind)) for kind in TYPES}
    untyped = group.gather(torch.zeros(rank % 2, 4, dtype=torch.float64 if rank % 2 else torch.float32))
    spread = [mine(rank, 4), mine(rank, 2, 2), torch.tensor([rank + 7])]
    group.spread_(spread)
    agreed = [group.agree(False), group.agree(rank == 2), group.agree(True)]
    return {
        "sums": sums, "gathered": gathered, "collected": collected, "untyped": untyped, "spread": spread,
        "agreed": agreed, "nothing": group.gather(torch.zeros(0, 3)),
    }  # fmt: skip


def test_ranks_hear_each_other(tmp_path: Path) -> None:
    heard = gang(N, tmp_path / "meeting", talk)
    for rank, found in enumerate(heard):
        expected = [
            sum(mine(other, 5, 3) for other in range(N)),
            sum(mine(other, 200, 100) for other in range(N)),
            torch.tensor(3.0),
            torch.tensor([6]),
        ]
        for total, wanted, first in zip(found["sums"], expected, heard[0]["sums"], strict=True):
            torch.testing.assert_close(total, wanted)
            assert torch.equal(total, first), "the same bits everywhere"
        for kind in TYPES:
            for other, part in enumerate(found["gathered"][kind]):
                assert torch.equal(part, mine(other, other, 2).mul(50).to(kind))
            assert len(found["collected"][kind]) == (N if rank == 0 else 0)
            for other, part in enumerate(found["collected"][kind]):
                assert torch.equal(part, mine(other, 2 * other, 3).mul(50).to(kind))
        assert [part.shape for part in found["untyped"]] == [(0, 4), (1, 4), (0, 4)]
        assert {part.dtype for part in found["untyped"]} == {torch.float64}, "a rank with no rows need not know a type"
        for told, wanted in zip(found["spread"], [mine(0, 4), mine(0, 2, 2), torch.tensor([7])], strict=True):
            assert torch.equal(told, wanted)
        assert found["agreed"] == [False, True, True]
        assert [part.shape for part in found["nothing"]] == [(0, 3)] * N


def test_one_alone_hears_itself() -> None:
    x = torch.ones(3)
    ALONE.sum_([x])
    ALONE.spread_([x])
    assert torch.equal(x, torch.ones(3))
    assert torch.equal(ALONE.gather(x)[0], x) and torch.equal(ALONE.collect(x)[0], x)
    assert ALONE.agree(True) and not ALONE.agree(False)
    with pytest.raises(NoSpace), OneFate(ALONE):
        raise NoSpace("The disk is full.")


def fail(group: Group, failing: list[int]) -> str:
    """Each failing rank fails in its own way; what it is to the others."""
    with OneFate(group):
        if group.rank in failing:
            raise NoSpace("The disk is full.", "Make room.") if group.rank == 1 else KeyError("k")
    return "went on"


@pytest.mark.parametrize("failing", [[], [1], [2], [1, 2]])
def test_what_fails_on_one_fails_on_all(tmp_path: Path, failing: list[int]) -> None:
    found = gang(N, tmp_path / "meeting", fail, failing)
    if not failing:
        assert found == ["went on"] * N
        return
    for rank, error in enumerate(found):
        if rank == 2 and 2 in failing:
            assert isinstance(error, KeyError), "who failed raises its own"
        elif 1 in failing:
            assert (type(error), error.message, error.hint) == (NoSpace, "The disk is full.", "Make room.")
        else:
            assert type(error) is ClewError and error.message == "Worker 2 failed: KeyError: 'k'"


def die(group: Group) -> str:
    group.agree(True)
    if group.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    group.sum_([torch.ones(10)])
    return "went on"


def test_a_rank_that_is_gone_is_told(tmp_path: Path) -> None:
    found = gang(N, tmp_path / "meeting", die, lost=[1])
    assert [type(error) for error in found] == [WorkersLost, type(None), WorkersLost]
    assert "is gone" in str(found[0])
