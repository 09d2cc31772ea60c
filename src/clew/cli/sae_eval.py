"""`clew sae eval`: what an autoencoder is worth, on text that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import settings
from ..errors import UsageError
from .answer import plain_table
from .corpus import ColumnOption, ConfigOption, CorpusOption, CorpusRevisionOption, SplitOption
from .stages import Stages
from .terminal import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    RevisionOption,
    console,
    duration,
    load,
    notes,
    number,
    percent,
    print_json,
)

if TYPE_CHECKING:
    from ..sae import Autoencoder
    from ..sae.places import Place
    from ..sae.records import EvaluationProgress, Probe, Report

_ROOM_FOR_MEANINGS = 100  # terminal columns
_STAGES = {
    "read": "Reading text",
    "activations": "Reading the site",
    "losses": "Replacing the site",
    "probes": "Probing latents",
}


def evaluate(
    reference: Annotated[
        str,
        typer.Argument(
            help="An autoencoder, or a folder of some, such as a training's: a name in clew sae list, a folder, or a "
            "Hugging Face repository."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model to judge it on.", show_default="the one its files name"),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to judge it on.")] = settings.JUDGED,
    losses: Annotated[int, typer.Option(help="Of these run through the whole model.")] = settings.JUDGED_LOSSES,
    corpus: CorpusOption = None,
    column: ColumnOption = None,
    corpus_revision: CorpusRevisionOption = None,
    split: SplitOption = None,
    config: ConfigOption = None,
    context: Annotated[int | None, typer.Option(help="Tokens read at once.", show_default="as it was trained")] = None,
    bos: Annotated[
        bool | None,
        typer.Option("--bos/--no-bos", help="Put the model's start token first.", show_default="as it was trained"),
    ] = None,
    skip: Annotated[
        int, typer.Option(help="Tokens at the start of a context that are read but not counted.")
    ] = settings.SKIPPED,
    seed: Annotated[
        int, typer.Option(help="Of the order of the text and the latents that are drawn; training takes 0.")
    ] = 1,
    samples: Annotated[int, typer.Option(help="Latents drawn, to be looked at.")] = settings.SAMPLED,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the report.", show_default="the autoencoder's own")
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge an autoencoder by several measures: what it reconstructs, what that costs the model, what its latents tell.

    The report is kept beside it, with pictures and latents to look at; clew serve shows it, too.

    clew sae eval smollm2-mlp_out.10-topk-4096-k32
    """
    from ..corpus.texts import corpus_of
    from ..sae import load as open_autoencoder
    from ..sae.autoencoder import check_fits
    from ..sae.evaluate import evaluating
    from ..sae.places import places
    from ..sae.report import text_of, write_report

    found = places(reference)
    if out is not None and len(found) > 1:
        raise UsageError(f"{reference} holds {len(found)} autoencoders, and --out is one folder.", "Name one of them.")
    text = corpus_of(corpus, column=column, revision=corpus_revision, split=split, config=config)
    opened = [(place, open_autoencoder(place.reference)) for place in found]
    subject = load(_model_of(opened) if model is None else model, revision, device, dtype)
    for _, autoencoder in opened:
        check_fits(autoencoder, subject.subject.anatomy, subject.name)
    kept: list[tuple[Report, Path]] = []
    for place, autoencoder in opened:
        folder = out or place.folder or Path(autoencoder.name)
        steps = evaluating(
            subject, autoencoder, text, tokens=tokens, losses=losses, context=context, bos=bos, skip=skip, seed=seed,
            samples=samples, reference=place.name, folder=folder,
        )  # fmt: skip
        report = _followed(notes(), place.name, steps)
        kept.append((report, write_report(folder, report)))
    if as_json:
        print_json({"reports": [{**report.to_dict(), "page": str(page.absolute())} for report, page in kept]})
        return
    terminal = console()
    terminal.print(_table([report for report, _ in kept], terminal.width))
    for report, page in kept:
        terminal.print()
        _show_probes(terminal, report)
        seconds = f"Judged on {text_of(report)}, in {duration(report.seconds)}."
        terminal.print(Text(seconds, "dim"), soft_wrap=True)
        terminal.print(Text(f"Latents to look at, and pictures: {page.absolute()}", "dim"), soft_wrap=True)


