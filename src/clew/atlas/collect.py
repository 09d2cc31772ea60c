"""One pass over a corpus for all neurons and all heads at once, a shard at a time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float
from torch import Tensor

from .. import settings
from ..corpus.contexts import Contexts, read_contexts
from ..corpus.texts import Corpus, corpus_of
from ..disk import on_disk, sync
from ..errors import AtlasExists, Busy, Cancelled, UnfinishedAtlas, UsageError
from ..models.subject import HasSubject, SubjectModel
from ..models.tape import Stop
from . import partial, store
from .atlas import Atlas
from .blocks import Batch, HeadBlock, Keep, NeuronBlock
from .observation import Block, Heads, observe
from .partial import Partial
from .plan import MAX_CONTEXT, VERSION, Plan, lots, made_with, model_of, sites_of
from .records import CollectProgress
from .store import MANIFEST

JOINED = 8  # partials at most before they are joined: the disk they take does not grow with the corpus


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
    tokens: int = settings.COLLECTED,
    sites: Sequence[str] | None = None,
    context: int | None = None,
    window: int = settings.WINDOW,
    bos: bool = False,
    seed: int = 0,
    skip: int = settings.SKIPPED,
    top: int = settings.TOP_EXAMPLES,
    bottom: int = settings.BOTTOM_EXAMPLES,
    band: int = settings.BAND_EXAMPLES,
    random: int = settings.RANDOM_EXAMPLES,
    batch: int = settings.BATCH,
    shard_tokens: int = settings.SHARD_TOKENS,
    replace: bool = False,
    stop: Stop | None = None,
) -> Iterator[CollectProgress]:
    """Collect what heads and neurons do on a corpus into the folder `out`, telling how far it is after every batch.

    `sites` are attn, neuron, neuron.5, attn.0-11 (default: all of both). A collection that was interrupted goes on
    where it was when it is asked for again; a complete one is left alone. `replace` throws away what another plan left.
    Raises UsageError, AtlasExists, UnfinishedAtlas, Busy, NoSpace, NotFinite, Cancelled and what the corpus raises.
    """
    subject, out = model.subject, Path(out).absolute()
    if out.name in ("", ".."):
        raise UsageError(f"{out} cannot be an atlas.", "Name a folder that is to be made.")
    length = min(settings.CONTEXT, subject.max_length) if context is None else context
    found = corpus if corpus is not None and not isinstance(corpus, str) else corpus_of(corpus)
    plan = _plan(
        subject, found, tokens, sites, length, bos, seed, batch, shard_tokens,
        Keep(
            top=top, bottom=bottom if subject.anatomy.layers[0].gate is not None else 0, band=band,
            bands=settings.BANDS, random=random, window=min(window, length), skip=skip,
        ),
    )  # fmt: skip
    with on_disk(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f".collecting-{out.name}")
    # A server gives up a collection from another thread than the one that began it.
    lock = FileLock(out.with_name(f".collecting-{out.name}.lock"), thread_local=False)
    try:
        with lock.acquire(blocking=False), on_disk(out.parent):
            if not _prepared(out, work, plan, replace):
                return
            yield from _Collection(subject, found, plan, work, out, stop).run()
    except Timeout as error:
        raise Busy(f"Another process is collecting into {out.name}.", "Wait for it, or take another --out.") from error


class _Collection:
    """A collection under way in its work folder."""

    def __init__(
        self, subject: SubjectModel, corpus: Corpus, plan: Plan, work: Path, out: Path, stop: Stop | None
    ) -> None:
        self._subject, self._corpus, self._plan = subject, corpus, plan
        self._work, self._out, self._stop = work, out, stop
        self._texts, self._shards = work / "contexts", work / "shards"

    def run(self) -> Iterator[CollectProgress]:
        plan = self._plan
        self._texts.mkdir(exist_ok=True)
        self._shards.mkdir(exist_ok=True)
        yield from self._read()
        contexts = Contexts.open(self._texts)
        yield from self._collect(contexts)
        built = self._work / "atlas"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir()
        (whole,) = self._whole()
        components = sum(_width(self._subject, site) for site in plan.sites)
        for done in store.write(built, plan, whole, self._subject, contexts, self._texts):
            self._check()
            yield CollectProgress("merge", done, components, None, None)
        self._publish(built)

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
        kept, damaged = partial.found(self._shards)
        for path in damaged:
            path.unlink()
        covered = {first for one in kept for first in range(one.first, one.end, plan.shard)}
        starts = [first for first in range(0, len(contexts), plan.shard) if first not in covered]
        total = len(contexts) * plan.length
        before = done = total - sum(min(plan.shard, len(contexts) - first) for first in starts) * plan.length
        started = time.perf_counter()
        for first in starts:
            end = min(first + plan.shard, len(contexts))
            shard = _Shard(self._subject, plan, contexts)
            for at in range(first, end, plan.batch):
                self._check()
                shard.see(at, min(at + plan.batch, end), self._stop)
                done += (min(at + plan.batch, end) - at) * plan.length
                yield _progress("collect", done, total, done - before, started)
            partial.save(self._shards, first, end, shard.emptied())
            self._join(JOINED)

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


class _Shard:
    """The blocks of one shard, filled batch by batch."""

    def __init__(self, subject: SubjectModel, plan: Plan, contexts: Contexts) -> None:
        self._subject, self._plan, self._contexts = subject, plan, contexts
        device, keep, length = subject.device, plan.keep, plan.length
        anatomy = subject.anatomy
        self._neurons: dict[int, NeuronBlock] = {}
        self._heads: dict[int, HeadBlock] = {}
        for block in plan.blocks:
            assert block.layer is not None
            layer = anatomy.layers[block.layer]
            if block.kind == "neuron":
                self._neurons[block.layer] = NeuronBlock(layer.n_neurons, keep, length, device)
            else:
                width = layer.head_out().shape[1]
                self._heads[block.layer] = HeadBlock(layer.n_heads, width, keep, length, device)
        self._blocks: tuple[Block, ...] = (
            *(("attn", layer) for layer in self._heads),
            *(("neuron", layer) for layer in self._neurons),
        )
        numbers = np.arange(len(contexts))
        self._lots = lots(plan.seed, numbers, 0)
        self._drawn = np.isin(numbers, np.argsort(self._lots, kind="stable")[: keep.random])
        room = length - keep.window + 1
        self._starts = np.minimum((lots(plan.seed, numbers, 1) * room).astype(np.int64), room - 1)

    def see(self, first: int, end: int, stop: Stop | None = None) -> None:
        """Run the contexts [first, end) and collect from them. Raises Cancelled, asked layer by layer."""
        device = self._subject.device
        at = slice(first, end)

        def on_device(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device)

        batch = Batch(
            context=torch.arange(first, end, device=device),
            lot=on_device(self._lots[at]),
            start=on_device(self._starts[at]),
            drawn=on_device(self._drawn[at]),
            ids=self._contexts.batch(first, end - first).to(device),
        )
        observe(self._subject, batch.ids, self._blocks, _BatchObserver(batch, self._neurons, self._heads), stop)

    def emptied(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Every block's name and what it collected. Each block is let go: its state takes as much memory again."""
        for kind, blocks in (("attn", self._heads), ("neuron", self._neurons)):
            while blocks:
                layer, block = blocks.popitem()
                yield f"{kind}.{layer}", block.state()


