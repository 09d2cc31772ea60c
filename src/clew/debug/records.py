"""What an answer is made of: small frozen records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..nodes import Kind
from ..records import Record, TokenScore, VocabToken


@dataclass(frozen=True)
class ModelInfo(Record):
    """The subject model in numbers; `n_heads` and `n_neurons` are per layer; `gated` MLPs have a gate."""

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


@dataclass(frozen=True)
class Direction(Record):
    """D = mean logit(targets) − mean logit(distractors) at `position`; without distractors the second
    term is the mean logit over the vocabulary. Logits are before any soft-cap."""

    position: int
    targets: Sequence[VocabToken]
    distractors: Sequence[VocabToken]
    value: float


@dataclass(frozen=True)
class Candidate(Record):
    """A possible next token; `rank` counts from 0, `logprob` is natural."""

    id: int
    text: str
    logit: float
    logprob: float
    probability: float
    rank: int


@dataclass(frozen=True)
class Accounting(Record):
    """Both sides of the sum: direct effects by kind, their sum, the value that is explained and what is left.

    Under edits there may be a term `edit`: what they add to the stream outside of any node. In a trace there is a term
    `constant`, what the traced node adds itself (biases of its projections and norm), and a term `remainder` where its
    pre-activation is not linear in what it reads. `skip` is what a transcoder passes on without latents.
    """

    terms: dict[str, float]
    sum: float
    value: float
    difference: float


@dataclass(frozen=True)
class NodeEffect(Record):
    """One row of the node table (design.md §1 and §3 define the quantities).

    `activation`: a neuron's post-activation or a latent's; A[P,S] for a head's part; the norm of the mixed values ‖z‖
    for a whole head; None for embeddings, errors and biases. `write_norm` is never negative. `direct_effect` and
    `estimated_effect` are in logits of D. `verified_effect` is None until measured.
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
    verified_effect: float | None = None


@dataclass(frozen=True)
class TokenEffect(Record):
    """Estimated effects summed over all layers at one token of the prompt.

    Attention counts twice over: by the token it writes at (`attn_from`) and by the token it reads
    (`attn_to`); each sums to the same total.
    """

    position: int
    embed: float
    attn_from: float
    attn_to: float
    mlp: float


@dataclass(frozen=True)
class LayerEffect(Record):
    """Direct effects of one step of the waterfall: `step` is embed, attn, mlp, latent, error or bias.

    Latents and error of an autoencoder stand in place of their block's step. A layer's biases are inside `bias` (one
    step after the layers, with final norm and unembedding). After it come `edit`, `constant`, `remainder` and `skip`,
    where the accounting has them.
    """

    step: str
    layer: int | None
    direct_effect: float
    estimated_effect: float


@dataclass(frozen=True)
class LayerPosition(Record):
    """Two maps, [n_layers][n_tokens] in logits of D.

    `direct`: the direct effect at the position of interest, attention split by the token it reads.
    `estimated`: the estimated effect of all heads and neurons that write at each token.
    """

    direct: Sequence[Sequence[float]]
    estimated: Sequence[Sequence[float]]


@dataclass(frozen=True)
class LensCell(Record):
    """What the residual stream would predict if the model ended here."""

    id: int
    text: str
    probability: float


@dataclass(frozen=True)
class Lens(Record):
    """The logit lens (nostalgebraist 2020): final norm and unembedding applied after every layer.

    `value[l][p]` is D read at position p after layer l−1 (row 0: embeddings); the last row at the
    position of interest is D itself. `top[l][p]` is the likeliest token there.
    """

    value: Sequence[Sequence[float]]
    top: Sequence[Sequence[LensCell]]


@dataclass(frozen=True)
class Excitation(Record):
    """The input tokens that excite a node most, through one of its inputs.

    `through`: `input` (a neuron's activation if the stream held the token's embedding alone), or `query` /
    `key` (the change of the attention score between `position` and `source`).
    """

    through: str
    position: int | None
    source: int | None
    tokens: Sequence[TokenScore]


@dataclass(frozen=True)
class PairShare(Record):
    """What a head, reading one token, adds to the pre-activation of a latent of attention: `node` is attn.L.H@P<-S."""

    node: str
    share: float


@dataclass(frozen=True)
class NodeDetail(Record):
    """What a node does: output tokens its write pushes up and down at its own position, in logits relative
    to the vocabulary's mean with the final norm's scale held; the input tokens that excite it; and of a latent of
    attention the token pairs it comes from, largest first."""

    node: NodeEffect
    up: Sequence[TokenScore]
    down: Sequence[TokenScore]
    excited_by: Sequence[Excitation]
    pairs: Sequence[PairShare] = ()


@dataclass(frozen=True)
class TraceStep(Record):
    """One step of a trace: a node, through which of its inputs, and the value S that is explained."""

    node: str
    through: str
    value: float


@dataclass(frozen=True)
class CandidateChange(Record):
    """A possible next token on both sides; `difference` is of log-probabilities, right − left."""

    id: int
    text: str
    left: Candidate
    right: Candidate
    difference: float


@dataclass(frozen=True)
class NodeChange(Record):
    """A row of the node table on both sides, paired by alignment; None where a side has no such node.

    `id` is the left node's, or the right one's where there is no left. Differences are right − left.
    """

    id: str
    left: NodeEffect | None
    right: NodeEffect | None
    direct_difference: float | None
    estimated_difference: float | None


@dataclass(frozen=True)
class Comparison(Record):
    """The same question asked twice; values are of what is explained, D or a trace's S.

    `alignment` gives for each token on the left its counterpart on the right, or None.
    """

    left_value: float
    right_value: float
    difference: float
    alignment: Sequence[int | None]
    candidates: Sequence[CandidateChange]
    nodes: Sequence[NodeChange]

    def __repr__(self) -> str:
        lines = [f"{self.left_value:+.4g} → {self.right_value:+.4g} (difference {self.difference:+.4g})"]
        for change in self.candidates:
            before, after = change.left.probability, change.right.probability
            lines.append(f"  {change.text!r}: {before:.3%} → {after:.3%} ({change.difference:+.3g} in log-probability)")
        return "\n".join(lines)


@dataclass(frozen=True)
class Agreement(Record):
    """How far estimated effects agree with verified ones over n nodes; None where one side does not vary."""

    n: int
    pearson: float | None
    spearman: float | None


@dataclass(frozen=True)
class SweepCell(Record):
    """One place patched from the second prompt: the value of what is explained then, and the share of the difference
    between the prompts that it makes.

    `kind` is attn, resid or mlp; `index` the head, None for the others. `restored` is None where the prompts agree.
    """

    place: str
    kind: str
    layer: int
    index: int | None
    position: int
    value: float
    restored: float | None


@dataclass(frozen=True)
class Pattern(Record):
    """A head's attention: row P holds its weights on tokens 0 to P."""

    head: str
    rows: Sequence[Sequence[float]]


@dataclass(frozen=True)
class GeneratedToken(Record):
    """One token of a continuation, at its position after the prompt."""

    position: int
    id: int
    text: str
    probability: float


@dataclass(frozen=True)
class Timing(Record):
    """Seconds; None for what was not done."""

    load_s: float | None
    pass_s: float
    table_s: float
    verify_s: float | None
