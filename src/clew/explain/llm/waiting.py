"""Waiting that can be given up, and for how long a server says to wait."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from threading import Lock, Semaphore
from typing import TYPE_CHECKING

from ...errors import Cancelled

if TYPE_CHECKING:
    from ...models.tape import Stop

LONGEST = 600.0  # seconds that a server may ask to wait; whoever says more is not asked again now

_STEP = 0.05  # seconds between two looks at whether to give up
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def pause(seconds: float, stop: Stop | None) -> None:
    """Sleep. Raises Cancelled soon after `stop` says so."""
    end = time.monotonic() + seconds
    while True:
        given_up(stop)
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _STEP) if stop is not None else left)


def given_up(stop: Stop | None) -> None:
    """Raises Cancelled when `stop` says so."""
    if stop is not None and stop():
        raise Cancelled("Asking the language model was cancelled.", "All that was answered is kept.")


@contextmanager
def turn(slots: Semaphore | Lock, stop: Stop | None) -> Iterator[None]:
    """One of the turns there are. Raises Cancelled while waiting for it."""
    while not slots.acquire(timeout=_STEP):
        given_up(stop)
    try:
        yield
    finally:
        slots.release()


class Gate:
    """Closed to all threads for as long as the server says that nothing more is to be asked."""

    def __init__(self) -> None:
        self._opens = 0.0
        self._lock = Lock()

    def wait(self, stop: Stop | None) -> None:
        """Until it is open. Raises Cancelled."""
        while (left := self._opens - time.monotonic()) > 0:
            pause(left, stop)

    def close(self, seconds: float) -> None:
        with self._lock:
            self._opens = max(self._opens, time.monotonic() + seconds)


def asked_to_wait(headers: Mapping[str, str], refused: bool) -> float | None:
    """How many seconds a server's headers say to wait before the next request; None when they do not.

    A server that `refused` says so by retry-after(-ms); any says when what is left until its reset is nothing
    (x-ratelimit-remaining-* and -reset-*, for requests and for tokens).
    """
    waits: list[float | None] = [
        seconds_of(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{what}", "")) == 0
    ]
    if refused:
        milliseconds = seconds_of(headers.get("retry-after-ms", ""))
        waits.append(seconds_of(headers.get("retry-after", "")) if milliseconds is None else milliseconds / 1000)
    return max((one for one in waits if one is not None), default=None)


def seconds_of(text: str, now: float | None = None) -> float | None:
    """Seconds from now that a header speaks of: `1.5`, `6m0s`, `20ms`, an HTTP date, or seconds or milliseconds since
    1970; never negative. None for anything else."""
    text, now = text.strip(), time.time() if now is None else now
    number = _number(text)
    if number is not None:
        if number > 1e11:
            number /= 1000
        return max(0.0, number - now if number > 1e9 else number)
    if text.endswith("ms"):
        number = _number(text.removesuffix("ms"))
        return None if number is None else number / 1000
    duration = _DURATION.fullmatch(text)
    if text and duration:
        return sum(float(n or 0) * unit for n, unit in zip(duration.groups(), (86400, 3600, 60, 1), strict=True))
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


def _number(text: str) -> float | None:
    """A number that is not negative and that a header could mean."""
    text = text.strip()
    return float(text) if len(text) <= 20 and re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) else None
