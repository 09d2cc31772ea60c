"""Looking into a training of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from clew.sae import training as module
from clew.sae.activations import Stream


@contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """What a training in this process does: how many forward passes, and itself."""
    seen: dict[str, Any] = {"passes": 0}
    read, events = Stream.read, module._Training.events

    def counted(self: Stream) -> Any:
        rows = read(self)
        seen["passes"] += bool(rows)
        return rows

    def kept(self: Any) -> Any:
        seen["self"] = self
        return events(self)

    with patch.object(Stream, "read", counted), patch.object(module._Training, "events", kept):
        yield seen
