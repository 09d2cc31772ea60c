"""Sparse autoencoders: train, judge, load, keep.

Names are imported when first used: the records here describe the HTTP API, and that needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .autoencoder import Autoencoder
    from .estimate import planned
    from .formats import load, load_all, save
    from .recipe import Recipe, TrainingPlan
    from .training import train

_HOMES = {
    "Autoencoder": ".autoencoder",
    "Recipe": ".recipe",
    "TrainingPlan": ".recipe",
    "load": ".formats",
    "load_all": ".formats",
    "planned": ".estimate",
    "save": ".formats",
    "train": ".training",
}

__all__ = ["Autoencoder", "Recipe", "TrainingPlan", "load", "load_all", "planned", "save", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clew.sae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
