"""The Ray cluster that work of the page runs on, where the server was started with one.

It is connected to while there is work or someone looks, so that it may be started after the server, and ended before.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any

from ..errors import NoCluster
from ..pool import Here, Pool

if TYPE_CHECKING:
    from ..cluster.status import ClusterStatus


@dataclass(frozen=True)
class Cluster:
    """Where work is done: on the cluster at an address, as `RayPool` takes it; without one in this process."""

    address: str | None = None
    workers: int | None = None
    gpus: int | None = None

    def pool(self, work: str) -> Pool:
        """Who does some work, to be used in a `with` block; entering it raises what `RayPool` does."""
        if self.address is None:
            return Here()
        from ..cluster import RayPool

        return RayPool(self.address, self.workers, self.gpus, work)

    def options(self) -> list[str]:
        """The words that give a command the same cluster."""
        named = {"--ray": self.address, "--workers": self.workers, "--gpus-per-worker": self.gpus}
        return [word for name, value in named.items() if value is not None for word in (name, str(value))]


class Lookout:
    """Looks at the cluster of a place.

    A connection is kept for a while after each look, since a cluster keeps a record of every one that is made; but for
    that to a cluster which is to end with its work.
    """

    def __init__(self, place: Cluster, patience: float = 15.0) -> None:
        self.place = place
        self._patience = patience  # seconds
        self._lock = Lock()
        self._kept: ExitStack | None = None
        self._letting_go: Timer | None = None

    def status(self) -> dict[str, Any]:
        """What the cluster has and does; null where none is named, or none is there before there is work.

        Raises NoCluster for one that should be there and is not, or UsageError.
        """
        address = self.place.address
        found = None if address is None else self._look(address)
        return {"ray": address, "cluster": None if found is None else found.to_dict()}

    def close(self) -> None:
        """Let go of the cluster."""
        with self._lock:
            if self._letting_go is not None:
                self._letting_go.cancel()
                self._letting_go = None
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    def _look(self, address: str) -> ClusterStatus | None:
        from ..cluster.connection import starts
        from ..cluster.status import status

        try:
            self._keep(address)
            return status(address)
        except NoCluster:
            self.close()  # so that it is found again once it is back
            if starts(address):
                return None
            raise

    def _keep(self, address: str) -> None:
        """Stay connected for a while from now."""
        from ..cluster.connection import connected

        with self._lock:
            if self._letting_go is not None:
                self._letting_go.cancel()
            if self._kept is None:
                with ExitStack() as stack:
                    if not stack.enter_context(connected(address, start=False)).is_own:
                        self._kept = stack.pop_all()
            self._letting_go = Timer(self._patience, self.close)
            self._letting_go.daemon = True
            self._letting_go.start()
