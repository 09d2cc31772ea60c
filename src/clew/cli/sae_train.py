"""`clew sae train` and `clew sae resume`: autoencoders learn, watched from the terminal."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from .. import settings
from ..disk import written
from ..errors import UsageError
from ..nodes import parse_site
from ..pool import Note
from ..sae.recipe import Recipe, TrainingPlan
from .cluster import GpusOption, RayOption, WorkersOption, check_options, pool_of
from .corpus import ColumnOption, ConfigOption, CorpusOption, CorpusRevisionOption, SplitOption
from .sae_watch import Watch, tell_estimate
from .terminal import (
    BosOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    RevisionOption,
    console,
    duration,
    load,
    notes,
    print_json,
    read_text,
)

if TYPE_CHECKING:
    from ..corpus.texts import Corpus
    from ..debug import Model
    from ..sae.trackers import Tracker
    from ..sae.training import TrainEvent

COMMAND = "command.json"  # in a training's folder: what `clew sae resume` gives again
_PENALISED = ("relu", "jumprelu")  # architectures whose sparsity is a penalty's weight; of the others it is k

_PLAN = "What is trained"
_STEPS = "How it is trained"
_TEXT = "On which text"
_WHERE = "Where to"
# Parameters that a plan holds, and the options that they are given by.
_PLANNED = {
    name: "--" + name.replace("_", "-")
    for name in (
        "site", "writes", "skip_term", "latents", "architecture", "k", "sparsity", "loss", "no_resample", "tokens",
        "batch", "lr", "warmup", "decay", "clip", "seed", "save_every", "context", "bos", "skip", "buffer",
    )
}  # fmt: skip

WandbOption = Annotated[
    str | None,
    typer.Option("--wandb", help="Log to this project of Weights & Biases, too.", rich_help_panel=_WHERE),
]
TensorboardOption = Annotated[
    Path | None, typer.Option("--tensorboard", help="Log to this folder for TensorBoard, too.", rich_help_panel=_WHERE)
]


@dataclass(frozen=True)
class Command:
    """A training as it was asked for, kept in its folder: with this it goes on without the command's options."""

    model: str
    revision: str | None
    device: str | None
    dtype: str | None
    corpus: str | None
    column: str | None
    corpus_revision: str | None
    split: str | None
    config: str | None
    plan: TrainingPlan
    ray: str | None = None
    workers: int | None = None
    gpus: int | None = None
    shard_latents: bool = False

    def keep(self, folder: Path) -> None:
        """Written into the training's folder. Raises NoSpace."""
        with written(folder / COMMAND) as partial:
            partial.write_text(json.dumps(asdict(self) | {"plan": self.plan.to_dict()}, indent=1), encoding="utf-8")

    @classmethod
    def kept(cls, folder: Path) -> Command:
        """What `keep` wrote. Raises UsageError."""
        try:
            given = json.loads((folder / COMMAND).read_text(encoding="utf-8"))
            return cls(**{**given, "plan": TrainingPlan.of(given["plan"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{folder} does not say how its training was asked for.", "Give the command that started it again."
            ) from error


def train(
    given: typer.Context,
    model: Annotated[str, typer.Argument(help="smollm2, a Hugging Face name, a folder or a .gguf file.")] = (
        settings.DEFAULT_MODEL
    ),
    site: Annotated[
        list[str] | None,
        typer.Option(
            help="What is read: SITE.LAYER, such as mlp_out.10 or resid.5; several times for more.",
            rich_help_panel=_PLAN,
        ),
    ] = None,
    writes: Annotated[
        str | None,
        typer.Option(help="The site to reconstruct instead: makes a transcoder.", rich_help_panel=_PLAN),
    ] = None,
    skip_term: Annotated[
        bool,
        typer.Option("--skip-term", help="With a linear term, of a transcoder.", rich_help_panel=_PLAN),
    ] = False,
    latents: Annotated[
        list[int] | None,
        typer.Option(
            help="How many; several times for more sizes.", show_default=str(settings.LATENTS), rich_help_panel=_PLAN
        ),
    ] = None,
    architecture: Annotated[
        list[str] | None,
        typer.Option(
            help="relu, topk, batchtopk, jumprelu or matryoshka; several times for more.",
            show_default=Recipe.architecture,
            rich_help_panel=_PLAN,
        ),
    ] = None,
    k: Annotated[
        list[int] | None,
        typer.Option(
            help="Latents that fire on a token: topk, batchtopk, matryoshka; several times for more.",
            show_default=str(Recipe.k),
            rich_help_panel=_PLAN,
        ),
    ] = None,
    sparsity: Annotated[
        list[float] | None,
        typer.Option(
            help="Weight of the penalty: relu, jumprelu; several times for more.",
            show_default="the architecture's own",
            rich_help_panel=_PLAN,
        ),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="Of relu: as in the 2023 paper, or of April 2024.", rich_help_panel=_PLAN)
    ] = Recipe.loss,
    no_resample: Annotated[
        bool, typer.Option("--no-resample", help="Leave dead latents of relu dead.", rich_help_panel=_PLAN)
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            help="All of it as JSON instead, as a training's training.json has it; - reads standard input.",
            rich_help_panel=_PLAN,
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to train on.", rich_help_panel=_STEPS)] = settings.TRAINED,
    batch: Annotated[int, typer.Option(help="Of these in a step.", rich_help_panel=_STEPS)] = TrainingPlan.batch,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate.", show_default="the architecture's own", rich_help_panel=_STEPS),
    ] = None,
    warmup: Annotated[
        float, typer.Option(help="Share of the steps in which it rises.", rich_help_panel=_STEPS)
    ] = TrainingPlan.warmup,
    decay: Annotated[
        float, typer.Option(help="Share of the steps, at the end, in which it falls.", rich_help_panel=_STEPS)
    ] = TrainingPlan.decay,
    clip: Annotated[
        float, typer.Option(help="Norm that gradients are clipped to.", rich_help_panel=_STEPS)
    ] = TrainingPlan.clip,
    seed: Annotated[
        int, typer.Option(help="Of the first weights and the order of the text.", rich_help_panel=_STEPS)
    ] = 0,
    save_every: Annotated[
        int, typer.Option(help="Tokens between two savings.", rich_help_panel=_STEPS)
    ] = TrainingPlan.save_every,
    corpus: CorpusOption = None,
    column: ColumnOption = None,
    corpus_revision: CorpusRevisionOption = None,
    split: SplitOption = None,
    config: ConfigOption = None,
    context: Annotated[int, typer.Option(help="Tokens read at once.", rich_help_panel=_TEXT)] = TrainingPlan.context,
    bos: BosOption = False,
    skip: Annotated[
        int,
        typer.Option(help="Tokens at the start of a context that are read but not trained on.", rich_help_panel=_TEXT),
    ] = TrainingPlan.skip,
    buffer: Annotated[int, typer.Option(help="Tokens held to draw from.", rich_help_panel=_TEXT)] = TrainingPlan.buffer,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the training.", show_default="$CLEW_HOME/saes/MODEL-RECIPE", rich_help_panel=_WHERE
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Throw away what was trained there with other settings.", rich_help_panel=_WHERE
        ),
    ] = False,
    wandb: WandbOption = None,
    tensorboard: TensorboardOption = None,
    ray: RayOption = None,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    shard_latents: Annotated[
        bool,
        typer.Option(
            "--shard-latents", help="Each worker holds a part of every autoencoder, where it is too wide for one."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, measured on a few steps, and keep nothing.")
    ] = False,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train sparse autoencoders: sites × sizes × sparsities, all in one pass over a corpus.

    Ctrl-C saves and stops it; the same command goes on where it was. clew serve shows it while it runs. With --ray it
    is spread over the workers of a cluster, and learns the same.

    clew sae train smollm2 --site mlp_out.10 --latents 4608 --tokens 300000

    clew sae train gpt2 --site resid.5 --site resid.8 --architecture topk --k 16 --k 64
    """
    if plan is not None:
        _refuse_beside_plan(given)
        asked = _plan_of(plan)
    else:
        options = {"loss": loss, "learning_rate": lr, "skip": skip_term, "resample": not no_resample, "seed": seed}
        recipes = _recipes(
            site or [], writes, architecture or [Recipe.architecture], latents or [settings.LATENTS], k or [],
            sparsity or [], options,
        )  # fmt: skip
        asked = TrainingPlan(
            recipes, tokens, batch=batch, context=context, bos=bos, skip=skip, buffer=buffer, warmup=warmup,
            decay=decay, clip=clip, evaluate_every=save_every, save_every=save_every, seed=seed,
        )  # fmt: skip
    asked.checked()
    command = Command(
        model, revision, device, dtype, corpus, column, corpus_revision, split, config, asked, ray, workers, gpus,
        shard_latents,
    )  # fmt: skip
    if dry_run:
        _plan(command, out, as_json)
    else:
        _run(command, out, replace, _trackers(wandb, tensorboard), as_json)


def resume(
    training: Annotated[str, typer.Argument(help="The folder of a training, or its name under $CLEW_HOME/saes.")],
    wandb: WandbOption = None,
    tensorboard: TensorboardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a training that was stopped or interrupted, as it was asked for, on the same cluster if on one.

    clew sae resume smollm2-mlp_out.10-topk-4096-k32
    """
    folder = located(training)
    _run(Command.kept(folder), folder, False, _trackers(wandb, tensorboard), as_json)


def located(given: str) -> Path:
    """The folder of a training that was named: that folder, else the one of this name under $CLEW_HOME/saes."""
    named = re.fullmatch(settings.FOLDER_NAME, given) is not None
    return settings.saes_folder() / given if named and not (Path(given) / COMMAND).exists() else Path(given)


def name_of(model: str, plan: TrainingPlan) -> str:
    """The folder's name of a training that is not given one: the model's, the first recipe's, how many more."""
    short = Path(model).name if Path(model).exists() else model
    words = [settings.folder_name(short), plan.recipes[0].name]
    words += [f"and-{len(plan.recipes) - 1}-more"] if len(plan.recipes) > 1 else []
    return "-".join(words)


def _opened(command: Command, out: Path | None) -> tuple[Model, Corpus, Path]:
    """The model, the text and the folder of a command. Raises UsageError and what opening them raises."""
    from ..corpus.texts import corpus_of

    check_options(command.ray, command.workers, command.gpus)
    if command.shard_latents and command.ray is None:
        raise UsageError("--shard-latents is for the workers of a cluster.", "Add --ray auto.")
    # A corpus that is not there is told before the model is loaded.
    text = corpus_of(
        command.corpus, column=command.column, revision=command.corpus_revision, split=command.split,
        config=command.config,
    )  # fmt: skip
    model = load(command.model, command.revision, command.device, command.dtype)
    return model, text, settings.saes_folder() / name_of(model.name, command.plan) if out is None else out


def _plan(command: Command, out: Path | None, as_json: bool) -> None:
    """Say what a training would take."""
    from ..sae.estimate import planned

    model, text, folder = _opened(command, out)
    with pool_of(command.ray, command.workers, command.gpus, f"sae train {command.model}") as pool:
        found = planned(model, command.plan, text, out=folder, pool=pool, shard_latents=command.shard_latents)
    if as_json:
        print_json(found.to_dict())
    else:
        tell_estimate(console(), found)


def _run(command: Command, out: Path | None, replace: bool, trackers: Sequence[Tracker], as_json: bool) -> None:
    model, text, folder = _opened(command, out)
    started, watch = time.perf_counter(), Watch(notes())
    given: dict[str, Any] = {"replace": replace, "trackers": trackers}
    if command.ray is None:
        from ..sae.training import training

        events: Iterable[TrainEvent | Note] = training(model, command.plan, text, folder, **given)
    else:
        from ..cluster.training import training

        given |= {"address": command.ray, "workers": command.workers, "gpus": command.gpus}
        given["shard_latents"] = command.shard_latents
        events = training(model, command.plan, text, folder, **given)
    try:
        watch.follow(_kept(events, command, folder))
    except KeyboardInterrupt:
        notes().print(Text(f"{watch.told} Or: clew sae resume {_shown(folder)}"), soft_wrap=True)
        raise typer.Exit(130) from None
    state, seconds = watch.state, time.perf_counter() - started
    assert state is not None
    if as_json:
        last = [point.to_dict() for point in watch.points.values()]
        print_json({**state.to_dict(), "seconds": seconds, "last": last})
        return
    terminal, shown = console(), _shown(folder)
    terminal.print(watch.table(terminal.width))
    terminal.print(f"Trained on {state.tokens:,} tokens of {state.corpus} in {duration(seconds)}.", soft_wrap=True)
    terminal.print(Text(str(folder.absolute()), "dim"), soft_wrap=True)
    hints = f"What they are worth: clew sae eval {shown}    In a browser: clew serve --sae {shown}"
    terminal.print(Text(hints, "dim"), soft_wrap=True)


def _kept(events: Iterable[TrainEvent | Note], command: Command, folder: Path) -> Iterator[TrainEvent | Note]:
    """The events of a training; once it has taken its folder, the command is kept there."""
    kept = False
    for event in events:
        if not kept and not isinstance(event, Note):
            command.keep(folder)
            kept = True
        yield event


def _trackers(wandb: str | None, tensorboard: Path | None) -> list[Tracker]:
    """Where else the log goes. Raises UsageError without the libraries."""
    from ..sae.trackers import TensorBoard, WeightsAndBiases

    found: list[Tracker] = [] if wandb is None else [WeightsAndBiases(wandb)]
    return found if tensorboard is None else [*found, TensorBoard(tensorboard)]


def _recipes(
    sites: Sequence[str],
    writes: str | None,
    architectures: Sequence[str],
    latents: Sequence[int],
    ks: Sequence[int],
    sparsities: Sequence[float],
    options: dict[str, Any],
) -> tuple[Recipe, ...]:
    """Sites × architectures × sizes × sparsities. Raises UsageError for what none of them would use."""
    if not sites:
        raise UsageError("There is no site to train on.", "Name one: --site mlp_out.10.")
    penalised = [architecture in _PENALISED for architecture in architectures]
    if ks and all(penalised):
        raise UsageError(f"--k means nothing to {' and '.join(architectures)}.", "Use --sparsity.")
    if sparsities and not any(penalised):
        raise UsageError(f"--sparsity means nothing to {' and '.join(architectures)}.", "Use --k.")
    if "relu" not in architectures and not (options["resample"] and options["loss"] == Recipe.loss):
        raise UsageError("--loss and --no-resample are options of relu.", "Leave them out, or add --architecture relu.")
    target = None if writes is None else parse_site(writes)
    recipes = []
    for site, architecture, size in product(map(parse_site, sites), architectures, latents):
        made = Recipe(site, size, architecture, writes=target, **options)  # pyright: ignore[reportArgumentType]
        if architecture in _PENALISED:
            recipes += [replace(made, sparsity=sparsity) for sparsity in sparsities or [None]]
        else:
            recipes += [replace(made, k=k) for k in ks or [Recipe.k]]
    return tuple(recipes)


def _plan_of(given: str) -> TrainingPlan:
    """The plan in a JSON file, or for `-` on standard input. Raises UsageError."""
    name = "Standard input" if given == "-" else given
    try:
        text = read_text("-") if given == "-" else Path(given).read_text(encoding="utf-8")
        return TrainingPlan.of(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{name} cannot be read as a training plan: {why}.", "A training's training.json holds one, under plan."
        ) from error


def _refuse_beside_plan(given: typer.Context) -> None:
    """Raises UsageError for an option that a plan would leave without a meaning."""
    for name, option in _PLANNED.items():
        source = given.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--plan says all that {option} could.", f"Leave out {option}, or --plan.")


def _shown(folder: Path) -> str:
    """A folder as one would type it: the name alone under $CLEW_HOME/saes."""
    return folder.name if folder.parent == settings.saes_folder() else shlex.quote(str(folder))
