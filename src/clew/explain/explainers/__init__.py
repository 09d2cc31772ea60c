"""Words for components from a language model: prompts, candidates, revision, and a node in its prompt."""

from .explainer import LLMExplainer
from .node import estimate_node, explain_node
from .revision import estimate_revision, revise

__all__ = ["LLMExplainer", "estimate_node", "estimate_revision", "explain_node", "revise"]
