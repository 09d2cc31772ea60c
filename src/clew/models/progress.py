"""How long work reports: `progress(stage, done, total)`, in bytes or steps; total is 0 while unknown."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
