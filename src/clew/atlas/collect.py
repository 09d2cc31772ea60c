"""One pass over a corpus for all neurons, heads and latents at once, a shard at a time."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, Unpack

from filelock import FileLock, Timeout

from .. import settings
from ..corpus.contexts import Contexts, read_contexts
from ..corpus.texts import Corpus
from ..disk import on_disk, sync
from ..errors import AtlasExists, Busy, Cancelled, UnfinishedAtlas, UsageError
from ..models.subject import HasSubject
from ..models.tape import Stop
from ..pool import Finished, Here, Note, Pool, Said, Waiting, nobody, whole
from . import partial, store
from .assignment import Assignment, Options, assignment
from .atlas import Atlas
from .depot import Depot, Distant
from .observation import Block
from .partial import Partial
from .plan import Plan, in_order
from .records import CollectProgress
from .shard import Collector
from .store import MANIFEST


def collect(
    model: HasSubject,
    corpus: Corpus | str | None = None,
    *,
    progress: Callable[[CollectProgress], None] | None = None,
    out: Path | str | None = None,
    **options: Any,
) -> Atlas:
    """Collect an atlas and open it: `collecting`, to its end."""
    folder = settings.atlas_of(model.subject.name) if out is None else Path(out)
    for done in collecting(model, corpus, out=folder, **options):
        if progress is not None:
            progress(done)
    return Atlas.open(folder)


def collecting(
    model: HasSubject,
    corpus: Corpus | str | None = None,
    *,
    out: Path | str,
    replace: bool = False,
    stop: Stop | None = None,
    pool: Pool | None = None,
    store: str | None = None,
    **options: Unpack[Options],
) -> Iterator[CollectProgress]:
    """Collect what heads, neurons and latents do on a corpus into the folder `out`, telling how far it is after every
    batch. `options` are those of assignment.py.

    `sites` are attn, neuron, neuron.5, attn.0-11, latent, latent.mlp_out.10 (default: all heads and neurons, and the
    latents of all `autoencoders`: Autoencoders or what opens them, by default those attached to the model). A
    collection that was interrupted goes on where it was when it is asked for again; a complete one is left alone. Where
    there is an atlas that differs in nothing but what it has, only what it lacks is collected. `replace` throws away
    what another plan left. Shards are collected by the workers of `pool`, by default in this process: the same bytes.
    Workers that do not see the folder `out` take and leave things at the URL `store`.
    Raises UsageError, AtlasExists, UnfinishedAtlas, Busy, NoSpace, NotFinite, Cancelled, what the corpus raises,
    what opening autoencoders does and what the pool does.
    """
    out = Path(out).absolute()
    if out.name in ("", ".."):
        raise UsageError(f"{out} cannot be an atlas.", "Name a folder that is to be made.")
    work = out.with_name(f".collecting-{out.name}")
    asked = assignment(model, corpus, **options)
    plan = asked.plan
    depot = None if store is None else Depot(f"{store.rstrip('/')}/{out.name}-{plan.digest}")
    with on_disk(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    # A server gives up a collection from another thread than the one that began it.
    lock = FileLock(out.with_name(f".collecting-{out.name}.lock"), thread_local=False)
    try:
        with lock.acquire(blocking=False), on_disk(out.parent):
            before = None if replace else _before(out, plan)
            if before is not None:
                plan = plan.only(set(plan.sites) - before.sizes.keys())
            if not plan.sites:
                return
            _prepare(out, work, plan, replace, before)
            yield from _Collection(changed(asked, plan=plan), before, work, out, stop, pool or Here(), depot).run()
    except Timeout as error:
        raise Busy(f"Another process is collecting into {out.name}.", "Wait for it, or take another --out.") from error


class _Collection:
    """A collection under way in its work folder. What it collects is added to the atlas `before`, if there is one."""

    def __init__(
        self,
        asked: Assignment,
        before: Atlas | None,
        work: Path,
        out: Path,
        stop: Stop | None,
        pool: Pool,
        depot: Depot | None,
    ) -> None:
        self._subject, self._corpus, self._plan = asked.subject, asked.corpus, asked.plan
        self._autoencoders, self._before = asked.autoencoders, before
        self._work, self._out, self._stop, self._pool, self._depot = work, out, stop, pool, depot
        self._texts, self._shards = work / "contexts", work / "shards"

    def run(self) -> Iterator[CollectProgress]:
        plan = self._plan
        self._texts.mkdir(exist_ok=True)
        self._shards.mkdir(exist_ok=True)
        before = self._before
        if before is None:
            yield from self._read()
        contexts = Contexts.open(self._texts) if before is None else before.contexts
        yield from self._collect(contexts)
        built = self._work / "atlas"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir()
        if before is None:
            store.write_text(built, self._subject, self._texts)
        else:
            before.carry(built)
        (whole,) = self._whole()
        components = sum(self._width(block) for block in plan.blocks)
        carried = {} if before is None else before.sizes
        for done in store.write(built, _together(plan, before), whole, plan.sites, carried, contexts):
            self._check()
            yield CollectProgress("merge", done, components, None, None)
        self._publish(built)
        if self._depot is not None:
            self._depot.clear()

    def _read(self) -> Iterator[CollectProgress]:
        plan, total = self._plan, self._plan.tokens
        started, before = time.perf_counter(), None
        for done in read_contexts(
            self._texts, self._subject, self._corpus,
            tokens=total, length=plan.length, bos=plan.bos, seed=plan.seed, shard=plan.shard,
        ):  # fmt: skip
            self._check()
            before = done if before is None else before
            yield _progress("read", done, total, done - before, started)

    def _collect(self, contexts: Contexts) -> Iterator[CollectProgress]:
        plan = self._plan
        if self._depot is not None:
            self._depot.receive_shards(self._shards)
        kept, damaged = partial.found(self._shards)
        for path in damaged:
            path.unlink()
        covered = {first for one in kept for first in range(one.first, one.end, plan.shard)}
        starts = [first for first in range(0, len(contexts), plan.shard) if first not in covered]
        tasks = [(first, min(first + plan.shard, len(contexts))) for first in starts]
        total = len(contexts) * plan.length
        before = total - sum(end - first for first, end in tasks) * plan.length
        make = self._maker(contexts)
        told: dict[int, int] = {}  # of each shard, the tokens done
        started = time.perf_counter()
        with closing(self._pool.work(make, tasks, desk=nobody, left=whole, stop=self._stop)) as events:
            for event in events:
                self._check()
                note = None
                match event:
                    case Said(number, done):
                        told[number] = done
                    case Finished(number):
                        if self._depot is not None:
                            self._depot.receive_shards(self._shards, partial.start_of(*tasks[number]))
                        self._join(settings.JOINED)
                        continue
                    case Note(note):
                        pass
                    case Waiting():
                        pass
                fresh = sum(told.values())
                yield _progress("collect", before + fresh, total, fresh, started, note)

    def _maker(self, contexts: Contexts) -> Callable[[], Collector | Distant]:
        """What makes a worker where it works."""
        if self._depot is None:
            return functools.partial(Collector, self._subject, self._plan, contexts, self._autoencoders, self._shards)
        self._depot.send_texts(contexts.path)
        return functools.partial(Distant, self._depot, self._subject, self._plan, self._autoencoders)

    def _join(self, most: int) -> None:
        """Join partials when there are more than `most`, wherever they follow each other."""
        kept = partial.listed(self._shards)
        if len(kept) <= most:
            return
        run: list[Partial] = []
        for one in [*kept, None]:
            if one is not None and (not run or run[-1].end == one.first):
                run.append(one)
                continue
            if len(run) > 1:
                partial.joined(self._shards, run, self._plan.sites, self._plan.keep)
            run = [] if one is None else [one]

    def _whole(self) -> list[Partial]:
        """The one partial of all contexts."""
        self._join(1)
        return partial.listed(self._shards)

    def _width(self, block: Block) -> int:
        """How many components a block has."""
        if block.kind == "latent":
            return self._autoencoders[block].n_latents
        assert block.layer is not None
        layer = self._subject.anatomy.layers[block.layer]
        return layer.n_heads if block.kind == "attn" else layer.n_neurons

    def _publish(self, built: Path) -> None:
        """The finished atlas in its place, in two renames; a reader of the old one keeps its open files."""
        for path in built.rglob("*"):
            sync(path)
        old = self._work / "old"
        shutil.rmtree(old, ignore_errors=True)
        if self._out.exists():
            self._out.rename(old)
        built.rename(self._out)
        shutil.rmtree(self._work, ignore_errors=True)

    def _check(self) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The collection was cancelled; what is done is kept, and the same command goes on from it.")


def _before(out: Path, plan: Plan) -> Atlas | None:
    """The atlas that is there, if what the plan asks for can be added to it. Raises AtlasExists when it cannot."""
    if not (out / MANIFEST).exists():
        return None
    other, hint = f"{out} holds an atlas with other settings", "Take another --out, or --replace it."
    differs = sorted(set(_differs(out / MANIFEST, plan)) - {"sites", "autoencoders"})
    if differs:
        raise AtlasExists(f"{other} ({', '.join(differs)}).", hint)
    atlas = Atlas.open(out)
    for one in plan.autoencoders:
        there = atlas.autoencoders.get(f"latent.{one.writes}")
        if there is not None and there.fingerprint != one.fingerprint:
            raise AtlasExists(f"{out} holds the latents of another autoencoder at {one.writes}, {there.name}.", hint)
    return atlas


def _together(plan: Plan, before: Atlas | None) -> Plan:
    """The plan of an atlas that has what it had before and what the plan adds."""
    if before is None:
        return plan
    autoencoders = {f"latent.{one.writes}": one for one in (*before.autoencoders.values(), *plan.autoencoders)}
    sites = in_order([*before.sizes, *plan.sites])
    return changed(plan, sites=sites, autoencoders=tuple(autoencoders[site] for site in sites if site in autoencoders))


def _prepare(out: Path, work: Path, plan: Plan, replace: bool, before: Atlas | None) -> None:
    """Make sure that the work folder holds this plan and what was done of it."""
    if before is None and out.exists() and not (out / MANIFEST).exists() and any(out.iterdir()):
        raise AtlasExists(f"{out} is a folder with other things in it.", "Take another --out.")
    kept = work / "plan.json"
    if kept.exists():
        differs = _differs(kept, plan)
        if not differs:
            return
        if not replace:
            raise UnfinishedAtlas(
                f"An unfinished collection into {out} has other settings ({', '.join(differs)}).",
                "Give the same ones to go on with it, --replace to start anew, or another --out.",
            )
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    written = work / "plan.partial"
    written.write_text(json.dumps(plan.to_dict(), indent=1), encoding="utf-8")
    written.rename(kept)


def _differs(kept: Path, plan: Plan) -> list[str]:
    try:
        document = json.loads(kept.read_text(encoding="utf-8"))
        return plan.differences(document.get("plan", document))
    except (ValueError, AttributeError, KeyError, TypeError):
        return ["unreadable"]


def _progress(
    stage: Any, done: int, total: int, fresh: int, started: float, note: str | None = None
) -> CollectProgress:
    rate = fresh / max(time.perf_counter() - started, 1e-9)
    return CollectProgress(stage, done, total, rate or None, (total - done) / rate if rate else None, note)
