"""What a shard collects of the neurons, the heads or the latents of one layer, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from ..sae.autoencoder import Autoencoder
from . import sums
from .best import FIELDS, Best, Fill, Offers
from .observation import Heads
from .tally import LOWEST, OCTAVES, SparseTally, Tally, octave

TYPES = ("previous", "current", "first", "same", "induction", "entropy")


@dataclass(frozen=True)
class Keep:
    """How much a collection keeps; counts are examples per component, `bands` octaves below the maximum."""

    top: int
    bottom: int
    band: int
    bands: int
    random: int
    window: int
    skip: int


@dataclass(frozen=True)
class Batch:
    """The contexts of one forward pass: their numbers, their lots in [0, 1) and their tokens.

    A context's lot decides what is drawn at random; `drawn` says for each whether it is a random example of all
    components, and where the piece shown of it starts.
    """

    context: Int[Tensor, " b"]
    lot: Float64[Tensor, " b"]
    start: Int[Tensor, " b"]
    drawn: Int[Tensor, " b"]
    ids: Int[Tensor, "b t"]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))

    def part(self, at: slice) -> Batch:
        """Some of the contexts."""
        return Batch(self.context[at], self.lot[at], self.start[at], self.drawn[at], self.ids[at])

    @cached_property
    def read(self) -> Float[Tensor, "b tt types"]:
        """For each pair P, S whether S is what each type but the last reads at P; P ≥ 1."""
        ids = self.ids
        at = torch.arange(ids.shape[1], device=ids.device)
        reader, source = at[:, None], at
        same = (ids[:, :, None] == ids[:, None, :]) & (source < reader)
        after = torch.zeros_like(same)
        after[:, :, 1:] = same[:, :, :-1]
        after &= source < reader
        fixed = [(source == reader - 1), (source == reader) & (reader > 0), (source == 0) & (reader > 0)]
        masks = torch.stack([*(mask.expand_as(same) for mask in fixed), same, after], -1)
        return masks.flatten(1, 2).float()

    @cached_property
    def rows(self) -> Int[Tensor, " types"]:
        """In how many rows P each type has something to read; the last one is entropy, of every row P ≥ 1."""
        batch, length = self.ids.shape
        found = self.read.view(batch, length, length, -1).any(2).sum((0, 1))
        return torch.cat((found, found.new_tensor([batch * (length - 1)])))


class Bands:
    """Random examples from each octave of scores, down from the highest one seen: n components, `bands` octaves."""

    def __init__(self, n: int, bands: int, k: int, w: int, device: torch.device) -> None:
        self._bands = bands
        self._best = Best(n * bands, k, w, device, key=torch.float64)
        self.octave = torch.full((n,), -1, dtype=torch.int32, device=device)

    def offer(self, at: Int[Tensor, "n b"], lot: Float64[Tensor, " b"], fill: Fill) -> None:
        """Offer contexts by the octave `at` of their scores; the smallest lots are kept."""
        bands, best = self._bands, self._best
        if bands == 0 or best.k == 0:
            return
        highest = torch.maximum(self.octave, at.amax(1).int())
        self._shift((highest - self.octave).masked_fill(self.octave < 0, 0))
        self.octave = highest
        band = highest[:, None] - at
        worst = best.key[:, -1].view(-1, bands).gather(1, band.clamp(0, bands - 1).long())
        row, column = ((at >= 0) & (band < bands) & (-lot > worst)).nonzero(as_tuple=True)
        if not len(row):
            return
        rows, of = (row * bands + band[row, column]).unique(return_inverse=True)
        key = torch.full((len(rows), at.shape[1]), -torch.inf, dtype=torch.float64, device=at.device)
        key[of, column] = -lot[column]
        best.offer_some(rows, key, lambda row, column: fill(row // bands, column))

    def _shift(self, by: Int[Tensor, " n"]) -> None:
        """Make room above for octaves that were not seen before; the lowest bands are let go."""
        moved = by.nonzero()[:, 0]
        if not len(moved):
            return
        bands, best = self._bands, self._best
        source = torch.arange(bands, device=by.device) - by[moved, None]
        gone = source < 0
        target = (moved[:, None] * bands + torch.arange(bands, device=by.device)).reshape(-1)
        origin = (moved[:, None] * bands + source.clamp(min=0)).reshape(-1)
        for field in (best.key, best.order, best.values, *best.fields.values()):
            field[target] = field[origin]
        empty = target[gone.reshape(-1)]
        best.key[empty] = -torch.inf
        best.fields["context"][empty] = -1

    def state(self) -> dict[str, Tensor]:
        kept = {name: field.unflatten(0, (-1, self._bands)) for name, field in self._best.state().items()}
        return {**kept, "octave": self.octave}


class UnitBlock:
    """Units with one activation a token. With `bottom` examples, those of the most negative activations too."""

    def __init__(self, n: int, keep: Keep, length: int, device: torch.device, tally: Tally) -> None:
        self._keep, self._window = keep, min(keep.window, length)
        self._tally = tally
        self._octaves = _Octaves(n, device)
        self._top = Best(n, keep.top, self._window, device)
        self._bottom = Best(n, keep.bottom, self._window, device)
        self._bands = Bands(n, keep.bands, keep.band, self._window, device)
        self._random = _Random(n)

    def collect(self, batch: Batch, x: Float[Tensor, "b n t"], what: str) -> None:
        """Collect a batch of activations. Raises NotFinite, naming `what`."""
        skip = self._keep.skip
        counted = x[:, :, skip:]
        # Where an extreme lies is looked for once it is known to be kept: few are.
        score, lowest = counted.amax(2), counted.amin(2)
        self._tally.see(counted, lowest, score, what)
        at = octave(score.contiguous())
        self._octaves.see(at)

        def highest(row: Tensor, column: Tensor) -> Offers:
            peak = counted[column, row].argmax(1) + skip
            return self._around(batch, x, row, column, peak, score[column, row])

        def deepest(row: Tensor, column: Tensor) -> Offers:
            peak = counted[column, row].argmin(1) + skip
            return self._around(batch, x, row, column, peak, lowest[column, row])

        self._top.offer(torch.where(score > 0, score, -torch.inf).T, highest)
        self._bands.offer(at.T, batch.lot, highest)
        if self._keep.bottom:
            key = torch.where(lowest < 0, -lowest, -torch.inf).T
            self._bottom.offer(key, deepest)
        for column in batch.drawn.nonzero()[:, 0].tolist():
            self._random.keep(self._drawn(batch, x, column))

    def state(self) -> dict[str, Tensor]:
        return {
            **self._tally.state(),
            "octaves": self._octaves.counts,
            **_named("top", self._top.state()),
            **_named("bottom", self._bottom.state()),
            **_named("band", self._bands.state()),
            **_named("random", self._random.state(self._window)),
        }

    def _around(self, batch: Batch, x: Tensor, row: Tensor, column: Tensor, peak: Tensor, score: Tensor) -> Offers:
        # What came before a token says more than what follows: the peak stands at three quarters of the window.
        start = (peak - 3 * self._window // 4).clamp(0, x.shape[2] - self._window)
        return self._cut(batch, x, row, column, start, peak, score)

    def _drawn(self, batch: Batch, x: Tensor, column: int) -> Offers:
        n = x.shape[1]
        row = torch.arange(n, device=x.device)
        columns = torch.full_like(row, column)
        start = batch.start[column].expand(n)
        first = max(int(batch.start[column]), self._keep.skip)
        score, position = x[column, :, first : int(batch.start[column]) + self._window].max(1)
        return self._cut(batch, x, row, columns, start, position + first, score)

    def _cut(
        self, batch: Batch, x: Tensor, row: Tensor, column: Tensor, start: Tensor, peak: Tensor, score: Tensor
    ) -> Offers:
        span = start[:, None] + torch.arange(self._window, device=x.device)
        values = x[column, row].gather(1, span)
        return _offers(batch.context[column], start, peak, torch.full_like(peak, -1), score, values)


class NeuronBlock(UnitBlock):
    """The neurons of one layer."""

    def __init__(self, n: int, keep: Keep, length: int, device: torch.device) -> None:
        super().__init__(n, keep, length, device, Tally(n, device))

    def see(self, batch: Batch, act: Float[Tensor, "b t n"], what: str) -> None:
        """Collect a batch of activations. Raises NotFinite, naming `what`."""
        self.collect(batch, act.float().transpose(1, 2).contiguous(), what)


class LatentBlock(UnitBlock):
    """The latents of one autoencoder, which are never negative and most of the time zero."""

    def __init__(self, autoencoder: Autoencoder, keep: Keep, length: int, device: torch.device) -> None:
        n = autoencoder.n_latents
        super().__init__(n, replace(keep, bottom=0), length, device, SparseTally(n, device))
        self._autoencoder = autoencoder

    def see(self, batch: Batch, x: Float[Tensor, "b t w"], what: str) -> None:
        """Collect from a batch of the site's values, few contexts at once. Raises NotFinite, naming `what`."""
        for at in pieces(self._autoencoder, len(x), x.shape[1], x.device):
            latents = self._autoencoder.encode(x[at])
            self.collect(batch.part(at), latents.transpose(1, 2), what)


