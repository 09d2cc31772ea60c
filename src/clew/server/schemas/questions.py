"""Questions about one prompt: what the debugger page asks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ... import settings
from ...nodes import Kind
from .base import MAX_LISTED, Index, Request

# At most this many rows per end of each metric, so that the union of all ends stays within MAX_NODES.
MAX_TOP = settings.MAX_NODES // 8


class Text(Request):
    """A text to check as a target or distractor."""

    text: str


class SecondPrompt(Request):
    """A second prompt, and after which token its own D is read."""

    prompt: str
    position: int | None = Field(default=None, description="null: the last.")


class Question(Request):
    """What to explain: why the targets rather than the distractors after `position`."""

    prompt: str
    targets: list[str] = Field(default=[], description="Each exactly one token; none means the model's top prediction.")
    distractors: list[str] = Field(default=[], description="Each exactly one token; none means the mean logit.")
    position: int | None = Field(default=None, description="Predict after this token; null means the last.")
    bos: bool = Field(default=False, description="Put the model's start token first.")
    autoencoders: list[str] = Field(
        default=[],
        max_length=MAX_LISTED,
        description="Names of autoencoders (GET /api/autoencoders) whose latents stand in place of heads, neurons or "
        "the stream.",
    )
    edits: list[str] = Field(
        default=[],
        max_length=settings.MAX_EDITS,
        description="What is changed inside the model, applied in this order: OP:PLACE or OP:PLACE=VALUE, such as "
        "zero:attn.23.3@13, mean:attn.23.3@13, patch:resid.4@3, scale:neuron.5.200=2, set:neuron.5.200@3=4.5, "
        "steer:attn.23.3=5, cut:attn.23.3@13<-9 or zero:latent.mlp_out.10.117@3 (docs/interventions.md).",
    )
    second: SecondPrompt | None = Field(default=None, description="The prompt that `patch` and `resample` read.")
    alignment: list[Index | None] | None = Field(
        default=None,
        max_length=settings.MAX_PROMPT_CHARS,
        description="For each token of the prompt its counterpart in the second one; null: aligned by their tokens.",
    )
    trace: list[str] = Field(
        default=[],
        max_length=settings.MAX_STEPS,
        description="What is explained instead of D, step by step upstream: NODE:THROUGH, such as attn.23.3@13<-9:q, "
        "neuron.20.5@9:both or latent.mlp_out.10.117@3:in. The last one is explained; v is taken of the one before it.",
    )


class Filters(Request):
    """Which rows of the node table: the union of both ends of every metric, or all above a threshold."""

    top: int = Field(default=settings.TOP, ge=0, le=MAX_TOP, description="Rows per end of each metric.")
    threshold: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Instead of `top`: every node whose direct or estimated effect is at least this large, in logits.",
    )
    kinds: list[Kind] | None = Field(default=None, max_length=MAX_LISTED)
    layers: list[Index] | None = Field(default=None, max_length=MAX_LISTED)
    positions: list[Index] | None = Field(default=None, max_length=MAX_LISTED)
    sources: list[Index] | None = Field(default=None, max_length=MAX_LISTED, description="Only heads split by source.")


class TableQuestion(Filters, Question):
    """A question, and which rows of its node table to show."""


class NodeQuestion(Question):
    """A question, and one node of its answer."""

    node: str = Field(description="A node id, such as attn.23.3@13 or neuron.4.100@7.")


class CompareQuestion(TableQuestion):
    """A question asked twice: as it is, and with its edits or on its second prompt."""

    against: Literal["edited", "second"]


class AlignQuestion(Request):
    """Two prompts to align token by token."""

    prompt: str
    second: str
    bos: bool = False


class VerifyQuestion(Question):
    """A question, and which nodes to ablate: the `top` most promising ones, or `nodes`."""

    top: int | None = Field(default=None, ge=1, le=settings.MAX_NODES, description=f"null: {settings.VERIFIED}.")
    nodes: list[str] | None = Field(default=None, min_length=1, max_length=settings.MAX_NODES)
    ablation: Literal["zero", "mean", "resample"] = "zero"
    renormalise: bool = Field(default=False, description="Scale the rest of a cut pair's row to sum to 1 again.")


class SweepQuestion(Question):
    """A question with a second prompt: patch every place of these kinds from it, one at a time."""

    kinds: list[Literal["attn", "resid", "mlp"]] = Field(default=["attn", "resid", "mlp"], min_length=1, max_length=3)


class GenerateQuestion(Question):
    """A question whose prompt is continued, under its edits."""

    n: int = Field(default=settings.GENERATED, ge=1, le=settings.MAX_GENERATED, description="Tokens to add.")
    temperature: float = Field(default=0.0, ge=0, le=100, allow_inf_nan=False, description="0: always the likeliest.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class PatternQuestion(Question):
    """A question, and the head whose attention to show."""

    head: str = Field(description="A head, such as attn.23.3.")
