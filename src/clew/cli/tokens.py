"""`clew tokens`: a text as the model sees it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from ..settings import DEFAULT_MODEL
from .terminal import (
    BosOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    console,
    load,
    print_json,
    read_text,
    visible,
)


def tokens(
    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")],
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    bos: BosOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show how the model splits a text into tokens."""
    text = read_text(text)
    found = load(model, revision, None, None).tokens(text, bos)
    if as_json:
        print_json({"tokens": found.to_dict()})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("position", justify="right", style="dim")
    table.add_column("id", justify="right")
    table.add_column("token", style="bold", overflow="fold")
    for token in found:
        table.add_row(str(token.position), str(token.id), visible(token.text))
    console().print(table)
