"""A head's attention at every token."""

from __future__ import annotations

from dataclasses import replace

from ..errors import BadNode
from ..models.probe import probe
from ..nodes import parse
from .case import Case
from .records import Pattern
from .upstream import checked_node


def pattern(case: Case, head: str) -> Pattern:
    """What each token attends to by a head such as "attn.23.3", under the edits. Raises BadNode."""
    node = parse(head)
    if node.kind != "attn" or node.position is not None or node.layer is None or node.index is None:
        raise BadNode(f"{head!r} is not a head.", "Write attn.L.H, without a position.")
    checked_node(case, None, replace(node, position=0))
    edits = case.interventions
    with case.subject.lock:
        rows = probe(case.subject.anatomy, case.ids, node.layer, edits).pattern[node.index].tolist()
    return Pattern(head, [row[: position + 1] for position, row in enumerate(rows)])
