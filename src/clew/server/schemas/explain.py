"""Explanations: the records of `clew.explain`, and what is asked of language models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ... import settings
from ...explain.records import Method, SampleKind, ScorerName, Split, Stage, Variant
from .atlas import Autoencoders
from .base import MAX_LISTED, Reply, Request
from .questions import NodeQuestion
from .sae import Reference, Seed

LLMReference = Annotated[
    Reference,
    Field(
        description="lookup (no language model), MODEL@URL, MODEL or local:MODEL (GET /api/llms); any but the listed "
        "ones only where the server answers to this machine alone."
    ),
]
MethodWanted = Annotated[
    Method | None, Field(description="How activations are simulated; null: the best that the simulator can.")
]
Budget = Annotated[
    int | None,
    Field(ge=1, le=2**53, description="Tokens after which language models are asked no more; null: no limit."),
]
ComponentId = Annotated[
    str, Field(max_length=100, description="A component id, such as neuron.5.200, attn.23.3 or latent.mlp_out.10.117.")
]
Words = Annotated[str, Field(min_length=1, max_length=settings.MAX_EXPLANATION_CHARS)]

ExportFormat = Literal["json", "openai", "neuronpedia"]

# Requests


class ExplainRequest(Request):
    """Which components to find words for, and how."""

    components: list[Annotated[str, Field(max_length=100)]] = Field(
        min_length=1,
        max_length=MAX_LISTED,
        description="Ids and patterns, such as neuron.5.200, neuron.5.0-199, neuron.5.* or latent.mlp_out.10.",
    )
    llm: LLMReference = settings.LLM
    simulator: LLMReference | None = Field(default=None, description="What simulates and judges; null: what explains.")
    method: MethodWanted = None
    variants: list[Literal["examples", "tokens", "contrast"]] = Field(default=["examples"], min_length=1, max_length=3)
    candidates: int = Field(
        default=1,
        ge=1,
        le=settings.MAX_CANDIDATES,
        description="Explanations of each variant; the one with the best score on validation is chosen.",
    )
    revisions: int = Field(
        default=0, ge=0, le=settings.MAX_REVISIONS, description="Times that the chosen one is tested and revised."
    )
    scorers: list[ScorerName] = Field(default=["simulation"], min_length=1, max_length=6)
    budget: Budget = None
    seed: Seed = 0
    redo: bool = Field(default=False, description="Explain also what is explained already in this way.")
    autoencoders: Autoencoders = None


class ScoreRequest(Request):
    """Words to score for a component: `text`, which is kept as one more explanation, or those of a kept `explanation`.

    Exactly one of the two.
    """

    component: ComponentId
    text: Words | None = None
    explanation: int | None = Field(default=None, ge=1, le=2**53, description="Its number.")
    author: str | None = Field(
        default=None, min_length=1, max_length=100, description="Who wrote the text; null: nobody is named."
    )
    parent: int | None = Field(
        default=None, ge=1, le=2**53, description="The number of the explanation that the text was made from."
    )
    simulator: LLMReference = settings.LLM
    method: MethodWanted = None
    scorers: list[ScorerName] = Field(default=["simulation"], min_length=1, max_length=6)
    budget: Budget = None
    seed: Seed = 0
    autoencoders: Autoencoders = None


class BestRequest(Request):
    """Components to tell the best explanation of; ids of what has none, such as embeddings, are passed over."""

    components: list[Annotated[str, Field(max_length=100)]] = Field(max_length=settings.MAX_FOUND)
    autoencoders: Autoencoders = None


class NodeExplainRequest(NodeQuestion):
    """A question, one node of its answer, and the language model to put it in words."""

    llm: LLMReference
    budget: Budget = None
    seed: Seed = 0


# Replies


class Subject(Reply):
    """Whose components are spoken of: a model by name and weights, and for latents the autoencoder's digest."""

    model: str
    fingerprint: str | None
    autoencoder: str | None


class Cost(Reply):
    """What language models were asked: requests that were sent, answers that were known already, and tokens sent for
    and received (nothing for known ones). `money` is null where no price is known."""

    requests: int
    known: int
    prompt_tokens: int
    completion_tokens: int
    money: float | None


class Failure(Reply):
    """What went wrong instead of an answer: `kind` is error, timeout, refused, malformed, truncated, or unsupported."""

    kind: str
    message: str


class Strip(Reply):
    """One text of a scoring: real activations, and simulated ones in the same units, null where that failed.

    Both are on the scale 0 to 10 of the component's maximum over the examples that the explainer saw. `context` and
    `start` say where in the atlas's text it was cut out.
    """

    kind: SampleKind
    context: int
    start: int
    tokens: list[str]
    real: list[float]
    simulated: list[float] | None
    failure: Failure | None


class Baseline(Reply):
    """What a score would be without the words: `table` looks tokens up in the examples that the explainer saw, `mean`
    says the same everywhere, `shuffled` gives each text the answer to another. Null: not defined there."""

    name: Literal["table", "mean", "shuffled"]
    value: float | None


