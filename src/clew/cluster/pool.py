"""Workers on a cluster: Ray actors, each with its share of a machine, that do the tasks they are given.

Ray's own retries would wait for a lost machine to come back. Here a lost worker's task goes to another one at once, and
a new worker is asked for, which starts when there is room.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Self, TypeVar

from ..errors import Cancelled, ClewError, UsageError, WorkersLost
from ..models.subject import SPLIT
from ..models.tape import Stop
from ..pool import Desk, Event, Finished, Note, Said, Waiting, Worker
from .connection import Connection, connected
from .hand import Asked, Failed, Hand, Logged, Told
from .place import Place
from .shares import Share, shared

SIGN = " #"  # in the name of a worker's actor, after what it works for

_HEARTBEAT = 0.5  # seconds
_LOSSES = 3  # of workers, on one task, or of those that had none yet one after another
_STARTING = 20.0  # seconds after which it is told that workers wait for room
_DESKS = 64  # questions answered at once

Task = TypeVar("Task")
What = TypeVar("What")


class RayPool:
    """The workers of a cluster at an address (connection.py), to be used in a `with` block.

    `workers` and `gpus` (of each) as in shares.py. `work` names what they do to whoever asks for the cluster's status.
    Entering raises NoCluster, TooFewResources or UsageError.
    """

    def __init__(self, address: str, workers: int | None = None, gpus: int | None = None, work: str = "clew") -> None:
        self._address, self._workers, self._gpus, self._work = address, workers, gpus, work
        self._context: AbstractContextManager[Connection] | None = None
        self._connection: Connection | None = None
        self._share: Share | None = None

    def __enter__(self) -> Self:
        self._context = connected(self._address)
        self._connection = self._context.__enter__()
        try:
            self._share = shared(self._connection.machines(), self._workers, self._gpus)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        context, self._context, self._connection = self._context, None, None
        if context is not None:
            context.__exit__(None, None, None)

    @property
    def share(self) -> Share:
        """What each worker has."""
        if self._share is None:
            raise UsageError("The pool is not open.", "Use it in a with block.")
        return self._share

    @property
    def size(self) -> int:
        """See `Pool`."""
        return self.share.workers

    def work(
        self,
        make: Callable[[], Worker[Task, What]],
        tasks: Sequence[Task],
        *,
        desk: Desk,
        left: Callable[[int, Task], Task],
        stop: Stop | None = None,
    ) -> Generator[Event[What], None, None]:
        """See `Pool`."""
        if self._connection is None:
            raise UsageError("The pool is not open.", "Use it in a with block.")
        if tasks:
            yield from _Shift(self._connection, self.share, self._work, make, tasks, desk, left, stop).run()


@dataclass
class _Hired:
    """A worker: its actor, and what is awaited of it (its place, that it is open, or what comes of its task)."""

    number: int
    actor: Any
    awaited: Any
    place: Place | None = None
    is_open: bool = False
    task: int | None = None

    @property
    def name(self) -> str:
        return f"Worker {self.number}" + ("" if self.place is None else f" on {self.place}")


@dataclass
class _Shift(Generic[Task, What]):
    """One set of tasks being done."""

    connection: Connection
    share: Share
    title: str
    make: Callable[[], Worker[Task, What]]
    tasks: Sequence[Task]
    desk: Desk
    left: Callable[[int, Task], Task]
    stop: Stop | None

    def __post_init__(self) -> None:
        from ray import cloudpickle

        self.todo: deque[tuple[int, Task]] = deque(enumerate(self.tasks))
        self.given: dict[int, Task] = {}
        self.hired: list[_Hired] = []
        self.losses: dict[int | None, int] = {}  # of workers at a task, or of those that had none yet
        self.numbers = count(1)
        self.packed = cloudpickle.dumps(self.make)
        self.began: float | None = time.monotonic()
        self.desks = ThreadPoolExecutor(_DESKS, "clew-desk")

    def run(self) -> Generator[Event[What], None, None]:
        try:
            while self.todo or self.given:
                self.connection.check()
                if self.stop is not None and self.stop():
                    raise Cancelled("It was cancelled before it was done.")
                self._hire()
                self._give()
                yield from self._news()
        finally:
            # What is being answered is not waited for: only when this has ended can whose desk it is end that.
            self.desks.shutdown(wait=False, cancel_futures=True)
            while self.hired:
                _end(self.hired.pop())

    def _hire(self) -> None:
        """Have as many workers as there is work for."""
        import ray

        hand: Any = ray.remote(concurrency_groups={"desk": 1, "pulse": 1})  # pyright: ignore[reportCallIssue]
        at = {"num_cpus": self.share.cpus, "num_gpus": self.share.gpus}
        while len(self.hired) < min(self.share.workers, len(self.todo) + len(self.given)):
            number = next(self.numbers)
            name = f"{self.title}{SIGN}{time.time_ns():x} {number}"
            actor: Any = hand(Hand).options(**at, name=name, max_restarts=0, max_task_retries=0)
            actor = actor.remote(self.title, _device(self.share), self.share.cpus)
            self.hired.append(_Hired(number, actor, actor.place.remote()))

    def _give(self) -> None:
        """A task for everyone who waits for one."""
        for worker in self.hired:
            if worker.is_open and worker.task is None and self.todo:
                number, task = self.todo.popleft()
                worker.task, self.given[number] = number, task
                worker.awaited = worker.actor.do.options(num_returns="streaming").remote(number, task)

    def _news(self) -> Generator[Event[What], None, None]:
        """What happens within a heartbeat."""
        import ray

        awaited = {id(worker.awaited): worker for worker in self.hired if worker.awaited is not None}
        ready, _ = ray.wait([worker.awaited for worker in awaited.values()], num_returns=1, timeout=_HEARTBEAT)
        if not ready:
            if self.began is not None and time.monotonic() - self.began > _STARTING:
                self.began = None
                yield Note("The workers have not started yet: they wait for room on the cluster.")
            yield Waiting()
        for one in ready:
            worker = awaited[id(one)]
            try:
                yield from self._of(worker)
            except _lost() as error:
                yield self._lost(worker, error)

    def _of(self, worker: _Hired) -> Generator[Event[What], None, None]:
        """What a worker has to tell."""
        import ray

        if worker.place is None:
            place: Any = ray.get(worker.awaited)
            place.check()
            worker.place, self.began = place, None
            worker.awaited = worker.actor.open.remote(self.packed)
        elif not worker.is_open:
            failed: Any = ray.get(worker.awaited)
            if failed is not None:
                raise self._error(worker, failed.error)
            worker.is_open, worker.awaited = True, None
            self.losses.pop(None, None)
        else:
            assert worker.task is not None
            try:
                event = ray.get(next(worker.awaited))
            except StopIteration:
                number, worker.task, worker.awaited = worker.task, None, None
                del self.given[number]
                yield Finished(number)
                return
            match event:
                case Told(what):
                    yield Said(worker.task, what)
                case Asked(number, question):
                    self.desks.submit(self._answer, worker, number, question)
                case Logged(text):
                    yield Note(f"{worker.name}: {text}")
                case Failed(error):
                    raise self._error(worker, error)

    def _answer(self, worker: _Hired, number: int, question: Any) -> None:
        try:
            reply = self.desk(question)
        except ClewError as error:
            reply = Failed(error)
        if worker in self.hired:
            worker.actor.reply.options(concurrency_group="desk").remote(number, reply)

    def _lost(self, worker: _Hired, error: Exception) -> Note:
        """Put its task back. Raises WorkersLost when that happened too often, or it could not even begin."""
        _end(worker)
        self.hired.remove(worker)
        self.connection.check()
        if worker.place is None and (failure := _creation(error)):
            raise WorkersLost(
                f"A worker could not be started: {failure}",
                "All machines of the cluster need the same Python packages: pip install 'clew[ray]' on each.",
            )
        self.losses[worker.task] = self.losses.get(worker.task, 0) + 1
        why = _reason(error)
        if self.losses[worker.task] >= _LOSSES:
            raise WorkersLost(
                f"{worker.name} was lost ({why}), and so were {_LOSSES - 1} others before on the same work.",
                "What was done is kept, and the same command goes on. If memory was short, give each worker more of it "
                "by fewer --workers, or take a smaller --batch.",
            )
        if worker.task is None:
            return Note(f"{worker.name} was lost before it had work ({why}). Another one is started.")
        number = worker.task
        self.todo.appendleft((number, self.left(number, self.given.pop(number))))
        return Note(f"{worker.name} was lost ({why}). What it was at is done again by another.")

    def _error(self, worker: _Hired, error: ClewError) -> ClewError:
        """What a worker raised, with the machine named where that explains it."""
        return error if worker.place is None else worker.place.told(error, self.connection.node)


def _device(share: Share) -> str:
    """Where a worker's model is: on its GPU, or dealt to those that it has."""
    return "cpu" if share.gpus == 0 else "cuda" if share.gpus == 1 else SPLIT


def _lost() -> tuple[type[Exception], ...]:
    """What is raised when a worker is gone."""
    from ray import exceptions

    return (
        exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError,
        exceptions.ObjectLostError, exceptions.LocalRayletDiedError,
    )  # fmt: skip


def _creation(error: Exception) -> str | None:
    """Why a worker's actor could not be made, where that is why it is gone: the last line of what was raised there."""
    text = str(error)
    return text.strip().splitlines()[-1].strip() if "creation task" in text else None


def _reason(error: Exception) -> str:
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return "its machine ran out of memory"
    gone = isinstance(error, exceptions.NodeDiedError | exceptions.ActorUnavailableError)
    if gone or "node died" in str(error).lower():
        return "its machine is gone"
    return "its process ended"


def _end(worker: _Hired) -> None:
    import ray

    with suppress(Exception):
        ray.kill(worker.actor, no_restart=True)
