"""Who does the work: this process, or the workers of a cluster (cluster/pool.py). The work is the same code.

Work is cut into tasks, each done by one worker from beginning to end. A task whose worker is lost is done again by
another: whatever is done twice must give the same, and what has to be done once belongs to the one who gave the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from .models.tape import Stop

Task = TypeVar("Task")
What = TypeVar("What")
TaskIn = TypeVar("TaskIn", contravariant=True)
WhatOut = TypeVar("WhatOut", covariant=True)

Desk = Callable[[Any], Any]
"""Answers what workers ask of the one who gave the tasks, in whose process it runs; asked from several threads."""


class Worker(Protocol[TaskIn, WhatOut]):
    """Does tasks, one at a time, as it was made for: a picklable function makes one in the process where it works."""

    def do(self, task: TaskIn, desk: Desk, stop: Stop) -> Iterator[WhatOut]:
        """Do a task, saying on the way whatever the one who gave it is to know. Raises ClewErrors alone.

        What is asked, answered and said travels between processes: plain records, no tensors on a device.
        """
        ...


@dataclass(frozen=True)
class Said(Generic[What]):
    """A worker said something of the task with this number."""

    task: int
    what: What


@dataclass(frozen=True)
class Finished:
    """The task with this number is done: all that was said of it has been told before."""

    task: int


@dataclass(frozen=True)
class Note:
    """A sentence on what happened to a worker, for people."""

    text: str


@dataclass(frozen=True)
class Waiting:
    """Nothing happened for a moment."""


Event = Said[What] | Finished | Note | Waiting


class Pool(Protocol):
    """Workers, there within a `with` block."""

    def __enter__(self) -> Pool: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def size(self) -> int:
        """How many tasks are done at once, if there are as many."""
        ...

    def work(
        self,
        make: Callable[[], Worker[Task, What]],
        tasks: Sequence[Task],
        *,
        desk: Desk,
        left: Callable[[int, Task], Task],
        stop: Stop | None = None,
    ) -> Generator[Event[What], None, None]:
        """Do the tasks, telling what happens. `left` is what there is still to do of a task whose worker was lost.

        Ends when all are done. Raises the first ClewError that a worker raises, WorkersLost, NoCluster, or Cancelled
        when `stop` says so; closing the iterator ends the work too. No worker is at work after any of these.
        """
        ...


class Here:
    """This process, which does one task after the other."""

    size = 1

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

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
        if not tasks:
            return
        worker = make()
        for number, task in enumerate(tasks):
            for what in worker.do(task, desk, _never if stop is None else stop):
                yield Said(number, what)
            yield Finished(number)


def by_one(make: Callable[[], Worker[None, What]], pool: Pool, stop: Stop | None) -> tuple[What, list[str]]:
    """What one worker of a pool says last, who is given nothing but to begin; and what happened to it."""
    said: list[What] = []
    notes: list[str] = []
    with closing(pool.work(make, [None], desk=nobody, left=whole, stop=stop)) as events:
        for event in events:
            match event:
                case Said(_, what):
                    said = [what]
                case Note(text):
                    notes.append(text)
                case _:
                    pass
    return said[0], notes


def nobody(question: Any) -> Any:
    """The desk of workers that have nothing to ask."""
    raise AssertionError(f"nobody answers {question!r}")


def whole(number: int, task: Task) -> Task:
    """A lost task is done again from its beginning."""
    return task


def _never() -> bool:
    return False
