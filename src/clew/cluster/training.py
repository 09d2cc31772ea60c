"""A training on the workers of a cluster: each is a rank of one Ray Train run and does what one process would do alone
(sae/group.py). What is saved lies in the training's own folder, which all machines have to see.

When a worker is lost, the others end too; as many as there is room for then go on from the last checkpoint.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..corpus.text_files import TextFiles
from ..corpus.texts import Corpus, corpus_of
from ..errors import (
    BadCheckpoint,
    Busy,
    NoCluster,
    TooFewResources,
    UnknownAutoencoder,
    WorkersLost,
)
from ..models.subject import HasSubject
from ..models.tape import Stop
from ..pool import Note
from ..sae.beginning import begun_at, seen
from ..sae.folder import Manifest
from ..sae.interruption import listening
from ..sae.recipe import TrainingPlan
from ..sae.records import Resampled, TrainingState, TrainPoint
from ..sae.trackers import Tracker
from .connection import Connection, connected
from .place import Place
from .rank import Begun, Box, Broken, Ended, Rank, There
from .shares import Share, shared

if TYPE_CHECKING:
    from ..sae.training import TrainEvent

_HEARTBEAT = 0.25  # seconds
_PATIENCE = 10.0  # seconds that a part of the cluster which does not answer is waited for
_LOSSES = 3  # of workers, with nothing saved in between
_LOCKED = 10  # tries to have the folder that a lost worker may still hold
_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths mean the same everywhere
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",  # for room: whether there are as many machines still is then asked
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a machine that is taken away is a lost one
}


def training(
    model: HasSubject,
    plan: TrainingPlan,
    corpus: Corpus | str | None,
    out: Path | str,
    *,
    address: str = "auto",
    workers: int | None = None,
    gpus: int | None = None,
    stop: Stop | None = None,
    replace: bool = False,
    trackers: Sequence[Tracker] = (),
    shard_latents: bool = False,
) -> Iterator[TrainEvent | Note]:
    """`sae.training.training` on a cluster at an address (connection.py), with as many workers as shares.py says: the
    same events, and notes on what happened to workers.

    It equals the training of one process within rounding. The rows of the log since the last checkpoint are told anew
    when a worker was lost. When `stop` says so, on Ctrl-C and when the iterator is closed, it saves and stops.
    Raises what that raises, and NoCluster, TooFewResources, NotShared, or WorkersLost when workers were lost again and
    again with nothing saved in between.
    """
    folder, plan = Path(out).absolute(), plan.checked()
    text = corpus_of(corpus) if corpus is None or isinstance(corpus, str) else corpus
    if isinstance(text, TextFiles):
        text = changed(text, path=text.path.absolute())
    with connected(address) as connection, listening() as interrupted:

        def over() -> bool:
            return interrupted() or (stop is not None and stop())

        job = (model, plan, shard_latents, text, folder)
        yield from _Run(connection, job, workers, gpus, over, trackers).events(replace)
        if interrupted():
            raise KeyboardInterrupt


class _Run:
    """A training on a cluster, to its end."""

    def __init__(
        self,
        connection: Connection,
        job: tuple[HasSubject, TrainingPlan, bool, Corpus, Path],
        workers: int | None,
        gpus: int | None,
        stop: Stop,
        trackers: Sequence[Tracker],
    ) -> None:
        self._connection, self._job, self._stop = connection, job, stop
        self._workers, self._gpus, self._trackers = workers, gpus, trackers
        self._folder = job[-1]
        self._tracking: list[Tracker] = []
        self._state: TrainingState | None = None

    def events(self, anew: bool) -> Iterator[TrainEvent | Note]:
        share = shared(self._connection.machines(), self._workers, self._gpus)
        wanted = share.workers
        losses, saved, locked, waiting = 0, self._saved, 0, False
        try:
            while True:
                attempt = _Attempt(self._connection, self._job, anew, share, self._stop)
                lost: str | None = None
                try:
                    for event in attempt.events():
                        if isinstance(event, Begun):
                            self._begin(event)
                        elif isinstance(event, Ended):
                            self._end(event.state)
                        else:
                            anew = anew and not isinstance(event, TrainingState)
                            yield self._told(event)
                except _Lost as error:
                    lost = str(error)
                except _NoRoom:
                    if self._stop():
                        return
                    share = self._room(wanted)
                    if not waiting:
                        yield Note("The workers have not started yet: they wait for room on the cluster.")
                    waiting = True
                    continue
                except Busy:
                    # Of a lost worker: its machine has yet to notice, or the training is another one's.
                    locked += 1
                    if not losses or locked == _LOCKED:
                        raise
                    time.sleep(1.0)
                    continue
                if lost is None:
                    return
                locked, waiting = 0, False
                losses, saved = (losses + 1 if self._saved == saved else 1), self._saved
                if losses == _LOSSES:
                    raise WorkersLost(
                        f"{lost}, and so it was {_LOSSES - 1} times before with nothing saved in between.",
                        "What was saved is kept, and the same command goes on. If memory was short, give each worker "
                        "more of it by fewer --workers, or save more often.",
                    )
                share = self._room(wanted)
                fewer = "" if share.workers == wanted else f", on {share.workers} of {wanted} workers"
                yield Note(f"{lost}: going on from {saved:,} tokens{fewer}.")
        finally:
            if self._state is not None:
                self._end(self._state)

    def _room(self, most: int) -> Share:
        """As many workers as at first, or as there is room for now. Raises TooFewResources or NoCluster."""
        for workers in range(most, 1, -1):
            with suppress(TooFewResources):
                return shared(self._connection.machines(), workers, self._gpus)
        return shared(self._connection.machines(), 1, self._gpus)

    @property
    def _saved(self) -> int:
        """Tokens in the last checkpoint."""
        try:
            return Manifest.read(self._folder).saved
        except (UnknownAutoencoder, BadCheckpoint):
            return 0

    def _told(self, event: Any) -> Any:
        if isinstance(event, TrainingState):
            self._state = event
        elif isinstance(event, TrainPoint | Resampled):
            for tracker in self._tracking:
                tracker.add(event)
        return event

    def _begin(self, begun: Begun) -> None:
        """Trackers are told. Raises NotShared when the folder here is not the one that the workers write to."""
        seen(self._folder, lambda: begun_at(self._folder, begun.started))
        self._end(begun.state)
        for tracker in self._trackers:
            tracker.begin(begun.state, begun.settings, begun.started, begun.step)
            self._tracking.append(tracker)

    def _end(self, state: TrainingState) -> None:
        while self._tracking:
            self._tracking.pop().end(state)


class _Lost(Exception):
    """A worker of an attempt is gone; which, and why."""


class _NoRoom(Exception):
    """The workers of an attempt were not started: the cluster is busy, or has a machine less."""


class _Attempt:
    """One run of Ray Train: from the last checkpoint to the end, or until a worker is lost."""

    def __init__(
        self,
        connection: Connection,
        job: tuple[HasSubject, TrainingPlan, bool, Corpus, Path],
        anew: bool,
        share: Share,
        stop: Stop,
    ) -> None:
        self._connection, self._job, self._anew, self._share, self._stop = connection, job, anew, share, stop
        self._there: dict[int, Place] = {}
        self._broken: Broken | None = None
        self._error: BaseException | None = None
        self._asked: Any = None
        self._done = threading.Event()

    def events(self) -> Generator[TrainEvent | Begun | Ended | Note, None, None]:
        """What rank 0 tells. Raises _Lost, _NoRoom, and what ranks raise."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        beside = NodeAffinitySchedulingStrategy(self._connection.node, soft=False)
        actor: Any = ray.remote(Box)
        box = actor.options(num_cpus=0, scheduling_strategy=beside, max_restarts=0).remote()
        thread = threading.Thread(target=self._fit, args=(box,), name="clew-train", daemon=True)
        thread.start()
        told = False
        try:
            while not self._done.is_set():
                self._done.wait(_HEARTBEAT)
                self._connection.check()
                if self._stop() and not told:
                    told = True
                    box.stop.remote()
                yield from self._taken(box)
            yield from self._taken(box)
        except GeneratorExit:
            box.stop.remote()
            while not self._done.wait(_HEARTBEAT):
                self._connection.check()
                for _ in self._taken(box):
                    pass
            raise
        finally:
            with suppress(NoCluster):
                self._connection.check()
                ray.kill(box)  # whoever is still at work stops when it is gone
        self._judge()

    def _fit(self, box: Any) -> None:
        """In a thread of its own: the run, to its end."""
        from ray import cloudpickle
        from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        share = self._share
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            packed = cloudpickle.dumps((*self._job, self._anew))
            with tempfile.TemporaryDirectory(prefix="clew-ray-") as nothing:  # Ray keeps no results: there are none
                trainer = TorchTrainer(
                    Rank(packed, box, share.cpus, share.gpus > 0),
                    torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if share.gpus else "gloo"),
                    scaling_config=ScalingConfig(
                        num_workers=share.workers,
                        use_gpu=share.gpus > 0,
                        resources_per_worker={"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {}),
                    ),
                    run_config=RunConfig(
                        name="training",
                        storage_path=nothing,
                        failure_config=FailureConfig(
                            max_failures=0, max_preemption_failures=0, controller_failure_limit=0
                        ),
                        logging_config=LoggingConfig(log_level="ERROR"),
                    ),
                )
                trainer.fit()
        except BaseException as error:  # noqa: BLE001 - told where the training is followed
            self._error = error
        finally:
            self._done.set()

    def _taken(self, box: Any) -> Iterator[TrainEvent | Begun | Ended]:
        """What came since. Raises NoCluster when the head is gone, and _Lost when this machine's part of it is."""
        import ray
        from ray.exceptions import RayError

        try:
            self._asked = self._asked or box.take.remote()
            ready, _ = ray.wait([self._asked], timeout=_PATIENCE)
            if not ready:
                return
            asked, self._asked = self._asked, None
            taken: list[Any] = ray.get(asked)
        except RayError as error:
            late = time.monotonic() + _PATIENCE
            while time.monotonic() < late:
                self._connection.check()
                time.sleep(_HEARTBEAT)
            raise _Lost(f"This machine's part of the cluster was lost ({_first_line(error)})") from error
        for what in taken:
            match what:
                case There(rank, place):
                    self._there[rank] = place
                    place.check()
                case Broken():
                    self._broken = self._broken or what
                case _:
                    yield what

    def _judge(self) -> None:
        """Raises what ended the run, if it was not its own end."""
        if self._broken is not None:
            there, error = self._there.get(self._broken.rank), self._broken.error
            raise error if there is None else there.told(error, self._connection.node)
        if self._error is None:
            return
        failures = getattr(self._error, "worker_failures", {})
        if type(getattr(self._error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError":
            raise _NoRoom
        if not failures:
            raise _Lost(f"Ray Train's run was lost ({_first_line(self._error)})") from self._error
        # The others' errors say only that they do not reach it any more.
        gone = [rank for rank, error in failures.items() if not _is_told(error)] or list(failures)
        raise _Lost(" and ".join(map(self._named, sorted(gone))) + (" were lost" if len(gone) > 1 else " was lost"))

    def _named(self, rank: int) -> str:
        there = self._there.get(rank)
        return f"Worker {rank}" + ("" if there is None else f" on {there}")


def _is_told(error: BaseException) -> bool:
    """Whether a rank ended because another was gone."""
    return isinstance(getattr(error, "_base_exc", error), WorkersLost)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
