"""`clew bench`: what an answer costs, against a bare forward and backward pass."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer
from rich.table import Table

from ..settings import DEFAULT_MODEL
from .terminal import DeviceOption, DtypeOption, JsonOption, ModelOption, RevisionOption, console, load, print_json

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
    from ..debug.bench import measure

    found = measure(subject, tokens or LENGTHS)
    if as_json:
        print_json(found.to_dict())
        return
    names = [field.name for field in fields(found[0])]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for record in found:
        values = (getattr(record, name) for name in names)
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values))
    console().print(table)
