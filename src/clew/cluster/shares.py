"""What each worker has of a cluster's machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TooFewResources, UsageError
from .connection import Machine


@dataclass(frozen=True)
class Share:
    """So many workers, each with so many CPUs and GPUs of one machine."""

    workers: int
    cpus: int
    gpus: int


def shared(machines: Sequence[Machine], workers: int | None = None, gpus: int | None = None) -> Share:
    """How machines are shared among workers: `workers` of them with `gpus` GPUs each.

    Without `gpus` a worker has one where there are any. Without `workers` there are as many as go with the GPUs, or one
    a machine where there are none: one worker uses all CPUs well. CPUs are as many as go round. Raises UsageError or
    TooFewResources.
    """
    if workers is not None and workers < 1:
        raise UsageError("At least one worker is needed.", "Leave out --workers for as many as the cluster takes.")
    if gpus is not None and gpus < 0:
        raise UsageError("A worker cannot have less than no GPU.", "0 leaves GPUs alone.")
    each = gpus if gpus is not None else int(any(machine.gpus >= 1 for machine in machines))
    able = [machine for machine in machines if machine.cpus >= 1 and machine.gpus >= each]
    if not able:
        raise _lacking(machines, "a worker with 1 CPU" + (f" and {_count(each, 'GPU')}" if each else ""))
    if workers is None:
        workers = sum(int(machine.gpus // each) for machine in able) if each else len(able)
        workers = min(workers, _room(able, 1, each))
    cpus = next(
        (
            cpus
            for cpus in range(int(max(machine.cpus for machine in able)), 0, -1)
            if _room(able, cpus, each) >= workers
        ),
        None,
    )
    if cpus is None:
        raise _lacking(
            machines, f"{workers} workers with 1 CPU" + (f" and {_count(each, 'GPU')} each" if each else " each")
        )
    return Share(workers, cpus, each)


def _room(machines: Sequence[Machine], cpus: int, gpus: int) -> int:
    """How many workers of a size there is room for."""
    return sum(
        min(int(machine.cpus // cpus), int(machine.gpus // gpus) if gpus else int(machine.cpus // cpus))
        for machine in machines
    )


def _lacking(machines: Sequence[Machine], wanted: str) -> TooFewResources:
    cpus, gpus = sum(machine.cpus for machine in machines), sum(machine.gpus for machine in machines)
    return TooFewResources(
        f"The cluster has no room for {wanted}; there are {_count(cpus, 'CPU')} and {_count(gpus, 'GPU')} on "
        f"{_count(len(machines), 'machine')}.",
        "Ask for fewer --workers or --gpus-per-worker.",
    )


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" + ("" if number == 1 else "s")
