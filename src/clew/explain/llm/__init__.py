"""Language models that are asked: any OpenAI-compatible endpoint, or one in this process."""
