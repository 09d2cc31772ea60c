"""Signals that end a training in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..models.tape import Stop


@contextmanager
def listening() -> Iterator[Stop]:
    """Whether Ctrl-C or SIGTERM came: the first is only noted, so that a step is not cut in two; a second one
    interrupts at once. Other threads than the main one are not told of signals.
    """
    noted = False

    def note(number: int, frame: object) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
