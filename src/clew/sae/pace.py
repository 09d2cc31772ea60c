"""How fast a training goes."""

from __future__ import annotations

import time
from collections import deque

_WINDOW = 30.0  # seconds that the speed is a mean of


class Pace:
    """How fast it goes: over the last half minute, and all that interrupts it counted."""

    def __init__(self, total: int, tokens: int) -> None:
        self._total = total
        self._marks = deque([(time.monotonic(), tokens)])

    def mark(self, tokens: int) -> None:
        now = time.monotonic()
        self._marks.append((now, tokens))
        while len(self._marks) > 2 and self._marks[1][0] < now - _WINDOW:
            self._marks.popleft()

    @property
    def tokens_per_s(self) -> float:
        (then, before), (now, tokens) = self._marks[0], self._marks[-1]
        return (tokens - before) / max(now - then, 1e-9)

    @property
    def seconds_left(self) -> float:
        return (self._total - self._marks[-1][1]) / self.tokens_per_s
