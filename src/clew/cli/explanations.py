"""`clew explanations`: what is kept of explanations, listed, searched, summed up, and carried from and to elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from .. import settings
from ..errors import UsageError
from .answer import plain_table
from .explain import told
from .terminal import JsonOption, ModelOption, console, notes, number, print_json, signed

if TYPE_CHECKING:
    from ..explain.records import Explanation, Group, Overview, Source

app = typer.Typer(no_args_is_help=True, help="List, search, import and export explanations of components.")

LimitOption = Annotated[int, typer.Option(min=1, help="Explanations listed.")]
LlmFilter = Annotated[str | None, typer.Option(help="Only explanations by this one.", show_default="any")]
NameArgument = Annotated[str, typer.Argument(help="The model that they are of, by name.")]

_LISTED = 5  # best and worst of an overview
_BAR = 30  # cells of the longest bar


@app.command("list")
def list_explanations(
    component: Annotated[
        str | None, typer.Argument(help="Such as neuron.5.200.", show_default="the best of all components")
    ] = None,
    model: ModelOption = settings.DEFAULT_MODEL,
    limit: LimitOption = settings.FOUND,
    as_json: JsonOption = False,
) -> None:
    """List the explanations of a component, newest first, with all that they scored; without one the best of a model.

    clew explanations list neuron.5.200
    """
    from ..explain.store.explanations import Explanations
    from ..explain.store.search import search
    from ..nodes import parse

    kept, model = Explanations(), _name(model)
    if component is None:
        found = search(kept, model=model, sort="score", limit=limit)
        rows, total = list(found), found.total
    else:
        rows = kept.named(model, str(parse(component)))
        total = len(rows)
        rows = rows[:limit]
    if as_json:
        print_json({"total": total, "rows": [one.to_dict() for one in rows]})
        return
    terminal = console()
    if not rows:
        what = f'-c "{component}"' if component else '-c "neuron.5.0-199"'
        terminal.print(f"Nothing is explained yet: [bold]clew explain {model} {what}[/].")
    _print(terminal, rows, total)


@app.command("search")
def search_explanations(
    words: Annotated[str, typer.Argument(help="Words that explanations have.")],
    model: ModelOption = settings.DEFAULT_MODEL,
    kind: Annotated[
        list[str] | None, typer.Option(help="attn, neuron or latent; several times for more.", show_default="all")
    ] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Several times for more.", show_default="all")] = None,
    llm: LlmFilter = None,
    min_score: Annotated[float | None, typer.Option(help="Only those that score at least so much.")] = None,
    sort: Annotated[str, typer.Option(help="relevance or score.")] = "relevance",
    embed: Annotated[
        str | None, typer.Option(help="Search by meaning: an embedding model, as MODEL@URL.", show_default="by words")
    ] = None,
    limit: LimitOption = settings.FOUND,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many at the start.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Find components by what is said of them.

    clew explanations search "names of months"
    """
    from ..explain.llm.embedding import Embedding
    from ..explain.store.explanations import Explanations
    from ..explain.store.search import search
    from ..explain.store.similarity import embed as embed_all
    from ..explain.store.similarity import similar

    if sort not in ("relevance", "score"):
        raise UsageError(f"There is no order {sort!r}.", "Name relevance or score.")
    if embed is not None and sort == "score":
        raise UsageError("What is found by meaning is sorted by that.", "Leave out --sort.")
    among: dict[str, Any] = {
        "model": _name(model), "kinds": kind, "layers": layer, "llm": llm, "min_score": min_score, "offset": offset,
        "limit": limit,
    }  # fmt: skip
    kept = Explanations()
    if embed is None:
        found = search(kept, words, sort="score" if sort == "score" else "relevance", **among)
    else:
        embedding = Embedding(embed)
        with closing(embedding), notes().status("Reading the explanations that were not read before…"):
            embed_all(kept, embedding, model=_name(model))
            found = similar(kept, words, embedding, **among)
    rows = list(found)
    if as_json:
        print_json({"total": found.total, "rows": found.to_dict()})
        return
    terminal = console()
    if not rows:
        terminal.print("No explanation is found." if not found.total else f"There are only {found.total:,}.")
    _print(terminal, rows, found.total, offset)


