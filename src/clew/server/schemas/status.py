"""The server at a glance."""

from __future__ import annotations

from .base import Reply


class ModelInfo(Reply):
    """The subject model in numbers; `n_heads` and `n_neurons` are per layer."""

    name: str
    family: str
    n_layers: int
    n_heads: int
    n_neurons: int
    d_model: int
    vocab_size: int
    max_length: int
    device: str
    dtype: str
    bos: str | None
    softcap: float | None
    gated: bool


class InstalledModel(Reply):
    """A model on this machine."""

    name: str
    family: str
    bytes: int
    parameters: int


class ExampleQuestion(Reply):
    """The question that the page opens with."""

    prompt: str
    target: str
    distractor: str


class Queue(Reply):
    """Model jobs: one runs at a time, the others wait."""

    running: bool
    waiting: int


class Limits(Reply):
    """What the server takes at most."""

    max_prompt_chars: int
    max_token_chars: int
    max_tokens_per_side: int


class Status(Reply):
    """The server at a glance."""

    version: str
    model: ModelInfo
    example: ExampleQuestion
    queue: Queue
    limits: Limits
