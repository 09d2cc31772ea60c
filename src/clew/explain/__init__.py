"""Words for components: explain, simulate, score, and how far to trust it.

from clew.explain import explain, score
explain(model, "neuron.5.0-199")                                    # offline, by token statistics
explain(model, "neuron.5.200", llm="gpt-5-mini", candidates=3, scorers=("simulation", "detection"))
score(model, "neuron.5.200", "names of months", llm="local:smollm2")
"""

from .asking import explain, score
from .pipeline import explaining, planned, scoring
from .recipe import Recipe
from .store.explanations import Explanations

__all__ = ["Explanations", "Recipe", "explain", "explaining", "planned", "score", "scoring"]
