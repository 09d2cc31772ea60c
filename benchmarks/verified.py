"""Verified effects against running the whole prompt again for each node, one by one and batched as well as it goes.

Both give the same numbers; the largest difference is in the table. The floor is transformers with its own fastest
attention, logits at one position, and a plain hook that zeroes one head at one position in each row of the batch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clew.debug import Model, Run
from clew.debug.bench import own_attention
from clew.debug.scalar import Final
from clew.debug.verify import measure
from clew.edits import Place
from clew.settings import EXAMPLE_DISTRACTOR, EXAMPLE_PROMPT, EXAMPLE_TARGET

NODES = 100
TURNS = 7
BATCHES = (10, 25, 50, 100)


@dataclass(frozen=True)
class Cost:
    """Medians over the turns, in seconds; `ratio` is the median of the turns' ratios, `off` the largest difference.

    `single_s` is a run for each node by itself, from a tenth of them; `least` the share of a whole run's rows × layers
    that lie in the nodes' cones, so that 1 / `least` is the ratio that arithmetic alone allows.
    """

    what: str
    single_s: float
    naive_s: float
    clew_s: float
    ratio: float
    least: float
    off: float
    bound: float


def costs(model: Model) -> list[Cost]:
    """A hundred heads spread over all layers and positions, and a hundred at the last position."""
    run = model.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR)
    anatomy, t = model.subject.anatomy, len(run.tokens)
    draw = torch.Generator().manual_seed(0)

    def pick(size: int) -> int:
        return int(torch.randint(size, (1,), generator=draw))

    def heads(position: Callable[[], int]) -> list[Place]:
        return [Place("attn", pick(len(anatomy.layers)), pick(anatomy.n_heads), (position(),)) for _ in range(NODES)]

    cases = [("spread over all layers and positions", heads(lambda: pick(t)), 6.0)]
    cases.append(("at the last position", heads(lambda: t - 1), 15.0))
    return [_cost(model, run, what, places, bound) for what, places, bound in cases]


def every_head(model: Model) -> tuple[int, float]:
    """How many heads × positions the example has, and the seconds that verifying all of them takes."""
    run = model.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR)
    anatomy, positions = model.subject.anatomy, range(len(run.tokens))
    nodes = [
        f"attn.{layer}.{head}@{p}"
        for layer in range(len(anatomy.layers))
        for head in range(anatomy.n_heads)
        for p in positions
    ]
    start = time.perf_counter()
    found = run.verify(nodes=nodes)
    return len(found), time.perf_counter() - start


def _cost(model: Model, run: Run, what: str, places: Sequence[Place], bound: float) -> Cost:
    case, scalar = run._case, run._scalar()
    assert isinstance(scalar, Final)
    size = min(BATCHES, key=lambda size: _timed(lambda: _naive(model, case.ids, scalar, places, size))[0])
    few = places[: len(places) // 10]
    single_s = 10 * _timed(lambda: _naive(model, case.ids, scalar, few, 1))[0]
    layers, t = scalar.depth.layer, len(case.ids)
    cone = sum((t - place.position) * (layers - 1 - (place.layer or 0)) for place in places)
    least = cone / (len(places) * layers * t)
    turns, off = [], 0.0
    for _ in range(TURNS):
        naive_s, naive = _timed(lambda: _naive(model, case.ids, scalar, places, size))
        clew_s, ours = _timed(lambda: [x for batch in measure(case, scalar, places) for x in batch])
        off = max(off, *(abs(a - b) for a, b in zip(naive, ours, strict=True)))
        turns.append((naive_s, clew_s))
    naive_s, clew_s = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
    return Cost(what, single_s, naive_s, clew_s, statistics.median(a / b for a, b in turns), least, off, bound)


def _naive(model: Model, ids: Tensor, scalar: Final, places: Sequence[Place], size: int) -> list[float]:
    """D(as is) − D(ablated), the whole prompt run again for each place, `size` of them to a batch."""
    found: list[float] = []
    with own_attention(model.subject), torch.no_grad():
        clean = _directions(model, ids[None], scalar)
        for start in range(0, len(places), size):
            batch = places[start : start + size]
            with _zeroed(model, batch):
                found += (clean - _directions(model, ids.repeat(len(batch), 1), scalar)).tolist()
    return found


def _directions(model: Model, ids: Tensor, scalar: Final) -> Tensor:
    logits = model.subject.hf(ids, use_cache=False, logits_to_keep=1).logits[:, -1].double()
    reading = scalar.reading
    return logits[:, list(reading.targets)].mean(1) - logits[:, list(reading.distractors)].mean(1)


def _zeroed(model: Model, places: Sequence[Place]) -> ExitStack:
    """Row i of the batch without the head of place i at its position."""
    by_layer: dict[int, list[tuple[int, Place]]] = {}
    for row, place in enumerate(places):
        assert place.layer is not None
        by_layer.setdefault(place.layer, []).append((row, place))
    stack = ExitStack()
    for number, rows in by_layer.items():
        layer = model.subject.anatomy.layers[number]

        def hook(module: Any, args: tuple[Tensor, ...], rows: Any = rows, heads: int = layer.n_heads) -> Any:
            changed = args[0].clone()
            width = changed.shape[-1] // heads
            for row, place in rows:
                changed[row, place.position, place.index * width : (place.index + 1) * width] = 0
            return (changed,)

        stack.callback(layer.attn_out_module.register_forward_pre_hook(hook).remove)
    return stack


def _timed(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found
