"""The command line: one file a command.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to stdout; progress, logs and errors to stderr.
Nothing here imports torch before a command needs it, so that `clew --help` is quick.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import ClewError
from . import (
    atlas,
    bench,
    cluster,
    collect,
    debug,
    explain,
    explanations,
    models,
    pull,
    sae,
    search,
    serve,
    show,
    tokens,
    trace,
)
from .question import Ordered
from .terminal import fail


class _Commands(TyperGroup):
    """Says a ClewError in a sentence rather than with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ClewError as error:
            fail(error)
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clew {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Why did the language model say that?

    Start with [bold]clew debug[/] and a prompt, or [bold]clew serve[/] for the page.
    """


app.command(cls=Ordered)(debug.debug)
app.command(cls=Ordered)(trace.trace)
app.command()(show.show)
app.command()(search.search)
app.command()(collect.collect)
app.add_typer(atlas.app, name="atlas")
app.add_typer(sae.app, name="sae")
app.command()(explain.explain)
app.command()(explain.score)
app.add_typer(explanations.app, name="explanations")
app.add_typer(cluster.app, name="cluster")
app.command()(serve.serve)
app.command()(tokens.tokens)
app.command()(pull.pull)
app.command()(models.models)
app.command()(bench.bench)


def main() -> None:
    """The `clew` command."""
    app()
