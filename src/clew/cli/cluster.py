"""What commands that can work on a cluster share."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from ..pool import Here, Pool

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


def pool_of(ray: str | None, workers: int | None, gpus: int | None, work: str) -> Pool:
    """The pool that the options name. Raises UsageError for those that mean nothing without --ray."""
    if ray is None:
        if workers is not None or gpus is not None:
            raise UsageError("--workers and --gpus-per-worker are those of a cluster.", "Add --ray auto.")
        return Here()
    from ..cluster import RayPool

    return RayPool(ray, workers, gpus, work)
