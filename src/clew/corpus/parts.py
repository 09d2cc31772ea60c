"""A corpus in two parts: what is trained on, and one text in sixteen that is set aside to judge with.

Which part a text is in is decided by the text itself, so that it is the same in every order, in every corpus and on
every machine, and a text that occurs twice is in one part only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from .documents import Corpus, Document

ONE_IN = 16


def is_set_aside(document: Document) -> bool:
    """Whether a text is judged with and not trained on."""
    digest = hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") % ONE_IN == 0


@dataclass(frozen=True)
class Part:
    """The texts of a corpus that are trained on, or those that are set aside. A Corpus."""

    whole: Corpus
    kept: Literal["trained", "aside"]

    @property
    def description(self) -> str:
        return self.whole.description

    @property
    def identity(self) -> dict[str, Any]:
        return {"part": self.kept, "of": self.whole.identity, "one in": ONE_IN}

    def documents(self, seed: int, skip: int = 0) -> Iterator[Document]:
        aside = self.kept == "aside"
        mine = (document for document in self.whole.documents(seed) if is_set_aside(document) == aside)
        return islice(mine, skip, None)

    def notes(self) -> list[str]:
        return self.whole.notes()


def parted(corpus: Corpus, kept: Literal["trained", "aside"]) -> Corpus:
    """A part of a corpus; the whole of one that has nothing to set aside, or nothing besides."""
    found: set[bool] = set()
    for document in corpus.documents(0):
        found.add(is_set_aside(document))
        if len(found) == 2:
            return Part(corpus, kept)
    return corpus
