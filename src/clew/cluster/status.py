"""What a cluster has, and what Clew's workers on it are at: for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..records import Record
from .connection import connected
from .hand import Pulse
from .pool import SIGN

_PATIENCE = 5.0  # seconds in which a worker is to say what it is at


@dataclass(frozen=True)
class MachineStatus(Record):
    """A machine that is part of the cluster: what it has, and what of that nobody uses. Memory is in bytes."""

    host: str
    is_head: bool
    cpus: float
    cpus_free: float
    gpus: float
    gpus_free: float
    memory: int


@dataclass(frozen=True)
class WorkerStatus(Record):
    """A worker: the work it is part of, and its task by number (None: it waits for one) since so many seconds, after
    `done` others. `memory` is what its process holds, in bytes. Only `work` is known of one that does not answer."""

    work: str
    host: str | None
    process: int | None
    task: int | None
    done: int | None
    since: float | None
    memory: int | None


@dataclass(frozen=True)
class ClusterStatus(Record):
    """A cluster, by the address of its head node."""

    address: str
    machines: Sequence[MachineStatus]
    workers: Sequence[WorkerStatus]


def status(address: str) -> ClusterStatus:
    """The cluster at an address (connection.py); none is started. Raises NoCluster or UsageError."""
    with connected(address, start=False) as connection:
        import ray
        from ray._private.state import available_resources_per_node
        from ray.util import list_named_actors

        free: dict[str, dict[str, float]] = available_resources_per_node()
        machines = [
            MachineStatus(
                host=machine.host,
                is_head=machine.is_head,
                cpus=machine.cpus,
                cpus_free=free.get(machine.id, {}).get("CPU", 0.0),
                gpus=machine.gpus,
                gpus_free=free.get(machine.id, {}).get("GPU", 0.0),
                memory=machine.memory,
            )
            for machine in connection.machines()
        ]
        asked: dict[str, Any] = {}
        for name in list_named_actors():
            if SIGN not in str(name):
                continue
            with suppress(ValueError):  # it ended at this moment
                asked[str(name)] = ray.get_actor(str(name)).pulse.options(concurrency_group="pulse").remote()
        answered, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PATIENCE) if asked else ([], [])
        workers = [_of(name, pulse if pulse in answered else None) for name, pulse in sorted(asked.items())]
        connection.check()
        return ClusterStatus(connection.address, machines, workers)


def _of(name: str, answered: Any) -> WorkerStatus:
    import ray
    from ray.exceptions import RayError

    pulse: Pulse | None = None
    if answered is not None:
        with suppress(RayError):
            pulse = ray.get(answered)
    if pulse is None:
        return WorkerStatus(name.partition(SIGN)[0], None, None, None, None, None, None)
    return WorkerStatus(pulse.work, pulse.host, pulse.process, pulse.task, pulse.done, pulse.since, pulse.memory)
