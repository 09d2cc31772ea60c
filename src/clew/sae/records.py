"""What training, judging and listing autoencoders give. Schemas of the HTTP API mirror these field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..records import Record

Architecture = Literal["relu", "topk", "batchtopk", "jumprelu", "matryoshka"]
Loss = Literal["2023", "2024"]
Stage = Literal["running", "stopped", "done", "failed"]
Rating = Literal["readable", "unclear", "dead"]
EvaluationStage = Literal["read", "activations", "losses", "probes"]


@dataclass(frozen=True)
class AutoencoderInfo(Record):
    """An autoencoder on the shelf or attached. `reads` and `writes` are sites; they differ for transcoders.

    `reference` is what opens it again: its name on the shelf, a folder, or a repository.
    """

    name: str
    reference: str
    model: str | None
    reads: str
    writes: str
    architecture: str
    activation: str
    latents: int
    k: int | None
    format: str
    tokens: int | None
    dtype: str
    judged: bool


@dataclass(frozen=True)
class Histogram(Record):
    """Counts between edges; there is one edge more than counts. `below` counts what has no logarithm: zeros."""

    edges: Sequence[float]
    counts: Sequence[int]
    below: int


@dataclass(frozen=True)
class TrainPoint(Record):
    """One row of a training's log: what one autoencoder did since the row before.

    `loss` is the whole loss; `reconstruction`, `sparsity` and `auxiliary` its weighted parts. `fvu` and `l0` are means
    over the tokens since the last row. `dead` latents fired on none of the last `dead_tokens` tokens (settings), and
    `nearly_dead` on fewer than one in a million (or one of what was seen, when less was). `ce_recovered` is there where
    it was measured.
    """

    run: str
    step: int
    tokens: int
    loss: float
    reconstruction: float
    sparsity: float
    auxiliary: float
    l0: float
    fvu: float
    ce_recovered: float | None
    dead: int
    nearly_dead: int
    resampled: int
    learning_rate: float
    tokens_per_s: float
    seconds_left: float
    density: Histogram


@dataclass(frozen=True)
class Resampled(Record):
    """After `step` steps of a training `count` dead latents of one autoencoder were given new rows."""

    run: str
    step: int
    tokens: int
    count: int


@dataclass(frozen=True)
class TrainingState(Record):
    """A training: one pass over a corpus in which one or several autoencoders learn.

    `name` is its folder's; `runs` are the autoencoders in it, by name. `message` says why it stopped or failed.
    `tokens` of `total` were trained on; `saved` of them are in the last checkpoint.
    """

    name: str
    folder: str
    stage: Stage
    model: str
    corpus: str
    runs: Sequence[str]
    tokens: int
    total: int
    saved: int
    message: str


@dataclass(frozen=True)
class TrainEstimate(Record):
    """What a training would take: `steps` of all `workers`, and `passes` of the model that they run in turns, with
    at most `resampling_passes` more.

    `memory` is what a worker holds in bytes, as computed: the model, the weights of the autoencoders, what Adam keeps
    of them, gradients, activations of a batch, and the buffer. `peak` is the most that a worker held while it was
    measured, with the whole buffer in place of a small one: forward passes, libraries and all. `checkpoint` bytes are
    saved at a time; for a moment the one before is there too, and with the text and the autoencoders that is `disk`.
    `pass_s` and `step_s` are seconds that a worker was measured to take; `read_s` and `train_s` what the text and the
    rest would take by that, without savings and what workers send each other. `notes` are sentences on what happened.
    """

    tokens: int
    steps: int
    contexts: int
    passes: int
    resampling_passes: int
    workers: int
    shard_latents: bool
    model: int
    weights: int
    moments: int
    gradients: int
    activations: int
    buffer: int
    memory: int
    peak: int
    checkpoint: int
    disk: int
    pass_s: float
    step_s: float
    tokens_per_s: float
    read_s: float
    train_s: float
    notes: Sequence[str]


@dataclass(frozen=True)
class Probe(Record):
    """How well the best `k` latents together tell a label: accuracy on texts not trained on, in balanced classes.

    `ceiling` is that of a probe on the site's whole value, `chance` that of the larger class.
    """

    label: str
    positives: int
    k: int
    accuracy: float
    ceiling: float
    chance: float


@dataclass(frozen=True)
class Excerpt(Record):
    """A piece of text around where a latent fired: its tokens with the latent's activations; `at` is the strongest."""

    texts: Sequence[str]
    activations: Sequence[float]
    at: int


@dataclass(frozen=True)
class LatentSample(Record):
    """A latent drawn at random, for a person to look at. `density` is the share of tokens it fired on."""

    index: int
    density: float
    maximum: float
    mean_active: float
    max_cosine: float
    excerpts: Sequence[Excerpt]
    rating: Rating | None


@dataclass(frozen=True)
class Report(Record):
    """What an autoencoder is worth, by several measures (docs/arithmetic.md defines each; field.md §5).

    `held_out` says whether none of the text was trained on; None where nobody knows: it was trained elsewhere.

    `ce` are the model's mean next-token losses in nats over `ce_tokens` of the tokens: as is, with the site replaced by
    the reconstruction, by the mean, and by zero; `ce_recovered` is None when zero does no harm. `shrinkage` is
    Σ‖x̂‖²/Σ⟨x̂, x⟩, the relative reconstruction bias of Rajamanoharan et al. 2024 (Gated SAEs, eq. 10): 1 when
    reconstructions have the right size, less when they are too small.
    `dead` latents fired on none of the tokens read, `dense` ones on more than one in ten. `description_length` is in
    bits a token.
    """

    autoencoder: AutoencoderInfo
    corpus: str
    held_out: bool | None
    tokens: int
    l0: float
    fvu: float
    explained_variance: float
    mse: float
    cosine: float
    shrinkage: float
    ce_clean: float
    ce_spliced: float
    ce_mean: float
    ce_zero: float
    ce_recovered: float | None
    ce_tokens: int
    kl: float
    dead: int
    dense: int
    density: Histogram
    decoder_cosine: Histogram
    decoder_cosine_mean: float
    description_length: float
    probes: Sequence[Probe]
    samples: Sequence[LatentSample]
    seconds: float


@dataclass(frozen=True)
class EvaluationProgress(Record):
    """How far judging is: `done` of `total` tokens (or probes) of a stage. The last one carries the report."""

    stage: EvaluationStage
    done: int
    total: int
    seconds_left: float | None
    report: Report | None


@dataclass(frozen=True)
class ToyRun(Record):
    """One architecture on data whose features are known.

    `mcc` is the mean cosine of features with latents matched one to one (Hungarian), over features; `mmcs` the mean of
    each feature's largest cosine with any latent; `true_l0` how many features a sample has and `l0` how many latents
    fire.
    """

    architecture: str
    source: str
    mcc: float
    mmcs: float
    true_l0: float
    l0: float
    fvu: float
    dead: int
    latents: int
    features: int
    samples: int
    seconds: float


@dataclass(frozen=True)
class ToyReport(Record):
    """Toy models judged; `picture` is the path of an SVG file, or None."""

    runs: Sequence[ToyRun]
    picture: str | None