class Score(Reply):
    """How far words can be trusted, by one scorer.

    `value` is the headline, null when it is not defined (every answer failed, or nothing varies): simulation:
    correlation over all tokens; detection and fuzzing: balanced accuracy; pairs: ROC-AUC; ablation: 1 − JSD(simulated)
    / JSD(mean); intervention: the share of right choices. `low` and `high` bound it with 95 %. `texts` are those that
    were answered, by kind; `failures` those that were not, and are in none of the numbers. `measures` has the others by
    name. `strips` come with GET /api/scores/{id}/strips and at the end of a scoring, and are empty elsewhere.
    """

    scorer: ScorerName
    split: Split
    llm: str
    method: Method | None
    prompt: str
    value: float | None
    low: float | None
    high: float | None
    tokens: int
    texts: dict[str, int]
    failures: list[Failure]
    measures: dict[str, float | None]
    baselines: list[Baseline]
    cost: Cost
    seed: int
    strips: list[Strip]
    id: int | None
    created: str | None


class Explanation(Reply):
    """Words for a component, with all that they scored.

    `llm` wrote it (lookup, a reference, or a person's name), with `prompt` the version of the prompt. `parent` is the
    explanation that it revises. `node` and `question` are of an explanation of one node in one prompt. `cited`: the
    rows that it cites. `chosen`: the best of its candidates by `validation`, or the only one. `density` is the share of
    the corpus's tokens that the component fires on.
    """

    subject: Subject
    component: str
    text: str
    llm: str
    variant: Variant
    prompt: str
    atlas: str | None
    seed: int
    chosen: bool
    cost: Cost
    validation: float | None
    parent: int | None
    node: str | None
    question: str | None
    cited: list[str]
    scores: list[Score]
    density: float | None
    id: int | None
    created: str | None


class Problem(Reply):
    """Why a component has no explanation, or an explanation no score."""

    component: str
    stage: str
    failure: Failure


class ExplainPlan(Reply):
    """What explaining would take, before anything is asked. `done` components are explained already with these
    settings; `requests` and tokens are what the others need at most, answers that are known already not counted.
    `workers` is how many would do the work."""

    components: int
    done: int
    llm: str
    simulator: str
    scorers: list[str]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    money: float | None
    budget: int | None
    workers: int


class ExplainProgress(Reply):
    """How far explaining is: `done` and `failed` of `total` components, or scoring: of `total` scorers; `latest` is the
    explanation that ended last, `note` a sentence on what happened to a worker of a cluster. The last progress has
    `finished`, and comes as the event `done`: of a scoring it has the explanation with its new scores and their strips.
    """

    stage: Stage
    done: int
    failed: int
    total: int
    spent: Cost
    seconds_left: float | None
    latest: Explanation | None
    problem: Problem | None
    note: str | None
    finished: bool


class Group(Reply):
    """Scores of one kind of component, of one layer or of all (`layer` null): how many, their mean and standard
    deviation, and the mean of the token table's baseline."""

    kind: str
    layer: int | None
    n: int
    mean: float
    deviation: float
    table: float | None


class Bin(Reply):
    """How many components lie in [low, high) of a score or density, and the mean score of these; null when none do."""

    low: float
    high: float
    n: int
    mean: float | None


class Source(Reply):
    """Explanations of one model by one explainer that one scorer judged: what an overview can be of."""

    model: str
    llm: str
    variant: Variant
    scorer: ScorerName
    simulator: str
    components: int


class Sources(Reply):
    """All that there is to see an overview of, of every model."""

    rows: list[Source]


class Overview(Reply):
    """All chosen explanations of a model by one explainer, by one scorer (the last score of each counts).

    `explained` components have words, `scored` of these a score that is defined, `failed` were tried in vain or scored
    nothing but failures. `density` bins are by log10 of the share of tokens. `best` and `worst` come with this score
    alone.
    """

    source: Source
    explained: int
    scored: int
    failed: int
    mean: float | None
    table: float | None
    kinds: list[Group]
    layers: list[Group]
    distribution: list[Bin]
    density: list[Bin]
    best: list[Explanation]
    worst: list[Explanation]


class ListedLLM(Reply):
    """A language model that can be asked: `lookup`, which is none, the loaded model, and those given with --llm.

    `key`: whether one is set for it, null where it needs none; the key itself is told to nobody. `methods` are those it
    can simulate by, best first, null where it was not asked yet what it has.
    """

    reference: str
    kind: Literal["lookup", "local", "endpoint"]
    key: bool | None
    methods: list[Method] | None


class LLMs(Reply):
    """What can be asked for words. With `others`, a request may name any other too."""

    rows: list[ListedLLM]
    others: bool


class ComponentExplanations(Reply):
    """All explanations of a component, newest first, and what was tried in vain."""

    component: str
    rows: list[Explanation]
    problems: list[Problem]


class BestExplanations(Reply):
    """The best explanation of each component that has one, in the order they were asked for."""

    rows: list[Explanation]


class FoundExplanations(Reply):
    """One page of the explanations that were found; `total` are there."""

    total: int
    rows: list[Explanation]


class Strips(Reply):
    """The texts of a scoring."""

    rows: list[Strip]


class NodePlan(Reply):
    """What explaining a node in its prompt would take at most, before anything is asked. `money` is null: no price is
    known."""

    llm: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    money: float | None
