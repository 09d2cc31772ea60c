"""Where a worker is, and what its machine does not see or have."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from importlib.metadata import version

from ..errors import ClewError, NotShared

_UNSEEN = (
    "no_atlas", "bad_corpus", "unknown_corpus", "unknown_model", "bad_model", "unknown_autoencoder", "no_space",
)  # fmt: skip
"""Errors that a folder which a machine does not see can be the cause of."""


@dataclass(frozen=True)
class Place:
    """A process on a machine, whose id in the cluster is `node`, and the version of Clew it runs."""

    host: str
    node: str
    process: int
    version: str

    def __str__(self) -> str:
        return f"{self.host} (process {self.process})"

    def check(self) -> None:
        """Raises NotShared when it runs another version of Clew than this process: results would be of both."""
        if self.version != version("clew"):
            raise NotShared(
                f"{self.host} has Clew {self.version}, and this machine {version('clew')}.",
                "Install the same version on all machines.",
            )

    def told(self, error: ClewError, node: str) -> ClewError:
        """What happened there, as told on the machine `node`: NotShared where a folder it does not see explains it."""
        if self.node == node or error.code not in _UNSEEN:
            return error
        return NotShared(
            f"On {self.host}: {error.message}",
            "Folders of the work must lie on a disk that all machines share: name one there, or set CLEW_HOME to one.",
        )


def here() -> Place:
    """The place of this process, on a cluster."""
    import ray

    return Place(socket.gethostname(), ray.get_runtime_context().get_node_id(), os.getpid(), version("clew"))
