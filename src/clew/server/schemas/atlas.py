"""Component pages and searches: the records of `clew.atlas`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ... import settings
from ...nodes import Kind
from ...records import ExampleKind, Through
from .base import MAX_LISTED, Index, Reply, Request, Token, TokenScore

Autoencoders = Annotated[
    list[str] | None,
    Field(
        max_length=MAX_LISTED,
        description="Names of autoencoders (GET /api/autoencoders) whose latents are among the components; null: those "
        "that the server was given.",
    ),
]

# Requests


class ComponentPrompt(Request):
    """A component, and a prompt to read it on."""

    component: str = Field(description="A component id, such as neuron.5.200, attn.23.3 or latent.mlp_out.10.117.")
    prompt: str
    bos: bool = Field(default=False, description="Put the model's start token first.")
    autoencoders: Autoencoders = None


class Paged(Request):
    """Which components to look among, and which of the found ones to list."""

    kinds: list[Literal["attn", "neuron", "latent"]] | None = Field(default=None, max_length=MAX_LISTED)
    layers: list[Index] | None = Field(default=None, max_length=MAX_LISTED)
    autoencoders: Autoencoders = None
    max_density: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Only components active within three octaves of their maximum on at most this share of tokens.",
    )
    ascending: bool = False
    offset: Index = 0
    limit: int = Field(default=settings.FOUND, ge=1, le=settings.MAX_FOUND)


class PromptSearch(Paged):
    """Which components fire on this text, at one token or anywhere (then each at its own strongest token)."""

    prompt: str
    bos: bool = Field(default=False, description="Put the model's start token first.")
    position: int | None = Field(
        default=None, description="null: anywhere but on the first token, where models put huge activations."
    )
    sort: Literal["z", "activation", "ratio", "density", "strong"] = Field(
        default="z", description="Without an atlas only activation can be sorted by."
    )


class TokenSearch(Paged):
    """Which components have their top examples on this token."""

    token: str = Field(max_length=settings.MAX_TOKEN_CHARS)
    sort: Literal["share", "examples", "activation", "density", "strong"] = "share"


class PushSearch(Paged):
    """Which components push this output token."""

    token: str = Field(max_length=settings.MAX_TOKEN_CHARS)
    sort: Literal["push", "density", "strong"] = "push"


class CollectRequest(Request):
    """What to collect into the server's atlas, from the text that ships with Python: all heads, neurons and latents.

    Of an atlas that differs in nothing but what it has, only what is missing is collected.
    """

    tokens: int = Field(default=settings.COLLECTED, ge=1, le=settings.MAX_COLLECTED)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    autoencoders: Autoencoders = None
    replace: bool = Field(
        default=False,
        description="Throw away an atlas, or an unfinished collection, that is there with other settings.",
    )


# Replies


class AtlasModel(Reply):
    """The model that an atlas is of."""

    name: str
    revision: str | None
    family: str | None
    n_layers: int
    n_heads: int
    n_neurons: int
    d_model: int | None
    fingerprint: str | None


class AtlasAutoencoder(Reply):
    """An autoencoder whose latents an atlas holds; `reads` and `writes` are sites."""

    name: str
    reads: str
    writes: str
    architecture: str
    latents: int
    fingerprint: str


class AtlasInfo(Reply):
    """An atlas at a glance. `sites` names its blocks, such as attn.0, neuron.5 or latent.mlp_out.10."""

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
    sites: list[str]
    autoencoders: list[AtlasAutoencoder]
    imported: str | None


class AtlasStatus(Reply):
    """The open atlas, or null and in `problem` why the one that is there could not be opened."""

    atlas: AtlasInfo | None
    problem: str | None
    collecting: bool


class Example(Reply):
    """A piece of text, and what a component does on each of its tokens.

    `activation` is the score it was chosen by, at token `peak` of the piece. For a head: the largest pair value
    A[P,S]·‖V_S W_O‖, P at `peak` and S at `source`; `activations` is for each token the largest value into it
    (attended from), `attended` the largest out of it (attended to).
    """

    kind: ExampleKind
    band: int | None
    rank: int
    text: str
    tokens: list[str]
    ids: list[int]
    activations: list[float]
    attended: list[float] | None
    activation: float
    peak: int
    source: int | None
    context: int
    start: int
    origin: str


class Band(Reply):
    """Random examples from contexts whose score lies in [low, high); band 0 holds the maximum. Ends that imported data
    leaves open are null."""

    low: float | None
    high: float | None
    quantile_low: float | None
    quantile_high: float | None
    contexts: int | None
    examples: list[Example]


class Histogram(Reply):
    """How many tokens had an activation in [edges[i], edges[i+1]); log-spaced, one bin around zero."""

    edges: list[float]
    counts: list[int]


class Stats(Reply):
    """The activation of a neuron or latent, or the norm of what a head writes, over all tokens of the corpus."""

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


class HeadTypes(Reply):
    """Mean attention weight as known types of head attend, and a row's entropy in nats."""

    previous: float | None
    current: float | None
    first: float | None
    same: float | None
    induction: float | None
    entropy: float | None


