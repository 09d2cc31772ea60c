"""The connection to a cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from clew.cluster.connection import Connection, connected
from clew.errors import NoCluster, UsageError

from .conftest import LOCK


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize("address", ["", "nonsense", "ray://host:10001", "host", "host:port", "http://host:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not the address"), connected(address):
        pass


def test_an_address_without_a_cluster_is_told() -> None:
    port = free_port()
    with pytest.raises(NoCluster, match=f"no Ray cluster at 127.0.0.1:{port}"), connected(f"127.0.0.1:{port}"):
        pass


def test_a_port_that_is_none_is_told() -> None:
    with pytest.raises(NoCluster, match="no Ray cluster"), connected("127.0.0.1:99999"):
        pass


def test_the_environment_names_the_cluster_of_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")
    with pytest.raises(UsageError, match="'elsewhere' is not"), connected("auto"):
        pass


def test_a_cluster_keeps_the_names_that_it_was_asked_for_by(simulated: Any) -> None:
    port = simulated.address.rpartition(":")[2]
    with connected(f"localhost:{port}") as first, connected(f"localhost:{port}") as again:
        assert again is first
        with connected(first.address) as named:
            assert named is first


def test_one_connection_is_shared_and_another_cluster_refused(cluster: Connection) -> None:
    with connected("local") as same, connected("auto") as again, connected(cluster.address) as named:
        assert same is again is named is cluster
    (machine,) = cluster.machines()
    assert machine.is_head
    assert machine.id == cluster.node
    assert machine.cpus >= 1
    other = f"127.0.0.1:{free_port()}"
    with pytest.raises(UsageError, match="works on the cluster at"), connected(other):
        pass


def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')")
    code = "from clew.cluster.connection import connected; connected('auto').__enter__()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert "NoCluster: Ray is not installed. Install it with pip install 'clew[ray]'" in done.stderr


def test_the_command_line_needs_no_ray() -> None:
    code = "import sys, clew.cli, clew.atlas, clew.explain, clew.sae; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_token_is_shown_to_a_cluster_that_wants_none() -> None:
    """Though this machine has one, which another cluster has made. (That it is shown to who wants it, test_guide.py
    shows, where clusters are made by `ray start`.)"""
    code = """
from clew.cluster import RayPool
from clew.cluster.connection import connected
from clew.pool import nobody, whole
import os
from ray.cluster_utils import Cluster

os.environ["RAY_AUTH_MODE"] = "disabled"
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
del os.environ["RAY_AUTH_MODE"]


class Worker:
    def do(self, task, desk, stop):
        import time

        time.sleep(4)
        yield task


with RayPool(cluster.address) as pool:
    said = [event for event in pool.work(Worker, [7], desk=nobody, left=whole) if "Waiting" not in repr(event)]
assert "RAY_AUTH_MODE" not in os.environ
cluster.shutdown()
print(said)
"""
    told_nothing = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    with FileLock(LOCK):
        done = subprocess.run(
            [sys.executable, "-c", code], env=told_nothing, capture_output=True, text=True, timeout=180
        )
    assert done.stdout == "[Said(task=0, what=7), Finished(task=0)]\n", done.stdout + done.stderr
