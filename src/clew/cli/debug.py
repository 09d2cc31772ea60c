"""`clew debug`: why the model said that."""

from __future__ import annotations

import csv
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..nodes import KINDS
from ..settings import DEFAULT_MODEL, TOP
from .terminal import (
    BosOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    console,
    load,
    notes,
    print_json,
    read_text,
)

if TYPE_CHECKING:
    from ..debug import Run
    from ..debug.records import NodeEffect, Records

ROWS = 20  # of the node table that fit a screen


def debug(
    prompt: Annotated[str, typer.Argument(help="The prompt; - reads it from standard input.")],
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help='A token to explain, such as " Mary". Default: the model\'s top one.'),
    ] = None,
    distractor: Annotated[
        list[str] | None,
        typer.Option("--distractor", "-d", help="A token it is compared with. Default: the mean over all tokens."),
    ] = None,
    at: Annotated[
        int | None, typer.Option(help="Explain the prediction after this token.", show_default="the last")
    ] = None,
    top: Annotated[int, typer.Option(help="Nodes kept per end of each metric.")] = TOP,
    threshold: Annotated[
        float | None, typer.Option(help="Instead: all nodes with an effect of at least this many logits.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help=f"Only nodes of this kind: {', '.join(KINDS)}.")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Only nodes of this layer.")] = None,
    position: Annotated[list[int] | None, typer.Option(help="Only nodes that write at this token.")] = None,
    source: Annotated[list[int] | None, typer.Option(help="Only heads' parts that read this token.")] = None,
    verify: Annotated[
        int | None, typer.Option(min=1, help="Measure what ablating each of the N most promising nodes costs.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows of the table to print; 0 prints all.")] = ROWS,
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    bos: BosOption = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the node table as CSV on stdout.")] = False,
) -> None:
    """Explain a prediction: which heads and neurons pushed the target up, and which the distractor.

    Options that take a token, kind, layer or position can be given several times.

    clew debug "When Mary and John went to the store, John gave a drink to" -t " Mary" -d " John"
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv cannot both be printed.", "Ask for one of them.")
    prompt = read_text(prompt)
    subject = load(model, revision, device, dtype)
    filters: dict[str, Any] = {
        "top": top,
        "threshold": threshold,
        "kinds": kind,
        "layers": layer,
        "positions": position,
        "sources": source,
    }
    run = subject.debug(prompt, target, distractor, at, bos, **filters)
    verified = None if verify is None else _verify(run, verify)
    if as_json:
        print_json(run.to_dict())
        return
    nodes = run.nodes(**filters) if verified is None else verified
    if as_csv:
        _print_csv(nodes)
    else:
        from .answer import show

        show(console(), subject.info(), run, nodes, rows)


def _verify(run: Run, top: int) -> Records[NodeEffect]:
    """The verified nodes, largest effect first, with a count on stderr while they are measured."""
    with notes().status("Verifying…") as status:
        done = 0
        for batch in run.verifying(top):
            done += len(batch)
            status.update(f"Verifying… {done:,} nodes of {top:,}")
    return run.verified()


def _print_csv(nodes: Records[NodeEffect]) -> None:
    from ..debug.records import NodeEffect

    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(NodeEffect)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(nodes.to_dict())
