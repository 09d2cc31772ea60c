"""What is kept and told of explanations: words, what they scored, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..records import Record

Split = Literal["explain", "calibrate", "validate", "test"]
"""What a sample is for: shown to the explainer, to fit a calibration, to choose among candidates, or to score by. No
text is in two of them."""

SampleKind = Literal["top", "band", "random", "near_miss"]

Variant = Literal["examples", "tokens", "contrast", "node", "written", "imported"]
"""How an explanation came about: from examples, from a list of tokens, against near misses; `node` is of one node in
one prompt, `written` by a person, `imported` from published data."""

Method = Literal["all_at_once", "token_by_token", "json", "lookup"]
"""How activations are simulated from words; `lookup` reads quoted tokens and needs no language model."""

ScorerName = Literal["simulation", "detection", "fuzzing", "pairs", "ablation", "intervention"]

Stage = Literal["read", "explain"]


@dataclass(frozen=True)
class Subject(Record):
    """Whose components are spoken of: a model by name and weights, and for latents the autoencoder's digest.

    `fingerprint` is None for what was imported of a model that was not at hand.
    """

    model: str
    fingerprint: str | None
    autoencoder: str | None = None


@dataclass(frozen=True)
class Cost(Record):
    """What language models were asked: requests that were sent, answers that were known already, and tokens sent for
    and received (nothing for known ones). `money` is None where no price is known."""

    requests: int = 0
    known: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float | None = None

    def __add__(self, other: Cost) -> Cost:
        money = None if self.money is None and other.money is None else (self.money or 0) + (other.money or 0)
        return Cost(
            self.requests + other.requests,
            self.known + other.known,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            money,
        )


@dataclass(frozen=True)
class Failure(Record):
    """What went wrong instead of an answer: `kind` is error, timeout, refused, malformed, truncated, or unsupported."""

    kind: str
    message: str


@dataclass(frozen=True)
class Strip(Record):
    """One text of a scoring: real activations, and simulated ones in the same units, None where that failed.

    `context` and `start` say where in the atlas's text it was cut out. `real` and `simulated` are on the scale 0 to 10
    (settings.SCALE) of the component's maximum over the examples that the explainer saw, not rounded.
    """

    kind: SampleKind
    context: int
    start: int
    tokens: Sequence[str]
    real: Sequence[float]
    simulated: Sequence[float] | None
    failure: Failure | None


@dataclass(frozen=True)
class Baseline(Record):
    """What a score would be without the words: `table` looks tokens up in the examples that the explainer saw, `mean`
    says the same everywhere, `shuffled` gives each text the answer to another. None: not defined there."""

    name: Literal["table", "mean", "shuffled"]
    value: float | None


@dataclass(frozen=True)
class Score(Record):
    """How far words can be trusted, by one scorer.

    `value` is the headline, None when it is not defined (every answer failed, or nothing varies): simulation:
    correlation over all tokens; detection and fuzzing: balanced accuracy; pairs: ROC-AUC; ablation: 1 − JSD(simulated)
    / JSD(mean); intervention: the share of right choices. `low` and `high` bound it with 95 % (bootstrap over texts).
    `texts` are those that were answered, by kind; `failures` those that were not, and are in none of the numbers.
    `measures` has the others by name (r_squared, absolute_deviation, correlation_calibrated, top, random, near_miss,
    auc, …). `llm` and `method` say who simulated or judged; `prompt` is the version of its prompt.
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
    texts: Mapping[str, int]
    failures: Sequence[Failure]
    measures: Mapping[str, float | None]
    baselines: Sequence[Baseline]
    cost: Cost
    seed: int
    strips: Sequence[Strip] = ()
    id: int | None = None
    created: str | None = None


@dataclass(frozen=True)
class Explanation(Record):
    """Words for a component, with all that they scored; `scores` come without strips.

    `llm` wrote it (lookup, a reference, or a person's name), with `prompt` the version of the prompt. `parent` is the
    explanation that it revises. `node` and `question` are of an explanation of one node in one prompt. `cited`: the
    rows that it cites. `chosen`: the best of its candidates by validation, or the only one. `atlas` is where the
    examples came from. `validation` is what the choice was made by, `density` the share of the corpus's tokens that
    the component fires on.
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
    validation: float | None = None
    parent: int | None = None
    node: str | None = None
    question: str | None = None
    cited: Sequence[str] = ()
    scores: Sequence[Score] = ()
    density: float | None = None
    id: int | None = None
    created: str | None = None


@dataclass(frozen=True)
class Problem(Record):
    """Why a component has no explanation, or an explanation no score: kept beside them, and counted."""

    component: str
    stage: str
    failure: Failure


@dataclass(frozen=True)
class ExplainPlan(Record):
    """What explaining would take, before anything is asked. `done` components are explained already with these
    settings; `requests` and tokens are what the others need at most, answers that are known already not counted.
    `workers` is how many would do the work."""

    components: int
    done: int
    llm: str
    simulator: str
    scorers: Sequence[str]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    money: float | None
    budget: int | None
    workers: int


@dataclass(frozen=True)
class ExplainProgress(Record):
    """How far explaining is: `done` and `failed` of `total` components; `latest` is the one that ended last, `note` a
    sentence on what happened to a worker. The last progress has `finished`."""

    stage: Stage
    done: int
    failed: int
    total: int
    spent: Cost
    seconds_left: float | None
    latest: Explanation | None = None
    problem: Problem | None = None
    note: str | None = None
    finished: bool = False


@dataclass(frozen=True)
class Group(Record):
    """Scores of one kind of component, of one layer or of all (`layer` None): how many, their mean and standard
    deviation, and the mean of the token table's baseline."""

    kind: str
    layer: int | None
    n: int
    mean: float
    deviation: float
    table: float | None


@dataclass(frozen=True)
class Bin(Record):
    """How many components lie in [low, high) of a score or density, and the mean score of these; None when none do."""

    low: float
    high: float
    n: int
    mean: float | None


@dataclass(frozen=True)
class Source(Record):
    """Explanations of one model by one explainer that one scorer judged: what an overview can be of."""

    model: str
    llm: str
    variant: Variant
    scorer: ScorerName
    simulator: str
    components: int


@dataclass(frozen=True)
class Overview(Record):
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
    kinds: Sequence[Group]
    layers: Sequence[Group]
    distribution: Sequence[Bin]
    density: Sequence[Bin]
    best: Sequence[Explanation]
    worst: Sequence[Explanation]
