"""`clew trace`: what made a node fire, step by step upstream."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..errors import BadNode, UsageError
from ..nodes import parse
from ..settings import DEFAULT_MODEL, TOP
from . import answer
from . import comparison as sides
from .question import (
    ROWS,
    AblateOption,
    AtOption,
    CsvOption,
    DistractorOption,
    EditOption,
    KindOption,
    LayerOption,
    PatchFromOption,
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
    one_document,
    print_csv,
    stack,
    table_filters,
    verified,
    words,
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
    signed,
    tint,
)

if TYPE_CHECKING:
    from ..debug import Run
    from ..debug.records import Comparison, ModelInfo, NodeEffect, TraceStep
    from ..records import Token


def trace(
    ctx: typer.Context,
    prompt: PromptArgument,
    node: Annotated[str, typer.Argument(help="The node to start from, such as attn.23.3@13.")],
    through: Annotated[
        str | None,
        typer.Option(
            help="q, k, both or v of a pair; gate, up or both of a gated neuron.", show_default="all it reads"
        ),
    ] = None,
    then: Annotated[
        list[str] | None, typer.Option(metavar="NODE[:THROUGH]", help="One more step upstream, from this node.")
    ] = None,
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
    patch_from: PatchFromOption = None,
    rows: RowsOption = ROWS,
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    bos: BosOption = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Explain what made a node fire: its pre-activation S in place of D, and the nodes that add up to it.

    clew trace "When Mary and John went to the store, John gave a drink to" "attn.23.3@13<-1" -t " Mary" -d " John"
    """
    one_document(as_json, as_csv)
    filters = table_filters(top, threshold, kind, layer, position, source)
    edits = stack(ctx, ablate, patch, edit)
    question = Question.of(prompt, (target, distractor), at, bos, filters, edits, (patch_from, None))
    _check(question)
    if through is not None and ":" in node:
        raise BadNode(f"{node!r} says itself what it is traced through.", "Leave out --through.")
    subject = load(model, revision, device, dtype, sae).attach(*(sae or ()))
    run = question.plain(subject)
    second = question.other(subject, run, explained=False)
    if edits:
        run = run.edit(*edits, second=second)
    run = run.trace(node, through)
    for step in then or ():
        run = run.trace(step)
    measured = verified(run, verify)
    if as_csv:
        from ..debug.records import NodeEffect

        print_csv(NodeEffect, run.nodes(**filters) if measured is None else measured)
        return
    comparison = run.compare(**filters) if edits else None
    if as_json:
        document = run.to_dict()
        if comparison is not None:
            document["comparison"] = comparison.to_dict()
        if measured is not None:
            document["agreement"] = run.agreement().to_dict()
        print_json(document)
        return
    nodes = run.nodes(**filters) if measured is None else measured
    _show(console(), subject.info(), run, nodes, measured is not None, comparison, rows, words(ctx))


def _check(question: Question) -> None:
    """Raises UsageError for a second prompt that nothing reads."""
    if question.second is not None and not question.patches:
        raise UsageError("A trace is of one prompt, and nothing is patched from the second.", "Add --patch PLACE.")


def _show(
    console: Console,
    info: ModelInfo,
    run: Run,
    nodes: Sequence[NodeEffect],
    measured: bool,
    comparison: Comparison | None,
    rows: int,
    typed: Sequence[str],
) -> None:
    """Print the steps so far, what S is, that it adds up, and the nodes that make it; then a step further."""
    tokens, steps = run.tokens, run.steps
    console.print(answer.header(info), soft_wrap=True)
    console.print(answer.prompt_line(tokens, parse(steps[-1].node).position or 0))
    if run.edits:
        console.print(sides.edits_line(run.edits))
    console.print()
    console.print(_breadcrumb(run.direction.value, steps))
    console.print(Text.assemble(("S", "bold"), " = ", meaning(steps, tokens)))
    console.print(answer.accounting_lines(run.accounting()))
    if comparison is not None:
        console.print(sides.change_line("S", comparison))
        console.print()
        sides.show_changes(console, comparison.nodes, tokens, tokens, ("before", "after"), rows)
    if comparison is None or measured:
        console.print()
        if comparison is not None:
            console.print("Verified under the edits", style="bold")
        answer.show_nodes(console, nodes, tokens, rows)
        answer.show_agreement(console, run)
    further = _further(nodes)
    if further is not None:
        console.print()
        command = shlex.join(["clew", "trace", *typed, "--then", further])
        console.print(Text(f"A step further: {command}", "dim"), soft_wrap=True)


def _breadcrumb(value: float, steps: Sequence[TraceStep]) -> Text:
    text = Text.assemble(("D ", "bold"), (signed(value), tint(value)))
    for step in steps:
        text.append(" › ", "dim")
        text.append(f"{step.node}:{step.through} ", "bold" if step is steps[-1] else "")
        text.append(signed(step.value), tint(step.value))
    return text


def meaning(steps: Sequence[TraceStep], tokens: Sequence[Token]) -> str:
    """What the S of the last step is, in words."""
    step = steps[-1]
    node = parse(step.node)
    assert node.position is not None
    at = answer.placed(tokens[node.position])
    if node.kind == "neuron":
        name = f"neuron {node.index} of layer {node.layer} at {at}"
        return {
            "in": f"the input of {name}, before its non-linearity",
            "gate": f"the input of the gate of {name}, before its non-linearity",
            "up": f"the up branch of {name}, which its gate multiplies",
            "both": f"the activation of {name}, gate times up",
        }[step.through]
    if node.kind == "latent":
        return f"what the encoder gives latent {node.index} of {node.site} at {at}, before its activation function"
    name = f"head {node.index} of layer {node.layer}"
    if step.through == "v":
        above = "D" if len(steps) == 1 else f"the S of {steps[-2].node}:{steps[-2].through}"
        read = "all it reads" if node.source is None else answer.placed(tokens[node.source])
        return f"what {name} at {at} brings to {above} from {read}, through its values; its pattern is held"
    assert node.source is not None
    held = {"q": "through the query; the key is held", "k": "through the key; the query is held"}
    side = held.get(step.through, "through query and key")
    return f"the score with which {name} at {at} attends to {answer.placed(tokens[node.source])}, {side}"


def _further(nodes: Sequence[NodeEffect]) -> str | None:
    """The node with the largest effect of those that can be traced, by what was measured where it was."""
    found = [row for row in nodes if row.kind in ("attn", "neuron", "latent") and row.position is not None]

    def size(row: NodeEffect) -> float:
        return abs(row.direct_effect if row.verified_effect is None else row.verified_effect)

    return max(found, key=size).id if found else None
