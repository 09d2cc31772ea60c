"""What all requests and replies share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Index = Annotated[int, Field(ge=0, le=2**31 - 1)]

# Longer than any list of layers or positions a person or a page asks for.
MAX_LISTED = 4096


class Request(BaseModel):
    """A request body; unknown fields and values of another type are refused, not guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Token(Reply):
    """A token of the prompt."""

    position: int
    id: int
    text: str


class VocabToken(Reply):
    """A token of the vocabulary, named as a target or distractor."""

    id: int
    text: str


class TokenScore(Reply):
    """A vocabulary token and how much a node pushes it (logits) or is excited by it."""

    id: int
    text: str
    score: float


class ErrorInfo(Reply):
    """What happened, in one sentence, and in `hint` what to do about it. `code` names a section of docs/errors.md."""

    code: str
    message: str
    hint: str


class ErrorReply(Reply):
    """The one shape of every error."""

    error: ErrorInfo


class PromptText(Request):
    """A text to tokenize."""

    text: str
    bos: bool = Field(default=False, description="Put the model's start token first.")
