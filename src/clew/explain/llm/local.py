"""A language model in this process: a Hugging Face causal LM, asked one thing at a time.

It may be the subject itself: passes go through the same modules, each under the subject's lock, so that no hook that
another sets is ever met half-way. Keys and values live for one answer; nothing is shared between two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from ...errors import LLMFailed
from ...models.fingerprint import fingerprint
from ...models.subject import SubjectModel
from ...models.tape import Stop
from ...models.vocabulary import pieces
from .budget import Account
from .client import Answer, Capabilities, Chances, Message, Request
from .references import LOCAL
from .replies import alternatives
from .waiting import given_up, turn

_ALTERNATIVES = 100  # to each token, at most
_CHUNK = 128  # positions whose logits exist at once: a row of them is as long as the vocabulary


class Local:
    """A loaded model that is asked. Log-probabilities are of the model as it is, at temperature 1."""

    concurrency = 1

    def __init__(self, subject: SubjectModel, ledger: Account) -> None:
        self.reference = f"{LOCAL}{subject.name}"
        self.identity = f"{self.reference} {fingerprint(subject)}"
        self.travels = self._subject = subject
        self._ledger = ledger
        self._lock = Lock()
        self._ends = _ends(subject)
        self._text = lru_cache(maxsize=100_000)(subject.text)

    @property
    def capabilities(self) -> Capabilities:
        """Everything but being held to JSON."""
        most = min(_ALTERNATIVES, len(self._subject.anatomy.unembed.weight))
        whole_ten = len(pieces(self._subject, "10")) == 1
        return Capabilities(self._subject.tokenizer.chat_template is not None, True, most, most, False, whole_ten)

    def close(self) -> None:
        """Nothing to let go of: the weights go when nobody holds this."""

    def count(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self._subject.encode(text)) if text else 0

    def send(self, request: Request, stop: Stop | None) -> Answer:
        """One answer. Raises LLMFailed, BudgetSpent, BadText, NotFinite or Cancelled."""
        prompt = self._prompt(request)
        room = self._subject.max_length - len(prompt.ids)
        if room < min(1, request.max_tokens):
            raise LLMFailed(
                f"{self.reference} reads at most {self._subject.max_length:,} tokens; this prompt has "
                f"{len(prompt.ids):,}.",
                "Use a model that reads more, or show it fewer examples.",
            )
        with turn(self._lock, stop):
            self._ledger.send()
            answer = self._answer(prompt, request, min(request.max_tokens, room), stop)
        self._ledger.pay(answer.prompt_tokens, answer.completion_tokens)
        return answer

    def _prompt(self, request: Request) -> _Prompt:
        tokenizer = self._subject.tokenizer
        text, special = request.prompt, True
        if text is None:
            if tokenizer.chat_template is None:
                raise LLMFailed(f"{self.reference} does not chat.", "Use a raw prompt.", kind="unsupported")
            text, special = self._chat(request.messages), False  # the template has the start token
        ids = self._subject.encode(text, special)
        if not ids:
            raise LLMFailed(f"{self.reference} was asked nothing.", "Ask something.")
        spans = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)[
            "offset_mapping"
        ]
        return _Prompt(text, ids, _starts(spans))

    def _chat(self, messages: Sequence[Message]) -> str:
        from jinja2 import TemplateError

        tokenizer = self._subject.tokenizer
        turns = [{"role": one.role, "content": one.content} for one in messages]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            if len(turns) < 2 or turns[0]["role"] != "system":
                raise LLMFailed(f"{self.reference}'s chat template fails: {error}", "Use a raw prompt.") from error
            # Some families have no system turn: what it says then comes before the first question.
            first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
            text = tokenizer.apply_chat_template([first, *turns[2:]], tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text

    def _answer(self, prompt: _Prompt, request: Request, room: int, stop: Stop | None) -> Answer:
        cache = DynamicCache() if room else None
        states = self._pass(prompt.ids, 0, cache, stop)
        told = self._told(prompt, states, request, stop) if request.prompt_logprobs else None
        # Drawn where it is reproducible, whatever the device.
        draw = torch.Generator().manual_seed(request.seed)
        ids: list[int] = []
        tops: list[tuple[tuple[str, float], ...]] = []
        ended = room == 0
        for _ in range(room):
            (row,) = self._chances(states[-1:])
            token = _drawn(row, request.temperature, draw)
            if token in self._ends:
                ended = True
                break
            ids.append(token)
            if request.logprobs:
                tops.append(self._top(row, request.logprobs))
            if len(ids) < room:
                states = self._pass([token], len(prompt.ids) + len(ids) - 1, cache, stop)
        text = self._subject.tokenizer.decode(ids, clean_up_tokenization_spaces=False, skip_special_tokens=True)
        assert isinstance(text, str)
        return Answer(
            text=text,
            finish="stop" if ended else "length",
            prompt_tokens=len(prompt.ids),
            completion_tokens=len(ids),
            tokens=self._spoken(ids, tops) if request.logprobs else None,
            prompt=told,
        )

    @torch.no_grad()
    def _pass(
        self, ids: Sequence[int], position: int, cache: DynamicCache | None, stop: Stop | None
    ) -> Float[Tensor, "t d"]:
        """The stream after the final norm of tokens that follow `position` others."""
        given_up(stop)
        subject = self._subject
        tokens = torch.tensor([list(ids)], device=subject.device)
        with subject.lock:
            if cache is None:
                output = subject.anatomy.base(input_ids=tokens, use_cache=False)
            else:
                output = subject.anatomy.base(input_ids=tokens, cache=cache, use_cache=True)
        return output.last_hidden_state[0]

    @torch.no_grad()
    def _chances(self, states: Float[Tensor, "t d"]) -> Float[Tensor, "t v"]:
        """Log-probabilities of the next token."""
        anatomy = self._subject.anatomy
        return self._subject.finite(anatomy.cap(anatomy.unembed(states).float())).log_softmax(-1)

    def _told(
        self, prompt: _Prompt, states: Float[Tensor, "t d"], request: Request, stop: Stop | None
    ) -> tuple[Chances, ...]:
        """The prompt's tokens from `prompt_from` on, with what could have stood in their place."""
        first = next((i for i, at in enumerate(prompt.starts) if at >= request.prompt_from), len(prompt.ids))
        told = [] if first or not prompt.ids else [Chances(self._text(prompt.ids[0]), 0, ())]
        begin = max(first, 1)
        for at in range(begin, len(prompt.ids), _CHUNK):
            given_up(stop)
            rows = self._chances(states[at - 1 : min(at + _CHUNK, len(prompt.ids)) - 1])
            for index, row in enumerate(rows, at):
                top = self._top(row, request.prompt_logprobs)
                told.append(Chances(self._text(prompt.ids[index]), prompt.starts[index], top))
        return tuple(told)

    def _top(self, row: Float[Tensor, " v"], most: int) -> tuple[tuple[str, float], ...]:
        best = row.topk(min(most, len(row)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return alternatives([(self._text(token), value) for token, value in pairs], most)

    def _spoken(self, ids: Sequence[int], tops: Sequence[tuple[tuple[str, float], ...]]) -> tuple[Chances, ...]:
        """The answer's tokens. One that ends within a character leaves the next to start where that does."""
        starts = [len(self._subject.decode(list(ids[:index])).rstrip("\ufffd")) for index in range(len(ids))]
        return tuple(Chances(self._text(token), at, top) for token, at, top in zip(ids, starts, tops, strict=True))


@dataclass(frozen=True)
class _Prompt:
    """What is read: the text, its tokens, and the character that each starts with."""

    text: str
    ids: list[int]
    starts: list[int]


def _starts(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Where tokens start, each where the one before it ended: tokenizers leave spaces out of their spans.

    A part of a character spans all of it, and starts where it does.
    """
    starts, last = [], 0
    for start, end in spans:
        starts.append(start if last > start and end > start else last)
        last = max(last, end)
    return starts


def _ends(subject: SubjectModel) -> frozenset[int]:
    """The tokens that end an answer."""
    named = getattr(subject.hf.generation_config, "eos_token_id", None)
    ids = [*(named if isinstance(named, list) else [named]), subject.tokenizer.eos_token_id]
    return frozenset(one for one in ids if isinstance(one, int))


def _drawn(row: Float[Tensor, " v"], temperature: float, draw: torch.Generator) -> int:
    if temperature <= 0:
        return int(row.argmax())
    # From the largest down and in float64, so that however low the temperature nothing overflows.
    scores = (row.cpu().double() - row.max().item()) / temperature
    return int(torch.multinomial(scores.softmax(-1), 1, generator=draw))
