"""Language models that are asked: any OpenAI-compatible endpoint, or one in this process."""

from .budget import Budget
from .opening import open_llm

__all__ = ["Budget", "open_llm"]