class Component(Reply):
    """What the atlas holds of one component; null and empty lists without one. `autoencoder` is that of a latent."""

    id: str
    kind: Kind
    layer: int
    index: int
    previous: str | None
    next: str | None
    autoencoder: AtlasAutoencoder | None
    stats: Stats | None
    types: HeadTypes | None
    top: list[Example]
    bottom: list[Example]
    bands: list[Band]
    random: list[Example]


class Card(Reply):
    """A component in short, for a name that is pointed at."""

    id: str
    density: float | None
    maximum: float | None
    example: Example | None
    up: list[TokenScore]


class Pairs(Reply):
    """The value of every pair of an example's tokens: row i holds the value i ← j for j from 0 to i."""

    rows: list[list[float]]


class Relation(Reply):
    """Another component, and how strongly weights tie it; `through` is the input that reads, null between writes."""

    id: str
    weight: float
    through: Through | None


class Weights(Reply):
    """What a component's weights say, without any text. `note` says why `excited_by`, or all of it, is not known."""

    id: str
    up: list[TokenScore] | None
    down: list[TokenScore] | None
    excited_by: list[TokenScore] | None
    fed_by: list[Relation]
    feeds: list[Relation]
    alike: list[Relation]
    note: str | None


class CoFiring(Reply):
    """Another component with `shared` of its top examples at the tokens where this one has its own."""

    id: str
    shared: int
    share: float


class CoFirings(Reply):
    """The components that fire where this one does, most shared first."""

    rows: list[CoFiring]


class OnPrompt(Reply):
    """What one component does on every token of a prompt."""

    id: str
    tokens: list[Token]
    activations: list[float]
    attended: list[float] | None
    writes: list[float] | None
    pattern: list[list[float]] | None
    pairs: list[list[float]] | None
    z: list[float] | None
    below: list[float] | None


class Firing(Reply):
    """A component that fires at a token of a prompt; `ratio` is over its largest activation in the corpus."""

    id: str
    position: int
    activation: float
    z: float | None
    ratio: float | None
    density: float | None
    strong: float | None


class TokenMatch(Reply):
    """A component with `examples` of its top examples on a token."""

    id: str
    examples: int
    share: float
    activation: float
    density: float | None
    strong: float | None


class PushMatch(Reply):
    """A component that writes a token."""

    id: str
    push: float
    density: float | None
    strong: float | None


class Firings(Reply):
    """One page of the components that fire on a prompt; `total` were found."""

    tokens: list[Token]
    total: int
    rows: list[Firing]


class TokenMatches(Reply):
    """One page of the components with top examples on a token; `total` were found."""

    total: int
    rows: list[TokenMatch]


class PushMatches(Reply):
    """One page of the components that push a token; `total` were found."""

    total: int
    rows: list[PushMatch]


class CollectProgress(Reply):
    """How far a collection is; counts are tokens, for `merge` components. `note`: what happened to a worker."""

    stage: Literal["read", "collect", "merge"]
    done: int
    total: int
    tokens_per_s: float | None
    seconds_left: float | None
    note: str | None


class CollectDone(Reply):
    """The last event of a collection: the atlas it made, now open."""

    atlas: AtlasInfo
