"""Answers about one prompt: the records of `clew.debug`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ...nodes import Kind
from .base import Reply, Token, TokenScore, VocabToken

Logits = Annotated[float, Field(description="In logits.")]


class ModelSummary(Reply):
    """The subject model as every answer names it."""

    name: str
    family: str
    n_layers: int
    n_heads: int
    n_neurons: int
    d_model: int


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
    """Direct effects summed by kind, in logits of D, or in units of what is traced.

    `edit` is there under edits: what they add to the stream outside of any node. `constant` and `remainder` are there
    in a trace: what the traced node adds itself (biases of its projections and norm), and what its non-linearity
    leaves over. `skip` is what a transcoder passes on without latents.
    """

    embed: float
    attn: float
    neuron: float
    latent: float
    error: float
    bias: float
    edit: float | None = None
    constant: float | None = None
    remainder: float | None = None
    skip: float | None = None


class Accounting(Reply):
    """Both sides of the sum: direct effects by kind, their sum, the direction's value and what is left."""

    terms: AccountingTerms
    sum: Logits
    value: Logits
    difference: Logits


class NodeEffect(Reply):
    """One row of the node table; effects are in logits of D, `write_norm` is never negative.

    `activation`: a neuron's post-activation or a latent's; A[P,S] for a head's part; the norm of the mixed values for a
    whole head; null for embeddings, errors and biases. `verified_effect` is null until measured.
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
    """One step of the waterfall; all biases, those of the final norm and unembedding too, are one after the layers.

    `latent` and `error` stand in place of an autoencoder's block. `edit`, `constant`, `remainder` and `skip`
    are those of the accounting, where it has them.
    """

    step: Literal["embed", "attn", "mlp", "latent", "error", "bias", "edit", "constant", "remainder", "skip"]
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


class Excitation(Reply):
    """The input tokens that excite a node most, through one of its inputs."""

    through: Literal["input", "query", "key"]
    position: int | None
    source: int | None
    tokens: list[TokenScore]


class PairShare(Reply):
    """What a head, reading one token, adds to the pre-activation of a latent of attention."""

    node: str
    share: float


class NodeDetail(Reply):
    """What a node does: the output tokens its write pushes up and down, in logits relative to the vocabulary's mean,
    the input tokens that excite it, and of a latent of attention the token pairs it comes from, largest first."""

    node: NodeEffect
    up: list[TokenScore]
    down: list[TokenScore]
    excited_by: list[Excitation]
    pairs: list[PairShare]


class Timing(Reply):
    """Seconds; null for what was not done."""

    load_s: float | None
    pass_s: float
    table_s: float
    verify_s: float | None


class TraceStep(Reply):
    """One step of a trace: a node, through which of its inputs, and the value S that is explained."""

    node: str
    through: Literal["q", "k", "v", "gate", "up", "both", "in"]
    value: float


class Answer(Reply):
    """The document of `clew debug --json`, with the sums the page draws.

    Under a trace the accounting, nodes and sums are those of its last step, and `direction` is still D.
    """

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
    autoencoders: list[str]
    edits: list[str]
    trace: list[TraceStep]


class CandidateChange(Reply):
    """A possible next token on both sides; ranks count from 0, `difference` is of log-probabilities."""

    id: int
    text: str
    left: Candidate
    right: Candidate
    difference: float


class NodeChange(Reply):
    """A row of the node table on both sides, paired by alignment; null where a side has no such node.

    Differences are right − left, null where a side is missing.
    """

    id: str
    left: NodeEffect | None
    right: NodeEffect | None
    direct_difference: float | None
    estimated_difference: float | None


class Comparison(Reply):
    """The same question asked twice: `value` is what is explained on each side."""

    left_value: float
    right_value: float
    difference: float
    alignment: list[int | None]
    candidates: list[CandidateChange]
    nodes: list[NodeChange]


class ComparedAnswers(Reply):
    """Both answers, and what differs."""

    left: Answer
    right: Answer
    comparison: Comparison


class Alignment(Reply):
    """Two prompts token by token: `alignment[i]` is the counterpart of the first one's token i, or null."""

    left: list[Token]
    right: list[Token]
    alignment: list[int | None]


class Pattern(Reply):
    """A head's attention: row P holds its weights on tokens 0 to P."""

    head: str
    rows: list[list[float]]


class Agreement(Reply):
    """How far estimates agree with what was measured, over `n` nodes; null where one side does not vary."""

    n: int
    pearson: float | None
    spearman: float | None


class VerifyStart(Reply):
    """The first event of a verification."""

    total: int


class VerifiedRows(Reply):
    """Nodes as they are measured, most promising first."""

    done: int
    total: int
    nodes: list[NodeEffect]


class VerifyDone(Reply):
    """The last event of a verification."""

    seconds: float
    agreement: Agreement


class SweepStart(Reply):
    """The first event of a sweep: D on both prompts, and how their tokens pair."""

    total: int
    first: float
    second: float
    alignment: list[int | None]


class SweepCell(Reply):
    """One place patched from the second prompt: D then, and the share of the difference between the prompts it makes.

    `index` is the head, null for the stream (`resid`) and for a layer's MLP. `restored` is null where the prompts'
    D is the same.
    """

    place: str
    kind: Literal["attn", "resid", "mlp"]
    layer: int
    index: int | None
    position: int
    value: float
    restored: float | None


class SweepCells(Reply):
    """Cells as they are measured."""

    done: int
    total: int
    cells: list[SweepCell]


class SweepDone(Reply):
    """The last event of a sweep."""

    seconds: float


class GeneratedToken(Reply):
    """One token of a continuation."""

    position: int
    id: int
    text: str
    probability: float


class GenerateDone(Reply):
    """The last event of a continuation."""

    text: str


class Tokens(Reply):
    """A text as the model sees it."""

    tokens: list[Token]


class NodeTable(Reply):
    """The node table under one set of filters."""

    nodes: list[NodeEffect]