@app.command()
def overview(
    model: NameArgument = settings.DEFAULT_MODEL,
    llm: Annotated[str | None, typer.Option(help="Who explained.", show_default="who explained most")] = None,
    variant: Annotated[str | None, typer.Option(help="Which variant.", show_default="of which there are most")] = None,
    scorer: Annotated[str | None, typer.Option(help="Which scorer.", show_default="which scored most")] = None,
    simulator: Annotated[str | None, typer.Option(help="Who simulated or judged.", show_default="who did most")] = None,
    as_json: JsonOption = False,
) -> None:
    """Sum up all explanations of a model: scores by kind and layer, how they are distributed, the best and the worst.

    clew explanations overview smollm2
    """
    from ..explain.store.explanations import Explanations
    from ..explain.store.overview import overview as summed_up
    from ..explain.store.overview import sources

    kept, model = Explanations(), _name(model)
    wanted = {"llm": llm, "variant": variant, "scorer": scorer, "simulator": simulator}
    there = sources(kept, model)
    fitting = [
        one for one in there if all(value is None or getattr(one, name) == value for name, value in wanted.items())
    ]
    if not fitting:
        raise UsageError(
            f"Nothing of {model} is explained this way." if there else f"Nothing of {model} is explained yet.",
            f'Explain some: clew explain {model} --components "neuron.5.0-199".',
        )
    source = fitting[0]
    found = summed_up(kept, model, source.llm, variant=source.variant, scorer=source.scorer, simulator=source.simulator)
    if as_json:
        print_json({**found.to_dict(), "sources": there.to_dict()})
        return
    _sum_up(console(), found, there)


