"""The cluster that work runs on: the records of `clew.cluster.status`."""

from __future__ import annotations

from pydantic import Field

from .base import Reply


class MachineStatus(Reply):
    """A machine that is part of the cluster: what it has, and what of that nobody uses. Memory is in bytes."""

    host: str
    is_head: bool
    cpus: float
    cpus_free: float
    gpus: float
    gpus_free: float
    memory: int


class WorkerStatus(Reply):
    """A worker: the work it is part of, and its task by number (null: it waits for one) since so many seconds, after
    `done` others. `memory` is what its process holds, in bytes. Only `work` is known of one that does not answer."""

    work: str
    host: str | None
    process: int | None
    task: int | None
    done: int | None
    since: float | None
    memory: int | None


class ClusterStatus(Reply):
    """A cluster, by the address of its head node."""

    address: str
    machines: list[MachineStatus]
    workers: list[WorkerStatus]


class Cluster(Reply):
    """The cluster that work of the page runs on."""

    ray: str | None = Field(description="The address that the server was started with; null: all work is done here.")
    cluster: ClusterStatus | None = Field(
        description="null: the server was started without one, or one of this machine alone is started with the work."
    )
