"""A loaded model that questions can be asked of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PositionOutOfRange
from ..models.progress import Progress
from ..models.subject import SubjectModel, load_subject
from ..models.tape import Stop
from ..models.vocabulary import check_token
from ..records import Records, Token, TokenCheck
from ..sae.autoencoder import Autoencoder
from ..sae.formats.loading import Given, opened
from ..settings import DEFAULT_MODEL, TOP
from .align import Alignment, align
from .answer import predict
from .case import Case
from .dictionary import dictionaries
from .direction import reading, token_ids
from .ranking import Selection
from .records import ModelInfo
from .run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Model:
    """The subject model behind Clew's Python API; `load` makes one.

    `autoencoders` are those attached: their latents stand in place of heads, neurons or the stream in every answer.
    """

    def __init__(self, subject: SubjectModel, autoencoders: Sequence[Autoencoder] = ()) -> None:
        self.subject = subject
        self._dictionaries = dictionaries(subject.anatomy, subject.name, autoencoders)

    def __repr__(self) -> str:
        info = self.info()
        size = f"{info.n_layers} layers × {info.n_heads} heads, {info.n_neurons} neurons"
        size += "".join(f", {one.name} ({one.n_latents:,} latents at {one.writes})" for one in self.autoencoders)
        return f"Model({info.name}: {info.family}, {size})"

    @property
    def autoencoders(self) -> list[Autoencoder]:
        """Those attached."""
        return [made.autoencoder for made in self._dictionaries.values()]

    def attach(self, *autoencoders: Given) -> Model:
        """This model with these autoencoders and no others, each given as it is or by what opens it.

        The weights are shared: it costs nothing. Without any, the model as it is. Raises UsageError, WrongAutoencoder,
        BadSite and what clew.sae.load raises.
        """
        return Model(self.subject, opened(autoencoders))

    @property
    def name(self) -> str:
        return self.subject.name

    @property
    def path(self) -> Path:
        """The folder the weights were read from."""
        return self.subject.path

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The Hugging Face tokenizer."""
        return self.subject.tokenizer

    def info(self) -> ModelInfo:
        """The model in numbers."""
        subject, anatomy = self.subject, self.subject.anatomy
        return ModelInfo(
            name=subject.name,
            family=subject.family,
            n_layers=len(anatomy.layers),
            n_heads=anatomy.n_heads,
            n_neurons=anatomy.n_neurons,
            d_model=anatomy.d_model,
            vocab_size=anatomy.unembed.out_features,
            max_length=subject.max_length,
            device=str(subject.device),
            dtype=str(subject.hf.dtype).removeprefix("torch."),
            bos=None if subject.bos_id is None else subject.text(subject.bos_id),
            softcap=anatomy.softcap,
            gated=anatomy.layers[0].gate is not None,
        )

    def tokens(self, text: str, bos: bool = False) -> Records[Token]:
        """The tokens of a text as the model's tokenizer gives them; `bos` puts its start token first.

        Raises EmptyPrompt, PromptTooLong or BadText.
        """
        ids = self.subject.encode_prompt(text, bos).tolist()
        return Records(Token(position, i, self.subject.text(i)) for position, i in enumerate(ids))

    def align(self, first: str, second: str, bos: bool = False) -> tuple[Records[Token], Records[Token], Alignment]:
        """The tokens of two prompts, and for each of the first its counterpart in the second, or None.

        Raises EmptyPrompt, PromptTooLong or BadText.
        """
        left, right = self.tokens(first, bos), self.tokens(second, bos)
        return left, right, align([token.id for token in left], [token.id for token in right])

    def check_token(self, text: str) -> TokenCheck:
        """Whether a text is one token to this model, and what was probably meant if not."""
        return check_token(self.subject, text)

    def debug(
        self,
        prompt: str,
        target: str | int | Sequence[str | int] | None = None,
        distractor: str | int | Sequence[str | int] | None = None,
        position: int | None = None,
        bos: bool = False,
        *,
        top: int = TOP,
        threshold: float | None = None,
        kinds: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        sources: Sequence[int] | None = None,
        stop: Stop | None = None,
    ) -> Run:
        """Explain the prediction after token `position` (default: the last).

        A token is named by its text or its id: part of a character has no text of its own.
        Without a target, the model's top prediction is explained; without a distractor, against the mean logit. The
        filters are those of `Run.nodes`, for its first table. `stop` is asked layer by layer whether to give up.
        Raises EmptyPrompt, PromptTooLong, BadText, NotOneToken, BadDirection, PositionOutOfRange, NotFinite, Cancelled.
        """
        subject = self.subject
        selection = Selection.of(top, threshold, kinds, layers, positions, sources)
        ids = subject.encode_prompt(prompt, bos)
        last = len(ids) - 1
        at = last if position is None else position
        if not 0 <= at <= last:
            raise PositionOutOfRange(
                f"Position {at} is not in this prompt of {len(ids)} tokens.", f"Positions run from 0 to {last}."
            )
        targets = token_ids(subject, _named(target), "target")
        distractors = token_ids(subject, _named(distractor), "distractor")
        case = Case(subject, ids, at, dictionaries=self._dictionaries)
        if not targets:
            logits = predict(case, stop)
            logits[distractors] = float("-inf")
            targets = [int(logits.argmax())]
        return Run(case, reading(subject.anatomy, targets, distractors), selection).ready(stop)


def load(
    name: str = DEFAULT_MODEL,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Model:
    """Load a model: `smollm2`, a hub name such as `gpt2` or `EleutherAI/pythia-70m`, a folder, or a .gguf file.

    It is pulled first if it is not here yet; `progress(stage, done, total)` is told how far that is.
    """
    return Model(load_subject(name, revision, device, dtype, progress))


def _named(given: str | int | Sequence[str | int] | None) -> list[str | int]:
    if given is None:
        return []
    return [given] if isinstance(given, str | int) else list(given)
