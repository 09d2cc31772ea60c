"""`clew pull`: a model onto this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import settings
from .terminal import JsonOption, RevisionOption, console, print_json, progress


def pull(
    model: Annotated[str, typer.Argument(help="smollm2, a Hugging Face name, a folder or a .gguf file.")] = (
        settings.DEFAULT_MODEL
    ),
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a model, once; from then on it works offline."""
    from ..models import store

    with progress() as report:
        folder = store.pull(model, revision, report)
    if as_json:
        print_json({"name": model, "path": str(folder)})
    else:
        console().print(f"[bold]{model}[/] is in {folder}", soft_wrap=True)
