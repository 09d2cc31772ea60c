"""An answer in the terminal: the prompt, what the model would say, why, and which nodes did it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .terminal import AGAINST, TOWARDS, number, percent, signed, tint, visible

if TYPE_CHECKING:
    from ..debug import Run
    from ..debug.records import Accounting, Candidate, Direction, ModelInfo, NodeEffect
    from ..records import Token, VocabToken

LONG_PROMPT = 120  # tokens shown in full
_DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_EIGHTHS = " ▏▎▍▌▋▊▉█"

# Terminal columns from which a table has room for more than its first and last columns.
_ROOM_FOR_TOKENS, _ROOM_FOR_ESTIMATES, _ROOM_FOR_METRICS, _ROOM_FOR_BARS = 44, 60, 78, 96


def show(console: Console, info: ModelInfo, run: Run, nodes: Sequence[NodeEffect], rows: int) -> None:
    """Print the whole answer; `rows` nodes at most, 0 for all."""
    tokens = run.tokens
    console.print(header(info), soft_wrap=True)
    console.print(prompt_line(tokens, run.direction.position))
    console.print()
    console.print(candidate_table(run.candidates(), run.direction, console.width))
    console.print()
    console.print(direction_line(run.direction, "after " + placed(tokens[run.direction.position])))
    console.print(accounting_lines(run.accounting()))
    console.print()
    shown = show_nodes(console, nodes, tokens, rows)
    show_agreement(console, run)
    console.print()
    console.print(_next(nodes, shown, run), style="dim")


def show_nodes(console: Console, nodes: Sequence[NodeEffect], tokens: Sequence[Token], rows: int) -> int:
    """Print a node table of `rows` nodes at most, 0 for all, and say how many there were."""
    shown = nodes if rows == 0 else nodes[:rows]
    if shown:
        console.print(node_table(shown, tokens, console.width))
    else:
        console.print("No node passes these filters.")
    return len(shown)


def show_agreement(console: Console, run: Run) -> None:
    """Say how far the estimates agree with what was measured, where anything was."""
    found = run.agreement()
    if found.pearson is not None and found.spearman is not None:
        text = f"Estimated against verified over {found.n:,} nodes: "
        text += f"Pearson {signed(found.pearson)}, Spearman {signed(found.spearman)}."
        console.print(Text(text, "dim"))


def header(info: ModelInfo) -> Text:
    return Text.assemble(
        (info.name, "bold"),
        (f"  {info.family}, {info.n_layers} layers × {info.n_heads} heads, {info.n_neurons} neurons a layer", "dim"),
    )


def prompt_line(tokens: Sequence[Token], position: int) -> Text:
    """The tokens with their positions; of a long prompt its ends and the explained token's surroundings."""
    kept = range(len(tokens))
    if len(tokens) > LONG_PROMPT:
        half = LONG_PROMPT // 2
        middle = max(half, position - half // 2)
        kept = sorted({*range(half), *range(middle, min(len(tokens), middle + half))})
    text, before = Text(), -1
    for place in kept:
        if place != before + 1:
            text.append(f" … {place - before - 1} more … ", "dim italic")
        text.append(visible(tokens[place].text), "bold reverse" if place == position else "")
        text.append(str(place).translate(_DIGITS) + " ", "dim")
        before = place
    if before + 1 < len(tokens):
        text.append(f" … {len(tokens) - before - 1} more", "dim italic")
    return text


def candidate_table(candidates: Sequence[Candidate], direction: Direction, width: int) -> Table:
    sides = {token.id: ("target", TOWARDS) for token in direction.targets}
    sides.update((token.id, ("distractor", AGAINST)) for token in direction.distractors)
    table = plain_table()
    table.add_column("rank", justify="right", style="dim")
    table.add_column("next token", no_wrap=True, overflow="ellipsis")
    table.add_column("probability", justify="right")
    wide = width >= _ROOM_FOR_ESTIMATES
    if wide:
        table.add_column("")
        table.add_column("logit", justify="right")
    table.add_column("")
    for candidate in candidates:
        side, colour = sides.get(candidate.id, ("", "default"))
        cells: list[str | Text] = [
            str(candidate.rank + 1),
            Text(visible(candidate.text), f"bold {colour}" if side else ""),
            percent(candidate.probability),
        ]
        if wide:
            cells += [Text(bar(candidate.probability, 20), colour), signed(candidate.logit)]
        table.add_row(*cells, Text(side, colour))
    return table


def direction_line(direction: Direction, where: str) -> Text:
    text = Text.assemble(("D", "bold"), " = ", mean_logit(direction.targets, TOWARDS), " − ")
    text.append_text(mean_logit(direction.distractors, AGAINST) if direction.distractors else Text("mean logit"))
    value = (signed(direction.value), f"bold {tint(direction.value)}")
    return text.append_text(Text.assemble(" = ", value, (f"  logits, {where}", "dim")))


def mean_logit(tokens: Sequence[VocabToken], colour: str) -> Text:
    names = ", ".join(visible(token.text) for token in tokens)
    return Text.assemble("mean logit(" if len(tokens) > 1 else "logit(", (names, colour), ")")


def accounting_lines(accounting: Accounting) -> Text:
    text = Text("  ")
    for i, (kind, effect) in enumerate(accounting.terms.items()):
        text.append(" + " if i else "= ", "dim")
        text.append(kind + " ")
        text.append(signed(effect), tint(effect))
    return text.append(f"\n  = {signed(accounting.sum)}, off by {signed(accounting.difference)}", "dim")


def node_table(nodes: Sequence[NodeEffect], tokens: Sequence[Token], width: int) -> Table:
    table = plain_table()
    table.add_column("node", no_wrap=True)
    if width >= _ROOM_FOR_TOKENS:
        table.add_column("token", no_wrap=True, overflow="ellipsis", max_width=28)
    if width >= _ROOM_FOR_METRICS:
        table.add_column("activation", justify="right", no_wrap=True)
        table.add_column("write", justify="right", no_wrap=True)
    if width >= _ROOM_FOR_ESTIMATES:
        table.add_column("estimated", justify="right", no_wrap=True)
    table.add_column("direct", justify="right", no_wrap=True)
    measured = any(node.verified_effect is not None for node in nodes)
    if measured:
        table.add_column("verified", justify="right", no_wrap=True)
    if width >= _ROOM_FOR_BARS:
        table.add_column("")
    shown = [(node.verified_effect or 0.0) if measured else node.direct_effect for node in nodes]
    largest = max(abs(effect) for effect in shown)
    for node, effect in zip(nodes, shown, strict=True):
        cells: list[str | Text] = [node.id]
        if width >= _ROOM_FOR_TOKENS:
            cells.append(place_of(node, tokens))
        if width >= _ROOM_FOR_METRICS:
            cells += [signed(node.activation), number(node.write_norm)]
        if width >= _ROOM_FOR_ESTIMATES:
            cells.append(Text(signed(node.estimated_effect), tint(node.estimated_effect)))
        strong = "" if measured else "bold "
        cells.append(Text(signed(node.direct_effect), strong + tint(node.direct_effect)))
        if measured:
            cells.append(Text(signed(node.verified_effect), f"bold {tint(node.verified_effect)}"))
        if width >= _ROOM_FOR_BARS:
            cells.append(Text(bar(abs(effect) / largest if largest else 0.0, 16), tint(effect)))
        table.add_row(*cells)
    return table


def place_of(node: NodeEffect, tokens: Sequence[Token]) -> Text:
    """The token a node writes at, and the one it reads."""
    if node.position is None:
        return Text("everywhere" if node.layer is not None else "at the end", "dim")
    text = Text(visible(tokens[node.position].text))
    if node.source is not None:
        text.append(" ← ", "dim").append(visible(tokens[node.source].text))
    return text


def _next(nodes: Sequence[NodeEffect], shown: int, run: Run) -> Text:
    """What one could ask now, a line each."""
    hints = []
    if shown < len(nodes):
        hints.append(f"{len(nodes) - shown} more nodes: --rows 0, --csv or --json print them all.")
    layer = next((node.layer for node in nodes if node.kind == "attn"), None)
    if layer is not None:
        hints.append(f"A closer look: --kind attn --layer {layer}.")
    if not run.verified():
        hints.append("What ablating them would really cost: --verify 100.")
    fired = next((node.id for node in nodes if node.kind in ("attn", "neuron")), None)
    if fired is not None:
        hints += [f"The model without it: --ablate '{fired}'.", f"What made it fire: clew trace PROMPT '{fired}'."]
    if not run.direction.distractors:
        hints.append('Against one other token: --distractor " …".')
    return Text("\n".join([*hints, "In a browser: clew serve."]))


def placed(token: Token) -> str:
    return visible(token.text) + str(token.position).translate(_DIGITS)


def plain_table() -> Table:
    return Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))


def bar(share: float, cells: int) -> str:
    """A bar of `cells` characters for a share of 1, in eighths of a character."""
    whole, eighths = divmod(round(min(1.0, max(0.0, share)) * cells * 8), 8)
    return "█" * whole + (_EIGHTHS[eighths] if eighths else "")
