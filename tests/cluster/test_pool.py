"""Work done by the workers of a cluster."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from threading import Barrier
from typing import Any

import pytest

from clew.cluster import RayPool
from clew.cluster.connection import Connection
from clew.errors import Cancelled, TooFewResources, UsageError, WorkersLost
from clew.pool import Desk, Event, Finished, Note, Said, nobody, whole

from .conftest import Dying, Failing, Reporter

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def pool(cluster: Connection) -> Iterator[RayPool]:
    with RayPool("local", workers=2, work="a test") as opened:
        yield opened


def told(events: list[Event[Any]]) -> list[Event[Any]]:
    """Without moments in which nothing happened."""
    return [event for event in events if isinstance(event, Said | Finished | Note)]


def test_tasks_are_done_by_as_many_workers_as_there_are(pool: RayPool) -> None:
    both = Barrier(2)  # whoever is first waits for the other one
    firsts = count()

    def desk(number: int) -> int:
        if number == 0 and next(firsts) < 2:
            both.wait(60)
        return -number

    events = told(list(pool.work(Reporter, [4, 4, 4], desk=desk, left=whole)))
    said = {
        task: [event.what[1] for event in events if isinstance(event, Said) and event.task == task] for task in range(3)
    }
    assert list(said.values()) == [[0, -1, -2, -3]] * 3
    assert len({event.what[0] for event in events if isinstance(event, Said)}) == 2
    for task in range(3):
        last = max(at for at, event in enumerate(events) if isinstance(event, Said) and event.task == task)
        assert events.index(Finished(task)) > last


def test_a_killed_workers_task_is_done_by_another_and_told(pool: RayPool) -> None:
    killed: list[int] = []
    lefts: list[tuple[int, int]] = []
    events: list[Event[Any]] = []

    def left(number: int, task: int) -> int:
        lefts.append((number, task))
        return task - 2

    for event in pool.work(Reporter, [5, 5], desk=lambda number: number, left=left):
        events.append(event)
        if isinstance(event, Said) and event.task == 1 and event.what[1] == 1 and not killed:
            killed.append(event.what[0])
            os.kill(event.what[0], signal.SIGKILL)
    assert lefts == [(1, 5)]
    after = [
        event.what for event in events if isinstance(event, Said) and event.task == 1 and event.what[0] not in killed
    ]
    assert [number for _, number in after] == [0, 1, 2], "what was left of it, by another process"
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert str(killed[0]) in note
    assert "was lost (its process ended). What it was at is done again by another." in note
    assert {event.task for event in events if isinstance(event, Finished)} == {0, 1}


def test_work_that_kills_its_workers_ends_with_a_sentence(pool: RayPool) -> None:
    with pytest.raises(WorkersLost, match="so were 2 others before on the same work"):
        list(pool.work(Dying, [1], desk=nobody, left=whole))


def test_an_error_of_a_worker_arrives_as_it_was(pool: RayPool) -> None:
    with pytest.raises(UsageError) as raised:
        list(pool.work(Failing, [1, 1], desk=nobody, left=whole))
    assert (raised.value.message, raised.value.hint) == ("It cannot be done.", "Do another.")


def test_an_error_of_the_desk_reaches_who_asked_and_ends_the_work(pool: RayPool) -> None:
    def refuse(question: int) -> int:
        raise UsageError("Not here.")

    with pytest.raises(UsageError, match="Not here"):
        list(pool.work(Reporter, [1], desk=refuse, left=whole))


def test_a_maker_that_fails_is_told(pool: RayPool) -> None:
    def make() -> Reporter:
        raise UsageError("There is no such worker.")

    with pytest.raises(UsageError, match="no such worker"):
        list(pool.work(make, [1], desk=nobody, left=whole))


def test_what_libraries_warn_of_is_told_with_the_workers_name(pool: RayPool) -> None:
    class Warning:
        def do(self, task: int, desk: Desk, stop: Callable[[], bool]) -> Iterator[Any]:
            logging.getLogger("some.library").warning("beware of %s", "this")
            yield task

    events = told(list(pool.work(Warning, [1], desk=nobody, left=whole)))
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert note.startswith("Worker 1 on ")
    assert note.endswith(": beware of this")


def test_it_is_stopped_and_no_worker_is_left(pool: RayPool) -> None:
    asked: list[int] = []
    with pytest.raises(Cancelled):
        list(pool.work(Reporter, [10_000], desk=asked.append, left=whole, stop=lambda: len(asked) > 2))
    from ray.util import list_named_actors

    assert [name for name in list_named_actors() if "a test" in str(name)] == []


def test_without_tasks_nobody_is_hired(pool: RayPool) -> None:
    assert list(pool.work(Reporter, [], desk=nobody, left=whole)) == []


def test_a_pool_that_is_not_open_is_refused() -> None:
    with pytest.raises(UsageError, match="with block"):
        list(RayPool("local").work(Reporter, [1], desk=nobody, left=whole))


def test_more_workers_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(TooFewResources, match="10000 workers"), RayPool("local", workers=10_000):
        pass


def test_a_worker_that_cannot_be_started_says_why_at_once(pool: RayPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a machine of the cluster lacks Clew."""

    class Broken:
        def __init__(self, *given: Any) -> None:
            raise ModuleNotFoundError("No module named 'clew'")

        def place(self) -> None: ...

    monkeypatch.setattr("clew.cluster.pool.Hand", Broken)
    with pytest.raises(WorkersLost, match=r"A worker could not be started: .*No module named 'clew'") as raised:
        list(pool.work(Reporter, [1], desk=nobody, left=whole))
    assert "need the same Python packages" in raised.value.hint
