"""The process of one worker: a Ray actor that does tasks, sends what is said, and carries questions to the desk."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import Any

import psutil

from ..errors import ClewError
from ..pool import Worker
from .place import Place, here


@dataclass(frozen=True)
class Failed:
    """A ClewError ended it."""

    error: ClewError


@dataclass(frozen=True)
class Told:
    """The worker said something of its task."""

    what: Any


@dataclass(frozen=True)
class Asked:
    """The worker asks the desk, and waits for `reply` with this number."""

    number: int
    question: Any


@dataclass(frozen=True)
class Logged:
    """A library warned of something."""

    text: str


@dataclass(frozen=True)
class Pulse:
    """What a worker is at, and for how many seconds (`since`). `memory` is what its process holds, in bytes."""

    work: str
    host: str
    process: int
    task: int | None
    done: int
    since: float
    memory: int


class Hand:
    """See the module. `do` and `open` are called one at a time; `reply` and `pulse` in threads of their own."""

    def __init__(self, work: str, device: str, threads: int) -> None:
        import torch

        from ..models.reference import use_device

        torch.set_num_threads(threads)
        use_device(device)
        self._work = work
        self._worker: Worker[Any, Any] | None = None
        self._replies: dict[int, Future[Any]] = {}
        self._numbers = count()
        self._events: SimpleQueue[Any] = SimpleQueue()
        self._task: int | None = None
        self._done, self._began = 0, time.monotonic()
        warnings.simplefilter("default")
        logging.captureWarnings(True)
        logging.getLogger().addHandler(_Forwarded(self._events))

    def place(self) -> Place:
        """Where this is."""
        return here()

    def open(self, make: bytes) -> Failed | None:
        """Make the worker."""
        from ray import cloudpickle

        try:
            self._worker = cloudpickle.loads(make)()
        except ClewError as error:
            return Failed(error)
        return None

    def do(self, number: int, task: Any) -> Iterator[Told | Asked | Logged | Failed]:
        """Do a task."""
        self._task, self._began = number, time.monotonic()
        Thread(target=self._run, args=(task,), name="clew-task", daemon=True).start()
        while (event := self._events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
        self._task = None
        self._done += 1

    def reply(self, number: int, reply: Any) -> None:
        """What the desk says to a question."""
        asked = self._replies.pop(number)
        if isinstance(reply, Failed):
            asked.set_exception(reply.error)
        else:
            asked.set_result(reply)

    def pulse(self) -> Pulse:
        """What it is at."""
        since = time.monotonic() - self._began
        memory = psutil.Process().memory_info().rss
        return Pulse(self._work, socket.gethostname(), os.getpid(), self._task, self._done, since, memory)

    def _run(self, task: Any) -> None:
        assert self._worker is not None
        try:
            for what in self._worker.do(task, self._ask, _never):
                self._events.put(Told(what))
        except ClewError as error:
            self._events.put(Failed(error))
        except BaseException as error:  # noqa: BLE001 - raised again where the task is waited for
            self._events.put(error)
            return
        self._events.put(None)

    def _ask(self, question: Any) -> Any:
        number = next(self._numbers)
        self._replies[number] = Future()
        asked = self._replies[number]
        self._events.put(Asked(number, question))
        return asked.result()


class _Forwarded(logging.Handler):
    """Sends what libraries warn of along with what is said."""

    def __init__(self, events: SimpleQueue[Any]) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        self._events.put(Logged(" ".join(record.getMessage().split())))


def _never() -> bool:
    return False
