"""A training: one pass over a text, from which one or several autoencoders learn (docs/training.md, "A run").

1. The text is read and kept as tokens. 2. The model fills a buffer with what the sites hold; the constants that scale
each site's activations and the first weights come from it. 3. Step by step, every autoencoder learns from the same
rows. What is done is saved now and then, whole, and the same call goes on from there: on a CPU with the same bits as if
nothing had happened. Several processes can do it together (group.py): one of them, rank 0, writes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..corpus.contexts import Contexts, read_contexts
from ..corpus.texts import Corpus
from ..errors import (
    BadCheckpoint,
    BadCorpus,
    Cancelled,
    ClewError,
)
from ..models.subject import HasSubject, SubjectModel
from ..models.tape import Stop
from . import checkpoint
from .activations import Buffer, Stream
from .autoencoder import Autoencoder
from .beginning import begun, seen
from .checkpoint import Checkpoint, Loaded
from .folder import CHECKPOINT, Manifest, state_of, tidy, trainings
from .formats import load, save
from .group import ALONE, Group, OneFate
from .interruption import listening
from .learner import Learner
from .log import Log, read_log
from .pace import Pace
from .portion import Shared, Storable, check_portions, sending
from .recipe import TrainingPlan
from .records import Resampled, Stage, TrainingState, TrainPoint
from .splicing import ce_recovered
from .trackers import Tracker

__all__ = ["TrainEvent", "read_log", "state_of", "train", "training", "trainings"]

TrainEvent = TrainingState | TrainPoint | Resampled

_MEASURED = 8  # contexts that are not trained on, for the CE recovered; at most a tenth of all
_SHARD = 262_144  # tokens of text in a file
_LONG = 65_536  # tokens read to resample from which on it can be stopped on the way, for the price of a saving
_TOLD = 2.0  # seconds between two writings of the log
_GO_ON = "the same command goes on from there."


def train(
    model: HasSubject,
    plan: TrainingPlan,
    corpus: Corpus | str | None,
    out: Path | str,
    *,
    stop: Stop | None = None,
    replace: bool = False,
    trackers: Sequence[Tracker] = (),
    group: Group | None = None,
    shard_latents: bool = False,
) -> list[Autoencoder]:
    """`training` to its end (or to where `stop` ends it): the autoencoders of the plan, in its order.

    None at all if it was stopped before its first step.
    """
    options: dict[str, Any] = {"group": group, "shard_latents": shard_latents}
    for _ in training(model, plan, corpus, out, stop=stop, replace=replace, trackers=trackers, **options):
        pass
    folders = [Path(out) / recipe.name for recipe in plan.recipes]
    return [load(str(folder)) for folder in folders if folder.is_dir()]


def training(
    model: HasSubject,
    plan: TrainingPlan,
    corpus: Corpus | str | None,
    out: Path | str,
    *,
    stop: Stop | None = None,
    replace: bool = False,
    trackers: Sequence[Tracker] = (),
    group: Group | None = None,
    shard_latents: bool = False,
) -> Iterator[TrainEvent]:
    """Train autoencoders into the folder `out`, telling how far it is: a state at the start, at every saving and at the
    end, a point for every autoencoder and row of the log, and every resampling.

    One text in sixteen is left out, to judge with (corpus/parts.py).
    A training that was interrupted goes on where it was saved last; a complete one is left alone. `replace` throws away
    what there is. When `stop` says so, and on Ctrl-C or SIGTERM (which raise KeyboardInterrupt after that), it saves
    what is learned so far, the autoencoders too. Closing the iterator does the same.

    With a `group`, every rank of it calls this with the same, and iterates to the end; `out` is one folder that all of
    them see. They give what one rank alone gives, within rounding. Rank 0 reads the text, writes and tells trackers;
    what it yields the others yield too, without the CE recovered. A stop on any rank stops all. A rank that closes its
    iterator leaves the others with WorkersLost, and nothing is saved then. With `shard_latents` each rank holds a
    portion of every autoencoder's latents, with their weights and all that Adam keeps of them, instead of all. What is
    saved is the same, and a training may go on in the other way.
    Raises UsageError, BadSite, TrainingExists, Busy, NoSpace, NothingToLearn, NotFinite, BadCheckpoint and what the
    corpus raises; with a group also NotShared, WrongModel, WorkersLost, and what fails on another rank.
    """
    subject, folder, plan = model.subject, Path(out).absolute(), plan.checked()
    group = ALONE if group is None else group
    for recipe in plan.recipes if shard_latents else ():
        check_portions(recipe.latents, group.size)
    with begun(subject, plan, corpus, folder, replace, group) as (manifest, text):
        if manifest.stage == "done":
            if group.rank == 0:
                tidy(folder)
            yield manifest.state(folder)
            return
        with listening() as interrupted:
            run = _Training(
                subject, text, plan, folder, manifest, trackers if group.rank == 0 else (),
                lambda: group.agree(interrupted() or _asked(stop)), group, shard_latents,
            )  # fmt: skip
            yield from run.events()
            if interrupted():
                raise KeyboardInterrupt


class _Training:
    """A training under way in its folder, which nobody else has."""

    def __init__(
        self,
        subject: SubjectModel,
        corpus: Corpus | None,
        plan: TrainingPlan,
        folder: Path,
        manifest: Manifest,
        trackers: Sequence[Tracker],
        stop: Stop,
        group: Group,
        shard_latents: bool,
    ) -> None:
        self._subject, self._corpus, self._plan, self._folder = subject, corpus, plan, folder
        self._group, self._is_first = group, group.rank == 0
        self._shard_latents = shard_latents and group.size > 1
        self._manifest, self._trackers, self._stop = manifest, trackers, stop
        self._total = plan.steps * plan.batch
        self._log, self._told = Log(folder), time.monotonic()
        self._learners: list[Learner] = []
        self._scales: dict[str, float] = {}
        self._step = self._saved = manifest.saved // plan.batch
        self._notes: list[str] = []
        self._tracking: list[Tracker] = []
        self._is_over = False

    def events(self) -> Iterator[TrainEvent]:
        """All there is to do, and the folder left in order however it ends."""
        try:
            yield from self._run()
        except GeneratorExit as error:
            if not self._is_over:
                # Others of a group are not asked to save: nobody knows where they are.
                self._leave() if self._group.size == 1 else self._fail(error)
            raise
        except (Exception, KeyboardInterrupt) as error:
            self._fail(error)
            raise

    def _run(self) -> Iterator[TrainEvent]:
        yield from self._read_text()
        if not self._stop():
            with OneFate(self._group):
                self._open()
            self._resume()
            with OneFate(self._group):
                state = self._tell("running")
            yield state
            with OneFate(self._group):
                for tracker in self._trackers:
                    tracker.begin(self._state, self._plan.to_dict(), self._manifest.started, self._step)
                    self._tracking.append(tracker)
            yield from self._learn()
        yield self._finish() if self._step == self._plan.steps else self._leave()

    def _read_text(self) -> Iterator[TrainingState]:
        plan = self._plan
        contexts = -(-self._total // (plan.context - plan.first)) + _MEASURED
        tokens = contexts * plan.context
        reading: Iterator[int] = iter(())
        if self._corpus is not None:
            reading = read_contexts(
                self._folder, self._subject, self._corpus,
                tokens=tokens, length=plan.context, bos=plan.bos, seed=plan.seed, shard=max(1, _SHARD // plan.context),
            )  # fmt: skip
        while True:
            state = self._state
            with OneFate(self._group):
                done = next(reading, None)
                if done is not None:
                    state = self._tell("running", f"Reading text: {done:,} of {tokens:,} tokens.")
            if not self._group.agree(done is not None):
                return
            yield state
            if self._stop():
                return

    def _open(self) -> None:
        """The text, and what reads the model on it."""
        if self._is_first:
            contexts = Contexts.open(self._folder)
        else:
            contexts = seen(self._folder, self._text_seen)
        kept = min(_MEASURED, len(contexts) // 10)
        count = len(contexts) - kept
        self._measured = contexts.batch(count, kept) if kept else None
        self._stream = Stream(
            self._subject, contexts, count, self._plan.sites, self._plan.first, self._plan.seed, group=self._group
        )
        self._buffer = Buffer(self._stream, self._plan.buffer, self._total, self._plan.seed)
        self._note(contexts, count)

    def _text_seen(self) -> Contexts | None:
        with suppress(BadCorpus):
            return Contexts.open(self._folder)

    def _note(self, contexts: Contexts, count: int) -> None:
        """What is to be known of the text."""
        self._notes = list(contexts.notes)
        there = count * (self._plan.context - self._plan.first)
        if there < self._total:
            self._notes.append(
                f"There are {there:,} tokens to train on: they are gone through {self._total / there:.1f} times, each "
                "time in another order."
            )

    def _resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        last: Loaded | None = None
        with OneFate(self._group):
            if self._is_first:
                last = checkpoint.load(self._folder / CHECKPOINT)
                if last is None and self._manifest.saved:
                    raise BadCheckpoint(
                        f"The checkpoint of {self._folder.name} is missing.",
                        "Train again with --replace, or elsewhere.",
                    )
                self._log.resume(0 if last is None else last.step)
        told = torch.tensor([0 if last is None else last.step])
        self._group.spread_([told])
        step = int(told)
        if not step:
            return
        with OneFate(self._group):
            if last is None:
                last = seen(self._folder, lambda: self._checkpoint_seen(step))
            rows = {str(site): last.tensors[f"buffer/{site}"] for site in self._plan.sites}
            self._buffer.load(rows, last.numbers["buffer"])
        assert last is not None
        self._scales = last.numbers["scales"]
        self._learners = [
            Learner.resume(
                recipe, self._plan, self._scales, self._stream, last.tensors, last.numbers["runs"][recipe.name],
                self._shard_latents,
            )
            for recipe in self._plan.recipes
        ]  # fmt: skip
        self._step = self._saved = last.step

    def _checkpoint_seen(self, step: int) -> Loaded | None:
        found = checkpoint.load(self._folder / CHECKPOINT)
        return found if found is not None and found.step == step else None

    def _learn(self) -> Iterator[TrainEvent]:
        """Steps until all are done or it is to stop. Between two events everything is fit to be saved."""
        plan = self._plan
        pace = Pace(self._total, self._tokens)
        while self._step < plan.steps:
            if self._stop():
                return
            if not self._buffer.is_ready:
                self._buffer.read()
                state = None
                with OneFate(self._group):
                    if not self._learners and self._is_time():
                        held, size = self._buffer.held, self._buffer.size
                        state = self._tell("running", f"Filling the buffer: {held:,} of {size:,} tokens.")
                if state is not None:
                    yield state
                continue
            if not self._learners:
                self._begin()
            try:
                yield from self._resample()
            except Cancelled:
                return
            rows = self._buffer.draw(plan.batch, whole=self._shard_latents)
            for learner in self._learners:
                learner.step(rows)
            self._step += 1
            pace.mark(self._tokens)
            yield from self._points(pace)
            if self._crossed(plan.save_every) and self._step < plan.steps:
                self._save()
                with OneFate(self._group):
                    state = self._tell("running")
                yield state

    def _begin(self) -> None:
        """Estimate the scales, and draw the first weights, from the first filling of the buffer."""
        self._scales = {str(site): self._buffer.scale(site) for site in self._plan.sites}
        self._learners = [
            Learner.begin(recipe, self._plan, self._scales, self._buffer, self._shard_latents)
            for recipe in self._plan.recipes
        ]
        with OneFate(self._group):
            self._tell("running")

    def _resample(self) -> Iterator[Resampled]:
        """Give dead latents new rows where it is time to. Raises Cancelled; then all is as it was saved."""
        # Asked before a step and not after the last: what is due when it is stopped is done when it goes on.
        due = [learner for learner in self._learners if learner.wanted]
        is_long = any(learner.wanted > _LONG for learner in due)
        if is_long:
            self._save()
        for learner in due:
            count = learner.resample(self._stream, self._stop if is_long else lambda: False)
            if count:
                event = Resampled(learner.recipe.name, self._step, self._tokens, count)
                with OneFate(self._group):
                    self._track(event)
                yield event

    def _points(self, pace: Pace) -> Iterator[TrainPoint]:
        """The rows of the log that are due."""
        measuring = self._plan.evaluate_every > 0 and (
            self._crossed(self._plan.evaluate_every) or self._step == self._plan.steps
        )
        if not (measuring or self._step % self._plan.row_every == 0 or self._step == self._plan.steps):
            return
        points = []
        for learner in self._learners:
            tally = learner.tally()
            ce = self._ce_recovered(learner) if measuring else None
            points.append(learner.point(self._step, self._tokens, pace.tokens_per_s, pace.seconds_left, tally, ce))
        with OneFate(self._group):
            for point in points:
                if self._is_first:
                    self._log.add(point)
                self._track(point)
            if self._is_time():
                if self._is_first:
                    self._log.flush()
                self._tell("running")
        yield from points

    def _ce_recovered(self, learner: Learner) -> float | None:
        """By rank 0, or by all together where each has other latents."""
        if self._measured is None:
            return None
        autoencoder = self._autoencoder(learner)
        found = None
        if self._shard_latents:
            found = ce_recovered(self._subject, autoencoder, self._measured, self._plan.first)
        else:
            with OneFate(self._group):
                if self._is_first:
                    found = ce_recovered(self._subject, autoencoder, self._measured, self._plan.first)
        return found if found is not None and math.isfinite(found) else None

    def _save(self) -> None:
        """Write a checkpoint. Raises NoSpace; the one before is kept then."""
        if self._step == self._saved:
            return
        rows, position = self._buffer.state()
        tensors: dict[str, Tensor | Shared] = {f"buffer/{site}": values for site, values in rows.items()}
        runs: dict[str, Any] = {}
        if self._is_first or self._shard_latents:
            for learner in self._learners:
                learned, runs[learner.recipe.name] = learner.state()
                tensors |= learned
        with OneFate(self._group), sending(tensors):
            if self._is_first:
                self._write({"buffer": position, "scales": self._scales, "runs": runs}, tensors)
            self._saved = self._step
            if self._is_first:
                self._log.merge()

    def _write(self, numbers: dict[str, Any], tensors: Storable) -> None:
        self._log.flush()
        checkpoint.save(self._folder / CHECKPOINT, Checkpoint(self._step, numbers, tensors))

    def _finish(self) -> TrainingState:
        with OneFate(self._group):
            if self._is_first:
                self._log.merge()
        self._keep()
        with OneFate(self._group):
            self._saved = self._step
            state = self._tell("done")
            if self._is_first:
                tidy(self._folder)
            return self._end(state)

    def _leave(self) -> TrainingState:
        """Save and stop."""
        if self._step:
            self._save()
            self._keep()
        with OneFate(self._group):
            return self._end(self._tell("stopped", f"Stopped after {self._tokens:,} tokens; {_GO_ON}"))

    def _fail(self, error: BaseException) -> None:
        """Say in the folder why it ended; what is not saved is lost."""
        self._step = self._saved
        with suppress(ClewError):  # a disk that is full takes no message
            if isinstance(error, KeyboardInterrupt | GeneratorExit):
                self._end(self._tell("stopped", f"Interrupted after {self._tokens:,} tokens; {_GO_ON}"))
            else:
                self._end(self._tell("failed", str(error) or type(error).__name__))

    def _keep(self) -> None:
        """Write the autoencoders."""
        for learner in self._learners:
            with OneFate(self._group):
                if self._is_first or self._shard_latents:
                    save(self._autoencoder(learner), self._folder / learner.recipe.name)

    def _autoencoder(self, learner: Learner) -> Autoencoder:
        return learner.autoencoder(self._manifest.model["name"])

    def _tell(self, stage: Stage, message: str = "") -> TrainingState:
        """Have rank 0 write down how far it is. Raises NoSpace."""
        self._manifest = dataclasses.replace(
            self._manifest,
            stage=stage,
            message=" ".join([*([message] if message else []), *self._notes]),
            tokens=self._tokens,
            saved=self._saved * self._plan.batch,
            updated=time.time(),
        )
        if self._is_first:
            self._manifest.write(self._folder)
        return self._state

    @property
    def _state(self) -> TrainingState:
        return self._manifest.state(self._folder)

    @property
    def _tokens(self) -> int:
        return self._step * self._plan.batch

    def _is_time(self) -> bool:
        """Whether others are to be told again."""
        now = time.monotonic()
        is_time = now - self._told >= _TOLD
        self._told = now if is_time else self._told
        return is_time

    def _crossed(self, every: int) -> bool:
        """Whether the last step went over a multiple of so many tokens."""
        return self._tokens // every > (self._tokens - self._plan.batch) // every

    def _track(self, event: TrainPoint | Resampled) -> None:
        for tracker in self._tracking:
            tracker.add(event)

    def _end(self, state: TrainingState) -> TrainingState:
        self._is_over = True
        while self._tracking:
            self._tracking.pop().end(state)
        return state


def _asked(stop: Stop | None) -> bool:
    return stop is not None and stop()
