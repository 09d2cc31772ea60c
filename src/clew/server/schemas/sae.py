"""Autoencoders, trainings and reports: the records of `clew.sae`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ... import settings
from ...sae.recipe import Recipe, TrainingPlan
from ...sae.records import Architecture, EvaluationStage, Loss, Rating, Stage
from .base import Index, Reply, Request

MAX_REFERENCE_CHARS = 1000

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
SiteText = Annotated[str, Field(max_length=40, description="SITE.LAYER, such as mlp_out.10.")]


def _default(of: type, name: str) -> Any:
    """A field's default in the dataclass that it becomes: the page and Python start from the same numbers."""
    return getattr(of, name)


def _no_line_ends(text: str) -> str:
    if any(ord(char) < 32 for char in text):
        raise ValueError("should have no control characters")
    return text


Reference = Annotated[str, Field(min_length=1, max_length=MAX_REFERENCE_CHARS), AfterValidator(_no_line_ends)]
FolderName = Annotated[
    str,
    Field(
        pattern=settings.FOLDER_NAME,
        description="Letters, digits and any of . _ - after a first letter or digit; at most 100.",
    ),
]

# Requests


class AddRequest(Request):
    """An autoencoder to take onto the shelf."""

    reference: Reference = Field(
        description="A Hugging Face repository, OWNER/NAME or OWNER/NAME/FOLDER, or a folder or file on this machine; "
        "the latter only where the server answers to this machine alone."
    )
    name: FolderName | None = Field(default=None, description="Its name on the shelf; null: made of the reference.")
    site: SiteText | None = Field(default=None, description="The site it reads; null: what its files say.")
    writes: SiteText | None = Field(default=None, description="The site it writes, of a transcoder; null: likewise.")


class JudgeRequest(Request):
    """How to judge an autoencoder: on how many tokens of which text."""

    tokens: int = Field(default=settings.JUDGED, ge=1000, le=settings.MAX_JUDGED)
    corpus: Reference | None = Field(
        default=None,
        description="A dataset of the Hugging Face hub, or where the server answers to this machine alone a file or "
        "folder; null: the text that ships with Python.",
    )
    samples: int = Field(default=settings.SAMPLED, ge=0, le=200, description="Latents drawn to be looked at.")
    seed: Seed = Field(default=1, description="Of the order of the texts; not the one it was trained with.")


class RatingRequest(Request):
    """What a person thinks of a latent."""

    rating: Rating | None = Field(description="null takes an earlier rating back.")


class RecipeRequest(Request):
    """One autoencoder to train; docs/training.md says what each number does."""

    site: SiteText
    latents: int = Field(default=settings.LATENTS, ge=1, le=settings.MAX_LATENTS)
    architecture: Architecture = _default(Recipe, "architecture")
    k: int = Field(default=_default(Recipe, "k"), ge=1, le=settings.MAX_LATENTS)
    sparsity: Weight | None = Field(default=None, description="null: the architecture's own.")
    loss: Loss = Field(default=_default(Recipe, "loss"), description="Of relu.")
    learning_rate: Weight | None = Field(default=None, description="null: the architecture's own.")
    writes: SiteText | None = Field(default=None, description="The site to reconstruct: makes a transcoder.")
    skip: bool = Field(default=False, description="With a linear term past the latents; of a transcoder.")
    resample: bool = Field(default=True, description="Resample dead latents; of relu.")
    seed: Seed = 0


class TrainRequest(Request):
    """What to train into a folder of this name, in one pass over the text."""

    name: FolderName
    recipes: list[RecipeRequest] = Field(min_length=1, max_length=settings.MAX_RECIPES)
    tokens: int = Field(default=settings.TRAINED, ge=1, le=settings.MAX_TRAINED)
    corpus: Reference | None = Field(
        default=None,
        description="A dataset of the Hugging Face hub, or where the server answers to this machine alone a file or "
        "folder; null: the text that ships with Python.",
    )
    batch: int = Field(default=_default(TrainingPlan, "batch"), ge=1, le=65_536, description="Tokens in a step.")
    context: int = Field(default=_default(TrainingPlan, "context"), ge=2, le=32_767)
    bos: bool = Field(default=False, description="Put the model's start token first.")
    buffer: int = Field(
        default=_default(TrainingPlan, "buffer"), ge=1, le=4_194_304, description="Tokens held to draw from."
    )
    warmup: Share = _default(TrainingPlan, "warmup")
    decay: Share = _default(TrainingPlan, "decay")
    clip: float = Field(default=_default(TrainingPlan, "clip"), gt=0, le=1e6)
    save_every: int = Field(
        default=_default(TrainingPlan, "save_every"), ge=1, description="Tokens between two savings."
    )
    seed: Seed = Field(default=0, description="Of the order of the text.")
    replace: bool = Field(default=False, description="Throw away what was trained there with other settings.")


