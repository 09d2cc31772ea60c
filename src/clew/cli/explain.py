"""`clew explain` and `clew score`: words for components, and how far to trust them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from .. import settings
from ..errors import UsageError
from .atlas import AtlasOption, opened
from .cluster import GpusOption, RayOption, WorkersOption, pool_of
from .stages import Stages
from .terminal import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    SaeOption,
    console,
    duration,
    load,
    notes,
    number,
    print_json,
    read_text,
    signed,
)

if TYPE_CHECKING:
    from ..atlas.records import CollectProgress
    from ..debug import Model
    from ..explain import Recipe
    from ..explain.records import Cost, ExplainPlan, ExplainProgress, Explanation, Problem, Score
    from ..pool import Pool

_STAGES = {"read": "Reading examples", "explain": "Explaining"}
_COLLECTING = {"read": "Reading text", "collect": "Collecting an atlas", "merge": "Writing the atlas"}
_SHOWN = 10  # explanations printed of a run

LlmOption = Annotated[
    str,
    typer.Option(
        "--llm",
        help="lookup (no language model), local:MODEL, MODEL (at OpenAI, or OPENAI_BASE_URL), or MODEL@URL.",
    ),
]
SimulatorOption = Annotated[
    str | None, typer.Option(help="The language model that simulates and judges.", show_default="as --llm")
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help="How activations are simulated: all_at_once, token_by_token or json.",
        show_default="the best that the endpoint has",
    ),
]
ScorerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scorer",
        help="simulation, detection, fuzzing, pairs (of heads), ablation or intervention; several times for more.",
        show_default="simulation",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Of what is drawn at random, and of the candidates.")]
BudgetOption = Annotated[
    int | None, typer.Option(help="Tokens sent and received, after which no more is asked.", show_default="none")
]
MoneyOption = Annotated[
    float | None, typer.Option(help="The same in money; needs --price-in and --price-out.", show_default="none")
]
PriceInOption = Annotated[float | None, typer.Option(help="What a million tokens sent cost.")]
PriceOutOption = Annotated[float | None, typer.Option(help="What a million tokens received cost.")]
ConcurrencyOption = Annotated[int, typer.Option(help="Requests at once.")]


def explain(
    model: Annotated[str, typer.Argument(help="smollm2, a Hugging Face name, a folder or a .gguf file.")] = (
        settings.DEFAULT_MODEL
    ),
    components: Annotated[
        list[str] | None,
        typer.Option(
            "--components",
            "-c",
            help="neuron.5.200, neuron.5.0-199, neuron.5.*, attn.*.*, latent.mlp_out.10.*; several times for more.",
        ),
    ] = None,
    llm: LlmOption = settings.LLM,
    simulator: SimulatorOption = None,
    method: MethodOption = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="What the explainer is shown: examples, tokens or contrast; several times for candidates of each.",
            show_default="examples",
        ),
    ] = None,
    candidates: Annotated[int, typer.Option(help="Explanations to choose from, by score on held-out text.")] = 1,
    revisions: Annotated[int, typer.Option(help="Rounds of testing and revising the best one.")] = 0,
    scorer: ScorerOption = None,
    budget: BudgetOption = None,
    money: MoneyOption = None,
    price_in: PriceInOption = None,
    price_out: PriceOutOption = None,
    concurrency: ConcurrencyOption = settings.CONCURRENCY,
    seed: SeedOption = 0,
    redo: Annotated[bool, typer.Option("--redo", help="Also those that are explained already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and ask nothing.")] = False,
    ray: RayOption = None,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    atlas: AtlasOption = None,
    sae: SaeOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find words for components, and score them on text that the explainer never saw.

    What it takes is told first. Ctrl-C stops it; the same command goes on where it was and asks nothing twice. Without
    an atlas of the model one is collected first. With --ray the work is spread over a cluster, to the same words. Keys
    come from OPENAI_API_KEY, for other addresses from CLEW_LLM_KEY.

    clew explain smollm2 --components "neuron.5.0-199" --llm lookup
    """
    from ..atlas import Components
    from ..explain.pipeline import explaining, planned
    from ..explain.selection import selected
    from ..explain.store.explanations import Explanations

    if not components:
        raise UsageError("No component is named.", 'Name some: --components "neuron.5.0-199".')
    recipe = _recipe(
        llm, simulator, method, variant, candidates, revisions, scorer, budget, money, price_in, price_out,
        concurrency, seed,
    )  # fmt: skip
    pool = pool_of(ray, workers, gpus, f"explain {model}")
    kept = Explanations()  # one that cannot be opened is told before the model is loaded
    subject = load(model, revision, device, dtype, sae)
    found: list[Explanation] = []
    problems: list[Problem] = []

    def noted(progress: ExplainProgress) -> ExplainProgress:
        found.extend([] if progress.latest is None else [progress.latest])
        problems.extend([] if progress.problem is None else [progress.problem])
        return progress

    # What is not there is told before an atlas is collected for it.
    selected(components, Components(subject, autoencoders=sae or ()))
    with pool:
        if atlas is None:
            _collect(subject, sae, pool)
        known = opened(subject, atlas, sae)
        plan = planned(known, components, recipe, explanations=kept, redo=redo, pool=pool)
        if dry_run:
            if as_json:
                print_json(plan.to_dict())
            else:
                _tell_plan(console(), plan)
            return
        _tell_plan(notes(), plan)
        if plan.done == plan.components and not as_json:
            hint = f"All is explained already: [bold]clew explanations list -m {subject.name}[/]"
            console().print(hint, soft_wrap=True)
            return
        started = time.perf_counter()
        watch: Stages[ExplainProgress] = Stages(notes(), _STAGES, _amount, lambda step: step.note)
        steps = explaining(known, components, recipe, explanations=kept, redo=redo, pool=pool)
        try:
            watch.follow(noted(step) for step in steps)
        except KeyboardInterrupt:
            notes().print("Interrupted. All that was answered is kept: the same command goes on.", soft_wrap=True)
            raise typer.Exit(130) from None
    seconds = time.perf_counter() - started
    spent = watch.last.spent if watch.last is not None else None
    if as_json:
        document = {
            "plan": plan.to_dict(),
            "explained": len(found),
            "failed": len(problems),
            "spent": None if spent is None else spent.to_dict(),
            "seconds": seconds,
            "database": kept.place,
            "explanations": [{**one.to_dict(), "scores": [_brief(score) for score in one.scores]} for one in found],
            "problems": [one.to_dict() for one in problems],
        }
        print_json(document)
        return
    _tell(console(), found, problems, plan, spent, seconds)


