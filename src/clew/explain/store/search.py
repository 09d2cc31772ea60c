"""Explanations by their words.

All words must be there, in any form of theirs (English endings are cut), the last one at least as a beginning; what
stands in quotes must be there in this order. Signs that are no letters are looked for as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, column, func, literal_column, select, table

from ... import settings
from ...nodes import Kind
from ...records import Batch
from ..records import Explanation
from .database import reading
from .explanations import Explanations, read, selected
from .schema import clean, explanations, subjects

Sort = Literal["relevance", "score"]

_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')
_index = table("explanations_words", column("rowid"), column("rank"))


def search(
    kept: Explanations,
    words: str = "",
    *,
    model: str | None = None,
    fingerprint: str | None = None,
    kinds: Sequence[Kind] | None = None,
    layers: Sequence[int] | None = None,
    llm: str | None = None,
    min_score: float | None = None,
    sort: Sort = "relevance",
    offset: int = 0,
    limit: int = settings.FOUND,
) -> Batch[Explanation]:
    """Chosen explanations of components that have these words; all, newest first, without words. Any text is one.

    Of a model by name, and by its weights too with `fingerprint`. Scores are those that `Explanations.best` goes by.
    `relevance` puts words that are rare and explanations that are short first. Raises BadDatabase.
    """
    sqlite = kept.engine.dialect.name == "sqlite"
    query = selected().where(
        *narrowed(model=model, fingerprint=fingerprint, kinds=kinds, layers=layers, llm=llm, min_score=min_score)
    )
    query, relevance = (_matched_fts if sqlite else _matched_tsquery)(query, words)
    order: list[ColumnElement[Any]] = [explanations.c.id.desc()]
    if sort == "score":
        order.insert(0, explanations.c.headline.desc().nulls_last())
    elif relevance is not None:
        order.insert(0, relevance)
    with reading(kept.engine) as connection:
        total = connection.scalar(
            select(func.count()).select_from(query.with_only_columns(explanations.c.id).subquery())
        )
        return Batch(read(connection, query.order_by(*order).offset(offset).limit(limit)), total or 0)


def narrowed(
    *,
    model: str | None = None,
    fingerprint: str | None = None,
    kinds: Sequence[Kind] | None = None,
    layers: Sequence[int] | None = None,
    llm: str | None = None,
    min_score: float | None = None,
) -> list[ColumnElement[bool]]:
    """Conditions for chosen explanations of components, and not of nodes."""
    conditions: list[ColumnElement[bool]] = [explanations.c.chosen, explanations.c.variant != "node"]
    if model is not None:
        conditions.append(subjects.c.model == model)
    if fingerprint is not None:
        conditions.append(subjects.c.fingerprint.in_(("", fingerprint)))
    if kinds is not None:
        conditions.append(explanations.c.kind.in_(kinds))
    if layers is not None:
        conditions.append(explanations.c.layer.in_(layers))
    if llm is not None:
        conditions.append(explanations.c.llm == llm)
    if min_score is not None:
        conditions.append(explanations.c.headline >= min_score)
    return conditions


def terms(words: str) -> list[tuple[str, bool]]:
    """What is looked for: phrases, and words; True for one that may go on."""
    found = [(quoted or word, not quoted) for quoted, word in _TERM.findall(clean(words)) if (quoted or word).strip()]
    return [(text, bare and number == len(found) - 1) for number, (text, bare) in enumerate(found)]


def _matched_fts(query: Select[Any], words: str) -> tuple[Select[Any], ColumnElement[Any] | None]:
    """With SQLite's FTS5. In its language a text in quotes is a phrase whatever it holds."""
    texts: list[str] = []
    for text, open_ended in terms(words):
        if _has_letters(text):
            texts.append(f'"{text}"' + "*" * open_ended)
        else:
            query = query.where(explanations.c.text.contains(text, autoescape=True))
    if not texts:
        return query, None
    matches = literal_column("explanations_words").op("MATCH")(" AND ".join(texts))
    return query.join(_index, _index.c.rowid == explanations.c.id).where(matches), _index.c.rank


def _matched_tsquery(query: Select[Any], words: str) -> tuple[Select[Any], ColumnElement[Any] | None]:
    """With PostgreSQL's text search."""
    english = literal_column("'english'::regconfig")
    parts: list[ColumnElement[Any]] = []
    for text, open_ended in terms(words):
        if not _has_letters(text):
            query = query.where(explanations.c.text.contains(text, autoescape=True))
        elif open_ended:
            # What is no letter separates words; a quoted word of a tsquery may hold anything but quotes.
            pieces = [piece for piece in re.split(r"[\W_]+", text) if piece]
            parts.append(func.to_tsquery(english, " <-> ".join(f"'{piece}'" for piece in pieces) + ":*"))
        else:
            parts.append(func.phraseto_tsquery(english, text))
    if not parts:
        return query, None
    asked = parts[0]
    for part in parts[1:]:
        asked = asked.op("&&")(part)
    document = func.to_tsvector(english, explanations.c.text)
    return query.where(document.op("@@")(asked)), func.ts_rank(document, asked).desc()


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)
