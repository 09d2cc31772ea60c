"""What a training would take: what can be computed is, and how long it takes is measured on a few passes and steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from .. import settings
from ..corpus.contexts import Contexts
from ..corpus.parts import parted
from ..corpus.sample import Sample, sampled
from ..corpus.texts import Corpus, corpus_of
from ..errors import Cancelled
from ..models.memory import peak
from ..models.sites import width
from ..models.subject import HasSubject, SubjectModel
from ..models.tape import Stop
from ..pool import Desk, Here, Pool, by_one
from .activations import Buffer, Stream
from .beginning import check_plan
from .learner import Learner
from .objectives import objective_of
from .portion import check_portions
from .recipe import Recipe, TrainingPlan
from .records import TrainEstimate
from .resampling import schedule

_PASSES, _STEPS = 3, 5  # measured at least, after a first one each that warms up
_NUMBER, _COUNT = 4, 8  # bytes of float32, in which autoencoders are trained, and of a counter
_COUNTERS = 4  # of each latent (trainer.py, learner.py)


def planned(
    model: HasSubject,
    plan: TrainingPlan,
    corpus: Corpus | str | None = None,
    *,
    out: Path | str,
    pool: Pool | None = None,
    shard_latents: bool = False,
    stop: Stop | None = None,
) -> TrainEstimate:
    """What `training` would take: one worker of the pool runs a few passes and steps of its share, and nothing is kept.

    The workers of the pool are the ranks that would train. Raises what `training` raises.
    """
    subject, plan, pool = model.subject, plan.checked(), pool or Here()
    check_plan(subject, plan)
    workers = pool.size
    for recipe in plan.recipes if shard_latents else ():
        check_portions(recipe.latents, workers)
    text = parted(corpus_of(corpus) if corpus is None or isinstance(corpus, str) else corpus, "trained")
    share = _share(plan, workers, shard_latents)
    contexts = (_PASSES + 1) * settings.BATCH * max(settings.CONTEXT, plan.context) // plan.context
    with sampled(
        Path(out).absolute(), subject, text, contexts=contexts, length=plan.context, bos=plan.bos, seed=plan.seed
    ) as sample:
        probe, notes = by_one(partial(Prober, subject, share, sample.contexts), pool, stop)
    return _estimate(subject, plan, share, workers, shard_latents, probe, sample, notes)


@dataclass(frozen=True)
class Probe:
    """What a worker measured: seconds of a forward pass, and of a step of all autoencoders; the bytes it held at most,
    with a buffer that is made for `rows`."""

    pass_s: float
    step_s: float
    peak: int
    rows: int


class Prober:
    """Trains for a few steps what one worker would hold of a plan, on contexts that lie on disk."""

    def __init__(self, subject: SubjectModel, share: TrainingPlan, contexts: Contexts) -> None:
        self._subject, self._share, self._contexts = subject, share, contexts

    def do(self, task: None, desk: Desk, stop: Stop) -> Iterator[Probe]:
        """Raises NothingToLearn or Cancelled."""
        share = self._share
        stream = Stream(self._subject, self._contexts, len(self._contexts), share.sites, share.first, share.seed)
        buffer = Buffer(stream, share.batch, 2**62, share.seed)
        learners: list[Learner] = []
        passes: list[float] = []
        steps: list[float] = []
        while len(passes) <= _PASSES or len(steps) <= _STEPS:
            if stop():
                raise Cancelled("The measuring was stopped.")
            if buffer.is_ready and not learners:
                scales = {str(site): buffer.scale(site) for site in stream.sites}
                learners = [Learner.begin(recipe, share, scales, buffer, False) for recipe in share.recipes]
            started = time.perf_counter()
            if not buffer.is_ready:
                due = stream.due
                buffer.read()
                passes.append((time.perf_counter() - started) / due)
                continue
            rows = buffer.draw(share.batch)
            for learner in learners:
                learner.step(rows)
            steps.append(time.perf_counter() - started)
        rows = share.batch + stream.most - 1
        yield Probe(stream.most * median(passes[1:]), median(steps[1:]), peak(self._subject), rows)


def numbers(recipe: Recipe, d_in: int, d_out: int) -> int:
    """How many numbers the weights of an autoencoder are."""
    of_latent = d_in + d_out + 1 + (recipe.architecture == "jumprelu")
    centre = d_in if objective_of(recipe).centre == "b_pre" else 0
    return recipe.latents * of_latent + d_out + centre + (d_in * d_out if recipe.skip else 0)


def _share(plan: TrainingPlan, workers: int, shard_latents: bool) -> TrainingPlan:
    """What the busiest of the workers does in a step, as if it was alone: it has fewer tokens, or fewer latents."""
    if not shard_latents:
        return replace(plan, batch=-(-plan.batch // workers))
    recipes = [(recipe, -(-recipe.latents // workers)) for recipe in plan.recipes]
    return replace(
        plan, recipes=tuple(replace(recipe, latents=here, k=min(recipe.k, here)) for recipe, here in recipes)
    )


def _estimate(
    subject: SubjectModel,
    plan: TrainingPlan,
    share: TrainingPlan,
    workers: int,
    shard_latents: bool,
    probe: Probe,
    sample: Sample,
    notes: Sequence[str],
) -> TrainEstimate:
    total, each = plan.steps * plan.batch, plan.context - plan.first
    contexts = -(-total // each)
    at_once = max(1, settings.BATCH * settings.CONTEXT // plan.context)
    passes, most = -(-contexts // at_once), at_once * each

    def size(recipe: Recipe) -> int:
        return _NUMBER * numbers(recipe, *(width(subject.anatomy, site) for site in (recipe.site, recipe.target)))

    resampled = resampling = 0
    resamplings = schedule(plan.steps, plan.batch)
    times = resamplings.times(plan.steps)
    for recipe in plan.recipes:
        if recipe.architecture == "relu" and recipe.resample:
            resampled += times * -(-resamplings.inputs // most)
            resampling = most if times else 0
    held, dtype = min(plan.buffer, total) + most - 1, subject.hf.dtype
    row = dtype.itemsize * sum(width(subject.anatomy, site) for site in plan.sites)
    weights = sum(map(size, share.recipes))
    # z, and for those of which any number may fire a second array as large.
    activations = _NUMBER * sum(
        max(share.batch, resampling if recipe.resample and recipe.architecture == "relu" else 0)
        * recipe.latents
        * (2 if recipe.architecture in ("relu", "jumprelu") else 1)
        for recipe in share.recipes
    )
    buffer = row * (held if workers == 1 else held // workers + most)
    model = sum(weight.numel() * weight.element_size() for weight in subject.hf.parameters())
    of_all = sum(map(size, plan.recipes))
    latents = sum(recipe.latents for recipe in plan.recipes)
    checkpoint = 3 * of_all + _COUNTERS * _COUNT * latents + row * min(plan.buffer + most, total)
    # Forward passes are run in turns, and those to resample too; every worker takes part in every step.
    train = -(-(passes + resampled) // workers) * probe.pass_s + plan.steps * probe.step_s
    what = "Seconds do not hold what workers send each other." if workers > 1 else ""
    return TrainEstimate(
        tokens=total,
        steps=plan.steps,
        contexts=contexts,
        passes=passes,
        resampling_passes=resampled,
        workers=workers,
        shard_latents=shard_latents and workers > 1,
        model=model,
        weights=weights,
        moments=2 * weights,
        gradients=weights,
        activations=activations,
        buffer=buffer,
        memory=model + 4 * weights + activations + buffer,
        peak=probe.peak + max(0, buffer - row * probe.rows),
        checkpoint=checkpoint,
        disk=2 * checkpoint + of_all + round(sample.bytes_per_token * contexts * plan.context),
        pass_s=probe.pass_s,
        step_s=probe.step_s,
        tokens_per_s=total / train,
        read_s=sample.seconds(contexts * plan.context),
        train_s=train,
        notes=[*notes, *([what] if what else [])],
    )
