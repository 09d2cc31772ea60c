"""Words for components: explain, simulate, score, and how far to trust it.

    from clew.explain import explain, explain_node, score
    explain(model, "neuron.5.0-199")                                    # offline, by token statistics
    explain(model, "neuron.5.200", llm="gpt-5-mini", candidates=3, scorers=("simulation", "detection"))
    score(model, "neuron.5.200", "names of months", llm="local:smollm2")
    explain_node(model, run, "neuron.5.200@13", llm="gpt-5-mini")       # in the prompt of a run

Names are imported when first used: asking a language model, or describing its answers, takes no model code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asking import explain, explain_node, score
    from .pipeline import explaining, planned, scoring
    from .recipe import Recipe
    from .store.explanations import Explanations

_HOMES = {
    "Explanations": ".store.explanations",
    "Recipe": ".recipe",
    "explain": ".asking",
    "explain_node": ".asking",
    "explaining": ".pipeline",
    "planned": ".pipeline",
    "score": ".asking",
    "scoring": ".pipeline",
}

__all__ = ["Explanations", "Recipe", "explain", "explain_node", "explaining", "planned", "score", "scoring"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clew.explain' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