def score(
    component: Annotated[str, typer.Argument(help="neuron.L.N, attn.L.H or latent.SITE.L.J, such as neuron.5.200.")],
    words: Annotated[
        str | None,
        typer.Argument(help="What it does, in your words; - reads them from standard input.", show_default=False),
    ] = None,
    explanation: Annotated[
        int | None, typer.Option(help="Instead of words the number of an explanation, from clew explanations list.")
    ] = None,
    model: ModelOption = settings.DEFAULT_MODEL,
    llm: LlmOption = settings.LLM,
    method: MethodOption = None,
    scorer: ScorerOption = None,
    author: Annotated[str, typer.Option(help="Who wrote the words.")] = "you",
    budget: BudgetOption = None,
    concurrency: ConcurrencyOption = settings.CONCURRENCY,
    seed: SeedOption = 0,
    atlas: AtlasOption = None,
    sae: SaeOption = None,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score words for a component that you wrote yourself, or an explanation that is kept.

    Without a language model words are read by the tokens they quote: '" store" (10), any token after " the" (4)'.

    clew score neuron.5.200 "names of months" --llm local:smollm2 --scorer detection
    """
    from ..explain.pipeline import scoring
    from ..explain.store.explanations import Explanations

    if (words is None) == (explanation is None):
        raise UsageError("Either words are scored or an explanation.", "Give words, or --explanation NUMBER.")
    given: str | int = read_text(words) if words is not None else explanation or 0
    recipe = _recipe(
        llm, None, method, None, 1, 0, scorer, budget, None, None, None, concurrency, seed
    )  # fmt: skip
    kept = Explanations()
    subject = load(model, revision, device, dtype, sae)
    known = opened(subject, atlas, sae)
    steps = scoring(known, component, given, recipe, explanations=kept, author=author)
    watch: Stages[ExplainProgress] = Stages(notes(), {**_STAGES, "explain": "Scoring"}, _amount)
    watch.follow(steps)
    assert watch.last is not None and watch.last.latest is not None
    found = watch.last.latest
    if as_json:
        print_json(found.to_dict())
        return
    terminal = console()
    terminal.print(Text.assemble((found.component, "bold"), f"  {found.text}"), soft_wrap=True)
    for one in found.scores:
        terminal.print(Text(f"  {told(one)}"), soft_wrap=True)


def told(score: Score) -> str:
    """A score in a line, with all that it takes to judge it."""
    texts = sum(score.texts.values())
    bounds = "" if score.low is None or score.high is None else f" [{signed(score.low)}, {signed(score.high)}]"
    baselines = ", ".join(f"{one.name} {signed(one.value)}" for one in score.baselines)
    failed = f", {len(score.failures)} failed" if score.failures else ", none failed"
    by = score.llm if score.method in (None, "lookup") else f"{score.llm}, {score.method}"
    return f"{score.scorer} {signed(score.value)}{bounds} on {texts} texts{failed} ({baselines}) by {by}"


def _recipe(
    llm: str,
    simulator: str | None,
    method: str | None,
    variants: Sequence[str] | None,
    candidates: int,
    revisions: int,
    scorers: Sequence[str] | None,
    budget: int | None,
    money: float | None,
    price_in: float | None,
    price_out: float | None,
    concurrency: int,
    seed: int,
) -> Recipe:
    from ..explain import Recipe

    if (price_in is None) != (price_out is None):
        raise UsageError("Only one price is given.", "Give both --price-in and --price-out.")
    return Recipe(
        llm=llm,
        simulator=simulator,
        method=method,  # pyright: ignore[reportArgumentType]
        variants=tuple(variants or ("examples",)),  # pyright: ignore[reportArgumentType]
        candidates=candidates,
        revisions=revisions,
        scorers=tuple(scorers or ("simulation",)),  # pyright: ignore[reportArgumentType]
        seed=seed,
        budget=budget,
        money=money,
        prices=None if price_in is None or price_out is None else (price_in, price_out),
        concurrency=concurrency,
    ).checked()


def _collect(subject: Model, sae: Sequence[str] | None, pool: Pool) -> None:
    """Makes the model's own atlas when there is none: there would be nothing to explain."""
    from ..atlas import collecting
    from ..atlas.store import MANIFEST

    folder = settings.atlas_of(subject.name)
    if (folder / MANIFEST).exists():
        return
    notes().print(f"There is no atlas of {subject.name} yet: it is collected first, once.", soft_wrap=True)
    watch: Stages[CollectProgress] = Stages(
        notes(), _COLLECTING, lambda step: f"{step.done:,} of {step.total:,}", lambda step: step.note
    )
    watch.follow(collecting(subject, out=folder, autoencoders=sae or (), pool=pool))


def _amount(step: ExplainProgress) -> str:
    parts = [f"{step.done:,} of {step.total:,}"]
    if step.failed:
        parts.append(f"{step.failed:,} failed")
    if step.spent.requests or step.spent.known:
        parts.append(f"{step.spent.requests:,} requests")
        parts.append(f"{step.spent.prompt_tokens + step.spent.completion_tokens:,} tokens")
    if step.seconds_left:
        parts.append(f"{duration(step.seconds_left)} left")
    return ", ".join(parts)


def _tell_plan(terminal: Console, plan: ExplainPlan) -> None:
    todo = plan.components - plan.done
    done = f" ({plan.done:,} are done already)" if plan.done else ""
    by = f" by {plan.workers:,} workers" if plan.workers > 1 else ""
    terminal.print(Text(f"{todo:,} components to explain with {plan.llm}{by}{done}."), soft_wrap=True)
    if not todo:
        return
    if not plan.requests:
        terminal.print(Text("No language model is asked: it costs nothing.", "dim"), soft_wrap=True)
        return
    tokens = f"{plan.prompt_tokens:,} tokens sent and {plan.completion_tokens:,} received"
    cost = "" if plan.money is None else f", {number(plan.money)} in money"
    terminal.print(Text(f"At most {plan.requests:,} requests: {tokens}{cost}.", "dim"), soft_wrap=True)
    if plan.budget is not None and plan.budget < plan.prompt_tokens + plan.completion_tokens:
        terminal.print(Text(f"The budget of {plan.budget:,} tokens may end it early.", "yellow"), soft_wrap=True)


def _tell(
    terminal: Console,
    found: Sequence[Explanation],
    problems: Sequence[Problem],
    plan: ExplainPlan,
    spent: Cost | None,
    seconds: float,
) -> None:
    ordered = sorted(found, key=lambda one: -1.0 if (value := _headline(one)) is None else value, reverse=True)
    for one in ordered[:_SHOWN]:
        terminal.print(Text.assemble((one.component, "bold"), f"  {one.text}"), soft_wrap=True)
        for scored in one.scores:
            terminal.print(Text(f"  {told(scored)}", "dim"), soft_wrap=True)
    if len(found) > _SHOWN:
        terminal.print(Text(f"and {len(found) - _SHOWN:,} more, of lower score.", "dim"))
    for problem in problems[:_SHOWN]:
        terminal.print(Text.assemble((problem.component, "bold red"), f"  {problem.failure.message}"), soft_wrap=True)
    failed = f"; {len(problems):,} failed" if problems else ""
    asked = "" if spent is None or not spent.requests else f", {spent.requests:,} requests"
    terminal.print(f"Explained {len(found):,} components in {duration(seconds)}{asked}{failed}.", soft_wrap=True)
    if found:
        hint = f"Look at one: clew explanations list {found[0].component}    In a browser: clew serve"
        terminal.print(Text(hint, "dim"), soft_wrap=True)


def _headline(explanation: Explanation) -> float | None:
    return explanation.scores[0].value if explanation.scores else None


def _brief(score: Score) -> dict[str, object]:
    """A score without its strips, of which the database has all."""
    document = score.to_dict()
    del document["strips"]
    return document