def folder_of(reference: str) -> tuple[Autoencoder, Path]:
    """One autoencoder, and the folder that its report and ratings lie in. Raises UsageError for one without."""
    from ..sae import load as open_autoencoder
    from ..sae.places import places

    autoencoder = open_autoencoder(reference)
    folder = places(reference)[0].folder
    if folder is None:
        raise UsageError(f"{reference} is not on this machine.", f"Take it onto the shelf: clew sae add {reference}")
    return autoencoder, folder


def _model_of(opened: Sequence[tuple[Place, Autoencoder]]) -> str:
    """The model that the autoencoders say they are of, the default one where they say none. Raises UsageError."""
    said = sorted({autoencoder.origin.model or settings.DEFAULT_MODEL for _, autoencoder in opened})
    if len(said) > 1:
        raise UsageError(f"These autoencoders are of {len(said)} models: {', '.join(said)}.", "Name one: --model.")
    return said[0]


def _followed(terminal: Console, name: str, steps: Iterable[EvaluationProgress]) -> Report:
    """Judge one, telling how far it is."""
    watch = Stages(terminal, {stage: f"{what} of {name}" for stage, what in _STAGES.items()}, _amount)
    watch.follow(steps)
    assert watch.last is not None and watch.last.report is not None
    return watch.last.report


def _amount(step: EvaluationProgress) -> str:
    left = f", {duration(step.seconds_left)} left" if step.seconds_left else ""
    return f"{step.done:,} of {step.total:,}{left}"


def _table(reports: Sequence[Report], width: int) -> Table:
    """One row a measure, one column an autoencoder; how to read it where there is room."""
    table = plain_table()
    table.add_column("measure", no_wrap=True)
    for report in reports:
        table.add_column(report.autoencoder.name, justify="right", overflow="fold")
    roomy = width >= _ROOM_FOR_MEANINGS
    if roomy:
        table.add_column("", style="dim", overflow="fold")
    rows = [_measures(report) for report in reports]
    for i, (name, _, meaning) in enumerate(rows[0]):
        table.add_row(Text(name, "bold"), *(measures[i][1] for measures in rows), *([meaning] if roomy else []))
    return table


def _measures(report: Report) -> list[tuple[str, str, str]]:
    """Each measure's name, its value, and how to read it."""
    return [
        ("L0", number(report.l0), "latents that fire on a token"),
        ("FVU", number(report.fvu), "variance left unexplained: 0 is all explained, 1 no better than the mean"),
        ("cosine", number(report.cosine), "of values with their reconstructions"),
        ("shrinkage", number(report.shrinkage), "1: reconstructions have the right size"),
        (
            "CE recovered",
            "–" if report.ce_recovered is None else percent(report.ce_recovered),
            "of the loss that setting the site to zero costs",
        ),
        ("CE as is", number(report.ce_clean), "nats a token"),
        ("CE replaced", number(report.ce_spliced), "by the reconstruction"),
        ("CE mean, zero", f"{number(report.ce_mean)}, {number(report.ce_zero)}", "by these"),
        ("KL", number(report.kl), "nats a token, of predictions as is from those with the site replaced"),
        ("dead", f"{report.dead:,} of {report.autoencoder.latents:,}", "latents that never fired"),
        ("dense", f"{report.dense:,}", "latents that fired on more than one token in ten"),
        ("max cosine", number(report.decoder_cosine_mean), "of a latent's decoder row with another's, on average"),
        ("description", f"{report.description_length:,.0f}", "bits a token"),
    ]


def _show_probes(terminal: Console, report: Report) -> None:
    """What single latents, and a few together, tell of the text."""
    best: dict[str, list[Probe]] = {}
    for probe in report.probes:
        best.setdefault(probe.label, []).append(probe)
    if not best:
        return
    table = plain_table()
    table.add_column(f"told by latents of {report.autoencoder.name}", overflow="fold")
    for probe in next(iter(best.values())):
        table.add_column(f"best {probe.k}", justify="right")
    table.add_column("whole site", justify="right")
    table.add_column("chance", justify="right", style="dim")
    for label, probes in best.items():
        accuracies = [percent(probe.accuracy) for probe in probes]
        table.add_row(label, *accuracies, percent(probes[0].ceiling), percent(probes[0].chance))
    terminal.print(table)
