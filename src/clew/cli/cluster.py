"""`clew cluster status`, and what commands that can work on a cluster share."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ..errors import UsageError
from ..pool import Here, Pool
from .terminal import JsonOption, console, duration, print_json

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        help="Work on a Ray cluster: auto (the one this machine is part of, else one of it alone), local, or the head "
        "node's HOST:PORT.",
        show_default="this process alone",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(help="Workers on the cluster.", show_default="one a GPU, or one a machine where there are none"),
]
GpusOption = Annotated[
    int | None, typer.Option("--gpus-per-worker", help="GPUs of each worker.", show_default="1 where there are any")
]


def check_options(ray: str | None, workers: int | None, gpus: int | None) -> None:
    """Raises UsageError for options that mean nothing without --ray, and for what is no address."""
    if ray is None:
        if workers is not None or gpus is not None:
            raise UsageError("--workers and --gpus-per-worker are those of a cluster.", "Add --ray auto.")
        return
    from ..cluster.connection import check_address

    check_address(ray)


def pool_of(ray: str | None, workers: int | None, gpus: int | None, work: str) -> Pool:
    """The pool that the options name. Raises what `check_options` raises."""
    check_options(ray, workers, gpus)
    if ray is None:
        return Here()
    from ..cluster import RayPool

    return RayPool(ray, workers, gpus, work)


app = typer.Typer(no_args_is_help=True, help="The Ray cluster that work can be spread over.")


@app.command()
def status(
    address: Annotated[
        str, typer.Argument(help="auto (the one this machine is part of), or the head node's HOST:PORT.")
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show a cluster's machines, what of them is free, and what Clew's workers on it are at.

    clew cluster status
    """
    from ..cluster.status import status as status_of

    found = status_of(address)
    if as_json:
        print_json(found.to_dict())
        return
    terminal = console()
    machines = Table("machine", "CPUs free", "GPUs free", "memory", box=None, pad_edge=False)
    for machine in found.machines:
        machines.add_row(
            machine.host + (" (head)" if machine.is_head else ""),
            f"{machine.cpus_free:g} of {machine.cpus:g}",
            f"{machine.gpus_free:g} of {machine.gpus:g}",
            decimal(machine.memory),
        )
    terminal.print(Text.assemble("Cluster at ", (found.address, "bold")))
    terminal.print(machines)
    if not found.workers:
        terminal.print("No worker of Clew is on it.")
        return
    workers = Table("work", "machine", "process", "task", "since", "done", "memory", box=None, pad_edge=False)
    for worker in found.workers:
        if worker.host is None or worker.since is None or worker.memory is None:
            workers.add_row(worker.work, Text("does not answer", "yellow"))
            continue
        task = "waits" if worker.task is None else str(worker.task)
        workers.add_row(
            worker.work, worker.host, str(worker.process), task, duration(worker.since), str(worker.done),
            decimal(worker.memory),
        )  # fmt: skip
    terminal.print()
    terminal.print(workers)
