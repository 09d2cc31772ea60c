"""The model under study: weights frozen, attention ours, tokenizer as it came."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import BadModel, BadText, EmptyPrompt, NoSpace, NotFinite, PromptTooLong, UsageError
from ..settings import DEFAULT_MODEL, MAX_PROMPT_CHARS
from . import attention
from .anatomy import Anatomy, anatomy_of
from .families import family_of
from .progress import Progress
from .reference import opened, reference_of
from .store import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SPLIT = "split"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class SubjectModel:
    """A loaded causal LM. `lock` is held for one pass at a time: hooks are set on shared modules."""

    name: str
    path: Path
    family: str
    hf: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    load_s: float
    lock: Lock

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process as its place, and is opened there."""
        return opened, (reference_of(self),)

    @property
    def device(self) -> torch.device:
        return self.hf.device

    @property
    def max_length(self) -> int:
        """The longest prompt, in tokens, that the model's positions allow."""
        return int(self.hf.config.max_position_embeddings)

    @property
    def bos_id(self) -> int | None:
        """The start token `bos=True` puts first; None for models without one."""
        bos = self.tokenizer.bos_token_id
        return bos if isinstance(bos, int) else None

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Token ids of a text as the tokenizer gives them by default; [] for "". Raises BadText.

        `special=False` leaves out the start and end tokens that some tokenizers add.
        """
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise BadText(
                "The text holds a lone surrogate, half of a character, which no tokenizer can take.",
                "It usually comes from a cut-off copy and paste: type that character again.",
            )
        return list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def encode_prompt(self, text: str, bos: bool = False) -> Int[Tensor, " t"]:
        """A prompt's token ids on the model's device.

        Raises EmptyPrompt, PromptTooLong or BadText; UsageError when `bos` is asked of a model without a start token.
        """
        if len(text) > MAX_PROMPT_CHARS:
            raise PromptTooLong(
                f"The prompt has {len(text):,} characters; the limit is {MAX_PROMPT_CHARS:,}.", "Shorten it."
            )
        ids = self.encode(text)
        lost = _lost(text, self.decode(ids))
        if lost:
            raise BadText(
                f"{self.name}'s vocabulary cannot spell {lost!r} in the prompt and would drop it without a word.",
                "Leave that character out.",
            )
        if bos:
            if self.bos_id is None:
                raise UsageError(f"{self.name} has no start token.", "Ask without it.")
            if ids[:1] != [self.bos_id]:
                ids = [self.bos_id, *ids]
        if not ids:
            raise EmptyPrompt("The prompt is empty.", "Type at least one token.")
        if len(ids) > self.max_length:
            raise PromptTooLong(
                f"The prompt is {len(ids):,} tokens long; {self.name} reads at most {self.max_length:,}.",
                "Shorten it.",
            )
        return torch.tensor(ids, device=self.device)

    def text(self, token_id: int) -> str:
        """The text of one token, its leading space kept; bytes that are not a whole character show as U+FFFD."""
        text = self.decode([token_id])
        piece = self.tokenizer.convert_ids_to_tokens(token_id)
        # SentencePiece decoders drop a leading space at the start of a text: a token alone always is one.
        if isinstance(piece, str) and piece.startswith("\u2581") and not text.startswith(" "):
            text = " " * (len(piece) - len(piece.lstrip("\u2581"))) + text.lstrip(" ")
        return text

    def finite(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Numbers that the model gave on a prompt. Raises NotFinite when any is NaN or infinite."""
        if not torch.isfinite(values).all():
            raise NotFinite(
                f"{self.name} gives NaN or infinite numbers on this prompt, so nothing it says can be explained.",
                "Its weights may be damaged, its dtype too narrow or an edit too strong: try --dtype float32.",
            )
        return values

    def decode(self, ids: list[int]) -> str:
        """The text that tokens spell together."""
        text = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


class HasSubject(Protocol):
    """A loaded model, such as `clew.load` gives."""

    @property
    def subject(self) -> SubjectModel: ...


def load_subject(
    name: str = DEFAULT_MODEL,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> SubjectModel:
    """Load a model by name, hub id, folder or .gguf file, pulling it first if need be.

    `device` is cpu, cuda, cuda:N or mps (default: cpu); `dtype` float32 (default), bfloat16 or float16. With the device
    SPLIT the layers are dealt to all GPUs that this process has: what is read layer by layer (collecting, training,
    reading texts) works with that, and nothing else.
    Raises UnknownFamily, BadModel, UsageError and what `store.resolve` raises.
    """
    start = time.perf_counter()
    is_split = device == SPLIT
    torch_device, torch_dtype = _device("cuda" if is_split else device), _dtype(dtype)
    path = resolve(name, revision, progress)
    if progress is not None:
        progress("load", 0, 1)

    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        config: Any = AutoConfig.from_pretrained(path, local_files_only=True)
        family = family_of(config.model_type)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=torch_dtype,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation=attention.IMPLEMENTATION,
            device_map="balanced" if is_split else None,
        )
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except MemoryError as error:
        raise NoSpace(f"{name} does not fit in memory.", "Try --dtype bfloat16, or a smaller model.") from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadModel(f"{path} cannot be read as a model: {_first_line(error)}", "Pull it again.") from error
    if not is_split:
        model.to(device=torch_device)  # pyright: ignore[reportCallIssue]
    model.eval().requires_grad_(False)
    if progress is not None:
        progress("load", 1, 1)
    return SubjectModel(
        name=name,
        path=path,
        family=config.model_type,
        hf=model,
        tokenizer=tokenizer,
        anatomy=anatomy_of(model, family),
        load_s=time.perf_counter() - start,
        lock=Lock(),
    )


def _lost(text: str, decoded: str) -> str:
    """The first character of `text` that its tokens do not spell, or "".

    SmolLM2's byte-level vocabulary lacks 21 of the 256 bytes, some of them control characters, and its tokenizer drops
    them silently. Spaces are left out, as some tokenizers add or strip them; so is what NFC composes.
    """
    there = Counter(unicodedata.normalize("NFC", decoded))
    for char in unicodedata.normalize("NFC", text):
        if there[char] == 0 and char != " ":
            return char
        there[char] -= 1
    return ""


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or "cpu")
    except RuntimeError as error:
        raise UsageError(f"{name!r} is not a device.", "Use cpu, cuda, cuda:1 or mps.") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise UsageError(f"There is no {device.type} device on this machine.", "Use cpu.")
    return device


def _dtype(name: str | None) -> torch.dtype:
    if name is not None and name not in DTYPES:
        raise UsageError(f"{name!r} is not a dtype Clew loads weights in.", f"Use one of {', '.join(DTYPES)}.")
    return DTYPES[name or "float32"]


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
