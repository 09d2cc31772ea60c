"""`clew sae toy`: what autoencoders find where the true features are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from .answer import plain_table
from .terminal import JsonOption, console, duration, notes, number, print_json

if TYPE_CHECKING:
    from ..sae.matching import Matching
    from ..sae.records import Architecture, ToyReport, ToyRun
    from ..sae.toy import Source


def toy(
    architecture: Annotated[
        list[str] | None,
        typer.Option(
            help="relu, topk, batchtopk, jumprelu or matryoshka; several times for more.", show_default="all five"
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            help="synthetic: sparse, correlated features whose frequencies follow a power law; superposition: the "
            "hidden layer of a toy model that learned to hold them; or both."
        ),
    ] = "both",
    features: Annotated[int, typer.Option(help="Features there are, and latents to find them.")] = 128,
    width: Annotated[int, typer.Option(help="Dimensions that they share.")] = 64,
    l0: Annotated[float, typer.Option("--l0", help="Features in a sample, on average.")] = 4.0,
    samples: Annotated[int, typer.Option(help="Samples to train on.")] = 200_000,
    seed: Annotated[int, typer.Option(help="Of the features, the samples and the first weights.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="An SVG file to draw what was found into.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train each architecture on data made of known features, and say how many of them it finds.

    MCC is the mean cosine of features with latents, matched one to one; MMCS of each feature with its nearest latent.

    clew sae toy --architecture topk --architecture relu --picture toy.svg
    """
    from ..sae.recipe import ARCHITECTURES
    from ..sae.toy import reported, toying

    found = toying(
        # What is none of these is refused there.
        cast("list[Architecture]", architecture or [*ARCHITECTURES]),
        cast("Source", source),
        features=features, width=width, l0=l0, samples=samples, seed=seed,
    )  # fmt: skip
    report = reported(_told(found), picture)
    if as_json:
        print_json(report.to_dict())
        return
    console().print(_table(report))
    if report.picture is not None:
        console().print(Text(f"A picture of it: {report.picture}", "dim"), soft_wrap=True)


def _told(found: Iterable[tuple[ToyRun, Matching]]) -> Iterator[tuple[ToyRun, Matching]]:
    """The same, and each is told on stderr as it ends."""
    terminal = notes()
    with terminal.status("Training on known features…"):
        for run, matching in found:
            what = f"{run.architecture} on {run.source}: MCC {number(run.mcc)}, {run.dead:,} of {run.latents:,} dead"
            terminal.print(f"{what}, in {duration(run.seconds)}.", soft_wrap=True)
            yield run, matching


def _table(report: ToyReport) -> Table:
    table = plain_table()
    for name in ("source", "architecture"):
        table.add_column(name, no_wrap=True)
    for name in ("MCC", "MMCS", "L0", "true L0", "FVU", "dead", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in report.runs:
        numbers = [number(value) for value in (run.mcc, run.mmcs, run.l0, run.true_l0, run.fvu)]
        dead = f"{run.dead:,} of {run.latents:,}"
        table.add_row(run.source, Text(run.architecture, "bold"), *numbers, dead, duration(run.seconds))
    return table
