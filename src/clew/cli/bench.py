"""`clew bench`: what an answer costs, against a bare forward and backward pass."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..settings import DEFAULT_MODEL
from .terminal import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    console,
    load,
    notes,
    print_json,
)

LENGTHS = [16, 64, 128, 512]


def bench(
    tokens: Annotated[
        list[int] | None, typer.Option(min=1, help="A prompt length to measure.", show_default="16, 64, 128, 512")
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time the node table against a bare forward and backward pass of the same model, on this machine."""
    subject = load(model, revision, device, dtype)
    from ..debug.bench import SECONDS, measure

    lengths = tokens or LENGTHS
    notes().print(f"[dim]Measuring for about {len(lengths) * SECONDS:.0f} seconds…[/]")
    costs = measure(subject, lengths)
    if as_json:
        print_json(costs.to_dict())
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("tokens", "forward + backward", "node table", "ratio", "rounds"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in costs:
        ratio = Text(f"{cost.ratio:.2f}×", "bold")
        table.add_row(str(cost.tokens), _time(cost.bare_s), _time(cost.node_table_s), ratio, str(cost.rounds))
    console().print(table)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
