"""A patch sweep in the terminal: the strongest places, and small maps by layer and token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import answer
from .terminal import AGAINST, TOWARDS, signed, tint

if TYPE_CHECKING:
    from ..debug import Run
    from ..debug.records import SweepCell
    from ..records import Token

_TITLES = {"resid": "stream after the layer", "attn": "strongest head", "mlp": "MLP"}
_SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.05, "░"))
_GAP = 3
_ROOM_FOR_TOKENS = 40  # terminal columns


def show(console: Console, cells: Sequence[SweepCell], run: Run, second: Run, rows: int) -> None:
    """Print the `rows` strongest cells, 0 for all, and the maps where the terminal is wide enough for one."""
    console.print()
    title = f"Patched one at a time from the second prompt: D {signed(run.value)} → {signed(second.value)}"
    console.print(title, style="bold")
    if all(cell.restored is None for cell in cells):
        console.print("D is the same on both prompts, so there is no difference to restore.")
        return
    strongest = sorted(cells, key=lambda cell: -abs(cell.restored or 0.0))
    console.print(_strongest(strongest if rows == 0 else strongest[:rows], run.tokens, console.width))
    maps = [_map(kind, cells, len(run.tokens)) for kind in _TITLES]
    width = max(line.cell_len for one in maps for line in one)
    if width > console.width:
        console.print(f"The maps by layer and token are {width} columns wide; --json has all of it.", style="dim")
        return
    console.print()
    if len(maps) * width + (len(maps) - 1) * _GAP <= console.width:
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_row(*(Text("\n").join(one) for one in maps))
        console.print(grid)
    else:
        for one in maps:
            console.print(Text("\n").join(one))
    console.print(_legend())


def _strongest(cells: Sequence[SweepCell], tokens: Sequence[Token], width: int) -> Table:
    table = answer.plain_table()
    table.add_column("place", no_wrap=True)
    if width >= _ROOM_FOR_TOKENS:
        table.add_column("token", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("D", justify="right", no_wrap=True)
    table.add_column("restored", justify="right", no_wrap=True)
    for cell in cells:
        share = cell.restored or 0.0
        restored = Text(signed(share * 100) + "%", f"bold {tint(share)}")
        token = [answer.placed(tokens[cell.position])] if width >= _ROOM_FOR_TOKENS else []
        table.add_row(cell.place, *token, signed(cell.value), restored)
    return table


def _map(kind: str, cells: Sequence[SweepCell], length: int) -> list[Text]:
    """Layers from the last down, tokens across, two characters a cell; of heads the one that restores most."""
    found: dict[tuple[int, int], float] = {}
    for cell in cells:
        place = cell.layer, cell.position
        if cell.kind == kind and abs(cell.restored or 0.0) >= abs(found.get(place, 0.0)):
            found[place] = cell.restored or 0.0
    layers = sorted({layer for layer, _ in found}, reverse=True)
    lines = [Text(_TITLES[kind], "bold")]
    for layer in layers:
        line = Text(f"{layer:>3} ", "dim", end="")
        for position in range(length):
            line.append_text(_cell(found.get((layer, position))))
        lines.append(line)
    lines.append(Text("    " + "".join(_mark(position) for position in range(length)), "dim"))
    return lines


def _cell(share: float | None) -> Text:
    if share is None:
        return Text(" ·", "dim")  # no counterpart, so nothing was patched
    shade = next((shade for least, shade in _SHADES if abs(share) >= least), " ")
    if shade == " ":
        return Text("  ")
    return Text(shade * 2, TOWARDS) if share > 0 else Text("−" + shade, AGAINST)


def _mark(position: int) -> str:
    """Every fifth position, in the two characters of its cell."""
    return f"{position % 100:>2}" if position % 5 == 0 else "  "


def _legend() -> Text:
    steps = "  ".join(f"{shade} {least:.0%}" for least, shade in reversed(_SHADES))
    return Text(f"{steps} or more of the difference; − moves D the other way; · has no counterpart", "dim")
