"""A stream of tokens in pieces of one size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32


@dataclass(frozen=True)
class Place:
    """Where the next token is: so many documents were used up, and so many tokens of the one after them."""

    documents: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Context:
    """`tokens` without the start token; `origin` of the document that the first is from; `end` is after the last."""

    tokens: Int32[np.ndarray, " n"]
    origin: str
    end: Place


def pack(documents: Iterable[tuple[Int32[np.ndarray, " t"], str]], size: int, start: Place) -> Iterator[Context]:
    """The tokens of documents, each with its origin, one after another in pieces of `size`.

    `documents` begin with the one that `start` is in. What is left at the end and shorter than `size` is dropped.
    """
    waiting: deque[tuple[Int32[np.ndarray, " t"], str]] = deque()
    place, count = start, 0
    for number, (ids, origin) in enumerate(documents):
        unread = ids[start.tokens :] if number == 0 else ids
        waiting.append((unread, origin))
        count += len(unread)
        while count >= size:
            parts: list[Int32[np.ndarray, " t"]] = []
            first, missing = "", size
            while missing:
                ids, origin = waiting.popleft()
                part, rest = ids[:missing], ids[missing:]
                if len(part) and missing == size:
                    first = origin
                parts.append(part)
                missing -= len(part)
                if len(rest):
                    waiting.appendleft((rest, origin))
                    place = Place(place.documents, place.tokens + len(part))
                else:
                    place = Place(place.documents + 1, 0)
            count -= size
            yield Context(np.concatenate(parts), first, place)
