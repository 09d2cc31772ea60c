"""Long work: some jobs at a time, off the event loop, in a bounded queue, dropped when their client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Lock
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from .. import settings
from ..errors import Busy, Cancelled

T = TypeVar("T")
Stop = Callable[[], bool]


class Jobs:
    """Worker threads and their queue; of model work there is one at a time.

    `running` and `waiting` say what it holds. A job's `stop` turns true when its client has left or the server
    closes; the job asks it layer by layer and raises Cancelled.
    """

    def __init__(self, limit: int = settings.MAX_QUEUE, workers: int = 1) -> None:
        self._limit, self._count = limit, workers
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="clew-job")
        self._lock = Lock()
        self._stops: set[Event] = set()
        self._running = 0
        self._closed = False

    @property
    def running(self) -> bool:
        return self._running > 0

    @property
    def waiting(self) -> int:
        with self._lock:
            return max(0, len(self._stops) - self._running)

    async def run(self, request: Request, work: Callable[[Stop], T]) -> T:
        """`work(stop)`, run when its turn comes. Raises Busy when the queue is full, Cancelled when the client left."""
        stop = Event()
        gone = asyncio.create_task(left(request.receive))
        try:
            return await self._turn(gone, stop, work)
        finally:
            gone.cancel()
            stop.set()

    async def stream(self, request: Request, work: Callable[[Stop], Iterator[T]]) -> AsyncGenerator[T]:
        """What `work(stop)` yields, each item a turn of its own, so that others are answered in between.

        The first item is made before this returns, and what is raised until then is raised here.
        """
        items = self._items(request, work)
        first = await anext(items)

        async def all_items() -> AsyncGenerator[T]:
            try:
                yield first
                async for item in items:
                    yield item
            finally:
                await items.aclose()

        return all_items()

    async def _items(self, request: Request, work: Callable[[Stop], Iterator[T]]) -> AsyncGenerator[T]:
        stop, turn = Event(), Lock()
        gone = asyncio.create_task(left(request.receive))
        items: Iterator[T] | None = None

        def step(stop: Stop) -> T | None:
            nonlocal items
            with turn:
                if items is None:
                    items = work(stop)
                return next(items, None)

        def end() -> None:
            with turn:
                if isinstance(items, Generator):
                    items.close()

        try:
            while True:
                # Once begun, it does not lose its place to a queue that has filled up since.
                item = await self._turn(gone, stop, step, begun=items is not None)
                if item is None:
                    return
                yield item
        finally:
            gone.cancel()
            stop.set()
            with suppress(RuntimeError):  # the server has closed
                # What the work waits for as it ends, the event loop does not wait for.
                self._workers.submit(end)

    async def _turn(self, gone: asyncio.Task[None], stop: Event, work: Callable[[Stop], T], begun: bool = False) -> T:
        done = asyncio.wrap_future(self._submit(work, stop, begun))
        try:
            await asyncio.wait({gone, done}, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise Cancelled("The client left before its answer was ready.")
            return done.result()
        finally:
            if not done.done():
                stop.set()
                done.cancel()

    def stop(self) -> None:
        """Give up the running job and all waiting ones, and take no more."""
        with self._lock:
            self._closed = True
            for stop in self._stops:
                stop.set()

    def close(self) -> None:
        """Stop, and wait for the worker to end."""
        self.stop()
        self._workers.shutdown(cancel_futures=True)

    def _submit(self, work: Callable[[Stop], T], stop: Event, begun: bool) -> Future[T]:
        with self._lock:
            if self._closed:
                raise Cancelled("The server is stopping.")
            if len(self._stops) >= self._count + self._limit and not begun:
                answered = "One question is" if self._count == 1 else f"{self._count} questions are"
                raise Busy(f"{answered} being answered and {self._limit} are waiting.", "Ask again in a few seconds.")
            self._stops.add(stop)
        future = self._workers.submit(self._work, work, stop)
        future.add_done_callback(lambda _: self._forget(stop))
        return future

    def _work(self, work: Callable[[Stop], T], stop: Event) -> T:
        with self._lock:
            self._running += 1
        try:
            if stop.is_set():
                raise Cancelled("The client left before its turn came.")
            return work(stop.is_set)
        finally:
            with self._lock:
                self._running -= 1

    def _forget(self, stop: Event) -> None:
        with self._lock:
            self._stops.discard(stop)


async def left(receive: Receive) -> None:
    """Returns when the client has gone. The request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
