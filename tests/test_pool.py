"""Work done in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from clew.errors import Cancelled
from clew.pool import Desk, Event, Finished, Here, Said, nobody, whole


class Counter:
    """Says the numbers up to its task, and what the desk makes of the task."""

    def __init__(self, start: int) -> None:
        self._start = start

    def do(self, task: int, desk: Desk, stop: Callable[[], bool]) -> Iterator[Any]:
        for number in range(self._start, task):
            if stop():
                raise Cancelled("Enough.")
            yield number
        yield desk(task)


def work(tasks: list[int], **options: Any) -> Iterator[Event[Any]]:
    return Here().work(lambda: Counter(1), tasks, desk=lambda question: -question, left=whole, **options)


def test_tasks_are_done_in_order_and_all_that_is_said_comes_before_their_end() -> None:
    assert list(work([2, 3])) == [
        Said(0, 1), Said(0, -2), Finished(0), Said(1, 1), Said(1, 2), Said(1, -3), Finished(1),
    ]  # fmt: skip


def test_without_tasks_no_worker_is_made() -> None:
    def never() -> Counter:
        raise AssertionError

    assert list(Here().work(never, [], desk=nobody, left=whole)) == []


def test_a_worker_is_told_to_stop() -> None:
    asked = count()
    events = work([9], stop=lambda: next(asked) == 2)
    assert [next(events), next(events)] == [Said(0, 1), Said(0, 2)]
    with pytest.raises(Cancelled):
        next(events)
