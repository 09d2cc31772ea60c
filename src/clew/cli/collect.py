"""`clew collect`: what every head, neuron and latent does over a corpus."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from .. import settings
from ..errors import UsageError
from .cluster import GpusOption, RayOption, WorkersOption, pool_of
from .corpus import ColumnOption, ConfigOption, CorpusOption, CorpusRevisionOption, SplitOption
from .stages import Stages
from .terminal import (
    BosOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    RevisionOption,
    SaeOption,
    console,
    duration,
    load,
    notes,
    print_json,
)

if TYPE_CHECKING:
    from ..atlas import Atlas
    from ..atlas.records import CollectPlan, CollectProgress

_STAGES = {"read": "Reading text", "collect": "Collecting", "merge": "Writing the atlas"}


def collect(
    model: Annotated[str, typer.Argument(help="smollm2, a Hugging Face name, a folder or a .gguf file.")] = (
        settings.DEFAULT_MODEL
    ),
    corpus: CorpusOption = None,
    column: ColumnOption = None,
    corpus_revision: CorpusRevisionOption = None,
    split: SplitOption = None,
    config: ConfigOption = None,
    sae: SaeOption = None,
    tokens: Annotated[int, typer.Option(help="Tokens to read.")] = settings.COLLECTED,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the atlas.", show_default="$CLEW_HOME/atlases/MODEL")
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(
            help="attn, neuron, neuron.5, attn.0-11, latent or latent.mlp_out.10; several times for more.",
            show_default="all heads, neurons and latents",
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(help="Tokens read at once.", show_default=f"{settings.CONTEXT}, or as many as the model takes"),
    ] = None,
    window: Annotated[int, typer.Option(help="Of these shown per example of a neuron.")] = settings.WINDOW,
    bos: BosOption = False,
    seed: Annotated[int, typer.Option(help="Of the order of the texts, and of what is drawn at random.")] = 0,
    skip: Annotated[
        int, typer.Option(help="Tokens at the start of a context that are read but not counted.")
    ] = settings.SKIPPED,
    top: Annotated[int, typer.Option(help="Strongest examples kept per component.")] = settings.TOP_EXAMPLES,
    bottom: Annotated[
        int, typer.Option(help="Most negative examples, of neurons with a gate.")
    ] = settings.BOTTOM_EXAMPLES,
    band: Annotated[int, typer.Option(help="Examples of each octave below the maximum.")] = settings.BAND_EXAMPLES,
    random: Annotated[int, typer.Option(help="Examples drawn from all contexts.")] = settings.RANDOM_EXAMPLES,
    batch: Annotated[int, typer.Option(help="Contexts in one forward pass.")] = settings.BATCH,
    shard_tokens: Annotated[int, typer.Option(help="Tokens between two savings.")] = settings.SHARD_TOKENS,
    replace: Annotated[
        bool, typer.Option("--replace", help="Throw away what was collected there with other settings.")
    ] = False,
    ray: RayOption = None,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="With --ray: a URL such as s3://bucket/folder, where workers that do not see --out leave shards.",
            show_default="--out is on a disk that all machines share",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, measured on a few batches, and keep nothing.")
    ] = False,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect an atlas: what makes every head, neuron and latent fire over a corpus, how often and how strongly.

    Ctrl-C stops it; the same command goes on where it was. With --sae it adds that autoencoder's latents to an atlas
    that was made with the same settings. With --ray the work is spread over a cluster, and the atlas is the same. It is
    shown by clew show, clew search and clew serve.

    clew collect smollm2 --tokens 50000
    """
    from ..atlas import Atlas, collecting, planned
    from ..corpus.texts import corpus_of

    pool = pool_of(ray, workers, gpus, f"collect {model}")
    if store is not None and ray is None:
        raise UsageError("--store is for the workers of a cluster.", "Add --ray auto.")
    # A corpus that is not there is told before the model is loaded.
    found = corpus_of(corpus, column=column, revision=corpus_revision, split=split, config=config)
    subject = load(model, revision, device, dtype, sae)
    folder = settings.atlas_of(subject.name) if out is None else out
    options: dict[str, Any] = {
        "tokens": tokens, "sites": sites, "context": context, "window": window, "bos": bos, "seed": seed, "skip": skip,
        "top": top, "bottom": bottom, "band": band, "random": random, "batch": batch, "shard_tokens": shard_tokens,
        "autoencoders": sae or (),
    }  # fmt: skip
    if dry_run:
        with pool:
            plan = planned(subject, found, out=folder, pool=pool, **options)
        if as_json:
            print_json(plan.to_dict())
        else:
            _tell_plan(console(), plan)
        return
    started, watch = time.perf_counter(), Stages(notes(), _STAGES, _amount, lambda step: step.note)
    try:
        with pool:
            watch.follow(collecting(subject, found, out=folder, replace=replace, pool=pool, store=store, **options))
    except KeyboardInterrupt:
        notes().print(_interrupted(watch.last), soft_wrap=True)
        raise typer.Exit(130) from None
    seconds = None if watch.last is None else time.perf_counter() - started
    atlas = Atlas.open(folder)
    for note in atlas.contexts.notes:
        notes().print(Text.assemble(("Note: ", "bold"), note))
    if as_json:
        document = {"folder": str(folder.absolute()), "seconds": seconds, "notes": list(atlas.contexts.notes)}
        print_json({**atlas.info().to_dict(), **document})
        return
    _done(console(), atlas, seconds)


