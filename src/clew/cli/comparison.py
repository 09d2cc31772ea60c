"""Two sides in the terminal: before and after edits, or one prompt and another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import answer
from .terminal import AGAINST, TOWARDS, percent, signed, tint, visible

if TYPE_CHECKING:
    from ..debug import Run
    from ..debug.records import CandidateChange, Comparison, Direction, ModelInfo, NodeChange, NodeEffect
    from ..records import Token

_LISTED = 16  # tokens named before the rest is counted
# Terminal columns from which a table has room for more than its first and last columns.
_ROOM_FOR_LEFT, _ROOM_FOR_ESTIMATES, _ROOM_FOR_TOKENS = 52, 72, 92


def show(
    console: Console,
    info: ModelInfo,
    left: Run,
    right: Run,
    comparison: Comparison,
    measured: Sequence[NodeEffect] | None,
    rows: int,
    hints: Sequence[str],
) -> None:
    """Print both sides and what differs; `measured` are verified nodes of the edited run, or of the first prompt.

    `hints` are what one could ask next, a line each.
    """
    edited = bool(right.edits)
    names = ("before", "after") if edited else ("first", "second")
    console.print(answer.header(info), soft_wrap=True)
    console.print(answer.prompt_line(left.tokens, left.direction.position))
    if edited:
        console.print(edits_line(right.edits))
    else:
        console.print(answer.prompt_line(right.tokens, right.direction.position))
        console.print(_pairs(left.tokens, right.tokens, comparison.alignment), style="dim")
    console.print()
    console.print(_candidates(comparison.candidates, left.direction, names, console.width))
    console.print()
    console.print(answer.direction_line(left.direction, f"{names[0]}, {_where(left)}"))
    console.print(answer.accounting_lines(left.accounting()))
    console.print(answer.direction_line(right.direction, f"{names[1]}, {_where(right)}"))
    console.print(answer.accounting_lines(right.accounting()))
    console.print(change_line("D", comparison))
    console.print()
    shown = show_changes(console, comparison.nodes, left.tokens, right.tokens, names, rows)
    if measured is not None:
        run = right if edited else left
        console.print()
        console.print(f"Verified {'under the edits' if edited else 'on the first prompt'}", style="bold")
        answer.show_nodes(console, measured, run.tokens, rows)
        answer.show_agreement(console, run)
    left_out = len(comparison.nodes) - shown
    lines = [*([f"{left_out} more nodes: --rows 0 or --json print them all."] if left_out else []), *hints]
    if lines:
        console.print()
        console.print(Text("\n".join(lines)), style="dim")


def edits_line(edits: Sequence[str]) -> Text:
    """The stack of edits, in its order."""
    return Text.assemble(("with ", "dim"), (", ".join(edits), "bold"))


def change_line(name: str, comparison: Comparison) -> Text:
    """What is explained on the left, on the right, and the difference."""
    left, right = comparison.left_value, comparison.right_value
    return Text.assemble(
        (name, "bold"),
        f" {signed(left)} → ",
        (signed(right), f"bold {tint(right)}"),
        ", difference ",
        (signed(comparison.difference), f"bold {tint(comparison.difference)}"),
    )


def show_changes(
    console: Console,
    changes: Sequence[NodeChange],
    left: Sequence[Token],
    right: Sequence[Token],
    names: tuple[str, str],
    rows: int,
) -> int:
    """Print the node table of both sides, `rows` nodes at most, 0 for all, and say how many there were."""
    shown = changes if rows == 0 else changes[:rows]
    if shown:
        console.print(_changes(shown, left, right, names, console.width))
    else:
        console.print("No node passes these filters.")
    return len(shown)


def _where(run: Run) -> str:
    return "after " + answer.placed(run.tokens[run.direction.position])


def _pairs(left: Sequence[Token], right: Sequence[Token], alignment: Sequence[int | None]) -> Text:
    """Which tokens differ from their counterparts, and which have none."""
    paired = [(one, right[pair]) for one, pair in zip(left, alignment, strict=True) if pair is not None]
    changed = [f"{answer.placed(one)} ↔ {answer.placed(other)}" for one, other in paired if one.id != other.id]
    taken = {other.position for _, other in paired}
    alone = [answer.placed(one) for one, pair in zip(left, alignment, strict=True) if pair is None]
    extra = [answer.placed(other) for other in right if other.position not in taken]
    parts = [f"{len(paired)} of {len(left)} tokens have a counterpart"]
    for what, found in (("different", changed), ("only in the first", alone), ("only in the second", extra)):
        if found:
            more = f", {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            parts.append(f"{what}: {', '.join(found[:_LISTED])}{more}")
    return Text("; ".join(parts) + ".")


def _candidates(changes: Sequence[CandidateChange], direction: Direction, names: tuple[str, str], width: int) -> Table:
    sides = {token.id: ("target", TOWARDS) for token in direction.targets}
    sides.update((token.id, ("distractor", AGAINST)) for token in direction.distractors)
    table = answer.plain_table()
    table.add_column("next token", no_wrap=True, overflow="ellipsis")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    if width >= _ROOM_FOR_LEFT:
        table.add_column("log-probability", justify="right", no_wrap=True)
    table.add_column("")
    for change in changes:
        side, colour = sides.get(change.id, ("", "default"))
        cells: list[str | Text] = [
            Text(visible(change.text), f"bold {colour}" if side else ""),
            percent(change.left.probability),
            percent(change.right.probability),
        ]
        if width >= _ROOM_FOR_LEFT:
            cells.append(Text(signed(change.difference), tint(change.difference)))
        table.add_row(*cells, Text(side, colour))
    return table


def _changes(
    changes: Sequence[NodeChange],
    left: Sequence[Token],
    right: Sequence[Token],
    names: tuple[str, str],
    width: int,
) -> Table:
    """Direct effects left, difference, right; with room the difference of the estimates too."""
    table = answer.plain_table()
    table.add_column("node", no_wrap=True)
    if width >= _ROOM_FOR_TOKENS:
        table.add_column("token", no_wrap=True, overflow="ellipsis", max_width=28)
    if width >= _ROOM_FOR_ESTIMATES:
        table.add_column("est. difference", justify="right", no_wrap=True)
    if width >= _ROOM_FOR_LEFT:
        table.add_column(f"direct {names[0]}", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column(names[1], justify="right", no_wrap=True)
    for change in changes:
        cells: list[str | Text] = [_name(change)]
        if width >= _ROOM_FOR_TOKENS:
            cells.append(_tokens(change, left, right))
        if width >= _ROOM_FOR_ESTIMATES:
            cells.append(Text(signed(change.estimated_difference), tint(change.estimated_difference)))
        if width >= _ROOM_FOR_LEFT:
            cells.append(_effect(change.left))
        difference = change.direct_difference
        cells += [Text(signed(difference), f"bold {tint(difference)}"), _effect(change.right)]
        table.add_row(*cells)
    return table


def _name(change: NodeChange) -> str:
    """The node's id, and its counterpart's where positions have moved."""
    other = None if change.right is None else change.right.id
    return change.id if other in (None, change.id) else f"{change.id} ↔ {other.partition('@')[2]}"


def _tokens(change: NodeChange, left: Sequence[Token], right: Sequence[Token]) -> Text:
    mine = None if change.left is None else answer.place_of(change.left, left)
    theirs = None if change.right is None else answer.place_of(change.right, right)
    if mine is None or theirs is None or mine.plain == theirs.plain:
        return mine or theirs or Text()
    return mine.append(" ↔ ", "dim").append_text(theirs)


def _effect(row: NodeEffect | None) -> Text:
    return Text("–", "dim") if row is None else Text(signed(row.direct_effect), tint(row.direct_effect))
