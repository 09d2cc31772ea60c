"""What a collection would take, from a few batches of its own text that a worker runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial as bound
from pathlib import Path
from typing import Unpack

from .. import settings
from ..corpus.contexts import Contexts
from ..corpus.sample import sampled
from ..corpus.texts import Corpus
from ..disk import on_disk
from ..models.memory import peak
from ..models.subject import HasSubject, SubjectModel
from ..models.tape import Stop
from ..pool import Desk, Here, Pool, by_one
from . import partial
from .assignment import Options, assignment
from .attached import device_of
from .observation import Autoencoders
from .plan import Plan
from .records import CollectPlan
from .shard import Shard

_BATCHES = 3  # of which the first warms up
_SAVING = 0.1  # of the time, from which on a larger shard is worth naming


def planned(
    model: HasSubject,
    corpus: Corpus | str | None = None,
    *,
    out: Path | str,
    pool: Pool | None = None,
    stop: Stop | None = None,
    **options: Unpack[Options],
) -> CollectPlan:
    """What `collecting` with these options would take: one worker of the pool runs a few batches, and nothing is kept.

    Raises what `collecting` raises.
    """
    pool, folder = pool or Here(), Path(out).absolute()
    asked = assignment(model, corpus, **options)
    plan = asked.plan
    with sampled(
        folder, asked.subject, asked.corpus,
        contexts=_BATCHES * plan.batch, length=plan.length, bos=plan.bos, seed=plan.seed,
    ) as sample:  # fmt: skip
        make = bound(Prober, asked.subject, plan, sample.contexts, asked.autoencoders)
        probe, notes = by_one(make, pool, stop)
    total = -(-plan.tokens // plan.length)
    shards = -(-total // plan.shard)
    workers = min(pool.size, shards)
    # The last round of shards may leave workers idle.
    rounds = -(-shards // workers)
    each = min(plan.shard, total) * plan.length / probe.tokens_per_s + probe.save_s
    share = probe.save_s / each
    if share > _SAVING and shards > 1:
        wanted = probe.save_s * (1 / _SAVING - 1) * probe.tokens_per_s
        notes.append(f"Saving takes {share:.0%} of the time: with --shard-tokens {wanted:.0f} it takes {_SAVING:.0%}.")
    return CollectPlan(
        tokens=total * plan.length,
        contexts=total,
        shards=shards,
        blocks=len(plan.sites),
        workers=workers,
        tokens_per_s=probe.tokens_per_s,
        memory=probe.memory,
        shard_bytes=probe.shard_bytes,
        disk=min(shards, settings.JOINED + workers) * probe.shard_bytes,
        read_s=sample.seconds(total * plan.length),
        collect_s=rounds * each,
        notes=notes,
    )


@dataclass(frozen=True)
class Probe:
    """What a worker measured: tokens a second, seconds for one saving, the most that it held and what the saving takes,
    in bytes."""

    tokens_per_s: float
    save_s: float
    memory: int
    shard_bytes: int


class Prober:
    """Runs a few batches and saves what came of them beside the contexts: the speed and the memory of a worker."""

    def __init__(self, subject: SubjectModel, plan: Plan, contexts: Contexts, autoencoders: Autoencoders) -> None:
        self._subject, self._plan, self._contexts = subject, plan, contexts
        self._autoencoders = {block: one.to(device_of(subject, one)) for block, one in autoencoders.items()}

    def do(self, task: None, desk: Desk, stop: Stop) -> Iterator[Probe]:
        """Raises NotFinite, NoSpace or Cancelled."""
        batch, n = self._plan.batch, len(self._contexts)
        shard = Shard(self._subject, self._plan, self._contexts, self._autoencoders)
        times = []
        for at in range(0, n, batch):
            started = time.perf_counter()
            shard.see(at, min(at + batch, n), stop)
            times.append((time.perf_counter() - started) / (min(at + batch, n) - at))
        started = time.perf_counter()
        with on_disk(self._contexts.path):
            saved = partial.save(self._contexts.path, 0, n, shard.emptied())
        yield Probe(
            tokens_per_s=self._plan.length / min(times),
            save_s=time.perf_counter() - started,
            memory=peak(self._subject),
            shard_bytes=saved.path.stat().st_size,
        )