def _tell_plan(terminal: Console, plan: CollectPlan) -> None:
    """What a collection would take."""
    workers = "1 worker" if plan.workers == 1 else f"{plan.workers:,} workers"
    terminal.print(
        f"{plan.tokens:,} tokens in {plan.contexts:,} contexts: {plan.shards:,} shards for {workers}, "
        f"{plan.blocks:,} layers of components.",
        soft_wrap=True,
    )
    terminal.print(
        f"A worker does {plan.tokens_per_s:,.0f} tokens/s and holds {decimal(plan.memory)}; a shard saved takes "
        f"{decimal(plan.shard_bytes)}, all that lie there at once at most {decimal(plan.disk)}.",
        soft_wrap=True,
    )
    total = duration(plan.read_s + plan.collect_s)
    terminal.print(
        f"About {total}: {duration(plan.read_s)} to read the text, {duration(plan.collect_s)} to collect; then the "
        "shards are put together.",
        soft_wrap=True,
    )
    for note in plan.notes:
        terminal.print(Text(note, "dim"), soft_wrap=True)


def _interrupted(last: CollectProgress | None) -> str:
    """What to say when a collection is interrupted."""
    if last is None or last.stage == "read":
        return "Interrupted while reading the text. What is read is kept: the same command goes on."
    if last.stage == "merge":
        return "Interrupted while writing the atlas. All that was collected is kept: the same command goes on."
    return (
        f"Interrupted after {last.done:,} of {last.total:,} tokens. All of it but the last shard is kept: "
        "the same command goes on from there."
    )


def _amount(step: CollectProgress) -> str:
    unit = "components" if step.stage == "merge" else "tokens"
    parts = [f"{step.done:,} of {step.total:,} {unit}"]
    if step.tokens_per_s is not None:
        parts.append(f"{step.tokens_per_s:,.0f}/s")
    if step.seconds_left:
        parts.append(f"{duration(step.seconds_left)} left")
    return ", ".join(parts)


def _done(terminal: Console, atlas: Atlas, seconds: float | None) -> None:
    info = atlas.info()
    size = decimal(sum(path.stat().st_size for path in atlas.folder.rglob("*") if path.is_file()))
    what = f": {info.components:,} components of {info.model.name} over {info.tokens:,} tokens of {info.corpus}"
    terminal.print(Text.assemble((info.name, "bold"), what))
    terminal.print("It was complete already." if seconds is None else f"Collected in {duration(seconds)}.")
    terminal.print(Text(f"{atlas.folder.absolute()}  ({size})", "dim"), soft_wrap=True)
    terminal.print(Text(f"Look at a component: clew show {info.sites[-1]}.0    In a browser: clew serve", "dim"))