class _BatchObserver:
    """Shows the blocks of a shard what they do in one batch."""

    def __init__(self, batch: Batch, neurons: dict[int, NeuronBlock], heads: dict[int, HeadBlock]) -> None:
        self._batch, self._neurons, self._heads = batch, neurons, heads

    def heads(self, heads: Heads) -> None:
        index = heads.layer.index
        self._heads[index].see(self._batch, heads, f"What heads write in layer {index}")

    def neurons(self, layer: int, activation: Float[Tensor, "b t n"]) -> None:
        self._neurons[layer].see(self._batch, activation, f"The activation of neurons in layer {layer}")


def _plan(
    subject: SubjectModel,
    corpus: Corpus,
    tokens: int,
    sites: Sequence[str] | None,
    length: int,
    bos: bool,
    seed: int,
    batch: int,
    shard_tokens: int,
    keep: Keep,
) -> Plan:
    longest = min(subject.max_length, MAX_CONTEXT)
    if not 2 <= length <= longest:
        raise UsageError(f"A context of {length} tokens cannot be read.", f"{subject.name} takes 2 to {longest}.")
    if tokens < 1 or batch < 1 or keep.window < 1:
        raise UsageError("Tokens, batch and window are at least 1.", "Leave them out for the defaults.")
    if not 0 <= keep.skip < length - keep.window // 2:
        raise UsageError(f"{keep.skip} tokens of a context cannot be skipped.", "Skip 0 or 1.")
    if min(keep.top, keep.bottom, keep.band, keep.random) < 0:
        raise UsageError("A number of examples cannot be negative.", "0 keeps none.")
    if bos and subject.bos_id is None:
        raise UsageError(f"{subject.name} has no start token.", "Collect without it.")
    shard = max(1, shard_tokens // length // batch) * batch
    return Plan(
        version=VERSION,
        model=model_of(subject),
        dtype=str(subject.hf.dtype).removeprefix("torch."),
        sites=sites_of(list(sites) if sites else None, len(subject.anatomy.layers)),
        corpus={"description": corpus.description, "identity": corpus.identity},
        tokens=tokens,
        length=length,
        bos=bos,
        seed=seed,
        keep=keep,
        batch=batch,
        shard=shard,
        made_with=made_with(),
    )


def _prepared(out: Path, work: Path, plan: Plan, replace: bool) -> bool:
    """Whether there is something to do; the work folder then holds this plan and what was done of it."""
    manifest = out / MANIFEST
    if manifest.exists() and not replace:
        differs = _differs(manifest, plan)
        if not differs:
            return False
        raise AtlasExists(
            f"{out} holds an atlas with other settings ({', '.join(differs)}).",
            "Take another --out, or --replace it.",
        )
    if out.exists() and not manifest.exists() and any(out.iterdir()):
        raise AtlasExists(f"{out} is a folder with other things in it.", "Take another --out.")
    kept = work / "plan.json"
    if kept.exists():
        differs = _differs(kept, plan)
        if not differs:
            return True
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
    return True


def _differs(kept: Path, plan: Plan) -> list[str]:
    try:
        document = json.loads(kept.read_text(encoding="utf-8"))
        return plan.differences(document.get("plan", document))
    except (ValueError, AttributeError):
        return ["unreadable"]


def _width(subject: SubjectModel, site: str) -> int:
    kind, _, layer = site.partition(".")
    found = subject.anatomy.layers[int(layer)]
    return found.n_heads if kind == "attn" else found.n_neurons


def _progress(stage: Any, done: int, total: int, fresh: int, started: float) -> CollectProgress:
    rate = fresh / max(time.perf_counter() - started, 1e-9)
    return CollectProgress(stage, done, total, rate or None, (total - done) / rate if rate else None)
