"""The examples of a component, dealt to splits so that what scores an explanation was never seen by what found it.

The rules, by what a sample is:

- **top**: the atlas's strongest examples, best first, dealt to explain, test, validate and calibrate in turn (Bills et
  al. 2023, Methods, interleave by four as well), SPLIT_TOP to each. Few examples serve explaining and testing first.
- **band**: the atlas's random examples of each octave below the maximum; for the explainer.
- **random**: pieces of text from the pool, drawn for the component without looking at what it does there, dealt to
  test, validate and calibrate in turn, SPLIT_RANDOM to each.
- **near_miss**: pieces from the pool on which the component stays below a tenth of its maximum though they look like
  its examples, dealt to test, validate and explain in turn, SPLIT_NEAR to each. Half of them have a token that one of
  its top examples peaks on, each such token in turn, the rarest first. Half are where a component of the same block
  fires whose activations over the pool go most with its own, the strongest first. Where one half has too few, the other
  has more.

Without a pool (heads, imported atlases, latents whose autoencoder is not attached) random samples are the atlas's own,
and where these are too few the lower bands fill up, as what they are, after the first example of each band went to the
explainer. There are no near misses then.

A context of the text is used once, in one split and as one kind, and so is what it says: a piece that repeats one that
was dealt before is left out (licences and tables recur in any corpus).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from random import Random
from threading import Lock
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float64

from .. import settings
from ..atlas.atlas import Atlas
from ..atlas.components import Components
from ..atlas.plan import site_of
from ..atlas.records import Example
from ..atlas.search import no_atlas
from ..errors import Cancelled
from ..models.progress import Progress
from ..models.tape import Stop
from ..nodes import Node
from .evidence import Evidence, Sample
from .pool import Activity, Pool
from .records import Failure, SampleKind, Split

QUIET = 0.1  # of its maximum: on a near miss a component stays below

_FIRES = 0.5  # of its largest in the pool: where a similar component fires
_RUN = 12  # tokens in a row
_KEPT = 64  # components whose evidence is remembered
_TOP: tuple[Split, ...] = ("explain", "test", "validate", "calibrate")
_UNSEEN: tuple[Split, ...] = ("test", "validate", "calibrate")
_NEAR: tuple[Split, ...] = ("test", "validate", "explain")

_T = TypeVar("_T")


def gather(
    components: Components,
    nodes: Sequence[Node],
    *,
    seed: int = 0,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Node, Evidence | Failure]]:
    """The evidence of every component, in order, or why there is none: it never fires, or the atlas lacks it.

    What a component's evidence is depends on the atlas and the seed, and on no other component that is asked for.
    `progress` counts the contexts that are read, and none is read again for what was gathered lately of the same
    Components. Raises NoAtlas at once; BadAtlas, NotFinite or Cancelled on the way.
    """
    if components.atlas is None:
        raise no_atlas("Explaining")
    return _gather(components, components.atlas, nodes, seed, stop, progress)


def _gather(
    components: Components,
    atlas: Atlas,
    nodes: Sequence[Node],
    seed: int,
    stop: Stop | None,
    progress: Progress | None,
) -> Iterator[tuple[Node, Evidence | Failure]]:
    lately = _LATELY.setdefault(components, _Lately())
    known = {node: found for node in nodes if (found := lately.get(seed, node)) is not None}
    unread = any(node.kind != "attn" and node not in known for node in nodes)
    pool = Pool.draw(components, seed) if unread else None
    # Without a pool nothing is read, so all are one lot.
    lots = [list(nodes)] if pool is None else list(pool.lots(nodes))
    for number, lot in enumerate(lots):
        todo = [node for node in lot if node not in known]
        activity = {} if pool is None else pool.read(todo, stop, _of_all(progress, number, len(lots)))
        for node in lot:
            if stop is not None and stop():
                raise Cancelled("It was cancelled before it was done.")
            found = known.get(node)
            if found is None:
                seen = (pool, activity[node]) if pool is not None and node in activity else None
                found = _evidence(atlas, node, seen, Random(f"{seed} {node}"))
                if seen is not None:
                    lately.keep(seed, node, found)
            yield node, found


class _Lately:
    """The evidence that a reading of the pool was needed for, of as many components as were asked for last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: OrderedDict[tuple[int, Node], Evidence | Failure] = OrderedDict()

    def get(self, seed: int, node: Node) -> Evidence | Failure | None:
        with self._lock:
            found = self._found.get((seed, node))
            if found is not None:
                self._found.move_to_end((seed, node))
            return found

    def keep(self, seed: int, node: Node, found: Evidence | Failure) -> None:
        with self._lock:
            self._found[seed, node] = found
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)


# A page scores one component again and again, and each time would read a hundred contexts.
_LATELY: WeakKeyDictionary[Components, _Lately] = WeakKeyDictionary()


def _of_all(progress: Progress | None, number: int, lots: int) -> Progress | None:
    """Progress of one lot, told as that of all."""
    if progress is None:
        return None
    return lambda stage, done, total: progress(stage, number * total + done, lots * total)


