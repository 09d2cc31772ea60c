"""What an atlas tells of a component, and of a prompt that components are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..nodes import Kind, Node
from ..records import ExampleKind, Record, Through, Token, TokenScore


@dataclass(frozen=True)
class AtlasModel(Record):
    """The model that an atlas is of; `fingerprint` is None where only its shape is known (imported data).

    Of an import that names no GPT-2 the sizes are those of what was there, 0 for heads or neurons if there were none.
    """

    name: str
    revision: str | None
    family: str | None
    n_layers: int
    n_heads: int
    n_neurons: int
    d_model: int | None
    fingerprint: str | None


@dataclass(frozen=True)
class AtlasAutoencoder(Record):
    """An autoencoder whose latents an atlas holds; `reads` and `writes` are sites, `fingerprint` is a digest of all
    that it computes with."""

    name: str
    reads: str
    writes: str
    architecture: str
    latents: int
    fingerprint: str


@dataclass(frozen=True)
class AtlasInfo(Record):
    """An atlas at a glance. `sites` names its blocks, such as attn.0, neuron.5 or latent.mlp_out.10; `imported` says
    from where its data came when Clew did not collect it. The first `skip` tokens of every context are read but not
    counted: with nothing before them, models put huge activations there."""

    name: str
    version: int
    model: AtlasModel
    corpus: str
    seed: int
    bos: bool
    tokens: int
    contexts: int
    context_length: int
    window: int
    skip: int
    components: int
    sites: Sequence[str]
    autoencoders: Sequence[AtlasAutoencoder]
    imported: str | None


@dataclass(frozen=True)
class Example(Record):
    """A piece of text, and what a component does on each of its tokens.

    `activation` is the score it was chosen by: the largest (for `bottom`: smallest) activation in its context, at token
    `peak` of this piece. For a head it is the largest pair value A[P,S]·‖V_S W_O‖, with P at `peak` and S at `source`;
    `activations` then holds for each token the largest value into it (attended from), `attended` the largest out of it
    (attended to). Strips are exact to 1/2048 of their largest value. `context` and `start` say where in the atlas's
    text the piece was cut out, `origin` names the document; `ids` are the model's tokens, or for imported data those of
    the atlas's own list.
    """

    kind: ExampleKind
    band: int | None
    rank: int
    text: str
    tokens: Sequence[str]
    ids: Sequence[int]
    activations: Sequence[float]
    attended: Sequence[float] | None
    activation: float
    peak: int
    source: int | None
    context: int
    start: int
    origin: str


@dataclass(frozen=True)
class Band(Record):
    """Random examples from contexts whose score lies in [low, high), one octave; band 0 holds the maximum.

    `contexts` of all contexts do, and the shares of contexts that score below `low` and below `high` are
    `quantile_low` and `quantile_high`. Imported bands are the quantiles of their data: None where an end is open, and
    for what the data does not say.
    """

    low: float | None
    high: float | None
    quantile_low: float | None
    quantile_high: float | None
    contexts: int | None
    examples: Sequence[Example]


@dataclass(frozen=True)
class Histogram(Record):
    """How many tokens had an activation in [edges[i], edges[i+1]); log-spaced, two bins an octave, one around zero."""

    edges: Sequence[float]
    counts: Sequence[int]


@dataclass(frozen=True)
class Stats(Record):
    """The activation of a neuron or latent, or the norm of what a head writes, over all tokens of the corpus.

    `density`: the share of tokens with an activation of 2⁻¹⁴ or more. `strong`: the share within three octaves of the
    largest size, counted in the histogram's bins. `skewness` and `kurtosis` are the third and fourth standardised
    moments (0 and 3 for a normal distribution). What imported data does not say is None; of its heads, the numbers are
    over pairs of tokens.
    """

    tokens: int | None
    density: float | None
    strong: float | None
    mean: float
    variance: float
    skewness: float | None
    kurtosis: float | None
    minimum: float | None
    maximum: float
    histogram: Histogram | None


@dataclass(frozen=True)
class HeadTypes(Record):
    """How much a head attends as known types do: mean attention weight over all positions P ≥ 1 with such a token.

    `previous`: on P−1. `current`: on P itself. `first`: on position 0. `same`: on earlier occurrences of the token at
    P. `induction`: on the tokens just after those, before P (Olsson et al. 2022). `entropy` of a row in nats, mean
    over P ≥ 1. None where no position has such a token.
    """

    previous: float | None
    current: float | None
    first: float | None
    same: float | None
    induction: float | None
    entropy: float | None


@dataclass(frozen=True)
class Component(Record):
    """What an atlas holds of one component, nothing without one; `previous` and `next` are its neighbours.

    `autoencoder` is that of a latent.
    """

    id: str
    kind: Kind
    layer: int
    index: int
    previous: str | None
    next: str | None
    autoencoder: AtlasAutoencoder | None
    stats: Stats | None
    types: HeadTypes | None
    top: Sequence[Example]
    bottom: Sequence[Example]
    bands: Sequence[Band]
    random: Sequence[Example]

    @classmethod
    def unknown(cls, node: Node) -> Component:
        """One of which nothing is known."""
        assert node.layer is not None and node.index is not None
        return cls(str(node), node.kind, node.layer, node.index, None, None, None, None, None, [], [], [], [])


@dataclass(frozen=True)
class Card(Record):
    """A component in short, for a name that is pointed at."""

    id: str
    density: float | None
    maximum: float | None
    example: Example | None
    up: Sequence[TokenScore]


@dataclass(frozen=True)
class Pairs(Record):
    """The value of every pair of an example's tokens: row i holds the value i ← j for j from 0 to i."""

    rows: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Relation(Record):
    """Another component, and how strongly weights tie it; `through` is the input that reads, None between writes."""

    id: str
    weight: float
    through: Through | None


