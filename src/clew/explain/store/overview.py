"""All explanations of a model at once: how well it is explained, and where.

Of each component the newest chosen explanation by an explainer counts, and of that the last score by a scorer on the
test split. The database sums up; what is left is a row for each layer and each pair of bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, func, select, tuple_

from ...errors import UnknownExplanation
from ...records import Records
from ..records import Bin, Explanation, Group, Overview, ScorerName, Source, Variant
from . import rows
from .database import reading
from .explanations import Explanations, selected
from .schema import explanations, problems, scores, subjects

LISTED = 20  # best, and as many worst
_SIGNED: tuple[ScorerName, ...] = ("simulation", "ablation")  # from −1; the others from 0
_BINS = 20
_DENSITIES = [half / 2 for half in range(-12, 1)]  # log10 of the share of tokens


def sources(kept: Explanations, model: str | None = None) -> Records[Source]:
    """What there is to see an overview of, of a model by name or of all; most components first. Raises BadDatabase."""
    e, s = explanations.c, scores.c
    groups = subjects.c.model, e.llm, e.variant, s.scorer, s.llm
    count = func.count()
    # The outer join, whose rows without scores are left out below, keeps SQLite from beginning at the scores.
    judged = and_(s.explanation == e.id, s.split == "test", _last())
    query = (
        select(*groups, count)
        .select_from(explanations.join(subjects).outerjoin(scores, judged))
        .where(e.chosen, e.variant != "node", _newest())
        .group_by(*groups)
        .order_by(count.desc(), *groups)
    )
    if model is not None:
        query = query.where(subjects.c.model == model)
    with reading(kept.engine) as connection:
        return Records(Source(*row) for row in connection.execute(query) if row.scorer is not None)


def overview(
    kept: Explanations,
    model: str,
    llm: str,
    *,
    variant: Variant = "examples",
    scorer: ScorerName = "simulation",
    simulator: str | None = None,
    listed: int = LISTED,
) -> Overview:
    """Of a model by name, whatever its weights and autoencoders, by one explainer.

    `simulator` is who simulated or judged, by default the explainer. A density, or a score, that is outside the bins is
    in the outermost. Raises UnknownExplanation when this explainer tried nothing of the model, and BadDatabase.
    """
    judge = simulator or llm
    edges = np.linspace(-1.0 if scorer in _SIGNED else 0.0, 1.0, _BINS + 1).round(6).tolist()
    e, s = explanations.c, scores.c
    of = and_(e.subject.in_(_subjects(model)), e.llm == llm, e.variant == variant, e.chosen, _newest())
    judged = and_(s.scorer == scorer, s.llm == judge, s.split == "test", _last())
    with reading(kept.engine) as connection:
        table = [_Sums(*row) for row in connection.execute(_sums(of, judged, edges))]
        explained = sum(row.n for row in table)
        failed = sum(row.failed for row in table) + _unexplained(connection, model, llm)
        if not explained and not failed:
            raise UnknownExplanation(
                f"{llm} has explained nothing of {model} ({variant}).", "clew explanations lists what there is."
            )
        best, worst = (_listed(connection, of, judged, order, listed) for order in (s.value.desc(), s.value.asc()))
    every = _group("", None, table)
    kinds = sorted({row.kind for row in table})
    layers = sorted({(row.kind, row.layer) for row in table})
    return Overview(
        source=Source(model, llm, variant, scorer, judge, explained),
        explained=explained,
        scored=every.n if every else 0,
        failed=failed,
        mean=every.mean if every else None,
        table=every.table if every else None,
        kinds=_groups((kind, None, [row for row in table if row.kind == kind]) for kind in kinds),
        layers=_groups(
            (kind, layer, [row for row in table if (row.kind, row.layer) == (kind, layer)]) for kind, layer in layers
        ),
        distribution=_bins(edges, [(row.value_bin, row) for row in table]),
        density=_bins(_DENSITIES, [(row.density_bin, row) for row in table]),
        best=best,
        worst=worst,
    )


@dataclass(frozen=True)
class _Sums:
    """Of components of one kind, layer and pair of bins (None: there is no number): how many there are, how many of
    these have a score, sums of these and of their squares, the same of the baseline, and how many failed."""

    kind: str
    layer: int
    value_bin: int | None
    density_bin: int | None
    n: int
    scored: int
    value: float | None
    squares: float | None
    tables: int
    table: float | None
    failed: int


def _sums(of: ColumnElement[bool], judged: ColumnElement[bool], edges: Sequence[float]) -> Select[*tuple[Any, ...]]:
    e, s = explanations.c, scores.c
    groups = (
        e.kind,
        e.layer,
        _bin(s.value, edges).label("value_bin"),
        _bin(e.density, [10**edge for edge in _DENSITIES]).label("density_bin"),
    )
    table = case((s.value.is_not(None), s.table))
    return (
        select(
            *groups,
            func.count(),
            func.count(s.value),
            func.sum(s.value),
            func.sum(s.value * s.value),
            func.count(table),
            func.sum(table),
            func.count(case((s.failed, 1))),
        )
        .select_from(explanations.outerjoin(scores, and_(s.explanation == e.id, judged)))
        .where(of)
        .group_by(*groups)
    )


def _bin(value: ColumnElement[float], edges: Sequence[float]) -> ColumnElement[int]:
    """The number of the bin between two edges."""
    inner = [(value < high, number) for number, high in enumerate(edges[1:-1])]
    return case((value.is_(None), None), *inner, else_=len(edges) - 2)


def _newest() -> ColumnElement[bool]:
    """Of the chosen explanations of a component by an explainer and a variant."""
    e, newer = explanations.c, explanations.alias().c
    return ~exists().where(
        newer.subject == e.subject,
        newer.component == e.component,
        newer.llm == e.llm,
        newer.variant == e.variant,
        newer.chosen,
        newer.id > e.id,
    )


def _last() -> ColumnElement[bool]:
    """Of the scores of an explanation by a scorer and a judge on a split."""
    s, later = scores.c, scores.alias().c
    return ~exists().where(
        later.explanation == s.explanation,
        later.scorer == s.scorer,
        later.llm == s.llm,
        later.split == s.split,
        later.id > s.id,
    )


def _subjects(model: str) -> Select[tuple[int]]:
    return select(subjects.c.id).where(subjects.c.model == model)


def _unexplained(connection: Connection, model: str, llm: str) -> int:
    """How many components were tried in vain: with problems, and without words."""
    tried = problems.c.subject, problems.c.component
    explained = select(explanations.c.subject, explanations.c.component).where(
        explanations.c.llm == llm, explanations.c.chosen, explanations.c.variant != "node"
    )
    query = select(*tried).where(
        problems.c.llm == llm, problems.c.subject.in_(_subjects(model)), tuple_(*tried).not_in(explained)
    )
    return connection.scalar(select(func.count()).select_from(query.distinct().subquery())) or 0


def _listed(
    connection: Connection, of: ColumnElement[bool], judged: ColumnElement[bool], order: ColumnElement[object], n: int
) -> list[Explanation]:
    """The first n in an order of their score, each with that score alone."""
    query = (
        select(scores)
        .join_from(scores, explanations)
        .where(of, judged, scores.c.value.is_not(None))
        .order_by(order, scores.c.id)
        .limit(n)
    )
    judgements = connection.execute(query).all()
    query = selected().where(explanations.c.id.in_([row.explanation for row in judgements]))
    found = {row.id: row for row in connection.execute(query)}
    return [rows.read_explanation(found[row.explanation], [rows.read_score(row)]) for row in judgements]


def _groups(several: Iterable[tuple[str, int | None, Sequence[_Sums]]]) -> list[Group]:
    return [group for group in (_group(*one) for one in several) if group is not None]


def _group(kind: str, layer: int | None, table: Sequence[_Sums]) -> Group | None:
    """None where nothing has a score."""
    n = sum(row.scored for row in table)
    if not n:
        return None
    mean = sum(row.value or 0 for row in table) / n
    # Of numbers between −1 and 1, the difference loses no digits that matter.
    variance = max(sum(row.squares or 0 for row in table) / n - mean**2, 0.0)
    tables = sum(row.tables for row in table)
    return Group(kind, layer, n, mean, variance**0.5, sum(row.table or 0 for row in table) / tables if tables else None)


def _bins(edges: Sequence[float], table: Sequence[tuple[int | None, _Sums]]) -> list[Bin]:
    """Those with a score, by the number of their bin."""
    counts = np.zeros(len(edges) - 1, np.int64)
    sums: Float64[np.ndarray, " b"] = np.zeros(len(edges) - 1)
    for at, row in table:
        if at is not None:
            counts[at] += row.scored
            sums[at] += row.value or 0
    return [
        Bin(low, high, int(n), float(total / n) if n else None)
        for low, high, n, total in zip(edges, edges[1:], counts, sums, strict=False)
    ]
