"""The text that the model goes on with, printed as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from ..debug import Model
    from ..debug.records import GeneratedToken

_UNFINISHED = "\ufffd"  # what bytes of half a character decode to


def started(tokens: Iterator[GeneratedToken]) -> Iterator[GeneratedToken]:
    """The same tokens, the first one already made: what cannot go on says so before anything is printed."""
    return chain([next(tokens)], tokens)


def stream(console: Console, model: Model, side: str, tokens: Iterable[GeneratedToken]) -> None:
    """Print the text token by token; a character of several tokens waits for its last."""
    console.print()
    console.print(Text("Goes on" + (f" {side} the edits" if side else ""), "bold"))
    ids: list[int] = []
    printed = ""
    for token in tokens:
        ids.append(token.id)
        text = model.subject.decode(ids)
        if text.startswith(printed) and not text.endswith(_UNFINISHED):
            console.out(_shown(text[len(printed) :]), end="", highlight=False)
            console.file.flush()
            printed = text
    rest = model.subject.decode(ids)[len(printed) :]
    console.out(_shown(rest), highlight=False)


def _shown(text: str) -> str:
    """Line ends as they are, everything else that a terminal would obey escaped."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