# Replies


class AutoencoderInfo(Reply):
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


class ListedAutoencoder(AutoencoderInfo):
    """An autoencoder that this server has: given with --sae (`attached`), or on the shelf.

    `problem` says why it does not fit the loaded model, null where `fits`. The measures are those of its report, null
    where there is none.
    """

    attached: bool
    fits: bool
    problem: str | None
    l0: float | None
    fvu: float | None
    ce_recovered: float | None


class Autoencoders(Reply):
    """What was given with --sae, then the shelf by name."""

    rows: list[ListedAutoencoder]


class LatentHistogram(Reply):
    """Counts between edges; there is one edge more than counts. `below` counts what has no logarithm: zeros."""

    edges: list[float]
    counts: list[int]
    below: int


class TrainPoint(Reply):
    """One row of a training's log: what one autoencoder did since the row before.

    `loss` is the whole loss; `reconstruction`, `sparsity` and `auxiliary` its weighted parts. `fvu` and `l0` are means
    over the tokens since the last row. `resampled` latents were given new weights since then. `seconds_left` is of the
    training when the row was written.
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
    density: LatentHistogram


class TrainPoints(Reply):
    """Rows of a training's log, by step; also the data of the event `points`."""

    rows: list[TrainPoint]


class TrainingState(Reply):
    """A training: one pass over a corpus in which several autoencoders can learn; also the data of the event `state`.

    `name` is its folder's; `runs` are the autoencoders in it, by name. `message` says why it stopped or failed.
    `tokens` of `total` were trained on; `saved` of them are in the last checkpoint.
    """

    name: str
    folder: str
    stage: Stage
    model: str
    corpus: str
    runs: list[str]
    tokens: int
    total: int
    saved: int
    message: str


class Trainings(Reply):
    """The trainings under $CLEW_HOME/saes, by name. `busy` names the one that this server runs, if any."""

    rows: list[TrainingState]
    busy: str | None


class Probe(Reply):
    """How well the best `k` latents together tell a label: accuracy on texts not trained on, in balanced classes."""

    label: str
    positives: int
    k: int
    accuracy: float
    ceiling: float
    chance: float


class Excerpt(Reply):
    """A piece of text around where a latent fired: its tokens with the latent's activations; `at` is the strongest."""

    texts: list[str]
    activations: list[float]
    at: int


class LatentSample(Reply):
    """A latent drawn at random, for a person to look at. `density` is the share of tokens it fired on."""

    index: int
    density: float
    maximum: float
    mean_active: float
    max_cosine: float
    excerpts: list[Excerpt]
    rating: Rating | None


class Report(Reply):
    """What an autoencoder is worth, by several measures (docs/arithmetic.md defines each); also the data of the event
    `done`."""

    autoencoder: AutoencoderInfo
    corpus: str
    held_out: bool | None = Field(description="Whether none of the text was trained on; null: nobody knows.")
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
    density: LatentHistogram
    decoder_cosine: LatentHistogram
    decoder_cosine_mean: float
    description_length: float
    probes: list[Probe]
    samples: list[LatentSample]
    seconds: float


class EvaluationProgress(Reply):
    """How far judging is: `done` of `total` tokens (or probes) of a stage. Over HTTP the report comes by itself, as the
    event `done`, and `report` is null."""

    stage: EvaluationStage
    done: int
    total: int
    seconds_left: float | None
    report: Report | None


class Rated(Reply):
    """A latent's rating as it is kept now."""

    index: Index
    rating: Rating | None
