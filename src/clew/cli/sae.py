"""`clew sae`: sparse autoencoders, trained, judged and kept."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from .. import settings
from ..errors import UsageError
from .answer import plain_table
from .sae_eval import evaluate, folder_of
from .sae_toy import toy
from .sae_train import resume, train
from .terminal import JsonOption, console, print_json

app = typer.Typer(no_args_is_help=True, help="Train, judge and keep sparse autoencoders.")
app.command()(train)
app.command()(resume)
app.command("eval")(evaluate)
app.command()(toy)


@app.command()
def add(
    reference: Annotated[
        str, typer.Argument(help="A Hugging Face repository, OWNER/NAME or OWNER/NAME/FOLDER, or a folder or file.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Its name on the shelf.", show_default="what it is called where it is")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="The site it reads, such as mlp_out.10.", show_default="what its files say")
    ] = None,
    writes: Annotated[
        str | None, typer.Option(help="The site it writes, of a transcoder.", show_default="what its files say")
    ] = None,
    of: Annotated[
        str | None, typer.Option("--model", "-m", help="The model it is of, where its files do not say.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit of a repository.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Take an autoencoder onto the shelf: it is copied to $CLEW_HOME/saes in Clew's own format.

    clew sae add EleutherAI/sae-SmolLM2-135M-64x/layers.10.mlp --name eleuther
    """
    from ..sae import shelf

    info = shelf.add(reference, name, site, writes, of, revision)
    if as_json:
        print_json(info.to_dict())
        return
    what = f": {info.latents:,} latents of {info.reads}" + ("" if info.model is None else f" of {info.model}")
    console().print(Text.assemble((info.reference, "bold"), what), soft_wrap=True)
    console().print(Text(f"What it is worth: clew sae eval {info.reference}", "dim"), soft_wrap=True)


@app.command("list")
def list_autoencoders(as_json: JsonOption = False) -> None:
    """List the autoencoders on this machine, and the trainings that are not done."""
    from ..sae.shelf import listed
    from ..sae.training import trainings

    found, learning = listed(), [state for state in trainings(settings.saes_folder()) if state.stage != "done"]
    if as_json:
        print_json({"autoencoders": found.to_dict(), "trainings": [state.to_dict() for state in learning]})
        return
    terminal = console()
    if not found and not learning:
        terminal.print("No autoencoders yet: [bold]clew sae train --site mlp_out.10[/] makes one.")
        return
    if found:
        table = plain_table()
        for name, justify in (
            ("autoencoder", "left"), ("model", "left"), ("site", "left"), ("architecture", "left"),
            ("latents", "right"), ("tokens", "right"), ("judged", "left"),
        ):  # fmt: skip
            table.add_column(name, justify=justify, overflow="fold")  # pyright: ignore[reportArgumentType]
        for info in found:
            site = info.reads if info.reads == info.writes else f"{info.reads} → {info.writes}"
            table.add_row(
                Text(info.reference, "bold"),
                info.model or "–",
                site,
                info.architecture,
                f"{info.latents:,}",
                "–" if info.tokens is None else f"{info.tokens:,}",
                "yes" if info.judged else "",
            )
        terminal.print(table)
    for state in learning:
        text = Text.assemble((state.name, "bold"), f": {state.stage}, {state.tokens:,} of {state.total:,} tokens. ")
        terminal.print(text.append(state.message, "dim"), soft_wrap=True)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="An autoencoder's or training's name in clew sae list.")],
    as_json: JsonOption = False,
) -> None:
    """Delete an autoencoder from the shelf, or a training with all that it has made.

    clew sae remove eleuther
    """
    from ..sae import shelf

    shelf.remove(name)
    if as_json:
        print_json({"removed": name})
    else:
        console().print(f"{name} is removed.", soft_wrap=True)


@app.command()
def rate(
    reference: Annotated[str, typer.Argument(help="An autoencoder: a name in clew sae list, or its folder.")],
    latent: Annotated[int, typer.Argument(help="A latent, counted from 0.")],
    rating: Annotated[str, typer.Argument(help="readable, unclear, dead; or none, to take a rating back.")],
    as_json: JsonOption = False,
) -> None:
    """Keep what you think of a latent, beside its autoencoder: reports show it.

    clew sae rate eleuther 117 readable
    """
    from ..sae import ratings

    autoencoder, folder = folder_of(reference)
    if not 0 <= latent < autoencoder.n_latents:
        last = f"Its latents are 0 to {autoencoder.n_latents - 1:,}."
        raise UsageError(f"{reference} has no latent {latent:,}.", last)
    kept = ratings.rate(folder, latent, None if rating == "none" else rating)  # pyright: ignore[reportArgumentType]
    if as_json:
        print_json({"ratings": {str(index): given for index, given in sorted(kept.items())}})
    else:
        console().print(f"Latent {latent:,} is kept as {rating}." if rating != "none" else "The rating is taken back.")
