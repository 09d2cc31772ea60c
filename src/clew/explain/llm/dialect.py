"""How an endpoint is spoken to: one protocol, of which each has its own part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .client import Capabilities, Request

CHAT, COMPLETIONS = "chat", "completions"  # the two ways to ask
EMBEDDINGS = "embeddings"  # of texts, which is no asking
PROMPT_LOGPROBS = "prompt_logprobs"  # a field of vLLM that OpenAI's protocol lacks


@dataclass(frozen=True)
class Dialect:
    """What an endpoint has, and how it wants to be asked for it.

    `limit` names the field with the most tokens of an answer; newer models of OpenAI refuse the old name, older servers
    ignore the new one. Some models refuse any `temperature`, some servers any `seed`. `echo`: log-probabilities of a
    prompt come by having it repeated; otherwise by vLLM's own field.
    """

    capabilities: Capabilities
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    seed: bool = True
    echo: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Dialect:
        """What `to_dict` gave."""
        return cls(**{**fields, "capabilities": Capabilities(**fields["capabilities"])})

    def repeats(self, request: Request) -> bool:
        """Whether the answer to a raw prompt begins with the prompt."""
        return self.echo and request.prompt_logprobs > 0

    def body(self, model: str, request: Request) -> tuple[str, dict[str, Any]]:
        """The way to ask, and the fields that a request is sent with."""
        fields: dict[str, Any] = {"model": model}
        # No endpoint may be asked for no token at all; the one that comes is thrown away.
        most = max(1, request.max_tokens)
        if self.temperature:
            fields["temperature"] = request.temperature
        if self.seed:
            fields["seed"] = request.seed
        if request.prompt is None:
            fields["messages"] = [{"role": one.role, "content": one.content} for one in request.messages]
            fields[self.limit] = most + self.capabilities.thinking
            if request.logprobs:
                fields |= {"logprobs": True, "top_logprobs": request.logprobs}
            if request.json and self.capabilities.json:
                fields["response_format"] = {"type": "json_object"}
            return CHAT, fields
        fields |= {"prompt": request.prompt, "max_tokens": most}
        alternatives = request.logprobs
        if self.repeats(request):
            fields["echo"] = True
            alternatives = max(alternatives, request.prompt_logprobs)
        elif request.prompt_logprobs:
            fields[PROMPT_LOGPROBS] = request.prompt_logprobs
        if alternatives:
            fields["logprobs"] = alternatives
        return COMPLETIONS, fields
