"""Words for components from a language model: prompts, candidates, revision, and a node in its prompt."""

from .explainer import LLMExplainer

__all__ = ["LLMExplainer"]
