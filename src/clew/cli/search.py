"""`clew search`: components by what they do on a text, on a token, or to a token's logit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..errors import UsageError
from ..settings import DEFAULT_MODEL, FOUND
from .answer import placed, plain_table
from .atlas import AtlasOption, opened
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
    percent,
    print_json,
    read_text,
    signed,
)

if TYPE_CHECKING:
    from ..atlas.records import Firing, PushMatch, TokenMatch
    from ..records import Batch, Token

_ROOM = 72  # terminal columns from which a table has room for all of its columns


def search(
    prompt: Annotated[
        str | None, typer.Option(help="Which components fire on this text; - reads it from standard input.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="T", help="Which components have their top examples on this token.")
    ] = None,
    pushes: Annotated[str | None, typer.Option(metavar="T", help="Which components push this output token.")] = None,
    at: Annotated[
        int | None, typer.Option(help="At this token of the prompt.", show_default="each at its own strongest")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only components of this kind: attn, neuron, latent.")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Only components of this layer.")] = None,
    max_density: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Only those within three octaves of their maximum on at most this share of tokens."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="z, activation or ratio; share, examples or activation; push; always density or strong.",
            show_default="the first of them",
        ),
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="Smallest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Components listed.")] = FOUND,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many at the start.")] = 0,
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    atlas: AtlasOption = None,
    sae: SaeOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    bos: BosOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find components: by what fires on a text, by what has its top examples on a token, by what pushes a token.

    clew search --prompt "The capital of France is Paris" --at 4 --max-density 0.01
    """
    _check(prompt, token, pushes, at, bos)
    text = None if prompt is None else read_text(prompt)
    subject = load(model, revision, device, dtype, sae)
    components = opened(subject, atlas, sae)
    among: dict[str, Any] = {
        "kinds": kind, "layers": layer, "max_density": max_density, "ascending": ascending, "offset": offset,
        "limit": limit,
    }  # fmt: skip
    if sort is not None:
        among["sort"] = sort
    tokens: Sequence[Token] | None = None
    found: Batch[Firing] | Batch[TokenMatch] | Batch[PushMatch]
    if text is not None:
        if components.atlas is None:
            among.setdefault("sort", "activation")  # of what is usual only an atlas knows
        found = components.search_prompt(text, at, bos, **among)
        tokens = subject.tokens(text, bos)
        table = _firings(found, tokens)
    elif token is not None:
        found = components.search_token(token, **among)
        table = _on_token(found)
    else:
        assert pushes is not None
        found = components.search_pushed(pushes, **among)
        table = _pushing(found)
    if as_json:
        listed = {"total": found.total, "rows": found.to_dict()}
        print_json(listed if tokens is None else {"tokens": [one.to_dict() for one in tokens], **listed})
        return
    _print(table, len(found), found.total, offset)


def _check(prompt: str | None, token: str | None, pushes: str | None, at: int | None, bos: bool) -> None:
    if sum(given is not None for given in (prompt, token, pushes)) != 1:
        raise UsageError("A search is by one of --prompt, --token and --pushes.", "Give exactly one of them.")
    if prompt is None and (at is not None or bos):
        raise UsageError("--at and --bos say how to read a prompt.", "Leave them out, or give --prompt.")


def _print(table: Table, listed: int, total: int, offset: int) -> None:
    terminal = console()
    if not listed:
        terminal.print("No component is found." if not total else f"There are only {total:,}.")
        return
    terminal.print(table)
    left = total - offset - listed
    if left:
        terminal.print(Text(f"{left:,} more: --offset {offset + listed}, or --json with a larger --limit.", "dim"))


def _table(first: str, *numbers: str) -> Table:
    table = plain_table()
    table.add_column("component", no_wrap=True)
    if first:
        table.add_column(first, no_wrap=True, overflow="ellipsis", max_width=28)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _firings(rows: Sequence[Firing], tokens: Sequence[Token]) -> Table:
    wide = console().width >= _ROOM
    table = _table("token", "activation", "z", *(("of max", "density", "strong") if wide else ()))
    for row in rows:
        more = (_share(row.ratio), _share(row.density), _share(row.strong)) if wide else ()
        table.add_row(row.id, placed(tokens[row.position]), signed(row.activation), signed(row.z), *more)
    return table


def _on_token(rows: Sequence[TokenMatch]) -> Table:
    table = _table("", "examples", "share", "activation", "density", "strong")
    for row in rows:
        shares = _share(row.density), _share(row.strong)
        table.add_row(row.id, str(row.examples), _share(row.share), signed(row.activation), *shares)
    return table


def _pushing(rows: Sequence[PushMatch]) -> Table:
    table = _table("", "push", "density", "strong")
    for row in rows:
        table.add_row(row.id, signed(row.push), _share(row.density), _share(row.strong))
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)
