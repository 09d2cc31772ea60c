"""The one place for defaults, environment variables and folders."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

DEFAULT_MODEL = "smollm2"

# The example every face of Clew opens with (field.md §4: indirect object identification).
EXAMPLE_PROMPT = "When Mary and John went to the store, John gave a drink to"
EXAMPLE_TARGET = " Mary"
EXAMPLE_DISTRACTOR = " John"

HOST = "127.0.0.1"
PORT = 7410

TOP = 30  # rows per end of each metric in a node table
VERIFIED = 100  # nodes verified unless told otherwise
GENERATED = 24  # tokens a continuation adds
CANDIDATES = 10  # next-token candidates shown besides targets and distractors
PUSHED = 10  # output or input tokens listed per node
RELATED = 10  # heads, and as many neurons, listed per relation
FOUND = 50  # components a page of a search lists

CONTEXT = 128  # tokens of a corpus read at once
SKIPPED = 1  # tokens at the start of each context that are read but not counted
WINDOW = 64  # of these shown per example of a neuron
COLLECTED = 50_000  # tokens a collection reads
TOP_EXAMPLES = 20  # kept per component
BOTTOM_EXAMPLES = 5  # of neurons that can be negative
BAND_EXAMPLES = 3  # of each band
RANDOM_EXAMPLES = 5
BANDS = 4  # octaves below the maximum that examples are drawn from
BATCH = 32  # contexts in one forward pass
SHARD_TOKENS = 32_768  # tokens between two savings
JOINED = 8  # savings at most before they are joined: the disk they take does not grow with the corpus

JUDGED = 50_000  # tokens an autoencoder is judged on
JUDGED_LOSSES = 16_384  # of these run through the whole model
SAMPLED = 20  # latents drawn for a person to look at

TRAINED = 1_000_000  # tokens a training of autoencoders reads
LATENTS = 4096  # of an autoencoder

LLM = "lookup"  # explains without any language model
LLM_URL = "https://api.openai.com/v1"  # of a model named without an address, unless OPENAI_BASE_URL says another
CONCURRENCY = 16  # requests to a language model at once
LLM_TIMEOUT = 120.0  # seconds for one answer
LLM_RETRIES = 5  # of what may pass
SPLIT_TOP = 5  # strongest examples in each of explain, calibrate, validate and test
SPLIT_RANDOM = 5  # random ones in each of calibrate, validate and test
SPLIT_NEAR = 5  # near misses in each of explain, validate and test
POOL = 96  # contexts that random examples and near misses are taken from
SCALE = 10  # activations are told as whole numbers from 0 to this
BOOTSTRAPS = 1000  # samples of a confidence interval

MAX_NODES = 20_000  # rows a threshold may let through
MAX_EDITS = 256  # in one stack
MAX_STEPS = 32  # of one trace
MAX_GENERATED = 512
MAX_PROMPT_CHARS = 200_000
MAX_TOKEN_CHARS = 200  # one target or distractor field
MAX_TOKENS_PER_SIDE = 64  # targets, or distractors
MAX_BODY_BYTES = 1_000_000
MAX_FOUND = 1000
MAX_COLLECTED = 10_000_000  # tokens, from the page
MAX_TRAINED = 1_000_000_000  # likewise
MAX_LATENTS = 262_144  # of one autoencoder, from the page
MAX_RECIPES = 16  # autoencoders of one training, from the page
MAX_JUDGED = 10_000_000  # tokens, from the page
MAX_CANDIDATES = 20  # explanations of each variant to choose from
MAX_REVISIONS = 10  # of one explanation
MAX_EXPLANATION_CHARS = 2000  # of words that a person writes
MAX_QUEUE = 8  # model jobs waiting; the next one is refused


# What a person may name a folder under $CLEW_HOME: no separators, nothing hidden.
FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def home() -> Path:
    """The folder for models and databases: $CLEW_HOME, or the platform's user data folder."""
    given = os.environ.get("CLEW_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("clew", appauthor=False))


def database() -> str:
    """The database of explanations and scores: $CLEW_DATABASE, or SQLite in $CLEW_HOME."""
    return os.environ.get("CLEW_DATABASE") or f"sqlite:///{home() / 'clew.db'}"


def models_folder() -> Path:
    """Where pulled models live, one folder each."""
    return home() / "models"


def saes_folder() -> Path:
    """Where autoencoders are trained to and added to, one folder each."""
    return home() / "saes"


def atlases_folder() -> Path:
    """Where atlases are collected to, one folder each."""
    return home() / "atlases"


def atlas_of(model: str) -> Path:
    """Where the atlas of a model lies unless it is put elsewhere."""
    return atlases_folder() / folder_name(model)


def folder_name(model: str) -> str:
    """The name that a model's folders have: its own, with what separates folders replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "--", model).strip("-.")
