"""How machines are shared among workers."""

from __future__ import annotations

import pytest

from clew.cluster.connection import Machine
from clew.cluster.shares import Share, shared
from clew.errors import TooFewResources, UsageError


def machine(cpus: float, gpus: float = 0) -> Machine:
    return Machine("id", "host", cpus, gpus, 0, False)


@pytest.mark.parametrize(
    ("machines", "workers", "gpus", "share"),
    [
        ([machine(8)], None, None, Share(1, 8, 0)),
        ([machine(8), machine(4)], None, None, Share(2, 4, 0)),
        ([machine(8)], 3, None, Share(3, 2, 0)),
        ([machine(8), machine(4)], 3, None, Share(3, 4, 0)),
        ([machine(0), machine(2), machine(2)], None, None, Share(2, 2, 0)),
        ([machine(64, 8)], None, None, Share(8, 8, 1)),
        ([machine(64, 8), machine(16, 8)], None, None, Share(16, 2, 1)),
        ([machine(64, 8)], None, 2, Share(4, 16, 2)),
        ([machine(64, 8)], 2, 1, Share(2, 32, 1)),
        ([machine(64, 8)], None, 0, Share(1, 64, 0)),
        ([machine(4, 8)], None, None, Share(4, 1, 1)),
    ],
)
def test_shares(machines: list[Machine], workers: int | None, gpus: int | None, share: Share) -> None:
    assert shared(machines, workers, gpus) == share


@pytest.mark.parametrize(
    ("machines", "workers", "gpus", "wanted"),
    [
        ([machine(2)], 3, None, "3 workers with 1 CPU each"),
        ([machine(2)], None, 1, "a worker with 1 CPU and 1 GPU"),
        ([machine(64, 2)], 3, 1, "3 workers with 1 CPU and 1 GPU each"),
        ([machine(0)], None, None, "a worker with 1 CPU"),
    ],
)
def test_what_there_is_no_room_for_is_told(
    machines: list[Machine], workers: int | None, gpus: int | None, wanted: str
) -> None:
    with pytest.raises(TooFewResources, match=f"no room for {wanted}; there are .* on 1 machine"):
        shared(machines, workers, gpus)


@pytest.mark.parametrize(("workers", "gpus"), [(0, None), (-1, None), (1, -1)])
def test_numbers_that_cannot_be_are_refused(workers: int, gpus: int | None) -> None:
    with pytest.raises(UsageError):
        shared([machine(8)], workers, gpus)
