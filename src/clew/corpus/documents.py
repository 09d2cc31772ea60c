"""Documents: what a corpus is made of, and the order they come in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from ..errors import BadCorpus

# The most characters of one document, about 2,000 tokens. Longer texts become several documents: a short collection
# then sees many texts rather than the beginning of a few, and what is tokenized at once stays small.
PIECE = 8192

# What waits to be drawn at random.
HELD_DOCUMENTS = 1000
HELD_CHARS = 4_000_000

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """A text of at most PIECE characters; `origin` says where it is from: short, never an absolute path."""

    text: str
    origin: str


class Corpus(Protocol):
    """A source of documents.

    `description` is one line for people. `identity` is everything that decides which documents come, as JSON: where two
    agree, so do the documents of a seed.
    """

    @property
    def description(self) -> str: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    def documents(self, seed: int, skip: int = 0) -> Iterator[Document]:
        """The documents in the order of a seed, without the first `skip`. Raises BadCorpus, or Offline."""
        ...

    def notes(self) -> list[str]:
        """Sentences on what the latest iteration so far left out, such as "2 empty files were left out."."""
        ...


@dataclass
class LeftOut:
    """What was left out of a corpus, so that nothing is silently missing."""

    empty_files: int = 0
    binary_files: int = 0
    empty_texts: int = 0
    replaced: int = 0
    others: list[str] = field(default_factory=list)

    def clear(self) -> None:
        self.empty_files = self.binary_files = self.empty_texts = self.replaced = 0
        self.others.clear()

    def sound(self, text: str) -> str:
        """The text with every lone surrogate, which JSON can hold and no tokenizer takes, as U+FFFD."""
        sound, count = (text, 0) if text.isascii() else _SURROGATE.subn("\ufffd", text)
        self.replaced += bool(count)
        return sound

    def notes(self) -> list[str]:
        files = [
            _counted(count, f"{what} file", f"{what} files")
            for what, count in (("empty", self.empty_files), ("binary", self.binary_files))
            if count
        ]
        notes = []
        if files:
            notes.append(f"{' and '.join(files)} {_were(self.empty_files + self.binary_files)} left out.")
        if self.empty_texts:
            texts = _counted(self.empty_texts, "row", "rows")
            notes.append(f"{texts} without any text {_were(self.empty_texts)} left out.")
        if self.replaced:
            texts = _counted(self.replaced, "text", "texts")
            notes.append(f"In {texts} halves of characters were replaced by U+FFFD.")
        return [*notes, *self.others]


def pieces(chunks: Iterable[str]) -> Iterator[str]:
    """A text, given in chunks of any length, in pieces of at most PIECE characters that end at a line's end (or a
    space) where there is one in their second half. Joined they are the text."""
    rest = ""
    for chunk in chunks:
        text, start = rest + chunk, 0
        while len(text) - start > PIECE:
            end = start + PIECE
            cut = text.rfind("\n", start + PIECE // 2, end)
            if cut < 0:
                cut = text.rfind(" ", start + PIECE // 2, end)
            end = end if cut < 0 else cut + 1
            yield text[start:end]
            start = end
        rest = text[start:]
    if rest:
        yield rest


def shuffled(documents: Iterator[Document], random: Random) -> Iterator[Document]:
    """The documents, each drawn from a buffer of HELD_DOCUMENTS or HELD_CHARS, whichever is smaller."""
    held: list[Document] = []
    chars = 0
    for document in documents:
        held.append(document)
        chars += len(document.text)
        if len(held) > HELD_DOCUMENTS or chars > HELD_CHARS:
            drawn = random.randrange(len(held))
            held[drawn], held[-1] = held[-1], held[drawn]
            document = held.pop()
            chars -= len(document.text)
            yield document
    random.shuffle(held)
    yield from held


def text_column(columns: dict[str, bool], column: str | None, where: str) -> str:
    """The column to read: the one named, else `text`, else the only one that holds strings.

    `columns` says of each whether it does. Raises BadCorpus; `where` names the file or dataset, or its line.
    """
    strings = [name for name, holds in columns.items() if holds]
    there = f"It has {_listed(strings)}." if strings else "It has no column of strings."
    if column is not None:
        if column not in columns:
            raise BadCorpus(f"{where} has no column {column!r}.", there)
        if column not in strings:
            raise BadCorpus(f"Column {column!r} of {where} does not hold strings.", there)
        return column
    if "text" in strings:
        return "text"
    if not strings:
        raise BadCorpus(f"{where} has no column of strings.", "Name another file.")
    if len(strings) > 1:
        raise BadCorpus(
            f"{where} has several columns of strings and none called 'text'.",
            f"Name one with --column: {_listed(strings)}.",
        )
    return strings[0]


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