def _evidence(atlas: Atlas, node: Node, seen: tuple[Pool, Activity] | None, draw: Random) -> Evidence | Failure:
    if site_of(node) not in atlas.sizes:
        return Failure("nothing", f"The atlas {atlas.folder.name} has nothing of {site_of(node)}.")
    known, cut, deal = atlas.component(node), _Cut(atlas, node, draw), _Deal()
    top = deal.new((cut.example(one) for one in known.top), len(_TOP) * settings.SPLIT_TOP)
    samples = _dealt(top, _TOP)
    bands = [[cut.example(one) for one in band.examples] for band in known.bands]
    unseen = len(_UNSEEN) * settings.SPLIT_RANDOM
    if seen is None:
        samples += _dealt(deal.new(chain.from_iterable(band[:1] for band in bands)), ("explain",))
        lower = chain.from_iterable(band[1:] for band in reversed(bands))
        samples += _dealt(deal.new(chain((cut.example(one) for one in known.random), lower), unseen), _UNSEEN)
    else:
        samples += _dealt(deal.new(chain.from_iterable(bands)), ("explain",))
    maximum = max((_largest(one) for one in samples if one.split == "explain"), default=0.0)
    if not maximum > 0:
        return Failure("nothing", f"{node} never fires over the text of the atlas {atlas.folder.name}.")
    alike: tuple[str, ...] = ()
    if seen is not None:
        pieces = _Pieces(cut, *seen, deal)
        samples += _dealt(deal.new(pieces.anywhere(), unseen), _UNSEEN)
        near, alike = pieces.near_misses(known.top, QUIET * maximum)
        samples += _dealt(near, _NEAR)
    density = None if known.stats is None else known.stats.density
    return Evidence(node, maximum, tuple(samples), alike, density)


def _largest(sample: Sample) -> float:
    return float(sample.activations[sample.first :].max())


def _dealt(samples: Iterable[Sample], splits: Sequence[Split]) -> list[Sample]:
    """Samples to splits in turn."""
    return [replace(sample, split=splits[number % len(splits)]) for number, sample in enumerate(samples)]


class _Deal:
    """Lets every context through once, and no text that repeats another."""

    def __init__(self) -> None:
        self._contexts: set[int] = set()
        self._runs: set[tuple[int, ...]] = set()

    def new(self, samples: Iterable[Sample], most: int | None = None) -> list[Sample]:
        """Those of the samples that are new, so many at most."""
        return list(islice(filter(self.is_new, samples), most))

    def is_new(self, sample: Sample) -> bool:
        """Whether the context was not met yet, nor more than half of what is cut from it; if so, now they are.

        A piece of which no token counts is of no use either.
        """
        if sample.context in self._contexts or sample.first >= len(sample.ids):
            return False
        ids = sample.ids
        runs = {ids[at : at + _RUN] for at in range(max(1, len(ids) - _RUN + 1))}
        if 2 * len(runs & self._runs) > len(runs):
            return False
        self._contexts.add(sample.context)
        self._runs |= runs
        return True


