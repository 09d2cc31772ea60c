"""Two runs side by side: the same question with and without edits, or asked of two prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import BadNode
from ..models.tape import Stop
from ..nodes import parse
from .align import Alignment
from .records import CandidateChange, Comparison, NodeChange, NodeEffect

if TYPE_CHECKING:
    from .run import Run


def compare(left: Run, right: Run, alignment: Alignment, filters: dict[str, Any], stop: Stop | None) -> Comparison:
    """Every row that either side's table has, with the other side's row beside it."""
    back: Alignment = [None] * len(right.tokens)
    for first, second in enumerate(alignment):
        if second is not None:
            back[second] = first
    right_filters = dict(filters)
    for name in ("positions", "sources"):
        wanted = filters.get(name)
        if wanted is not None:
            moved = [alignment[p] for p in wanted if p < len(alignment)]
            right_filters[name] = [p for p in moved if p is not None]
    mine = {row.id: row for row in left.nodes(**filters, stop=stop)}
    theirs = {row.id: row for row in right.nodes(**right_filters, stop=stop)}
    pairs: dict[tuple[str | None, str | None], None] = {}
    for name in mine:
        pairs[name, _counterpart(name, alignment)] = None
    for name in theirs:
        pairs[_counterpart(name, back), name] = None
    lefts = _fetched(left, mine, [one for one, _ in pairs], stop)
    rights = _fetched(right, theirs, [other for _, other in pairs], stop)
    changes = [_change(lefts.get(one or ""), rights.get(other or "")) for one, other in pairs]
    return Comparison(
        left_value=left.value,
        right_value=right.value,
        difference=right.value - left.value,
        alignment=alignment,
        candidates=_candidates(left, right),
        nodes=sorted((change for change in changes if change is not None), key=_size, reverse=True),
    )


def counterpart_step(step: str, alignment: Alignment) -> str:
    """A step of a trace, NODE:THROUGH, at the aligned positions. Raises BadNode where a token has no counterpart."""
    name, colon, through = step.partition(":")
    other = _counterpart(name, alignment)
    if other is None:
        raise BadNode(f"{name} has no counterpart in the second prompt.", "Pair its tokens in the alignment.")
    return other + colon + through


def _counterpart(name: str, alignment: Alignment) -> str | None:
    """The node at the aligned positions, or None where a token has no counterpart or the order is turned round."""
    node = parse(name)
    places = [p for p in (node.position, node.source) if p is not None]
    moved = [alignment[p] for p in places]
    if any(p is None for p in moved):
        return None
    ends = dict(zip(("position", "source"), moved, strict=False))
    if node.source is not None and node.position is not None and (moved[1] or 0) > (moved[0] or 0):
        return None
    return str(replace(node, **ends)) if ends else name


def _fetched(
    run: Run, rows: dict[str, NodeEffect], names: Sequence[str | None], stop: Stop | None
) -> dict[str, NodeEffect]:
    """The rows of these names; those that the table leaves out are looked up, those beyond its reach are not there."""
    missing = [parse(name) for name in names if name is not None and name not in rows]
    reachable = [node for node in missing if run.reaches(node)]
    return rows | {row.id: row for row in (run.find(reachable, stop) if reachable else [])}


def _change(left: NodeEffect | None, right: NodeEffect | None) -> NodeChange | None:
    named = left or right
    if named is None:
        return None
    if left is None or right is None:
        return NodeChange(named.id, left, right, None, None)
    direct = right.direct_effect - left.direct_effect
    return NodeChange(named.id, left, right, direct, right.estimated_effect - left.estimated_effect)


def _size(change: NodeChange) -> float:
    if change.direct_difference is not None and change.estimated_difference is not None:
        return max(abs(change.direct_difference), abs(change.estimated_difference))
    row = change.left or change.right
    return 0.0 if row is None else max(abs(row.direct_effect), abs(row.estimated_effect))


def _candidates(left: Run, right: Run) -> list[CandidateChange]:
    """The likeliest tokens of either side, with both sides' numbers; largest probability first."""
    first, second = left.candidates(), right.candidates()
    mine = {one.id: one for one in left.candidates(also=[other.id for other in second])}
    theirs = {one.id: one for one in right.candidates(also=[other.id for other in first])}
    listed = dict.fromkeys([one.id for one in first] + [one.id for one in second])
    changes = [
        CandidateChange(i, mine[i].text, mine[i], theirs[i], theirs[i].logprob - mine[i].logprob) for i in listed
    ]
    return sorted(changes, key=lambda one: -max(one.left.probability, one.right.probability))
