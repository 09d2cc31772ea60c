"""One prompt taken apart: direction, effects, accounting, lens."""

from .model import Model, load
from .run import Run

__all__ = ["Model", "Run", "load"]