@dataclass(frozen=True)
class Weights(Record):
    """What a component's weights say, without any text.

    `up` and `down`: the output tokens that its write of length 1 pushes, in logits relative to the vocabulary's mean,
    after the final norm's gain with its scale held at 1; for a head its mean write over the atlas, None without one.
    `excited_by`: the tokens whose embedding alone would excite it most: a neuron's activation; for a head, the norm of
    what it would write about the token. `fed_by` and `feeds`: earlier and later components by the size of
    write·input, the norm's gain included (for heads the norm over the head's width), writes at length 1; `alike`: the
    cosine of writes (heads: of the spaces they write to).

    A latent's `excited_by` are scores of its encoder's input, before the activation function. Where it has none, or
    where nothing of this is known because no autoencoder is attached, `note` says why.
    """

    id: str
    up: Sequence[TokenScore] | None
    down: Sequence[TokenScore] | None
    excited_by: Sequence[TokenScore] | None
    fed_by: Sequence[Relation]
    feeds: Sequence[Relation]
    alike: Sequence[Relation]
    note: str | None


@dataclass(frozen=True)
class CoFiring(Record):
    """Another component that has `shared` of its top examples at the very tokens where this one has its own; `share` is
    that number over the number of this one's."""

    id: str
    shared: int
    share: float


@dataclass(frozen=True)
class OnPrompt(Record):
    """What one component does on every token of a prompt.

    `activations` and `attended` as in an example. `z`: standard deviations above the corpus's mean; `below`: the share
    of the corpus's tokens with a smaller activation, by histogram; None without an atlas. For a head `z` and `below`
    are of the norm of its whole write, which `writes` holds; `pattern` has its attention weights and `pairs` the
    values of pairs, rows P of columns 0 to P.
    """

    id: str
    tokens: Sequence[Token]
    activations: Sequence[float]
    attended: Sequence[float] | None
    writes: Sequence[float] | None
    pattern: Sequence[Sequence[float]] | None
    pairs: Sequence[Sequence[float]] | None
    z: Sequence[float] | None
    below: Sequence[float] | None


@dataclass(frozen=True)
class Firing(Record):
    """A component that fires at a token of a prompt. `ratio`: the activation over its largest in the corpus; what needs
    an atlas is None without one."""

    id: str
    position: int
    activation: float
    z: float | None
    ratio: float | None
    density: float | None
    strong: float | None


@dataclass(frozen=True)
class TokenMatch(Record):
    """A component with `examples` of its top examples on a token; `share` is of all its top examples."""

    id: str
    examples: int
    share: float
    activation: float
    density: float | None
    strong: float | None


@dataclass(frozen=True)
class PushMatch(Record):
    """A component that writes a token: the push as in `Weights.up` (heads: the largest that any write of length 1 of
    theirs could make), in logits."""

    id: str
    push: float
    density: float | None
    strong: float | None


@dataclass(frozen=True)
class CollectPlan(Record):
    """What a collection would take: `shards` for `workers`, each of which does `tokens_per_s` and holds `memory` bytes.

    `disk`: bytes of savings at most while it is under way, of `shard_bytes` each. Seconds for reading the text and for
    collecting; putting together comes after that. `notes` are sentences on what happened while it was measured.
    """

    tokens: int
    contexts: int
    shards: int
    blocks: int
    workers: int
    tokens_per_s: float
    memory: int
    shard_bytes: int
    disk: int
    read_s: float
    collect_s: float
    notes: Sequence[str]


@dataclass(frozen=True)
class CollectProgress(Record):
    """How far a collection is: `stage` is read, collect or merge; counts are tokens (components for merge). `note` is a
    sentence on what happened to a worker."""

    stage: Literal["read", "collect", "merge"]
    done: int
    total: int
    tokens_per_s: float | None
    seconds_left: float | None
    note: str | None = None
