"""Clew: why did the language model say that?

    import clew
    model = clew.load("smollm2")
    run = model.debug("When Mary and John went to the store, John gave a drink to", target=" Mary", distractor=" John")
    run.nodes(top=30)

Names are imported when first used, so that `import clew` is quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .atlas import Atlas, Components, collect
    from .atlas.shelf import components
    from .debug import Model, Run, load
    from .errors import ClewError
    from .nodes import Node

__version__ = version("clew")

_HOMES = {
    "Atlas": ".atlas",
    "ClewError": ".errors",
    "Components": ".atlas",
    "Model": ".debug",
    "Node": ".nodes",
    "Run": ".debug",
    "collect": ".atlas",
    "components": ".atlas.shelf",
    "load": ".debug",
}

__all__ = [
    "Atlas", "ClewError", "Components", "Model", "Node", "Run", "__version__", "collect", "components", "load",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clew' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
