"""`clew atlas`: the atlases on this machine, whether they are whole, and data from and for elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.text import Text

from .. import settings
from .answer import plain_table
from .terminal import JsonOption, console, notes, print_json

if TYPE_CHECKING:
    from ..atlas import Components
    from ..debug import Model

AtlasOption = Annotated[
    str | None,
    typer.Option(
        "--atlas",
        help="The folder of an atlas, or its name in clew atlas list.",
        show_default="the model's own, if there is one",
    ),
]
AtlasArgument = Annotated[str, typer.Argument(help="The folder of an atlas, or its name in clew atlas list.")]

app = typer.Typer(no_args_is_help=True, help="List and check atlases; import and export their data.")


def located(given: str) -> Path:
    """The folder of an atlas that was named: that folder, else the one of this name under $CLEW_HOME/atlases."""
    from ..atlas.store import MANIFEST

    own = settings.atlas_of(given)
    return (
        own if own.name == given and not _is_file(Path(given, MANIFEST)) and _is_file(own / MANIFEST) else Path(given)
    )


def opened(model: Model, atlas: str | None, sae: Sequence[str] | None = None) -> Components:
    """The components of a model with the atlas that was named, or its own if there is one, and with the latents of some
    autoencoders."""
    from ..atlas.shelf import components

    return components(model, None if atlas is None else located(atlas), sae or ())


@app.command("list")
def list_atlases(as_json: JsonOption = False) -> None:
    """List the atlases under $CLEW_HOME, with model, components, tokens and size."""
    from ..atlas.shelf import stored

    found = stored()
    if as_json:
        print_json(found.to_dict())
        return
    terminal = console()
    if not found:
        terminal.print(f"No atlases yet: [bold]clew collect[/] makes one of {settings.DEFAULT_MODEL}.")
        return
    table = plain_table()
    for name, justify in (
        ("atlas", "left"), ("model", "left"), ("components", "right"), ("tokens", "right"), ("on disk", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=True)  # pyright: ignore[reportArgumentType]
    table.add_column("corpus", style="dim", overflow="fold")
    for atlas in found:
        size, info = decimal(atlas.bytes), atlas.info
        if info is None:
            table.add_row(Text(atlas.name, "bold"), "", "", "", size, Text(atlas.problem or "", "red"))
            continue
        table.add_row(
            Text(atlas.name, "bold"),
            info.model.name,
            f"{info.components:,}",
            f"{info.tokens:,}",
            size,
            info.imported or info.corpus,
        )
    terminal.print(table)


@app.command()
def check(atlas: AtlasArgument = settings.DEFAULT_MODEL, as_json: JsonOption = False) -> None:
    """Read every file of an atlas and hold it against its checksum. Exit code 1 where one is damaged."""
    from ..atlas.shelf import checked

    folder = located(atlas)
    files = []
    with notes().status("Checking…") as status:
        for file in checked(folder):
            files.append(file)
            status.update(f"Checking… {file.name}")
    damaged = [file for file in files if file.problem is not None]
    if as_json:
        print_json({"folder": str(folder.absolute()), "ok": not damaged, "files": [file.to_dict() for file in files]})
    else:
        terminal = console()
        for file in damaged:
            terminal.print(Text.assemble((file.name, "bold red"), f" {file.problem}."), soft_wrap=True)
        size = decimal(sum(file.bytes for file in files))
        verdict = (
            f"All {len(files)} files of {folder} ({size}) are as they were written."
            if not damaged
            else f"{len(damaged)} of {len(files)} files of {folder} are damaged. Restore them from a copy, or collect "
            "the atlas again with --replace."
        )
        terminal.print(verdict, soft_wrap=True)
    if damaged:
        raise typer.Exit(1)


@app.command("import")
def import_atlas(
    root: Annotated[str, typer.Argument(help="A folder or http(s) address that holds collated activations.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model they are of, such as gpt2 or gpt2-xl.")
    ] = "gpt2",
    out: Annotated[
        Path | None, typer.Option(help="The folder of the atlas.", show_default="$CLEW_HOME/atlases/MODEL")
    ] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Only this layer; several times for more.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many components of each layer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an atlas of the neuron and head records that OpenAI published, from a folder or an address.

    clew atlas import ./bucket --model gpt2 --layer 5
    """
    from ..atlas.openai import import_openai

    folder = settings.atlas_of(model) if out is None else out
    with _counting("Importing", "records") as progress:
        atlas = import_openai(root, folder, model=model, layers=layer, limit=limit, progress=progress)
    info, told = atlas.info(), atlas.contexts.notes
    for note in told:
        notes().print(Text.assemble(("Note: ", "bold"), note))
    if as_json:
        print_json({**info.to_dict(), "folder": str(folder.absolute()), "notes": list(told)})
        return
    what = f": {info.components:,} components of {info.model.name}, from {root}"
    console().print(Text.assemble((info.name, "bold"), what))
    console().print(Text(str(folder.absolute()), "dim"), soft_wrap=True)


@app.command()
def export(
    atlas: AtlasArgument,
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    component: Annotated[
        list[str] | None,
        typer.Option(
            help="neuron.5.200, neuron.5.0-199, neuron.5.*, attn or latent.mlp_out.10; several times for more.",
            show_default="all",
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="jsonl: a component a line; parquet: an example a row.")] = "jsonl",
    as_json: JsonOption = False,
) -> None:
    """Write components of an atlas, with their examples, as JSON lines or Parquet.

    clew atlas export smollm2 layer5.jsonl --component "neuron.5.*"
    """
    from ..atlas import Atlas
    from ..atlas.export import export as write

    opened = Atlas.open(located(atlas))
    with _counting("Exporting", "components") as progress:
        count = write(opened, out, components=component, format=format, progress=progress)
    if as_json:
        print_json({"file": str(out.absolute()), "format": format, "components": count})
        return
    console().print(f"{count:,} component{' is' if count == 1 else 's are'} in {out}", soft_wrap=True)


@contextmanager
def _counting(what: str, of: str) -> Iterator[Callable[[int, int], None]]:
    """Gives what shows on stderr how many of how many are done."""
    with notes().status(f"{what}…") as status:
        yield lambda done, total: status.update(f"{what}… {done:,} of {total:,} {of}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than the file system allows
        return False