class _Cut:
    """Cuts the samples of one component out of contexts; their `split` is to be settled.

    The atlas's pieces have the peak at three quarters of the window, so that its place alone tells which token it is:
    over neurons of SmolLM2, a guess by place correlates with the activations of top examples by 0.30. Therefore a
    quarter of the window is cut off again, at one end or both by lot (then 0.08): the peak stands anywhere in the last
    third of what is left, and in near misses so does the token that misleads. Random samples are cut out anywhere.
    Heads are shown whole contexts, where tokens stand where they stood.
    """

    def __init__(self, atlas: Atlas, node: Node, draw: Random) -> None:
        self._atlas, self._node, self.draw = atlas, node, draw
        self._window, self._skip = atlas.info().window, atlas.info().skip

    def example(self, example: Example) -> Sample:
        """A sample from a piece that the atlas has kept."""
        pairs, part = None, slice(None)
        if self._node.kind == "attn":
            pairs = self._pairs(example)
        elif example.kind == "random":
            part = self._anywhere(len(example.ids), _left(len(example.ids)))
        else:
            part = self._around(example.peak, len(example.ids))
        return self._sample(
            kind="top" if example.kind == "top" else "band" if example.kind == "band" else "random",
            context=example.context,
            start=example.start + (part.start or 0),
            ids=example.ids[part],
            activations=np.asarray(example.activations[part], np.float64),
            pairs=pairs,
        )

    def piece(self, kind: SampleKind, pool: Pool, activity: Activity, row: int, part: slice) -> Sample:
        """A sample from a context of the pool."""
        return self._sample(
            kind=kind,
            context=int(pool.contexts[row]),
            start=part.start,
            ids=pool.ids[row, part].tolist(),
            activations=activity.activations[row, part].astype(np.float64),
        )

    def anywhere(self, context: int) -> slice:
        """A part of a context of so many tokens, drawn by lot."""
        return self._anywhere(context, _left(min(self._window, context)))

    def around(self, token: int, context: int) -> slice:
        """The part of a context around a token that an example would show, were it the peak."""
        window = min(self._window, context)
        start = min(max(token - 3 * window // 4, 0), context - window)
        part = self._around(token - start, window)
        return slice(start + part.start, start + part.stop)

    def _anywhere(self, whole: int, length: int) -> slice:
        start = self.draw.randint(0, whole - length)
        return slice(start, start + length)

    def _around(self, peak: int, window: int) -> slice:
        # What comes before a token says more than what follows it: two thirds of the piece are left before the peak.
        length = _left(window)
        start = self.draw.randint(max(0, peak - length + 1), min(window - length, max(0, peak - 2 * length // 3)))
        return slice(start, start + length)

    def _sample(
        self,
        kind: SampleKind,
        context: int,
        start: int,
        ids: Sequence[int],
        activations: Float64[np.ndarray, " t"],
        pairs: Float64[np.ndarray, "t t"] | None = None,
    ) -> Sample:
        tokens = tuple(self._atlas.vocabulary[token] for token in ids)
        first = max(0, self._skip - start)
        return Sample(kind, "explain", context, start, tokens, tuple(ids), activations, first, pairs)

    def _pairs(self, example: Example) -> Float64[np.ndarray, "t t"]:
        rows = self._atlas.pairs(self._node, example.kind, example.rank, example.band).rows
        square = np.zeros((len(rows), len(rows)))
        square[np.tril_indices(len(rows))] = np.concatenate(rows)
        return square


def _left(window: int) -> int:
    """How many tokens of a window are shown."""
    return window - window // 4


@dataclass(frozen=True)
class _Pieces:
    """Samples from the pool, of which none is dealt twice."""

    cut: _Cut
    pool: Pool
    activity: Activity
    deal: _Deal

    def anywhere(self) -> Iterator[Sample]:
        """Pieces drawn without looking at what the component does."""
        context = self.pool.ids.shape[1]
        for row in self.cut.draw.sample(range(len(self.pool.ids)), len(self.pool.ids)):
            yield self.cut.piece("random", self.pool, self.activity, row, self.cut.anywhere(context))

    def near_misses(self, top: Sequence[Example], quiet: float) -> tuple[list[Sample], tuple[str, ...]]:
        """Near misses, and the similar components where some of them are from."""
        most = len(_NEAR) * settings.SPLIT_NEAR
        by_token = _in_turn([self._quiet(places, quiet) for places in self._peak_tokens(top)])
        by_alike = self._quiet(self._where_alike_fire(), quiet)
        found = list(islice(by_token, most // 2))
        found += islice(by_alike, most - len(found))
        found += islice(by_token, most - len(found))
        return [sample for sample, _ in found], tuple(dict.fromkeys(name for _, name in found if name))

    def _quiet(self, places: Iterable[tuple[int, int, str]], quiet: float) -> Iterator[tuple[Sample, str]]:
        """New pieces around some tokens on which the component stays below, with what the places came with."""
        for row, at, name in places:
            part = self.cut.around(at, self.pool.ids.shape[1])
            counted = self.activity.activations[row, max(part.start, self.pool.skip) : part.stop]
            if counted.max(initial=0) < quiet:
                sample = self.cut.piece("near_miss", self.pool, self.activity, row, part)
                if self.deal.is_new(sample):
                    yield sample, name

    def _peak_tokens(self, top: Sequence[Example]) -> list[list[tuple[int, int, str]]]:
        """Where in the pool each token stands that a top example peaks on, the rarest first."""
        counted = self.pool.ids[:, self.pool.skip :]
        tokens: list[tuple[int, list[tuple[int, int, str]]]] = []
        for token in sorted({example.ids[example.peak] for example in top}):
            rows, at = (counted == token).nonzero()
            firsts = np.unique(rows, return_index=True)[1]  # one place in a context, since it is used once
            places = [(int(rows[first]), int(at[first]) + self.pool.skip, "") for first in firsts]
            self.cut.draw.shuffle(places)
            tokens.append((len(rows), places))
        return [places for _, places in sorted(tokens, key=lambda token: token[0])]

    def _where_alike_fire(self) -> Iterator[tuple[int, int, str]]:
        """Where in the pool similar components fire, the most similar first, each at its strongest first."""
        for similar in self.activity.similar:
            strongest = np.argsort(-similar.peaks, kind="stable")
            fires = int((similar.peaks >= _FIRES * similar.peaks.max()).sum())
            for row in strongest[:fires].tolist():
                yield row, int(similar.at[row]), str(similar.component)


def _in_turn(many: Sequence[Iterator[_T]]) -> Iterator[_T]:
    """One of each, again and again, until all have ended; nothing is taken before it is asked for."""
    left = list(many)
    while left:
        for one in list(left):
            try:
                yield next(one)
            except StopIteration:
                left.remove(one)
