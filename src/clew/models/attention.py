"""Attention for every family, through transformers' attention interface.

transformers calls one function per layer with query, key, value and mask, whatever the family; registering ours
under `clew` gives the attention pattern as a tensor of the graph without rewriting any model. Sliding windows and
padding arrive in the mask, soft-caps as a keyword.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

IMPLEMENTATION = "clew"


class AttentionWatcher(Protocol):
    """Is shown each layer's attention as the forward pass computes it."""

    def attention(
        self,
        layer: int,
        query: Float[Tensor, "1 h t dh"],
        key: Float[Tensor, "1 kv t dh"],
        value: Float[Tensor, "1 kv t dh"],
        pattern: Float[Tensor, "1 h t t"],
        mixed: Float[Tensor, "1 t h dh"],
        scaling: float,
    ) -> None: ...


class AttentionPlayer(Protocol):
    """Computes attention itself, for rows of several prompts at once."""

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "1 h r dh"],
        key: Float[Tensor, "1 kv r dh"],
        value: Float[Tensor, "1 kv r dh"],
        scaling: float,
        softcap: float | None,
    ) -> Float[Tensor, "1 r h dh"]: ...


class PatternEditor(Protocol):
    """Changes attention patterns as they are computed."""

    def pattern(self, layer: int, pattern: Float[Tensor, "1 h t s"]) -> Float[Tensor, "1 h t s"]: ...


_editor: ContextVar[PatternEditor | None] = ContextVar("pattern editor", default=None)
_player: ContextVar[AttentionPlayer | None] = ContextVar("attention player", default=None)
_watcher: ContextVar[AttentionWatcher | None] = ContextVar("attention watcher", default=None)


@contextmanager
def watching(watcher: AttentionWatcher) -> Iterator[None]:
    """Show `watcher` every attention computed inside the block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def playing(player: AttentionPlayer) -> Iterator[None]:
    """Let `player` compute every attention inside the block."""
    token = _player.set(player)
    try:
        yield
    finally:
        _player.reset(token)


@contextmanager
def editing(editor: PatternEditor) -> Iterator[None]:
    """Let `editor` change every attention pattern inside the block."""
    token = _editor.set(editor)
    try:
        yield
    finally:
        _editor.reset(token)


def attention(
    module: nn.Module,
    query: Float[Tensor, "b h t dh"],
    key: Float[Tensor, "b kv t dh"],
    value: Float[Tensor, "b kv t dh"],
    attention_mask: Float[Tensor, "b 1 t t"] | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "b t h dh"], Float[Tensor, "b h t t"]]:
    """softmax(cap(q kᵀ·scaling) + mask) v. Grouped-query heads share keys and values without copying them."""
    batch, n_heads, length, width = query.shape
    n_groups = key.shape[1]
    grouped = query.reshape(batch, n_groups, n_heads // n_groups * length, width)
    factor = width**-0.5 if scaling is None else scaling
    player = _player.get()
    if player is not None:
        assert isinstance(module.layer_idx, int)
        return player.attend(module.layer_idx, query, key, value, factor, softcap), query
    scores = ((grouped * factor) @ key.transpose(2, 3)).view(batch, n_heads, length, -1)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        # In place: the backward pass of softmax needs its output only, that of the product its inputs only.
        scores = scores + attention_mask if softcap is not None else scores.add_(attention_mask)
    pattern = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    editor = _editor.get()
    if editor is not None:
        assert isinstance(module.layer_idx, int)
        pattern = editor.pattern(module.layer_idx, pattern)
    mixed = pattern.view(batch, n_groups, -1, pattern.shape[-1]) @ value
    mixed = mixed.view(batch, n_heads, length, width).transpose(1, 2)
    watcher = _watcher.get()
    if watcher is not None:
        layer = module.layer_idx
        assert isinstance(layer, int)
        watcher.attention(layer, query, key, value, pattern, mixed, factor)
    return mixed, pattern


def arguments_at(arguments: dict[str, Any], length: int, at: Int[Tensor, " r"]) -> dict[str, Any]:
    """The arguments of an attention call over `length` positions, for rows at positions `at` and without its mask.

    Whatever has a row per position, such as rotary angles, is picked from.
    """

    def pick(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(pick(item) for item in value)
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == length:
            return value[:, at]
        return value

    return {name: None if name == "attention_mask" else pick(value) for name, value in arguments.items()}


AttentionInterface.register(IMPLEMENTATION, attention)
AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)
