"""What goes over HTTP: requests, and replies that mirror the records of `clew.debug`.

openapi.json, and from it the page's TypeScript types, are generated from these models. A reply's field is required
when it is always present; tests/server/test_schemas.py holds every reply to its record, field for field.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .. import settings
from ..nodes import Kind

Logits = Annotated[float, Field(description="In logits.")]
Index = Annotated[int, Field(ge=0, le=2**31 - 1)]

# At most this many rows per end of each metric, so that the union of all ends stays within MAX_NODES.
MAX_TOP = settings.MAX_NODES // 8
# Longer than any list of layers or positions a person or a page asks for.
MAX_LISTED = 4096


class Request(BaseModel):
    """A request body; unknown fields and values of another type are refused, not guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")


# Requests


class Text(Request):
    """A text to check as a target or distractor."""

    text: str


class PromptText(Request):
    """A text to tokenize."""

    text: str
    bos: bool = Field(default=False, description="Put the model's start token first.")


class Question(Request):
    """What to explain: why the targets rather than the distractors after `position`."""

    prompt: str
    targets: list[str] = Field(default=[], description="Each exactly one token; none means the model's top prediction.")
    distractors: list[str] = Field(default=[], description="Each exactly one token; none means the mean logit.")
    position: int | None = Field(default=None, description="Predict after this token; null means the last.")
    bos: bool = Field(default=False, description="Put the model's start token first.")


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


# Replies


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


class ModelSummary(Reply):
    """The subject model as every answer names it."""

    name: str
    family: str
    n_layers: int
    n_heads: int
    n_neurons: int
    d_model: int


class InstalledModel(Reply):
    """A model on this machine."""

    name: str
    family: str
    bytes: int
    parameters: int


class Token(Reply):
    """A token of the prompt."""

    position: int
    id: int
    text: str


class VocabToken(Reply):
    """A token of the vocabulary, named as a target or distractor."""

    id: int
    text: str


class TokenCheck(Reply):
    """Whether a text can be a target: it must be exactly one token.

    `warning` is empty when all is well; `fixes` are texts that are one token and probably meant.
    """

    text: str
    tokens: list[VocabToken]
    ok: bool
    warning: str
    fixes: list[str]


class Direction(Reply):
    """D = mean logit(targets) − mean logit(distractors) at `position`; without distractors the second term is the
    mean logit over the vocabulary. Logits are before any soft-cap."""

    position: int
    targets: list[VocabToken]
    distractors: list[VocabToken]
    value: Logits


class Candidate(Reply):
    """A possible next token; `rank` counts from 0, `logprob` is natural."""

    id: int
    text: str
    logit: float
    logprob: float
    probability: float
    rank: int


class AccountingTerms(Reply):
    """Direct effects summed by kind, in logits of D."""

    embed: float
    attn: float
    neuron: float
    latent: float
    error: float
    bias: float


class Accounting(Reply):
    """Both sides of the sum: direct effects by kind, their sum, the direction's value and what is left."""

    terms: AccountingTerms
    sum: Logits
    value: Logits
    difference: Logits


class NodeEffect(Reply):
    """One row of the node table; effects are in logits of D, `write_norm` is never negative.

    `activation`: a neuron's post-activation; A[P,S] for a head's part; the norm of the mixed values for a whole head;
    null for embeddings and biases. `verified_effect` is null until measured.
    """

    id: str
    kind: Kind
    layer: int | None
    index: int | None
    position: int | None
    source: int | None
    activation: float | None
    write_norm: float
    direct_effect: float
    estimated_effect: float
    verified_effect: float | None


class TokenEffect(Reply):
    """Estimated effects summed over all layers at one token.

    Attention is counted by the token it writes at (`attn_from`) and by the token it reads (`attn_to`); each sums to
    the same total.
    """

    position: int
    embed: float
    attn_from: float
    attn_to: float
    mlp: float


class LayerEffect(Reply):
    """One step of the waterfall; all biases, those of the final norm and unembedding too, are the last step."""

    step: Literal["embed", "attn", "mlp", "bias"]
    layer: int | None
    direct_effect: float
    estimated_effect: float


class LayerPosition(Reply):
    """Two maps, [n_layers][n_tokens] in logits of D.

    `direct`: the direct effect at the position of interest, attention split by the token it reads. `estimated`: the
    estimated effect of all heads and neurons that write at each token.
    """

    direct: list[list[float]]
    estimated: list[list[float]]


class LensCell(Reply):
    """What the residual stream would predict if the model ended here."""

    id: int
    text: str
    probability: float


class Lens(Reply):
    """The logit lens, [n_layers + 1][n_tokens]: row 0 reads the embeddings, row l the stream after layer l − 1.

    `value` is D read there, in logits; `top` the likeliest token.
    """

    value: list[list[float]]
    top: list[list[LensCell]]


class TokenScore(Reply):
    """A vocabulary token and how much a node pushes it (logits) or is excited by it."""

    id: int
    text: str
    score: float


class Excitation(Reply):
    """The input tokens that excite a node most, through one of its inputs."""

    through: Literal["input", "query", "key"]
    position: int | None
    source: int | None
    tokens: list[TokenScore]


class NodeDetail(Reply):
    """What a node does: the output tokens its write pushes up and down, in logits relative to the vocabulary's mean,
    and the input tokens that excite it."""

    node: NodeEffect
    up: list[TokenScore]
    down: list[TokenScore]
    excited_by: list[Excitation]


class Timing(Reply):
    """Seconds; null for what was not done."""

    load_s: float | None
    pass_s: float
    table_s: float
    verify_s: float | None


class Answer(Reply):
    """The document of `clew debug --json`, with the sums the page draws."""

    model: ModelSummary
    tokens: list[Token]
    direction: Direction
    candidates: list[Candidate]
    accounting: Accounting
    nodes: list[NodeEffect]
    timing: Timing
    by_token: list[TokenEffect]
    by_layer: list[LayerEffect]
    by_layer_position: LayerPosition


class Tokens(Reply):
    """A text as the model sees it."""

    tokens: list[Token]


class NodeTable(Reply):
    """The node table under one set of filters."""

    nodes: list[NodeEffect]


class Example(Reply):
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
    example: Example
    queue: Queue
    limits: Limits


class ErrorInfo(Reply):
    """What happened, in one sentence, and in `hint` what to do about it. `code` names a section of docs/errors.md."""

    code: str
    message: str
    hint: str


class ErrorReply(Reply):
    """The one shape of every error."""

    error: ErrorInfo
