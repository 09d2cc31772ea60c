"""What a cluster says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from clew.cluster import RayPool
from clew.cluster.connection import Connection
from clew.cluster.status import status
from clew.errors import NoCluster
from clew.pool import Said, whole

from .conftest import Reporter


def test_machines_and_workers_are_told(cluster: Connection) -> None:
    with RayPool("local", workers=2, work="collect tiny") as pool:
        events = pool.work(Reporter, [400, 400], desk=lambda number: number, left=whole)
        at_work: set[int] = set()
        while len(at_work) < 2:
            event = next(events)
            at_work |= {event.task} if isinstance(event, Said) else set()
        found = status("auto")
        events.close()
    (machine,) = found.machines
    assert machine.is_head
    assert machine.cpus - machine.cpus_free == pool_cpus(machine.cpus)
    assert [worker.work for worker in found.workers] == ["collect tiny"] * 2
    assert {worker.task for worker in found.workers} == {0, 1}
    assert all(worker.memory and worker.memory > 50_000_000 for worker in found.workers)
    assert status("auto").workers == []


def pool_cpus(cpus: float) -> float:
    """What two workers take."""
    return 2 * (cpus // 2)


def test_a_cluster_is_shown_from_outside(simulated: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clew", "cluster", "status", simulated.address, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["address"] == simulated.address
    assert [(one["cpus"], one["is_head"]) for one in document["machines"]] == [(0, True), (2, False)]
    assert document["workers"] == []
    done = subprocess.run(
        [sys.executable, "-m", "clew", "cluster", "status", simulated.address], capture_output=True, text=True
    )
    assert "2 of 2" in done.stdout
    assert "No worker of Clew is on it." in done.stdout


def test_without_a_cluster_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    from clew.cluster import connection

    monkeypatch.setattr(connection, "_held", None)
    monkeypatch.setattr(connection, "_started_here", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(NoCluster, match="not part of a Ray cluster"):
        status("auto")