HELD = 2**22  # latents held at once on a CPU: 16 MB, where it is quickest too


def pieces(autoencoder: Autoencoder, rows: int, width: int, device: torch.device) -> Iterator[slice]:
    """Rows of `width` tokens, as many at once as latents can be held of."""
    most = HELD if device.type == "cpu" else 32 * HELD
    size = max(1, most // (width * autoencoder.n_latents))
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows))


class HeadBlock:
    """The heads of one layer: an example's strip is the lower triangle of all its pairs, row by row."""

    def __init__(self, n: int, width: int, keep: Keep, length: int, device: torch.device) -> None:
        self._keep = keep
        self._lower = torch.tril_indices(length, length, device=device)
        w = self._lower.shape[1]
        self._tally = Tally(n, device)
        self._octaves = _Octaves(n, device)
        self._mixed = sums.zero_sum(n, width, device=device)
        self._types = sums.zero_sum(len(TYPES), n, device=device)
        self._rows = torch.zeros(len(TYPES), dtype=torch.int64, device=device)
        self._top = Best(n, keep.top, w, device)
        self._bands = Bands(n, keep.bands, keep.band, w, device)
        self._random = _Random(n)
        self._width = w

    def see(self, batch: Batch, heads: Heads, what: str) -> None:
        """Collect what the heads do in a batch. Raises NotFinite, naming `what`."""
        pattern, mixed = heads.pattern, heads.mixed
        pairs, writes = heads.pairs(), heads.writes()
        skip = self._keep.skip
        norms = writes[:, skip:].float().permute(0, 2, 1).contiguous()
        self._tally.see(norms, norms.amin(2), norms.amax(2), what)
        sums.add(self._mixed, mixed[:, skip:].double().sum((0, 1)), what)
        sums.add(self._types, type_sums(batch, pattern.float()), what)
        self._rows += batch.rows
        strongest = pairs.amax(3)[:, :, skip:]
        score = strongest.amax(2)
        at = octave(score.contiguous())
        self._octaves.see(at)

        def fill(row: Tensor, column: Tensor) -> Offers:
            position = strongest[column, row].argmax(1) + skip
            source = pairs[column, row, position].argmax(1)
            return self._cut(batch, pairs, row, column, position, source, score[column, row])

        self._top.offer(torch.where(score > 0, score, -torch.inf).T, fill)
        self._bands.offer(at.T, batch.lot, fill)
        for column in batch.drawn.nonzero()[:, 0].tolist():
            row = torch.arange(pairs.shape[1], device=pairs.device)
            self._random.keep(fill(row, torch.full_like(row, column)))

    def state(self) -> dict[str, Tensor]:
        return {
            **self._tally.state(),
            "octaves": self._octaves.counts,
            "mixed": self._mixed,
            "types": self._types,
            "rows": self._rows,
            **_named("top", self._top.state()),
            **_named("band", self._bands.state()),
            **_named("random", self._random.state(self._width)),
        }

    def _cut(
        self,
        batch: Batch,
        pairs: Tensor,
        row: Tensor,
        column: Tensor,
        position: Tensor,
        source: Tensor,
        score: Tensor,
    ) -> Offers:
        values = pairs[column[:, None], row[:, None], self._lower[0], self._lower[1]]
        return _offers(batch.context[column], torch.zeros_like(position), position, source, score, values)


