"""One pass over a corpus for all neurons, heads and latents at once, a shard at a time."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace as changed
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
from ..nodes import Node
from ..sae.autoencoder import Autoencoder
from . import partial, store
from .atlas import Atlas
from .attached import Given, attached, own
from .blocks import Batch, HeadBlock, Keep, LatentBlock, NeuronBlock
from .observation import Autoencoders, Block, Heads, observe
from .partial import Partial
from .plan import (
    MAX_CONTEXT,
    VERSION,
    Plan,
    autoencoder_of,
    in_order,
    lots,
    made_with,
    model_of,
    site_of,
    sites_of,
)
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
    autoencoders: Sequence[Given] | None = None,
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
    """Collect what heads, neurons and latents do on a corpus into the folder `out`, telling how far it is after every
    batch.

    `sites` are attn, neuron, neuron.5, attn.0-11, latent, latent.mlp_out.10 (default: all heads and neurons, and the
    latents of all `autoencoders`: Autoencoders or what opens them, by default those attached to the model). A
    collection that was interrupted goes on where it was when it is asked for again; a complete one is left alone. Where
    there is an atlas that differs in nothing but what it has, only what it lacks is collected. `replace` throws away
    what another plan left.
    Raises UsageError, AtlasExists, UnfinishedAtlas, Busy, NoSpace, NotFinite, Cancelled, what the corpus raises and
    what opening autoencoders does.
    """
    subject, out = model.subject, Path(out).absolute()
    if out.name in ("", ".."):
        raise UsageError(f"{out} cannot be an atlas.", "Name a folder that is to be made.")
    length = min(settings.CONTEXT, subject.max_length) if context is None else context
    found = corpus if corpus is not None and not isinstance(corpus, str) else corpus_of(corpus)
    latents = attached(subject, own(model, autoencoders))
    plan = _plan(
        subject, found, tokens, sites, latents, length, bos, seed, batch, shard_tokens,
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
            before = None if replace else _before(out, plan)
            asked = plan if before is None else plan.only(set(plan.sites) - before.sizes.keys())
            if not asked.sites:
                return
            _prepare(out, work, asked, replace, before)
            yield from _Collection(subject, found, asked, latents, before, work, out, stop).run()
    except Timeout as error:
        raise Busy(f"Another process is collecting into {out.name}.", "Wait for it, or take another --out.") from error


class _Collection:
    """A collection under way in its work folder. What it collects is added to the atlas `before`, if there is one."""

    def __init__(
        self,
        subject: SubjectModel,
        corpus: Corpus,
        plan: Plan,
        autoencoders: Autoencoders,
        before: Atlas | None,
        work: Path,
        out: Path,
        stop: Stop | None,
    ) -> None:
        self._subject, self._corpus, self._plan = subject, corpus, plan
        self._autoencoders, self._before = autoencoders, before
        self._work, self._out, self._stop = work, out, stop
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
            shard = _Shard(self._subject, plan, contexts, self._autoencoders)
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


class _Shard:
    """The blocks of one shard, filled batch by batch."""

    def __init__(
        self, subject: SubjectModel, plan: Plan, contexts: Contexts, autoencoders: Mapping[Block, Autoencoder]
    ) -> None:
        self._subject, self._plan, self._contexts = subject, plan, contexts
        self._autoencoders = autoencoders
        device, keep, length = subject.device, plan.keep, plan.length
        self._heads: dict[Block, HeadBlock] = {}
        self._neurons: dict[Block, NeuronBlock] = {}
        self._latents: dict[Block, LatentBlock] = {}
        for block in plan.blocks:
            assert block.layer is not None
            layer = subject.anatomy.layers[block.layer]
            match block.kind:
                case "attn":
                    width = layer.head_out().shape[1]
                    self._heads[block] = HeadBlock(layer.n_heads, width, keep, length, device)
                case "neuron":
                    self._neurons[block] = NeuronBlock(layer.n_neurons, keep, length, device)
                case _:
                    self._latents[block] = LatentBlock(autoencoders[block], keep, length, device)
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
        observer = _BatchObserver(batch, self._heads, self._neurons, self._latents)
        observe(self._subject, batch.ids, self._plan.blocks, observer, self._autoencoders, stop)

    def emptied(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Every block's name and what it collected. Each block is let go: its state takes as much memory again."""
        for blocks in (self._heads, self._neurons, self._latents):
            while blocks:
                block, collected = blocks.popitem()
                yield site_of(block), collected.state()


class _BatchObserver:
    """Shows the blocks of a shard what they do in one batch."""

    def __init__(
        self,
        batch: Batch,
        heads: dict[Block, HeadBlock],
        neurons: dict[Block, NeuronBlock],
        latents: dict[Block, LatentBlock],
    ) -> None:
        self._batch, self._heads, self._neurons, self._latents = batch, heads, neurons, latents

    def heads(self, heads: Heads) -> None:
        block = Node("attn", heads.layer.index)
        self._heads[block].see(self._batch, heads, f"What heads write in layer {block.layer}")

    def neurons(self, block: Block, activation: Float[Tensor, "b t n"]) -> None:
        self._neurons[block].see(self._batch, activation, f"The activation of neurons in layer {block.layer}")

    def latents(self, block: Block, autoencoder: Autoencoder, x: Float[Tensor, "b t w"]) -> None:
        self._latents[block].see(self._batch, x, f"The activation of latents at {block.site}")


def _plan(
    subject: SubjectModel,
    corpus: Corpus,
    tokens: int,
    sites: Sequence[str] | None,
    autoencoders: Autoencoders,
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
    by_name = {site_of(block): autoencoder for block, autoencoder in autoencoders.items()}
    chosen = sites_of(sites, len(subject.anatomy.layers), by_name)
    return Plan(
        version=VERSION,
        model=model_of(subject),
        dtype=str(subject.hf.dtype).removeprefix("torch."),
        sites=chosen,
        autoencoders=tuple(autoencoder_of(by_name[site]) for site in chosen if site in by_name),
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


def _progress(stage: Any, done: int, total: int, fresh: int, started: float) -> CollectProgress:
    rate = fresh / max(time.perf_counter() - started, 1e-9)
    return CollectProgress(stage, done, total, rate or None, (total - done) / rate if rate else None)
