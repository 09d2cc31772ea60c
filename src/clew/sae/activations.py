"""What sites hold on a text, streamed from the model, and a buffer that mixes it.

Rows of different sites are of the same tokens in the same order. Nothing of the text's activations is kept beyond the
buffer; nothing here depends on anything but the seed and the place in the text, so that a training that goes on from a
checkpoint sees what an undisturbed one sees.

The ranks of a group (group.py) run the forward passes in turns. Each holds the rows of its own, and all know of every
row where it is: whatever is drawn, first or saved is the same, however many ranks there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import settings
from ..corpus.contexts import Contexts
from ..errors import BadCheckpoint, NothingToLearn
from ..models.sites import read_sites, width
from ..models.subject import SubjectModel
from ..nodes import Site
from .group import ALONE, Group, OneFate
from .measures import Spread

Rows = dict[Site, Float[Tensor, "n w"]]

_FLAT = 1e-12  # of the squares: a spread that is rounding in float32
_BLOCK = 8192  # rows that a moment is taken of at once, in float64


class Stream:
    """The values of `sites` on the first `count` of some contexts, about `at_once` tokens to a forward pass. The first
    `first` positions of each context are left out.

    The contexts come in the order they were read in; when they are used up, again and again, in an order drawn anew
    each time. `at` counts the contexts that have been given.

    The ranks of a group take turns with the forward passes: `turn` says whose the next one is.
    """

    def __init__(
        self,
        subject: SubjectModel,
        contexts: Contexts,
        count: int,
        sites: Sequence[Site],
        first: int,
        seed: int,
        at_once: int = settings.BATCH * settings.CONTEXT,
        group: Group = ALONE,
    ) -> None:
        self._subject, self._contexts, self._count = subject, contexts, count
        self.sites, self._first, self._seed = tuple(sites), first, seed
        self._batch = max(1, at_once // contexts.length)
        self._order: tuple[int, Int[np.ndarray, " n"]] = (0, np.arange(count))
        self.group = group
        self.at = self.turn = 0

    @property
    def device(self) -> torch.device:
        return self._subject.device

    @property
    def most(self) -> int:
        """The rows of a forward pass (fewer at the end of the text)."""
        return self._batch * (self._contexts.length - self._first)

    @property
    def passes(self) -> float:
        """How often the text was gone through."""
        return self.at / self._count

    def width(self, site: Site) -> int:
        return width(self._subject.anatomy, site)

    @property
    def due(self) -> int:
        """The rows of the next forward pass."""
        return min(self._batch, self._count - self.at % self._count) * (self._contexts.length - self._first)

    def read(self) -> Rows:
        """The next rows, token by token; none at all when it is another rank's turn.

        Raises NothingToLearn when any is NaN or infinite.
        """
        number, start = divmod(self.at, self._count)
        rows: Rows = {}
        if self.turn == self.group.rank:
            if number != self._order[0]:
                self._order = number, self._drawn(_seed(self._seed, "pass", number))
            rows = self._run(self._order[1][start : start + self._batch], self.sites)
        self.at += min(self._batch, self._count - start)
        self.turn = (self.turn + 1) % self.group.size
        return rows

    def sample(self, tokens: int, seed: int, sites: Sequence[Site]) -> Iterator[Rows]:
        """`tokens` rows of contexts drawn at random, each once; all there are when there are fewer.

        Of a group, each rank has every so manieth of the forward passes, and all have the same number: the last ones
        may be of no rows. Leaves the stream where it is. Raises NothingToLearn.
        """
        order, each = self._drawn(_seed(self._seed, "sample", seed)), self._contexts.length - self._first
        needed = min(-(-tokens // each), self._count)
        for first in range(0, needed, self._batch * self.group.size):
            start = first + self._batch * self.group.rank
            rows = {site: torch.empty(0, self.width(site), device=self.device) for site in sites}
            with OneFate(self.group):
                if start < needed:
                    found = self._run(order[start : min(start + self._batch, needed)], sites)
                    rows = {site: values[: tokens - start * each] for site, values in found.items()}
            yield rows

    def _drawn(self, seed: int) -> Int[np.ndarray, " n"]:
        return torch.randperm(self._count, generator=torch.Generator().manual_seed(seed)).numpy()

    def _run(self, which: Int[np.ndarray, " b"], sites: Sequence[Site]) -> Rows:
        ids = torch.from_numpy(np.stack([self._contexts.tokens(int(i)) for i in which]).astype(np.int64))
        with self._subject.lock:
            values = read_sites(self._subject.anatomy, sites, ids.to(self._subject.device))
        rows: Rows = {}
        for site in sites:
            rows[site] = values[site][:, self._first :].flatten(0, 1)
            if not torch.isfinite(rows[site]).all():
                raise NothingToLearn(
                    f"What {self._subject.name} has at {site} is NaN or infinite on some tokens.",
                    "Load the model in float32, or take another site.",
                )
        return rows


class Buffer:
    """Holds rows of a stream to draw from at random: filled to `size` rows (and up to a forward pass more), drawn from
    until half are left, filled up and mixed again. It gives `total` rows in all, the last of them until it is empty.

    `read` runs the model once; until `is_ready` it has to be called. `draw` then gives each row once.

    Of a group, all ranks read, draw and ask alike.
    """

    def __init__(self, stream: Stream, size: int, total: int, seed: int) -> None:
        self.stream = stream
        self.size, self._total, self._seed = min(size, total), total, seed
        self._rows: Rows = {}
        slots = self.size + stream.most - 1  # a pass begins with at most size − 1 rows held
        self._free = torch.arange(slots)
        # Which rank holds the row of a slot; and if it is this one, where.
        self._holder, self._place = torch.zeros(slots, dtype=torch.long), torch.zeros(slots, dtype=torch.long)
        group = stream.group
        self._room = slots if group.size == 1 else slots // group.size + stream.most
        self._spare = torch.arange(self._room)  # places that no row is at
        self._ready = self._waiting = torch.zeros(0, dtype=torch.long)  # where rows lie: mixed, and yet to be mixed
        self._given = self._taken = self._mixed = 0
        self._filling = True

    @property
    def is_ready(self) -> bool:
        return not self._filling

    def read(self) -> None:
        """Take in the rows of one forward pass; of a group, of one each, until it is ready. Raises NothingToLearn."""
        with OneFate(self.stream.group):
            for _ in range(self.stream.group.size):
                if self._filling:
                    self._read()

    def _read(self) -> None:
        n, turn = self.stream.due, self.stream.turn
        self._store(self.stream.read(), torch.full((n,), turn))
        self._taken += n
        if self.held >= self.size or self._taken >= self._total:
            order = torch.cat((self._ready, self._waiting))
            generator = torch.Generator().manual_seed(_seed(self._seed, "mix", self._mixed))
            self._ready = order[torch.randperm(len(order), generator=generator)]
            self._waiting = self._waiting[:0]
            self._mixed += 1
            self._filling = False

    def draw(self, n: int, whole: bool = False) -> Rows:
        """The next `n` rows of every site, as the model gave them: those of them that this rank holds, or all."""
        assert self.is_ready and n <= min(self.size, self._total - self._given)
        places = self._here(self._ready[:n])
        rows = self.first(n) if whole else {site: self._at(site, places) for site in self.stream.sites}
        self._spare = torch.cat((self._spare, places))
        self._free = torch.cat((self._free, self._ready[:n]))
        self._ready = self._ready[n:]
        self._given += n
        self._filling = self._taken < self._total and len(self._ready) < max(self.size // 2, n)
        return rows

    def first(self, n: int) -> Rows:
        """The next `n` rows (or as many as there are), all of them on every rank, which stay."""
        slots = self._ready[:n]
        parts = {site: self.stream.group.gather(self._at(site, self._here(slots))) for site in self.stream.sites}
        return {site: self._joined(slots, found) for site, found in parts.items()}

    def scale(self, site: Site) -> float:
        """What makes the mean of ‖x‖² over the rows held the site's width. Raises NothingToLearn when all are equal."""
        width = self.stream.width(site)
        square, spread = 0.0, Spread(width)
        for places in self._here(self._ready).split(_BLOCK):
            if len(places):
                block = self._at(site, places).cpu().double()
                square += block.square().sum().item()
                spread.see(block)
        mine = torch.zeros(0, 3 + width, dtype=torch.float64)
        if spread.n:
            mine = torch.cat((torch.tensor([square, spread.n, spread.total], dtype=torch.float64), spread.mean))[None]
        parts = torch.cat(self.stream.group.gather(mine))
        squares, counts, within, means = parts[:, 0], parts[:, 1], parts[:, 2], parts[:, 3:]
        square, n = float(squares.sum()), float(counts.sum())
        between = counts @ (means - counts @ means / n).square().sum(1)
        if not float(within.sum() + between) > _FLAT * square:
            raise NothingToLearn(
                f"{site} is the same on every token, so there is nothing to learn there.", "Take another site."
            )
        return (width * n / square) ** 0.5

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The rows held by site, in order (of a group, on rank 0 only), and the numbers to go on with."""
        at = torch.cat((self._ready, self._waiting))
        numbers = {
            "at": self.stream.at,
            "ready": len(self._ready),
            "given": self._given,
            "taken": self._taken,
            "mixed": self._mixed,
            "filling": self._filling,
        }
        rows: dict[str, Tensor] = {}
        for site in self.stream.sites:
            parts = self.stream.group.collect(self._at(site, self._here(at)))
            if parts:
                rows[str(site)] = self._joined(at, parts)
        return rows, numbers

    def load(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Goes on as the buffer did whose `state` this is. Raises BadCheckpoint when it is none of these sites."""
        rows = {site: tensors[str(site)] for site in self.stream.sites if str(site) in tensors}
        lengths = {len(held) for held in rows.values()}
        if len(rows) != len(self.stream.sites) or len(lengths) != 1 or max(lengths) > len(self._free):
            raise BadCheckpoint("The checkpoint does not hold this training's activations.", "Train again elsewhere.")
        (held,) = lengths
        self._ready = self._waiting = self._ready[:0]
        holders = torch.arange(held) % self.stream.group.size
        mine = holders == self.stream.group.rank
        self._store({site: values[mine] for site, values in rows.items()}, holders)
        self._ready, self._waiting = self._waiting[: numbers["ready"]], self._waiting[numbers["ready"] :]
        self.stream.at = numbers["at"]
        self._given, self._taken, self._mixed = numbers["given"], numbers["taken"], numbers["mixed"]
        self._filling = numbers["filling"]

    @property
    def held(self) -> int:
        """Rows that are there, mixed or not."""
        return len(self._ready) + len(self._waiting)

    def _store(self, rows: Rows, holders: Int[Tensor, " n"]) -> None:
        """Take in rows that lie with these ranks; `rows` are the ones of this rank."""
        slots, self._free = self._free[: len(holders)], self._free[len(holders) :]
        self._holder[slots] = holders
        mine = slots[holders == self.stream.group.rank]
        if len(mine) > len(self._spare):
            self._grow(len(mine))
        places, self._spare = self._spare[: len(mine)], self._spare[len(mine) :]
        self._place[mine] = places
        if len(mine):
            for site, values in rows.items():
                if site not in self._rows:
                    self._rows[site] = values.new_empty((self._room, values.shape[1]), device=self.stream.device)
                held = self._rows[site]
                held[places.to(held.device)] = values.to(held.device)
        self._waiting = torch.cat((self._waiting, slots))

    def _grow(self, n: int) -> None:
        """Make room for `n` rows more. By chance a rank holds more than its share."""
        n = max(n, self._room // 4)
        self._spare = torch.cat((self._spare, torch.arange(self._room, self._room + n)))
        self._room += n
        self._rows = {site: torch.cat((held, held.new_empty((n, held.shape[1])))) for site, held in self._rows.items()}

    def _here(self, slots: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
        """The places of those slots whose rows this rank holds."""
        return self._place[slots[self._holder[slots] == self.stream.group.rank]]

    def _at(self, site: Site, places: Int[Tensor, " m"]) -> Float[Tensor, "m w"]:
        held = self._rows.get(site)
        if held is None:  # this rank had no turn yet
            return torch.empty(0, self.stream.width(site), device=self.stream.device)
        return held[places.to(held.device)]

    def _joined(self, slots: Int[Tensor, " n"], parts: list[Tensor]) -> Float[Tensor, "n w"]:
        """The rows of some slots, from those that each rank holds of them."""
        if len(parts) == 1:
            return parts[0]
        rows = parts[0].new_empty((len(slots), parts[0].shape[1]))
        holder = self._holder[slots]
        for rank, part in enumerate(parts):
            rows[(holder == rank).to(rows.device)] = part
        return rows


def _seed(seed: int, purpose: str, number: int) -> int:
    """A seed of its own for every purpose and number."""
    words = [seed % 2**64, *purpose.encode(), number]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