def type_sums(batch: Batch, pattern: Float[Tensor, "b h t t"]) -> Float64[Tensor, "types h"]:
    """What `HeadTypes` averages, summed over the rows of a batch: attention weights, and −Σ A ln A."""
    weights = pattern.flatten(2) @ batch.read
    tiny = torch.finfo(torch.float32).tiny
    # 0 ln 0 is 0, and so is 0 ln of the smallest number; row 0 attends to one token only and adds 0.
    entropy = [-part.clamp_min(tiny).log_().mul_(part).sum((2, 3)) for part in pattern.split(1)]
    return torch.cat((weights, torch.cat(entropy)[..., None]), -1).double().sum(0).T


class _Octaves:
    """In how many contexts the score falls into each octave; the first count is of all below."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.counts = torch.zeros(n, OCTAVES + 1, dtype=torch.int64, device=device)
        self._base = torch.arange(n, device=device) * (OCTAVES + 1) + 1

    def see(self, at: Int[Tensor, "b n"]) -> None:
        flat = (at + self._base).reshape(-1)
        self.counts += torch.bincount(flat, minlength=self.counts.numel()).view_as(self.counts)


class _Random:
    """The contexts drawn for all components."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._kept: list[Offers] = []

    def keep(self, offers: Offers) -> None:
        self._kept.append(
            Offers({name: field.clone() for name, field in offers.fields.items()}, offers.values.to(torch.float16))
        )

    def state(self, width: int) -> dict[str, Tensor]:
        kept = self._kept
        if not kept:
            empty = {name: torch.zeros(self._n, 0, dtype=kind) for name, kind in FIELDS.items()}
            return {**empty, "values": torch.zeros(self._n, 0, width, dtype=torch.float16)}
        fields = {
            name: torch.stack([offers.fields[name].to(kind) for offers in kept], 1) for name, kind in FIELDS.items()
        }
        return {**fields, "values": torch.stack([offers.values for offers in kept], 1)}


def lowest_of(octave: int) -> float:
    """The lower end of an octave counted as `tally.octave` counts."""
    return 2.0 ** (octave + LOWEST)


def _offers(context: Tensor, start: Tensor, position: Tensor, source: Tensor, score: Tensor, values: Tensor) -> Offers:
    scale = values.abs().amax(1)
    relative = values / torch.where(scale > 0, scale, 1)[:, None]
    return Offers(
        {
            "context": context,
            "start": start,
            "position": position,
            "source": source,
            "score": score,
            "scale": scale,
        },
        relative,
    )


def _named(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": field for name, field in state.items()}
