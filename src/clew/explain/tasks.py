"""Components cut into tasks for workers: as few as keep all at work, since each takes a pass over the pool of texts."""

from __future__ import annotations

from collections.abc import Sequence

from ..atlas.components import Components
from ..nodes import Node
from .pool import Pool

_EACH = 2  # tasks of a worker, so that one that is slow or lost keeps the others waiting for half as long
_LEAST = 4  # components of a task


def tasks_of(components: Components, todo: Sequence[Node], workers: int, seed: int) -> list[list[Node]]:
    """The components in their order; for one worker as one task. Raises BadAtlas."""
    if workers == 1 or not todo:
        return [list(todo)] if todo else []
    texts = Pool.draw(components, seed)
    most = max(_LEAST, -(-len(todo) // (_EACH * workers)))
    tasks: list[list[Node]] = []
    for lot in [list(todo)] if texts is None else texts.lots(todo):
        size = -(-len(lot) // -(-len(lot) // most))
        tasks += [lot[at : at + size] for at in range(0, len(lot), size)]
    return tasks
