"""A pool of workers that share nothing with this process but what was pickled, one of which may be lost at work."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from clew.errors import Cancelled, ClewError
from clew.models.tape import Stop
from clew.pool import Desk, Event, Finished, Note, Said, Waiting, Worker

LOST = "Worker 0 was lost."
DONE = "done"
_LOADING = Lock()  # transformers loads one model at a time in a process


class Gone(BaseException):
    """Ends the threads of a worker that was lost, wherever they are."""


@dataclass
class Elsewhere:
    """`size` workers in threads, each unpickled for itself. Worker 0 is lost once it has said `lost_after` things, with
    what it said last told and what its threads are at never heard of; what it had asked is answered nonetheless."""

    size: int = 2
    lost_after: int | None = None

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None: ...

    def work(
        self,
        make: Callable[[], Worker[Any, Any]],
        tasks: Sequence[Any],
        *,
        desk: Desk,
        left: Callable[[int, Any], Any],
        stop: Stop | None = None,
    ) -> Generator[Event[Any], None, None]:
        packed = pickle.dumps(make)
        todo = deque(enumerate(tasks))
        hands = [_Hand(packed, desk) for _ in range(self.size)]
        given: dict[int, tuple[int, Any]] = {}
        said = 0
        try:
            while todo or given:
                if stop is not None and stop():
                    raise Cancelled("It was cancelled.")
                for number in range(self.size):
                    if number not in given and todo:
                        given[number] = todo.popleft()
                        hands[number].tasks.put(pickle.dumps(given[number][1]))
                event = self._next(hands)
                if event is None:
                    yield Waiting()
                    continue
                number, what = event
                if isinstance(what, BaseException):
                    raise what
                if what == DONE:
                    yield Finished(given.pop(number)[0])
                    continue
                yield Said(given[number][0], what)
                said += number == 0
                if said == self.lost_after and number == 0:
                    hands[0].lose()
                    hands[0] = _Hand(packed, desk)
                    task, its = given.pop(0)
                    todo.appendleft((task, left(task, its)))
                    yield Note(LOST)
        finally:
            for hand in hands:
                hand.lose()

    @staticmethod
    def _next(hands: list[_Hand]) -> tuple[int, Any] | None:
        for number, hand in enumerate(hands):
            with suppress(Empty):
                return number, pickle.loads(hand.says.get(timeout=0.02))
        return None


class _Hand:
    """A worker in a thread of its own."""

    def __init__(self, packed: bytes, desk: Desk) -> None:
        self.tasks: SimpleQueue[bytes | None] = SimpleQueue()
        self.says: SimpleQueue[bytes] = SimpleQueue()
        self._packed, self._desk, self._lost = packed, desk, False
        Thread(target=self._run, daemon=True).start()

    def lose(self) -> None:
        self._lost = True
        self.says = SimpleQueue()
        self.tasks.put(None)

    def _run(self) -> None:
        says = self.says
        try:
            with _LOADING:
                worker = pickle.loads(self._packed)()
            while (task := self.tasks.get()) is not None:
                for what in worker.do(pickle.loads(task), self._ask, self._stop):
                    says.put(pickle.dumps(what))
                says.put(pickle.dumps(DONE))
        except Gone:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the work was given
            says.put(pickle.dumps(error))

    def _stop(self) -> bool:
        if self._lost:
            raise Gone
        return False

    def _ask(self, question: Any) -> Any:
        """A copy of the question goes, and a copy of the reply comes; after it is lost none does."""
        self._stop()
        try:
            reply = pickle.dumps(self._desk(pickle.loads(pickle.dumps(question))))
        except ClewError as error:
            raise pickle.loads(pickle.dumps(error)) from None
        finally:
            self._stop()
        return pickle.loads(reply)
