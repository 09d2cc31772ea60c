"""Every error a user can meet, one tree.

Each error says in one sentence what happened and, in `hint`, what to do about it. `code` is stable and
names the page under docs/errors.md; `status` is the HTTP status the server answers with and `exit_code`
what the command line returns (2 wrong usage, 1 failed). Nothing else may reach a user as an exception.
"""

from __future__ import annotations

from typing import ClassVar


class ClewError(Exception):
    """Something went wrong that the user can understand and act on."""

    code: ClassVar[str] = "failed"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(ClewError):
    """The question cannot be asked as it stands."""

    code = "bad_request"
    status = 422
    exit_code = 2


class BadText(UsageError):
    """A text holds characters that no tokenizer can take, such as a lone surrogate."""

    code = "bad_text"


class EmptyPrompt(UsageError):
    code = "empty_prompt"


class PromptTooLong(UsageError):
    code = "prompt_too_long"


class NotOneToken(UsageError):
    """A target or distractor is several tokens, or none, to this model."""

    code = "not_one_token"


class BadDirection(UsageError):
    """Targets and distractors leave nothing to explain."""

    code = "bad_direction"


class PositionOutOfRange(UsageError):
    code = "position_out_of_range"


class BadNode(UsageError):
    """A node id that does not parse, or that this model or prompt does not have."""

    code = "bad_node"


class BadSite(UsageError):
    """A site that does not parse, or that this model does not have."""

    code = "bad_site"


class BadEdit(UsageError):
    """An edit that does not parse, or that cannot be made in this model or on this prompt."""

    code = "bad_edit"


class TooManyNodes(UsageError):
    """A threshold that lets more nodes through than a table can show."""

    code = "too_many_nodes"


class UnknownModel(UsageError):
    code = "unknown_model"
    status = 404


class UnknownFamily(UsageError):
    """An architecture whose anatomy nobody has written down yet."""

    code = "unknown_family"


class BadCorpus(UsageError):
    """Text that is there but cannot be read: damaged, not text, or without the column that was named."""

    code = "bad_corpus"


class BadRecord(UsageError):
    """A published record of a component that is damaged, or does not say what its schema says."""

    code = "bad_record"


class UnknownCorpus(UsageError):
    """No file, folder or dataset has this name."""

    code = "unknown_corpus"
    status = 404


class CorpusTooShort(UsageError):
    """A corpus that does not fill a single context."""

    code = "corpus_too_short"


class AtlasExists(UsageError):
    """The folder that an atlas is to be collected into holds another one, or other things."""

    code = "atlas_exists"
    status = 409


class UnfinishedAtlas(UsageError):
    """A collection was interrupted, and is asked to go on with other settings."""

    code = "unfinished_atlas"
    status = 409


class NoAtlas(UsageError):
    """There is no atlas where one is needed."""

    code = "no_atlas"
    status = 404


class WrongAtlas(UsageError):
    """An atlas of another model, or written by a version of Clew whose atlases this one does not read."""

    code = "wrong_atlas"
    status = 409


class BadAtlas(ClewError):
    """A file of an atlas that is missing, cut short or changed."""

    code = "bad_atlas"


class UnknownAutoencoder(UsageError):
    """No file, folder, repository or stored autoencoder has this name."""

    code = "unknown_autoencoder"
    status = 404


class BadAutoencoder(UsageError):
    """An autoencoder that is there but cannot be read, or whose files contradict each other."""

    code = "bad_autoencoder"


class WrongAutoencoder(UsageError):
    """An autoencoder that was trained on another model or site, or whose width is not the site's."""

    code = "wrong_autoencoder"
    status = 409


class TrainingExists(UsageError):
    """The folder to train into holds another training, or other things."""

    code = "training_exists"
    status = 409


class BadCheckpoint(ClewError):
    """A checkpoint that is missing, cut short or changed."""

    code = "bad_checkpoint"


class NothingToLearn(ClewError):
    """Activations that no autoencoder can be trained on: NaN, infinite, or all the same."""

    code = "nothing_to_learn"


class UnknownLLM(UsageError):
    """No language model can be reached by this name, or it refuses the key."""

    code = "unknown_llm"
    status = 404


class LLMFailed(ClewError):
    """A language model did not answer, or not in the form that was asked for; `kind` says which."""

    code = "llm_failed"
    status = 502

    def __init__(self, message: str, hint: str = "", kind: str = "error") -> None:
        super().__init__(message, hint)
        self.kind = kind


class BudgetSpent(ClewError):
    """The budget for language models is spent; what was done is kept."""

    code = "budget_spent"
    status = 402


class NothingToExplain(UsageError):
    """A component without examples: the atlas lacks it, or it never fires over the atlas's text."""

    code = "nothing_to_explain"


class UnknownExplanation(UsageError):
    """No explanation, score or simulation has this number."""

    code = "unknown_explanation"
    status = 404


class BadDatabase(ClewError):
    """The database of explanations that cannot be opened, read or written to."""

    code = "bad_database"


class BodyTooLarge(UsageError):
    code = "body_too_large"
    status = 413


class Forbidden(UsageError):
    """A Host, Origin or token that the server does not accept."""

    code = "forbidden"
    status = 403


class PortInUse(ClewError):
    code = "port_in_use"


class BadModel(ClewError):
    """A model folder or file that is there but cannot be read: truncated, not a model, wrong checksum."""

    code = "bad_model"


class WrongModel(ClewError):
    """A machine of a cluster that has other weights under the same name."""

    code = "wrong_model"
    status = 409


class NoCluster(ClewError):
    """There is no cluster at this address, or it is gone."""

    code = "no_cluster"
    status = 503


class TooFewResources(UsageError):
    """A cluster that does not have what a worker is asked to have."""

    code = "too_few_resources"


class NotShared(ClewError):
    """A machine of a cluster does not see a folder that the work is in."""

    code = "not_shared"


class WorkersLost(ClewError):
    """Workers of a cluster were lost, too often to go on."""

    code = "workers_lost"
    status = 503


class NotFinite(ClewError):
    """The model's own numbers are NaN or infinite, so no answer would mean anything."""

    code = "not_finite"


class NoSpace(ClewError):
    code = "no_space"
    status = 507


class Offline(ClewError):
    """Something had to be downloaded and could not be."""

    code = "offline"
    status = 502


class Busy(ClewError):
    code = "busy"
    status = 503


class Cancelled(ClewError):
    """The one who asked went away, or pressed Ctrl-C."""

    code = "cancelled"
    status = 499
