"""The connection of this process to a cluster: one at a time, shared by all that work on it.

Ray itself would wait for a head node that is gone, and end the whole process after a minute. Therefore it is told to
wait for long, and the head's port is watched from here, so that a person reads what happened and what to do.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

from ..errors import NoCluster, UsageError

_ENVIRONMENT = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # of a cluster that is started here: by default workers give way to all others
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_NAMESPACE = "clew"
_AUTH = "RAY_AUTH_MODE"
_LOOKS = 1.0  # seconds between two looks at the head's port
_MISSES = 3  # looks in vain after which it is gone
_PATIENCE = 5.0  # seconds that a connection to a port may take

_lock = Lock()
_held: Connection | None = None
_holders = 0


@dataclass(frozen=True)
class Machine:
    """A machine of the cluster that is alive, with what it has for workers. `memory` is in bytes."""

    id: str
    host: str
    cpus: float
    gpus: float
    memory: int
    is_head: bool


class Connection:
    """A cluster that this process is connected to; `is_own`: it was started for it, on this machine alone.

    `names` are the addresses that it was asked for by, for which Ray may have another spelling.
    """

    def __init__(self, address: str, is_own: bool, auth: str | None, names: Collection[str] = ()) -> None:
        self.address, self.is_own, self.names = address, is_own, {address, *names}
        self._auth = auth  # how Ray treated tokens before
        self._gone, self._closed = Event(), Event()
        Thread(target=self._watch, name="clew-head", daemon=True).start()

    @property
    def node(self) -> str:
        """The id of this machine in the cluster."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def machines(self) -> Sequence[Machine]:
        """Those that are alive, the head first. Raises NoCluster."""
        import ray

        self.check()
        found = [
            Machine(
                id=node["NodeID"],
                host=node["NodeManagerHostname"],
                cpus=node["Resources"].get("CPU", 0.0),
                gpus=node["Resources"].get("GPU", 0.0),
                memory=int(node["Resources"].get("memory", 0)),
                is_head="node:__internal_head__" in node["Resources"],
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
        return sorted(found, key=lambda machine: (not machine.is_head, machine.host, machine.id))

    def check(self) -> None:
        """Raises NoCluster when the head node is gone."""
        if self._gone.is_set():
            raise NoCluster(
                f"The head node of the cluster at {self.address} is gone.",
                "What was handed in is kept: start the cluster again, and the same command goes on from there.",
            )

    def close(self) -> None:
        """Let go of the cluster; one that is this process's own ends."""
        import ray

        self._closed.set()
        ray.shutdown()
        _set_auth(self._auth)

    def _watch(self) -> None:
        host, _, port = self.address.rpartition(":")
        misses = 0
        while not self._closed.wait(_LOOKS):
            misses = 0 if _answers(host.strip("[]"), int(port)) else misses + 1
            if misses >= _MISSES:
                self._gone.set()
                return


@contextmanager
def connected(address: str, start: bool = True) -> Iterator[Connection]:
    """The cluster at an address: host:port of its head node; `auto`, which is $RAY_ADDRESS, or the cluster that this
    machine was made part of with `ray start`, or else one of this machine alone, started for as long as it is used; or
    `local`, always such a one. With `start` False none is started.

    Raises NoCluster, or UsageError for what is no address, and for another cluster than one that is in use already.
    """
    global _held, _holders
    with _lock:
        if _held is None:
            place = _place(address)
            if place is None and not start:
                raise NoCluster(
                    "This machine is not part of a Ray cluster.",
                    "Start one with ray start --head, or name one by its address; --ray auto starts one for a while.",
                )
            _held = _connect(place)
        elif address not in {"auto", *_held.names} and not (address == "local" and _held.is_own):
            raise UsageError(
                f"This process works on the cluster at {_held.address} already.", "Wait for it, or name that one."
            )
        _holders += 1
        connection = _held
    try:
        yield connection
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _held = None
                connection.close()


def starts(address: str) -> bool:
    """Whether work at an address would start a cluster of this machine alone. Raises UsageError or NoCluster."""
    _library()
    with _lock:
        return _held is None and _place(address) is None


def check_address(address: str) -> None:
    """Raises UsageError for what is no address; nothing is looked for there."""
    if address not in ("auto", "local") and not _ADDRESS.fullmatch(address):
        raise UsageError(
            f"{address!r} is not the address of a Ray cluster.",
            "Give auto, local, or its head node's host:port; from elsewhere, give the command to ray job submit.",
        )


def _place(address: str) -> str | None:
    """Where the cluster's head is; None for one that is to be started. Raises UsageError or NoCluster."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _started_here() or "local"
    check_address(address)
    return None if address == "local" else address


def _started_here() -> str | None:
    """The cluster that `ray start` made this machine part of; those that other programs started are theirs."""
    _library()
    from ray._private.services import find_bootstrap_address

    found = find_bootstrap_address(None)
    if found is None or not _ADDRESS.fullmatch(found):
        return None
    host, _, port = found.rpartition(":")
    return found if _answers(host, int(port)) else None


def _connect(place: str | None) -> Connection:
    ray = _library()
    from ray.exceptions import AuthenticationError

    if ray.is_initialized():
        raise UsageError("This process is connected to Ray already.", "Call ray.shutdown() before.")
    if place is not None:
        host, _, port = place.rpartition(":")
        if not _answers(host.strip("[]"), int(port)):
            raise _absent(place)
    before = os.environ.get(_AUTH)
    try:
        if place is not None:
            _set_auth("token" if _wants_token(place) else "disabled")
        context = ray.init(
            address="local" if place is None else place,
            namespace=_NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            include_dashboard=False if place is None else None,
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, AuthenticationError) as error:
        _set_auth(before)
        if place is not None:
            raise _absent(place, error) from error
        raise NoCluster(
            f"Ray could not be started on this machine: {_first_line(error)}", "Leave out --ray to work without it."
        ) from error
    names = () if place is None else (place,)
    return Connection(context.address_info["gcs_address"], place is None, before, names)


def _wants_token(place: str) -> bool:
    """Whether a cluster lets in only who shows its token. One that does not is kept out by a process that asks for one,
    and takes that for dead. Raises ConnectionError."""
    import grpc

    with grpc.insecure_channel(place) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")(b"", timeout=_PATIENCE)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise ConnectionError(str(error)) from error
            return True
    return False


def _set_auth(mode: str | None) -> None:
    """How Ray is to treat tokens in this process, and in those that it starts."""
    from ray._raylet import Config  # pyright: ignore[reportAttributeAccessIssue]

    if mode is None:
        os.environ.pop(_AUTH, None)
    else:
        os.environ[_AUTH] = mode
    Config.initialize("")


def _library() -> Any:
    """The library, told what it has to know before it is first used. Raises NoCluster where it is not installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray._private import worker
    except ImportError as error:
        raise NoCluster(
            "Ray is not installed.", "Install it with pip install 'clew[ray]', or leave out --ray."
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    # What its machines report it prints on stdout, where results go. What matters of it is told by the pool.
    worker.listen_error_messages = _silent
    return ray


def _silent(*_: object) -> None:
    """Listens to nothing."""


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except (OSError, OverflowError):
        return False
    return True


def _absent(place: str, error: BaseException | None = None) -> NoCluster:
    why = "" if error is None else f": {_first_line(error)}"
    return NoCluster(
        f"There is no Ray cluster at {place}{why}.".replace("..", "."),
        "Start one with ray start --head, or give --ray local for one of this machine alone.",
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
