"""What `clew debug` and `clew trace` both ask: their options, the stack of edits, and what is counted meanwhile."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from ..edits import Edit, edit_of, parse_edit, parse_place
from ..errors import BadEdit, EmptyPrompt, UsageError
from ..nodes import KINDS
from .terminal import notes, read_text

if TYPE_CHECKING:
    from ..debug import Model, Run
    from ..debug.records import NodeEffect
    from ..records import Batch, Record, Records

R = TypeVar("R", bound="Record")

ROWS = 20  # of a node table that fit a screen

PromptArgument = Annotated[str, typer.Argument(help="The prompt; - reads it from standard input.")]
TargetOption = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", help='A token to explain, such as " Mary". Default: the model\'s top one.'),
]
DistractorOption = Annotated[
    list[str] | None,
    typer.Option("--distractor", "-d", help="A token it is compared with. Default: the mean over all tokens."),
]
AtOption = Annotated[int | None, typer.Option(help="Explain the prediction after this token.", show_default="the last")]
TopOption = Annotated[int, typer.Option(help="Nodes kept per end of each metric.")]
ThresholdOption = Annotated[
    float | None, typer.Option(help="Instead: all nodes with an effect of at least this many logits.")
]
KindOption = Annotated[list[str] | None, typer.Option(help=f"Only nodes of this kind: {', '.join(KINDS)}.")]
LayerOption = Annotated[list[int] | None, typer.Option(help="Only nodes of this layer.")]
PositionOption = Annotated[list[int] | None, typer.Option(help="Only nodes that write at this token.")]
SourceOption = Annotated[list[int] | None, typer.Option(help="Only heads' parts that read this token.")]
VerifyOption = Annotated[
    int | None, typer.Option(min=1, help="Measure what ablating each of the N most promising nodes costs.")
]
AblateOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NODE[=V]", help="Set a node to zero, to its mean (=mean) or to a number (=V)."),
]
PatchOption = Annotated[
    list[str] | None, typer.Option(metavar="PLACE", help="Set a place to what it holds on the second prompt.")
]
EditOption = Annotated[
    list[str] | None,
    typer.Option(metavar="OP:PLACE[=VALUE]", help="zero, mean, patch, scale, set, steer or cut a place."),
]
PatchFromOption = Annotated[
    str | None, typer.Option(metavar="PROMPT2", help="The second prompt, from which patches take their values.")
]
PatchAtOption = Annotated[
    int | None,
    typer.Option(help="Explain the second prompt after this token.", show_default="as --at is paired, or the last"),
]
RowsOption = Annotated[int, typer.Option(min=0, help="Rows of the table to print; 0 prints all.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print the node table as CSV on stdout.")]

_ORDER, _WORDS = f"{__name__}.order", f"{__name__}.words"


class Ordered(TyperCommand):
    """A command that is told in which order its options stand, since a stack of edits has one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = list(args)
        *_, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def words(ctx: typer.Context) -> list[str]:
    """The command line after the command's name, as it was typed."""
    return ctx.meta[_WORDS]


