"""What sites hold on a text, streamed from the model, and a buffer that mixes it.

Rows of different sites are of the same tokens in the same order. Nothing of the text's activations is kept beyond the
buffer; nothing here depends on anything but the seed and the place in the text, so that a training that goes on from a
checkpoint sees what an undisturbed one sees.
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
from .measures import Spread

Rows = dict[Site, Float[Tensor, "n w"]]

_FLAT = 1e-12  # of the squares: a spread that is rounding in float32
_BLOCK = 8192  # rows that a moment is taken of at once, in float64


class Stream:
    """The values of `sites` on the first `count` of some contexts, about `at_once` tokens to a forward pass. The first
    `first` positions of each context are left out.

    The contexts come in the order they were read in; when they are used up, again and again, in an order drawn anew
    each time. `at` counts the contexts that have been given.
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
    ) -> None:
        self._subject, self._contexts, self._count = subject, contexts, count
        self.sites, self._first, self._seed = tuple(sites), first, seed
        self._batch = max(1, at_once // contexts.length)
        self._order: tuple[int, Int[np.ndarray, " n"]] = (0, np.arange(count))
        self.at = 0

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

    def read(self) -> Rows:
        """The next rows, token by token. Raises NothingToLearn when any is NaN or infinite."""
        number, start = divmod(self.at, self._count)
        if number != self._order[0]:
            self._order = number, self._drawn(_seed(self._seed, "pass", number))
        rows = self._run(self._order[1][start : start + self._batch], self.sites)
        self.at += min(self._batch, self._count - start)
        return rows

    def sample(self, tokens: int, seed: int, sites: Sequence[Site]) -> Iterator[Rows]:
        """At least `tokens` rows of contexts drawn at random, each once; all there are when there are fewer.

        Leaves the stream where it is. Raises NothingToLearn.
        """
        order = self._drawn(_seed(self._seed, "sample", seed))
        needed = -(-tokens // (self._contexts.length - self._first))
        for start in range(0, min(needed, self._count), self._batch):
            yield self._run(order[start : min(start + self._batch, needed)], sites)

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
    """

    def __init__(self, stream: Stream, size: int, total: int, seed: int) -> None:
        self.stream = stream
        self.size, self._total, self._seed = min(size, total), total, seed
        self._rows: Rows = {}
        self._free = torch.arange(self.size + stream.most - 1)  # a pass begins with at most size − 1 rows held
        self._ready = self._waiting = torch.zeros(0, dtype=torch.long)  # where rows lie: mixed, and yet to be mixed
        self._given = self._taken = self._mixed = 0
        self._filling = True

    @property
    def is_ready(self) -> bool:
        return not self._filling

    def read(self) -> None:
        """Take in the rows of one forward pass. Raises NothingToLearn."""
        rows = self.stream.read()
        n = len(rows[self.stream.sites[0]])
        self._store(rows, n)
        self._taken += n
        if self.held >= self.size or self._taken >= self._total:
            order = torch.cat((self._ready, self._waiting))
            generator = torch.Generator().manual_seed(_seed(self._seed, "mix", self._mixed))
            self._ready = order[torch.randperm(len(order), generator=generator)]
            self._waiting = self._waiting[:0]
            self._mixed += 1
            self._filling = False

    def draw(self, n: int) -> Rows:
        """The next `n` rows of every site, as the model gave them."""
        assert self.is_ready and n <= min(self.size, self._total - self._given)
        rows = self.first(n)
        self._free = torch.cat((self._free, self._ready[:n]))
        self._ready = self._ready[n:]
        self._given += n
        self._filling = self._taken < self._total and len(self._ready) < max(self.size // 2, n)
        return rows

    def first(self, n: int) -> Rows:
        """The next `n` rows (or as many as there are), which stay."""
        return {site: held[self._ready[:n].to(held.device)] for site, held in self._rows.items()}

    def scale(self, site: Site) -> float:
        """What makes the mean of ‖x‖² over the rows held the site's width. Raises NothingToLearn when all are equal."""
        held = self._rows[site]
        square, spread = 0.0, Spread(held.shape[1])
        for slots in self._ready.split(_BLOCK):
            block = held[slots.to(held.device)].cpu().double()
            square += block.square().sum().item()
            spread.see(block)
        if not spread.total > _FLAT * square:
            raise NothingToLearn(
                f"{site} is the same on every token, so there is nothing to learn there.", "Take another site."
            )
        return (held.shape[1] * spread.n / square) ** 0.5

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The rows held by site, in order, and the numbers to go on with."""
        at = torch.cat((self._ready, self._waiting))
        numbers = {
            "at": self.stream.at,
            "ready": len(self._ready),
            "given": self._given,
            "taken": self._taken,
            "mixed": self._mixed,
            "filling": self._filling,
        }
        return {str(site): held[at.to(held.device)] for site, held in self._rows.items()}, numbers

    def load(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Goes on as the buffer did whose `state` this is. Raises BadCheckpoint when it is none of these sites."""
        rows = {site: tensors[str(site)] for site in self.stream.sites if str(site) in tensors}
        lengths = {len(held) for held in rows.values()}
        if len(rows) != len(self.stream.sites) or len(lengths) != 1 or max(lengths) > len(self._free):
            raise BadCheckpoint("The checkpoint does not hold this training's activations.", "Train again elsewhere.")
        (held,) = lengths
        self._ready = self._waiting = self._ready[:0]
        self._store(rows, held)
        self._ready, self._waiting = self._waiting[: numbers["ready"]], self._waiting[numbers["ready"] :]
        self.stream.at = numbers["at"]
        self._given, self._taken, self._mixed = numbers["given"], numbers["taken"], numbers["mixed"]
        self._filling = numbers["filling"]

    @property
    def held(self) -> int:
        """Rows that are there, mixed or not."""
        return len(self._ready) + len(self._waiting)

    def _store(self, rows: Rows, n: int) -> None:
        slots, self._free = self._free[:n], self._free[n:]
        for site, values in rows.items():
            if site not in self._rows:
                room = len(slots) + len(self._free)  # the first rows that are stored find everything free
                self._rows[site] = values.new_empty((room, values.shape[1]), device=self.stream.device)
            held = self._rows[site]
            held[slots.to(held.device)] = values.to(held.device)
        self._waiting = torch.cat((self._waiting, slots))


def _seed(seed: int, purpose: str, number: int) -> int:
    """A seed of its own for every purpose and number."""
    words = [seed % 2**64, *purpose.encode(), number]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
