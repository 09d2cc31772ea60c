"""What a change at one place does to the end of the model: the forward pass over the causal cone alone.

A change at layer l and position P reaches layers after l and positions from P on. Many changes are replayed at once:
each joins at its own layer, their rows are computed together, and keys and values before P come from the clean run.
The result equals a run of the whole prompt with the change made, up to the order of float32 sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from .anatomy import Anatomy, Layer
from .attention import playing
from .clean import Clean
from .tape import Stop

# Rows of the residual stream computed together: enough for full matrix products, few enough to stay in cache.
ROWS = 1536


@dataclass(frozen=True)
class Change:
    """`delta` [d] is added to what one block gives at one position, before any post-norm.

    The block is a layer's attention or MLP, or the embedding (layer 0).
    """

    part: Literal["embed", "attn", "mlp"]
    layer: int
    position: int
    delta: Float[Tensor, " d"]


@dataclass
class _Group:
    """Changes at one position P, stacked: `rows` is [n, m, d], the streams at positions P to the last."""

    position: int
    members: list[int]
    rows: Float[Tensor, "n m d"]


def replay(
    anatomy: Anatomy, clean: Clean, changes: Sequence[Change], position: int, stop: Stop | None = None
) -> Iterator[tuple[Sequence[int], Float[Tensor, "n d"]]]:
    """For batches of `changes`, in order: their indices, and the stream before the final norm at `position`.

    Every change must be at or before `position`. Raises Cancelled.
    """
    batch: list[int] = []
    rows = 0
    for index, change in enumerate(changes):
        size = position - change.position + 1
        if batch and rows + size > ROWS:
            yield batch, _Replay(anatomy, clean, changes, batch, position, stop).run()
            batch, rows = [], 0
        batch.append(index)
        rows += size
    if batch:
        yield batch, _Replay(anatomy, clean, changes, batch, position, stop).run()


class _Replay:
    def __init__(
        self,
        anatomy: Anatomy,
        clean: Clean,
        changes: Sequence[Change],
        batch: Sequence[int],
        position: int,
        stop: Stop | None,
    ) -> None:
        self._anatomy = anatomy
        self._clean = clean
        self._batch = batch
        self._changes = changes
        self._end = position + 1
        self._stop = stop
        self._groups: dict[int, _Group] = {}
        self._joining: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index in batch:
            self._joining[changes[index].part, changes[index].layer].append(index)

    @torch.no_grad()
    def run(self) -> Float[Tensor, "n d"]:
        embeds = self._joining["embed", 0]
        if embeds:
            at = self._positions(embeds)
            self._join(embeds, self._clean.resid[0], self._clean.resid[0][at] + self._deltas(embeds))
        for layer in self._anatomy.layers:
            if self._stop is not None and self._stop():
                raise Cancelled("The measurement was cancelled before it was done.")
            self._layer(layer)
        found = torch.empty(len(self._batch), self._anatomy.d_model, device=self._clean.resid[-1].device)
        places = {index: place for place, index in enumerate(self._batch)}
        for group in self._groups.values():
            found[[places[index] for index in group.members]] = group.rows[:, -1].float()
        return found

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, softcap: float | None
    ) -> Float[Tensor, "1 r h dh"]:
        """AttentionPlayer: each group's rows read the clean run before its position, and their own from there on."""
        mask = self._clean.mask(layer)
        sizes = [group.rows.shape[0] * group.rows.shape[1] for group in self._groups.values()]
        parts = zip(
            self._groups.values(), query[0].split(sizes, 1), key[0].split(sizes, 1), value[0].split(sizes, 1),
            strict=True,
        )  # fmt: skip
        mixed = []
        for group, q, k, v in parts:
            p, n = group.position, len(group.members)
            before_k, before_v = self._clean.key[layer][:, :p], self._clean.value[layer][:, :p]
            mixed.append(_attend(q, k, v, before_k, before_v, n, _window(mask, p, self._end), scaling, softcap))
        return torch.cat(mixed)[None]

    def _layer(self, layer: Layer) -> None:
        """Replay one layer, and let the changes made in it join."""
        last = layer.index == len(self._anatomy.layers) - 1
        groups = list(self._groups.values())
        by_attn, by_mlp = self._joining["attn", layer.index], self._joining["mlp", layer.index]
        clean_in, clean_out = self._clean.resid[layer.index], self._clean.resid[layer.index + 1]
        attn_at, mlp_at = self._positions(by_attn), self._positions(by_mlp)
        changed = clean_in[attn_at] + _through(
            layer.attn_post_module, self._clean.attn_out[layer.index][attn_at] + self._deltas(by_attn)
        )
        stream = mid = changed[:0]
        if groups:
            stream = torch.cat([group.rows.flatten(0, 1) for group in groups])
            with playing(self):
                attn, _ = layer.attn(hidden_states=_through(layer.attn_norm_module, stream)[None], **self._call(layer))
            mid = stream + _through(layer.attn_post_module, attn[0])
            if last:  # only the position of interest is read after the last attention
                ends = [group.rows.shape[1] for group in groups for _ in group.members]
                keep = torch.tensor(ends, device=mid.device).cumsum(0) - 1
                stream, mid = stream[keep], mid[keep]
        if layer.parallel:
            reads = torch.cat([stream, clean_in[attn_at]])
        else:
            reads = torch.cat([mid, changed])
        mid = torch.cat([mid, changed])
        if len(mid):
            mid = mid + _through(layer.mlp_post_module, layer.mlp(_through(layer.mlp_norm_module, reads)[None])[0])
        replayed, joined = mid.split([len(mid) - len(by_attn), len(by_attn)])
        sizes = [len(group.members) * (1 if last else group.rows.shape[1]) for group in groups]
        for group, rows in zip(groups, replayed.split(sizes), strict=True):
            group.rows = rows.view(len(group.members), -1, rows.shape[-1])
        self._join(by_attn, clean_out, joined, last)
        clean_mid = clean_in[mlp_at] + _through(layer.attn_post_module, self._clean.attn_out[layer.index][mlp_at])
        mlp_out = self._clean.mlp_out[layer.index][mlp_at] + self._deltas(by_mlp)
        self._join(by_mlp, clean_out, clean_mid + _through(layer.mlp_post_module, mlp_out), last)

    def _join(self, indices: Sequence[int], clean: Tensor, changed: Float[Tensor, "n d"], last: bool = False) -> None:
        """Changes enter their position's group with the clean stream, their own row changed."""
        by_position: dict[int, list[int]] = defaultdict(list)
        for place, index in enumerate(indices):
            by_position[self._changes[index].position].append(place)
        for position, places in by_position.items():
            start = self._end - 1 if last else position
            rows = clean[start : self._end].repeat(len(places), 1, 1)
            if start == position:
                rows[:, 0] = changed[places]
            members = [indices[place] for place in places]
            group = self._groups.get(position)
            if group is None:
                self._groups[position] = _Group(position, members, rows)
            else:
                group.members.extend(members)
                group.rows = torch.cat([group.rows, rows])

    def _call(self, layer: Layer) -> dict[str, Any]:
        """The arguments of the clean call for these rows: whatever has a row per position is picked from."""
        at = torch.cat([
            torch.arange(group.position, self._end, device=group.rows.device).repeat(len(group.members))
            for group in self._groups.values()
        ])  # fmt: skip
        length = len(self._clean.ids)

        def pick(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(pick(item) for item in value)
            if isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == length:
                return value[:, at]
            return value

        kwargs = self._clean.kwargs[layer.index]
        return {name: None if name == "attention_mask" else pick(value) for name, value in kwargs.items()}

    def _positions(self, indices: Sequence[int]) -> Int[Tensor, " n"]:
        device = self._clean.ids.device
        return torch.tensor([self._changes[index].position for index in indices], dtype=torch.long, device=device)

    def _deltas(self, indices: Sequence[int]) -> Float[Tensor, "n d"]:
        like = self._clean.resid[0]
        if not indices:
            return like[:0]
        return torch.stack([self._changes[index].delta for index in indices]).to(like.dtype)


def _attend(
    query: Float[Tensor, "h r dh"],
    key: Float[Tensor, "kv r dh"],
    value: Float[Tensor, "kv r dh"],
    before_key: Float[Tensor, "kv p dh"],
    before_value: Float[Tensor, "kv p dh"],
    n: int,
    mask: Float[Tensor, "m s"] | None,
    scaling: float,
    softcap: float | None,
) -> Float[Tensor, "r h dh"]:
    """Attention of n streams of m rows each (r = n·m) over p shared positions and then their own m."""
    heads, rows, width = query.shape
    groups, p, m = key.shape[0], before_key.shape[1], rows // n
    shared = heads // groups
    q = (query * scaling).view(groups, shared, n, m, width).transpose(1, 2)  # kv, n, g, m, dh
    own_k, own_v = (x.reshape(groups * n, m, width) for x in (key, value))
    flat = q.reshape(groups, n * shared * m, width)
    own = (flat.reshape(groups * n, shared * m, width) @ own_k.transpose(1, 2)).view(groups, n, shared, m, m)
    scores = torch.cat([(flat @ before_key.transpose(1, 2)).view(groups, n, shared, m, p), own], -1)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    pattern = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    mixed = (pattern[..., p:].reshape(groups * n, shared * m, m) @ own_v).view(groups, n * shared * m, width)
    mixed = mixed + pattern[..., :p].reshape(groups, n * shared * m, p) @ before_value
    return mixed.view(groups, n, shared, m, width).permute(1, 3, 0, 2, 4).reshape(rows, heads, width)


def _window(mask: Float[Tensor, "t t"] | None, start: int, end: int) -> Float[Tensor, "m s"] | None:
    return None if mask is None else mask[start:end, :end]


def _through(module: nn.Module | None, x: Float[Tensor, "r d"]) -> Float[Tensor, "r d"]:
    return x if module is None else module(x)
