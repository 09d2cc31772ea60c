"""`clew debug`: why the model said that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..settings import DEFAULT_MODEL, GENERATED, TOP
from .question import (
    ROWS,
    AblateOption,
    AtOption,
    CsvOption,
    DistractorOption,
    EditOption,
    KindOption,
    LayerOption,
    PatchAtOption,
    PatchOption,
    PositionOption,
    PromptArgument,
    Question,
    RowsOption,
    SourceOption,
    TargetOption,
    ThresholdOption,
    TopOption,
    VerifyOption,
    counted,
    one_document,
    print_csv,
    stack,
    table_filters,
    verified,
)
from .terminal import (
    BosOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    SaeOption,
    console,
    load,
    print_json,
)

if TYPE_CHECKING:
    from ..debug import Model, Run
    from ..debug.records import Comparison, NodeEffect, SweepCell
    from ..records import Records


def debug(
    ctx: typer.Context,
    prompt: PromptArgument,
    target: TargetOption = None,
    distractor: DistractorOption = None,
    at: AtOption = None,
    top: TopOption = TOP,
    threshold: ThresholdOption = None,
    kind: KindOption = None,
    layer: LayerOption = None,
    position: PositionOption = None,
    source: SourceOption = None,
    verify: VerifyOption = None,
    ablate: AblateOption = None,
    patch: PatchOption = None,
    edit: EditOption = None,
    sae: SaeOption = None,
    patch_from: Annotated[
        str | None,
        typer.Option(metavar="PROMPT2", help="The second prompt; without patches, it is compared with the prompt."),
    ] = None,
    patch_at: PatchAtOption = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Patch every head, stream and MLP at each token, one at a time.")
    ] = False,
    generate: Annotated[
        int | None, typer.Option(metavar="N", help="Go on for N tokens; under edits, before and after them.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Draw what is generated at this temperature.", show_default="0, the likeliest")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw.", show_default="0")] = None,
    rows: RowsOption = ROWS,
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    bos: BosOption = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Explain a prediction: which heads and neurons pushed the target up, and which the distractor.

    Options that take a token, kind, layer, position or edit can be given several times; edits are made in their order.

    clew debug "When Mary and John went to the store, John gave a drink to" -t " Mary" -d " John"
    """
    one_document(as_json, as_csv)
    filters = table_filters(top, threshold, kind, layer, position, source)
    edits = stack(ctx, ablate, patch, edit)
    question = Question.of(prompt, (target, distractor), at, bos, filters, edits, (patch_from, patch_at))
    _check(question, sweep, generate, temperature, seed, as_csv)
    going_on = None if generate is None else {"n": generate, "temperature": temperature or 0.0, "seed": seed or 0}
    subject = load(model, revision, device, dtype, sae).attach(*(sae or ()))
    plain = question.plain(subject)
    second = question.other(subject, plain, explained=sweep or not edits)
    run = plain.edit(*edits, second=second) if edits else plain
    measured = verified(run, verify)
    cells = counted("Sweeping", run.sweeping(second)) if sweep and second is not None else None
    if as_csv and cells is not None:
        from ..debug.records import SweepCell

        print_csv(SweepCell, cells)
        return
    if as_csv:
        from ..debug.records import NodeEffect

        print_csv(NodeEffect, run.nodes(**filters) if measured is None else measured)
        return
    comparison = None
    if edits or second is not None:
        # Under edits the two sides are before and after them; without, they are the two prompts.
        comparison = run.compare(None if edits else second, **filters)
    found = _Found(subject, plain, run, second, measured, cells, comparison)
    if as_json:
        print_json(_document(found, going_on))
    else:
        _print(found, run.nodes(**filters) if measured is None else measured, rows, going_on)


@dataclass(frozen=True)
class _Found:
    """What was asked for: `plain` is the prompt as the model is, `run` the same under the edits."""

    model: Model
    plain: Run
    run: Run
    second: Run | None
    measured: Records[NodeEffect] | None
    cells: list[SweepCell] | None
    comparison: Comparison | None


def _document(found: _Found, going_on: dict[str, Any] | None) -> dict[str, Any]:
    run, second = found.run, found.second
    document = run.to_dict()
    if second is not None:
        document["second"] = {"tokens": second.tokens.to_dict(), "direction": second.direction.to_dict()}
    if found.comparison is not None:
        document["comparison"] = found.comparison.to_dict()
    if found.cells is not None:
        document["sweep"] = [cell.to_dict() for cell in found.cells]
    if found.measured is not None:
        document["agreement"] = run.agreement().to_dict()
    if going_on is not None:
        after = _continued(found.model, run, going_on) if run.edits else None
        document["continuation"] = {"before": _continued(found.model, found.plain, going_on), "after": after}
    return document


def _continued(model: Model, run: Run, going_on: dict[str, Any]) -> dict[str, Any]:
    tokens = run.generate(**going_on)
    return {"text": model.subject.decode([token.id for token in tokens]), "tokens": tokens.to_dict()}


def _print(found: _Found, nodes: Records[NodeEffect], rows: int, going_on: dict[str, Any] | None) -> None:
    from . import answer, heatmap
    from . import comparison as sides
    from .continuation import started, stream

    run, edited = found.run, bool(found.run.edits)
    before = None if going_on is None else started(found.plain.generating(**going_on))
    after = None if going_on is None or not edited else started(run.generating(**going_on))
    terminal, info = console(), found.model.info()
    right = run if edited else found.second
    if found.comparison is None or right is None:
        answer.show(terminal, info, run, nodes, rows)
    else:
        hints = _hints(edited, found.cells is not None, going_on is not None)
        sides.show(terminal, info, found.plain, right, found.comparison, found.measured, rows, hints)
    if found.cells is not None and found.second is not None:
        heatmap.show(terminal, found.cells, run, found.second, rows)
    if before is not None:
        stream(terminal, found.model, "before" if edited else "", before)
    if after is not None:
        stream(terminal, found.model, "after", after)


def _hints(edited: bool, swept: bool, goes_on: bool) -> list[str]:
    """What one could ask next of two sides."""
    if edited:
        return [] if goes_on else [f"What the model says then: --generate {GENERATED}."]
    more = "One place from the second prompt: --patch PLACE."
    return [more] if swept else ["Where the difference sits: --sweep.", more]


def _check(
    question: Question,
    sweep: bool,
    generate: int | None,
    temperature: float | None,
    seed: int | None,
    as_csv: bool,
) -> None:
    """Raises UsageError for options that would be without effect."""
    if sweep and question.second is None:
        raise UsageError("A sweep patches from a second prompt.", 'Add --patch-from "…".')
    if question.second is not None and question.edits and not question.patches and not sweep:
        raise UsageError(
            "None of these edits takes anything from the second prompt.",
            "Add --patch PLACE or --sweep, or leave out the edits to compare the prompts.",
        )
    if generate is None and (temperature is not None or seed is not None):
        raise UsageError("--temperature and --seed say how to go on.", "Add --generate N.")
    if generate is not None and as_csv:
        raise UsageError("A continuation is no table, and CSV has no place for it.", "Use --json, or leave one out.")
