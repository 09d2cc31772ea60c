"""Explanations by what they mean, where there is an embedding model: near words rather than the same words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float32
from sqlalchemy import select

from ... import settings
from ...errors import Cancelled
from ...models.tape import Stop
from ...nodes import Kind
from ...records import Batch
from ..records import Explanation
from .database import reading, writing
from .explanations import Explanations, read, selected
from .schema import explanations, subjects, vectors
from .search import narrowed

Progress = Callable[[int, int], None]  # explanations done, and how many there are to do

_ASKED = 64  # texts in one request
_READ = 10_000  # vectors compared at once


class Embeds(Protocol):
    """What makes vectors of texts; `llm.embedding.Embedding` does."""

    @property
    def reference(self) -> str: ...

    def vectors(self, texts: Sequence[str], stop: Stop | None = None) -> Float32[np.ndarray, "n d"]: ...


def embed(
    kept: Explanations,
    embedding: Embeds,
    *,
    model: str | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> int:
    """Make vectors of all chosen explanations, of a model by name or of all, that have none yet; how many.

    What is made is kept at once, so that a second call goes on. Raises LLMFailed, UnknownLLM, Cancelled, BadDatabase
    or NoSpace.
    """
    known = select(vectors.c.explanation).where(vectors.c.model == embedding.reference)
    query = (
        select(explanations.c.id, explanations.c.text)
        .join_from(explanations, subjects)
        .where(*narrowed(model=model), explanations.c.id.not_in(known))
    )
    with reading(kept.engine) as connection:
        waiting = connection.execute(query.order_by(explanations.c.id)).all()
    for start in range(0, len(waiting), _ASKED):
        if stop is not None and stop():
            raise Cancelled("Making vectors was cancelled; those that were made are kept.")
        some = waiting[start : start + _ASKED]
        made = embedding.vectors([row.text for row in some], stop)
        rows = [
            {"explanation": row.id, "model": embedding.reference, "content": vector.astype("<f4").tobytes()}
            for row, vector in zip(some, made, strict=True)
        ]
        with writing(kept.engine) as connection:
            # Some may have been removed meanwhile, and others made by another program.
            there = select(explanations.c.id).where(explanations.c.id.in_([row.id for row in some]))
            left = set(connection.scalars(there.where(explanations.c.id.not_in(known))))
            rows = [row for row in rows if row["explanation"] in left]
            if rows:
                connection.execute(vectors.insert(), rows)
        if progress is not None:
            progress(start + len(some), len(waiting))
    return len(waiting)


def similar(
    kept: Explanations,
    words: str,
    embedding: Embeds,
    *,
    model: str | None = None,
    fingerprint: str | None = None,
    kinds: Sequence[Kind] | None = None,
    layers: Sequence[int] | None = None,
    llm: str | None = None,
    min_score: float | None = None,
    offset: int = 0,
    limit: int = settings.FOUND,
    stop: Stop | None = None,
) -> Batch[Explanation]:
    """Chosen explanations that `embed` made vectors of, by the cosine of theirs with that of the words, largest first.

    Filters are those of `search`. Vectors of another length, of a model that had this name before, are left out.
    Raises LLMFailed, UnknownLLM, Cancelled and BadDatabase.
    """
    (wanted,) = embedding.vectors([words], stop)
    query = (
        select(vectors.c.explanation, vectors.c.content)
        .join_from(vectors, explanations)
        .join(subjects)
        .where(
            vectors.c.model == embedding.reference,
            *narrowed(model=model, fingerprint=fingerprint, kinds=kinds, layers=layers, llm=llm, min_score=min_score),
        )
    )
    numbers: list[int] = []
    cosines: list[np.ndarray] = [np.empty(0, np.float32)]
    with reading(kept.engine) as connection:
        for some in connection.execution_options(yield_per=_READ).execute(query).partitions():
            rows = [row for row in some if len(row.content) == wanted.nbytes]
            numbers += [row.explanation for row in rows]
            stacked = np.frombuffer(b"".join(row.content for row in rows), "<f4").reshape(-1, len(wanted))
            cosines.append(stacked @ wanted)
        order = np.argsort(-np.concatenate(cosines), kind="stable")[offset : offset + limit]
        page = [numbers[at] for at in order]
        found = {one.id: one for one in read(connection, selected().where(explanations.c.id.in_(page)))}
    return Batch([found[number] for number in page], len(numbers))