@dataclass(frozen=True)
class Question:
    """What is asked of a model, before it is loaded. `of` checks all that needs no model."""

    prompt: str
    targets: list[str] | None
    distractors: list[str] | None
    at: int | None
    bos: bool
    filters: dict[str, Any]
    edits: tuple[Edit, ...]
    second: str | None
    second_at: int | None

    @classmethod
    def of(
        cls,
        prompt: str,
        sides: tuple[list[str] | None, list[str] | None],
        at: int | None,
        bos: bool,
        filters: dict[str, Any],
        edits: tuple[Edit, ...],
        second: tuple[str | None, int | None],
    ) -> Question:
        """Raises UsageError, BadText."""
        other, other_at = second
        if other is None and any(edit.op == "patch" for edit in edits):
            raise UsageError("A patch takes its values from a second prompt.", 'Add --patch-from "…".')
        if other is None and other_at is not None:
            raise UsageError("--patch-at is a place in a second prompt.", 'Add --patch-from "…".')
        if prompt == other == "-":
            raise UsageError("Both prompts cannot come from standard input.", "Write one of them out.")
        read = None if other is None else read_text(other)
        return cls(read_text(prompt), *sides, at, bos, filters, edits, read, other_at)

    @property
    def patches(self) -> bool:
        return any(edit.op == "patch" for edit in self.edits)

    def plain(self, model: Model) -> Run:
        """The run of the prompt as the model is."""
        return model.debug(self.prompt, self.targets, self.distractors, self.at, self.bos, **self.filters)

    def other(self, model: Model, run: Run, explained: bool) -> Run | None:
        """The run of the second prompt, for the tokens that `run` explains; None without one.

        `explained` says that its own D will be asked for, and not just its values. Raises UsageError.
        """
        if self.second is None:
            return None
        try:
            *_, pairs = model.align(self.prompt, self.second, self.bos)
        except EmptyPrompt as error:
            raise EmptyPrompt("The second prompt has no token.", "Give --patch-from at least one.") from error
        at = self.second_at
        if at is None and self.at is not None:
            at = pairs[self.at]
            if at is None and explained:
                raise UsageError(
                    f"Token {self.at} has no counterpart in the second prompt.",
                    "Say with --patch-at after which token the second one is explained.",
                )
        # Positions of the first prompt are not those of the second: its own table is asked for when they are compared.
        filters = {**self.filters, "positions": None, "sources": None}
        # Without a target both explain the first one's top prediction, or their difference would mean nothing.
        # By id, since part of a character has no text of its own.
        targets = [token.id for token in run.direction.targets]
        return model.debug(self.second, targets, self.distractors, at, self.bos, **filters)


def table_filters(
    top: int,
    threshold: float | None,
    kind: list[str] | None,
    layer: list[int] | None,
    position: list[int] | None,
    source: list[int] | None,
) -> dict[str, Any]:
    """The options as keywords of `Run.nodes`."""
    return {
        "top": top,
        "threshold": threshold,
        "kinds": kind,
        "layers": layer,
        "positions": position,
        "sources": source,
    }


def stack(
    ctx: typer.Context, ablate: list[str] | None, patch: list[str] | None, edit: list[str] | None
) -> tuple[Edit, ...]:
    """The edits in the order in which they stand on the command line. Raises BadEdit."""
    readers: dict[str, Callable[[str], Edit]] = {"ablate": _ablation, "patch": _patch, "edit": parse_edit}
    given = {"ablate": iter(ablate or ()), "patch": iter(patch or ()), "edit": iter(edit or ())}
    return tuple(readers[name](next(given[name])) for name in ctx.meta[_ORDER] if name in given)


def one_document(as_json: bool, as_csv: bool) -> None:
    """Raises UsageError where two documents are asked for."""
    if as_json and as_csv:
        raise UsageError("--json and --csv cannot both be printed.", "Ask for one of them.")


def counted(what: str, batches: Iterable[Batch[R]]) -> list[R]:
    """All records of the batches, with a count on stderr while they come."""
    found: list[R] = []
    with notes().status(f"{what}…") as status:
        for batch in batches:
            found += batch
            status.update(f"{what}… {len(found):,} of {batch.total:,}")
    return found


def verified(run: Run, top: int | None) -> Records[NodeEffect] | None:
    """The `top` most promising nodes measured, largest effect first; None if that is not wanted."""
    if top is None:
        return None
    counted("Verifying", run.verifying(top))
    return run.verified()


def print_csv(record: type[R], records: Iterable[R]) -> None:
    """Records of one kind as CSV on stdout, a column for each field."""
    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(record)], lineterminator="\n")  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(one.to_dict() for one in records)


def _ablation(text: str) -> Edit:
    where, equals, to = text.partition("=")
    place = parse_place(where)
    if not equals or to == "zero":
        return edit_of("zero", place)
    if to == "mean":
        return edit_of("mean", place)
    try:
        return parse_edit(f"set:{place}={float(to)!r}")
    except ValueError as error:
        raise BadEdit(
            f"{text!r} has no value after its = that a node can be set to.", f"Write zero, mean or a number: {where}=2."
        ) from error


def _patch(text: str) -> Edit:
    return edit_of("patch", parse_place(text))