@app.command("import")
def import_explanations(
    source: Annotated[str, typer.Argument(help="A file or folder, or for OpenAI's also an http(s) address.")],
    published: Annotated[str, typer.Option("--from", help="openai or neuronpedia.")],
    of: Annotated[
        str | None, typer.Option(help="The model that they are of.", show_default="what the files say")
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(help="Of Neuronpedia's latents SOURCE=SITE.LAYER, such as 20-gemmascope-res-16k=resid.20."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read explanations that others published, or that clew explanations export wrote. What is damaged is told.

    clew explanations import ./explanations --from openai --of gpt2
    """
    from ..explain.published import neuronpedia, openai
    from ..explain.store.explanations import Explanations

    if published not in ("openai", "neuronpedia"):
        raise UsageError(f"Clew does not know the format {published!r}.", "Name openai or neuronpedia.")
    if published == "openai" and of is None:
        raise UsageError("OpenAI's files do not say which model they are of.", "Name it: --of gpt2.")
    given: dict[str, str] = {}
    for one in site or ():
        name, equals, where = one.partition("=")
        if not equals or not where:
            raise UsageError(f"{one!r} does not say which site a source is of.", "Write SOURCE=SITE.LAYER.")
        given[name] = where
    kept = Explanations()
    with notes().status("Reading…") as status:

        def tell(done: int, total: int) -> None:
            status.update(f"Reading… {done:,} of {total:,} files")

        if published == "openai":
            report = openai.import_explanations(source, kept, model=of or "", progress=tell)
        else:
            report = neuronpedia.import_explanations(source, kept, model=of, sites=given, progress=tell)
    if as_json:
        print_json(report.to_dict())
        return
    terminal = console()
    found = f"{report.explanations:,} explanations of {report.components:,} components, {report.scores:,} scores"
    terminal.print(f"Read {found}.", soft_wrap=True)
    if report.missing:
        terminal.print(Text(f"{report.missing:,} files are not there.", "dim"))
    for name, count in report.unread.items():
        terminal.print(Text(f"Not read: {name} ({count:,})", "dim"), soft_wrap=True)
    for problem in report.damaged:
        terminal.print(Text(problem, "yellow"), soft_wrap=True)


@app.command("export")
def export_explanations(
    model: NameArgument = settings.DEFAULT_MODEL,
    format: Annotated[str, typer.Option(help="json (all that is kept), openai or neuronpedia.")] = "json",
    out: Annotated[Path, typer.Option(help="The file or folder to write.")] = Path("explanations"),
    components: Annotated[
        list[str] | None, typer.Option("--components", "-c", help="Only these, by id.", show_default="all")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the best explanation of each component, as OpenAI or Neuronpedia publish theirs, or with all that is kept.

    clew explanations export smollm2 --format neuronpedia --out ./export
    """
    from ..explain.published import neuronpedia, openai, whole
    from ..explain.store.explanations import Explanations
    from ..nodes import parse

    if format not in ("json", "openai", "neuronpedia"):
        raise UsageError(f"Clew does not know the format {format!r}.", "Name json, openai or neuronpedia.")
    kept = Explanations()
    subjects = kept.subjects(_name(model))
    if not subjects:
        raise UsageError(f"Nothing of {model} is explained.", "clew explanations overview says of what there is some.")
    ids = None if components is None else [str(parse(one)) for one in components]
    if format == "json":
        count = whole.export_explanations(kept, out, subjects, ids)
    elif format == "neuronpedia":
        count = neuronpedia.export_explanations(kept, out, subjects, ids)
    else:
        # The format has neurons alone.
        count = sum(openai.export_explanations(kept, out, one, ids) for one in subjects if one.autoencoder is None)
    if as_json:
        print_json({"explanations": count, "out": str(out.absolute())})
        return
    console().print(f"Wrote {count:,} explanations to {out.absolute()}.", soft_wrap=True)


@app.command()
def remove(
    explanation: Annotated[int, typer.Argument(help="Its number, from clew explanations list.")],
    as_json: JsonOption = False,
) -> None:
    """Delete an explanation with its scores.

    clew explanations remove 17
    """
    from ..explain.store.explanations import Explanations

    Explanations().remove(explanation)
    if as_json:
        print_json({"removed": explanation})
        return
    console().print(f"Explanation {explanation} is removed.")


def show_all(terminal: Console, rows: Sequence[Explanation]) -> None:
    """Explanations with all that they scored."""
    for one in rows:
        head = Text.assemble((one.component, "bold"), f"  {one.text}")
        by = f"{one.llm}, {one.variant}" if one.variant != "written" else f"written by {one.llm}"
        head.append(f"  (#{one.id}, {by}{'' if one.chosen else ', not chosen'})", "dim")
        terminal.print(head, soft_wrap=True)
        for score in one.scores:
            terminal.print(Text(f"  {told(score)}", "dim"), soft_wrap=True)


def _name(model: str) -> str:
    """What explanations call a model: a folder by its name, as atlases do."""
    return Path(model).resolve().name if Path(model).exists() else model


def _print(terminal: Console, rows: Sequence[Explanation], total: int, offset: int = 0) -> None:
    show_all(terminal, rows)
    left = total - offset - len(rows)
    if rows and left > 0:
        terminal.print(Text(f"{left:,} more: --limit {len(rows) + left}", "dim"))


def _sum_up(terminal: Console, found: Overview, there: Sequence[Source]) -> None:
    source = found.source
    by = f"{source.llm} ({source.variant}), {source.scorer} by {source.simulator}"
    terminal.print(Text.assemble((source.model, "bold"), f"  {by}"), soft_wrap=True)
    mean = f"mean {signed(found.mean)}, token table {signed(found.table)}"
    terminal.print(f"{found.explained:,} explained, {found.scored:,} scored, {found.failed:,} failed; {mean}")
    terminal.print(_groups("kind", found.kinds))
    terminal.print(_groups("layer", found.layers))
    most = max((one.n for one in found.distribution), default=0)
    for one in found.distribution:
        if one.n:
            bar = "█" * max(1, round(_BAR * one.n / most))
            terminal.print(f"{signed(one.low):>7} to {signed(one.high):<7} {one.n:>7,} {bar}", highlight=False)
    for title, rows in (("Best", found.best), ("Worst", found.worst)):
        terminal.print(Text(title, "bold"))
        show_all(terminal, rows[:_LISTED])
    others = len(there) - 1
    if others:
        terminal.print(Text(f"{others} more to see with --llm, --variant, --scorer and --simulator.", "dim"))


def _groups(first: str, groups: Sequence[Group]) -> Any:
    table = plain_table()
    for name in (first, "n", "mean", "deviation", "table"):
        table.add_column(name, justify="left" if name == first else "right", no_wrap=True)
    for one in groups:
        name = one.kind if one.layer is None else f"{one.kind}.{one.layer}"
        table.add_row(name, f"{one.n:,}", signed(one.mean), number(one.deviation), signed(one.table))
    return table
