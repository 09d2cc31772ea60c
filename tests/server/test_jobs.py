"""One job at a time, a bounded queue, and time given back when a client leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from clew.debug import Model
from clew.errors import Busy, Cancelled
from clew.server.answers import Answers
from clew.server.app import create_app
from clew.server.jobs import Jobs, Stop

from .conftest import QUESTION, served


class Client:
    """A request whose client can leave."""

    def __init__(self) -> None:
        self._left = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    def leave(self) -> None:
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}


class Work:
    """A job that runs until it is let go or told to stop."""

    def __init__(self) -> None:
        self.started, self.released, self.stopped = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, stop: Stop) -> str:
        self.started.set()
        while not self.released.wait(0.005):
            if stop():
                self.stopped.set()
                raise Cancelled("stopped")
        return "done"


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs(limit=2)
    yield jobs
    jobs.close()


def test_one_runs_and_the_others_wait_in_turn(jobs: Jobs) -> None:
    async def scenario() -> None:
        order: list[int] = []
        first = Work()
        running = asyncio.create_task(jobs.run(Client().request, first))
        await until(first.started.is_set)
        waiting = [asyncio.create_task(jobs.run(Client().request, lambda _, i=i: order.append(i))) for i in range(2)]
        await until(lambda: jobs.waiting == 2)
        assert jobs.running
        with pytest.raises(Busy, match="2 are waiting"):
            await jobs.run(Client().request, lambda _: None)
        first.released.set()
        assert await running == "done"
        await asyncio.gather(*waiting)
        assert order == [0, 1]
        await until(lambda: not jobs.running and jobs.waiting == 0)

    asyncio.run(scenario())


def test_several_workers_take_as_many_jobs_at_once() -> None:
    async def scenario(jobs: Jobs) -> None:
        works = [Work(), Work(), Work()]
        tasks = [asyncio.create_task(jobs.run(Client().request, work)) for work in works]
        await until(lambda: works[0].started.is_set() and works[1].started.is_set())
        await until(lambda: jobs.waiting == 1)
        assert not works[2].started.is_set()
        with pytest.raises(Busy, match="2 questions are being answered and 1 are waiting"):
            await jobs.run(Client().request, lambda _: None)
        works[1].released.set()
        await until(works[2].started.is_set)
        for work in works:
            work.released.set()
        assert await asyncio.gather(*tasks) == ["done"] * 3

    jobs = Jobs(limit=1, workers=2)
    asyncio.run(scenario(jobs))
    jobs.close()


@pytest.mark.parametrize("within_a_step", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_long_work_that_is_left_ends_on_a_worker_and_once_its_step_has(workers: int, within_a_step: bool) -> None:
    ended: list[str] = []
    waiting = threading.Event()

    def work(stop: Stop) -> Iterator[int]:
        try:
            yield 0
            waiting.set()
            while not stop():
                time.sleep(0.005)
            time.sleep(0.05)
            yield 1
        finally:
            ended.append(threading.current_thread().name)

    async def scenario(jobs: Jobs) -> None:
        client = Client()
        items = await jobs.stream(client.request, work)
        assert await anext(items) == 0
        if within_a_step:
            following = asyncio.create_task(anext(items))
            await until(waiting.is_set)
            client.leave()
            with pytest.raises(Cancelled):
                await following
        else:
            await items.aclose()
        await until(lambda: len(ended) == 1)

    jobs = Jobs(workers=workers)
    asyncio.run(scenario(jobs))
    jobs.close()
    assert ended[0].startswith("clew-job")


def test_a_client_that_leaves_stops_its_job(jobs: Jobs) -> None:
    async def scenario() -> None:
        client, work = Client(), Work()
        task = asyncio.create_task(jobs.run(client.request, work))
        await until(work.started.is_set)
        client.leave()
        with pytest.raises(Cancelled):
            await task
        await until(work.stopped.is_set)
        assert await jobs.run(Client().request, lambda _: "next") == "next"

    asyncio.run(scenario())


def test_a_waiting_job_whose_client_left_never_runs(jobs: Jobs) -> None:
    async def scenario() -> None:
        first, client, ran = Work(), Client(), threading.Event()
        running = asyncio.create_task(jobs.run(Client().request, first))
        await until(first.started.is_set)
        waiting = asyncio.create_task(jobs.run(client.request, lambda _: ran.set()))
        await until(lambda: jobs.waiting == 1)
        client.leave()
        with pytest.raises(Cancelled):
            await waiting
        # Its place in the queue is free at once.
        await until(lambda: jobs.waiting == 0)
        first.released.set()
        await running
        assert await jobs.run(Client().request, lambda _: "next") == "next"
        assert not ran.is_set()

    asyncio.run(scenario())


def test_a_cancelled_request_stops_its_job(jobs: Jobs) -> None:
    async def scenario() -> None:
        work = Work()
        task = asyncio.create_task(jobs.run(Client().request, work))
        await until(work.started.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(work.stopped.is_set)

    asyncio.run(scenario())


def test_a_closing_server_stops_everything(jobs: Jobs) -> None:
    async def scenario() -> None:
        first = Work()
        tasks = [asyncio.create_task(jobs.run(Client().request, first))]
        await until(first.started.is_set)
        tasks.append(asyncio.create_task(jobs.run(Client().request, Work())))
        await until(lambda: jobs.waiting == 1)
        jobs.stop()
        for task in tasks:
            with pytest.raises(Cancelled):
                await task
        with pytest.raises(Cancelled, match="stopping"):
            await jobs.run(Client().request, lambda _: None)

    asyncio.run(scenario())


def test_what_a_job_raises_reaches_its_client(jobs: Jobs) -> None:
    def failing(_: Stop) -> None:
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        asyncio.run(jobs.run(Client().request, failing))


def test_over_the_wire_a_full_queue_is_503_and_a_dropped_client_gives_its_time_back(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    monkeypatch.setattr(Answers, "debug", lambda self, question, stop: work(stop))
    app = create_app(model, max_queue=0)

    async def scenario(url: str) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=10) as client:
            running = asyncio.create_task(client.post("/api/debug", json=QUESTION))
            await until(work.started.is_set)
            # The event loop is free while the model works.
            assert (await client.get("/api/status")).json()["queue"] == {"running": True, "waiting": 0}
            assert (await client.post("/api/tokens", json={"text": "a"})).status_code == 200
            busy = await client.post("/api/lens", json=QUESTION)
            assert (busy.status_code, busy.json()["error"]["code"]) == (503, "busy")
            assert int(busy.headers["retry-after"]) >= 1
            running.cancel()
            await until(work.stopped.is_set)
            await until(lambda: not app.state.clew.jobs.running)
            assert (await client.post("/api/lens", json=QUESTION)).status_code == 200

    with served(app) as url:
        asyncio.run(scenario(url))


def test_the_model_itself_stops_for_a_client_that_left(model: Model) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    with pytest.raises(Cancelled):
        model.debug(QUESTION["prompt"], " Mary", " John", stop=stop)
    assert asked == 3
