"""The Ray cluster that work of the page runs on, where the server was started with one.

It is connected to while there is work, so that it may be started after the server, and ended before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import NoCluster
from ..pool import Here, Pool


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

    def status(self) -> dict[str, Any]:
        """What the cluster has and does; null where none is named, or none is there before there is work.

        Raises NoCluster for one that should be there and is not.
        """
        found = None
        if self.address is not None:
            from ..cluster.connection import starts
            from ..cluster.status import status

            try:
                found = status(self.address).to_dict()
            except NoCluster:
                if not starts(self.address):
                    raise
        return {"ray": self.address, "cluster": found}
