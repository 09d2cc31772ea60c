"""`clew models`: what is on this machine."""

from __future__ import annotations

from rich.filesize import decimal
from rich.table import Table

from .. import settings
from .terminal import JsonOption, console, print_json


def models(as_json: JsonOption = False) -> None:
    """List the models on this machine, with family and size."""
    from ..models import store

    found = store.installed()
    if as_json:
        print_json([model.to_dict() for model in found])
        return
    terminal = console()
    if not found:
        terminal.print(f"No models yet: [bold]clew pull[/] fetches {settings.DEFAULT_MODEL}.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model", style="bold", no_wrap=True)
    table.add_column("family", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    table.add_column("folder", style="dim", overflow="fold")
    for model in found:
        table.add_row(
            model.name, model.family, f"{model.parameters / 1e6:,.0f} M", decimal(model.bytes), str(model.path)
        )
    terminal.print(table)
