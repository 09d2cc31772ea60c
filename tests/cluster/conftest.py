"""A cluster of this machine alone, and workers to try it with."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from clew.cluster.connection import Connection, connected
from clew.errors import UsageError
from clew.pool import Desk

# Two that start at the same moment on one machine take each other's ports.
LOCK = Path(tempfile.gettempdir()) / "clew-test-ray.lock"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Connection]:
    """The cluster that all tests of a module work on: two CPUs, so two workers."""
    with FileLock(LOCK):
        context = connected("local")
        connection = context.__enter__()
    yield connection
    context.__exit__(None, None, None)


@pytest.fixture
def simulated() -> Iterator[Any]:
    """A cluster of two machines, simulated by processes on this one: the head, which does no work, and one with two
    CPUs."""
    from ray.cluster_utils import Cluster

    with FileLock(LOCK):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.add_node(num_cpus=2)
    yield made
    made.shutdown()


class Reporter:
    """Says its process and what the desk makes of each number below its task."""

    def do(self, task: int, desk: Desk, stop: Callable[[], bool]) -> Iterator[Any]:
        for number in range(task):
            time.sleep(0.05)
            yield os.getpid(), desk(number)


class Failing:
    """Fails at its task."""

    def do(self, task: int, desk: Desk, stop: Callable[[], bool]) -> Iterator[Any]:
        yield os.getpid()
        raise UsageError("It cannot be done.", "Do another.")


class Dying:
    """Ends its own process, again and again."""

    def do(self, task: int, desk: Desk, stop: Callable[[], bool]) -> Iterator[Any]:
        yield "goodbye"
        os._exit(1)
