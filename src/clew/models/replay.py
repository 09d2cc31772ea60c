"""What a change at one place does downstream: the forward pass over the causal cone alone.

A change at layer l and position P reaches layers after l and positions from P on. Many changes are replayed at once:
each joins at its own layer, their rows are computed together, and keys and values before P come from the clean run.
The result equals a run of the whole prompt with the change made, up to the order of float32 sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import Cancelled
from ..nodes import Site
from .anatomy import Anatomy, Depth, Layer, through
from .attention import arguments_at, playing
from .clean import Clean
from .interventions import Interventions
from .tape import Stop

# Rows of the residual stream computed together: enough for full matrix products, few enough to stay in cache.
ROWS = 1536


@dataclass(frozen=True)
class Change:
    """`delta` [d] is added to what one block gives at one position, before any post-norm or, with `outer`, after it and
    after all edits.

    The block is a layer's attention or MLP, or the embedding (layer 0); of `resid` it is added to the stream after the
    layer.
    """

    part: Literal["embed", "attn", "mlp", "resid"]
    layer: int
    position: int
    delta: Float[Tensor, " d"]
    outer: bool = False


@dataclass(frozen=True)
class Cone:
    """What is replayed: a clean run with the edits it was made under, up to a depth, read at some positions."""

    anatomy: Anatomy
    clean: Clean
    edits: Interventions | None
    depth: Depth
    positions: Int[Tensor, " k"]


@dataclass
class _Group:
    """Changes at one position P, stacked: `rows` is [n, m, d], the streams at positions `at`, P and later."""

    position: int
    at: Int[Tensor, " m"]
    members: list[int]
    rows: Float[Tensor, "n m d"]


def replay(
    cone: Cone, changes: Sequence[Change], stop: Stop | None = None
) -> Iterator[tuple[Sequence[int], Float[Tensor, "n k d"]]]:
    """For batches of `changes`, in order: their indices, and the streams that the cone ends in.

    Every change must be upstream of the cone's end. Raises Cancelled.
    """
    end = int(cone.positions[-1])
    batch: list[int] = []
    rows = 0
    for index, change in enumerate(changes):
        size = end - change.position + 1
        if batch and rows + size > ROWS:
            yield batch, _Replay(cone, changes, batch, stop).run()
            batch, rows = [], 0
        batch.append(index)
        rows += size
    if batch:
        yield batch, _Replay(cone, changes, batch, stop).run()


class _Replay:
    def __init__(self, cone: Cone, changes: Sequence[Change], batch: Sequence[int], stop: Stop | None) -> None:
        self._anatomy = cone.anatomy
        self._clean = cone.clean
        self._edits = cone.edits
        self._cone = cone
        self._batch = batch
        self._changes = changes
        self._end = int(cone.positions[-1]) + 1
        self._stop = stop
        self._groups: dict[int, _Group] = {}
        self._at = cone.positions
        self._joining: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index in batch:
            self._joining[changes[index].part, changes[index].layer].append(index)

    @torch.inference_mode()
    def run(self) -> Float[Tensor, "n k d"]:
        depth, positions = self._cone.depth, self._cone.positions
        with ExitStack() as stack:
            if self._edits is not None:
                stack.enter_context(self._edits.hooks(lambda: self._at, inner=True))
            embeds = self._joining["embed", 0]
            clean = self._clean.resid[0]
            self._join(embeds, clean, clean[self._positions(embeds)] + self._deltas(embeds))
            for layer in self._anatomy.layers[: depth.layer]:
                self._check()
                self._layer(layer, last=layer.index == depth.layer - 1 and not depth.mid)
            if depth.mid:
                self._check()
                self._mid(self._anatomy.layers[depth.layer])
        whole = self._clean.stream(self._anatomy, depth)[positions].float()
        found = whole.repeat(len(self._batch), 1, 1)
        places = {index: place for place, index in enumerate(self._batch)}
        for group in self._groups.values():
            rows = group.rows[:, torch.isin(group.at, positions)].float()
            found[[places[index] for index in group.members], len(positions) - rows.shape[1] :] = rows
        return found

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, softcap: float | None
    ) -> Float[Tensor, "1 r h dh"]:
        """AttentionPlayer: each group's rows read the clean run before its position, and their own from there on."""
        sizes = [group.rows.shape[0] * group.rows.shape[1] for group in self._groups.values()]
        parts = zip(
            self._groups.values(), query[0].split(sizes, 1), key[0].split(sizes, 1), value[0].split(sizes, 1),
            strict=True,
        )  # fmt: skip
        return torch.cat([self._attend(layer, *part, scaling, softcap) for part in parts])[None]

    def _check(self) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The measurement was cancelled before it was done.")

    def _layer(self, layer: Layer, last: bool) -> None:
        """Replay one layer, and let the changes made in it join; after the `last` only some positions are read."""
        groups = list(self._groups.values())
        by_attn, by_mlp, by_resid = (self._joining[part, layer.index] for part in ("attn", "mlp", "resid"))
        clean_in, clean_out = self._clean.resid[layer.index], self._clean.resid[layer.index + 1]
        attn_at, mlp_at = self._positions(by_attn), self._positions(by_mlp)
        changed = self._after_attention(layer, by_attn)
        stream = mid = changed[:0]
        if groups:
            stream, mid = self._attention(layer)
            if last:
                for group in groups:
                    kept = torch.isin(group.at, self._cone.positions)
                    group.at, group.rows = group.at[kept], group.rows[:, kept]
                keep = torch.isin(self._at, self._cone.positions).nonzero()[:, 0]
                stream, mid, self._at = stream[keep], mid[keep], self._at[keep]
        else:
            self._at = attn_at[:0]
        reads = torch.cat([stream, clean_in[attn_at]] if layer.parallel else [mid, changed])
        mid = torch.cat([mid, changed])
        self._at = torch.cat([self._at, attn_at])
        if len(mid):
            reads = through(layer.mlp_norm_module, reads)
            mid = mid + self._write(layer, "mlp", layer.mlp(reads[None])[0], self._at, reads)
            mid = self._edited(layer, mid, self._at)
        replayed, joined = mid.split([len(mid) - len(by_attn), len(by_attn)])
        sizes = [group.rows.shape[0] * group.rows.shape[1] for group in groups]
        for group, rows in zip(groups, replayed.split(sizes), strict=True):
            group.rows = rows.view(len(group.members), -1, rows.shape[-1])
        only = self._cone.positions if last else None
        self._join(by_attn, clean_out, joined, only)
        clean_mid = clean_in[mlp_at] + self._clean.attn_write[layer.index][mlp_at]
        reads = through(layer.mlp_norm_module, clean_in[mlp_at] if layer.parallel else clean_mid)
        mlp_out = self._clean.mlp_out[layer.index][mlp_at] + self._deltas(by_mlp, outer=False)
        by_mlp_out = clean_mid + self._write(layer, "mlp", mlp_out, mlp_at, reads) + self._deltas(by_mlp, outer=True)
        self._join(by_mlp, clean_out, self._edited(layer, by_mlp_out, mlp_at), only)
        self._join(by_resid, clean_out, clean_out[self._positions(by_resid)] + self._deltas(by_resid), only)

    def _mid(self, layer: Layer) -> None:
        """Replay a layer's attention alone."""
        by_attn = self._joining["attn", layer.index]
        changed = self._after_attention(layer, by_attn)
        if self._groups:
            _, mid = self._attention(layer)
            sizes = [group.rows.shape[0] * group.rows.shape[1] for group in self._groups.values()]
            for group, rows in zip(self._groups.values(), mid.split(sizes), strict=True):
                group.rows = rows.view(len(group.members), -1, rows.shape[-1])
        clean = self._clean.stream(self._anatomy, Depth(layer.index, mid=True))
        self._join(by_attn, clean, changed)

    def _attention(self, layer: Layer) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r d"]]:
        """All groups' rows before a layer's attention and after it."""
        groups = self._groups.values()
        self._at = torch.cat([group.at.repeat(len(group.members)) for group in groups])
        stream = torch.cat([group.rows.flatten(0, 1) for group in groups])
        with playing(self):
            attn, _ = layer.attn(
                hidden_states=through(layer.attn_norm_module, stream)[None],
                **arguments_at(self._clean.kwargs[layer.index], len(self._clean.ids), self._at),
            )
        return stream, stream + self._write(layer, "attn", attn[0], self._at)

    def _after_attention(self, layer: Layer, indices: Sequence[int]) -> Float[Tensor, "n d"]:
        """The changed rows of changes made in a layer's attention, after it."""
        at = self._positions(indices)
        out = self._clean.attn_out[layer.index][at] + self._deltas(indices, outer=False)
        write = self._write(layer, "attn", out, at) + self._deltas(indices, outer=True)
        return self._clean.resid[layer.index][at] + write

    def _write(
        self,
        layer: Layer,
        part: Literal["attn", "mlp"],
        out: Float[Tensor, "r d"],
        at: Int[Tensor, " r"],
        reads: Float[Tensor, "r d"] | None = None,
    ) -> Float[Tensor, "r d"]:
        """What a block adds to the stream, given what its output projection gives, with the edits made there.

        `reads` is what the block was given: a transcoder's latents are read from it.
        """
        write = through(layer.attn_post_module if part == "attn" else layer.mlp_post_module, out)
        if self._edits is None:
            return write
        return self._edits.edit_site(Site(f"{part}_out", layer.index), write if reads is None else reads, write, at)

    def _attend(
        self,
        layer: int,
        group: _Group,
        query: Float[Tensor, "h r dh"],
        key: Float[Tensor, "kv r dh"],
        value: Float[Tensor, "kv r dh"],
        scaling: float,
        softcap: float | None,
    ) -> Float[Tensor, "r h dh"]:
        """Attention of n streams of m rows each (r = n·m) over p shared positions and then their own m."""
        before_key, before_value = (x[layer][:, : group.position] for x in (self._clean.key, self._clean.value))
        mask = self._clean.mask(layer)
        heads, rows, width = query.shape
        n, groups, p = len(group.members), key.shape[0], group.position
        m, shared = rows // n, heads // groups
        q = (query * scaling).view(groups, shared, n, m, width).transpose(1, 2)  # kv, n, g, m, dh
        own_k, own_v = (x.reshape(groups * n, m, width) for x in (key, value))
        flat = q.reshape(groups, n * shared * m, width)
        own = (flat.reshape(groups * n, shared * m, width) @ own_k.transpose(1, 2)).view(groups, n, shared, m, m)
        scores = torch.cat([(flat @ before_key.transpose(1, 2)).view(groups, n, shared, m, p), own], -1)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        if mask is not None:
            scores = scores + mask[p : self._end, : self._end]
        pattern = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        if self._edits is not None and layer in self._edits.patterns:
            by_head = pattern.transpose(0, 1).reshape(n, heads, m, p + m)
            by_head = self._edits.edit_pattern(layer, by_head, group.at)
            pattern = by_head.view(n, groups, shared, m, p + m).transpose(0, 1)
        mixed = (pattern[..., p:].reshape(groups * n, shared * m, m) @ own_v).view(groups, n * shared * m, width)
        mixed = mixed + pattern[..., :p].reshape(groups, n * shared * m, p) @ before_value
        return mixed.view(groups, n, shared, m, width).permute(1, 3, 0, 2, 4).reshape(rows, heads, width)

    def _join(
        self,
        indices: Sequence[int],
        clean: Float[Tensor, "t d"],
        changed: Float[Tensor, "n d"],
        only: Int[Tensor, " k"] | None = None,
    ) -> None:
        """Changes enter their position's group with the clean stream, their own row changed.

        `only` are the positions still read after the last layer.
        """
        by_position: dict[int, list[int]] = defaultdict(list)
        for place, index in enumerate(indices):
            by_position[self._changes[index].position].append(place)
        for position, places in by_position.items():
            at = torch.arange(position, self._end, device=clean.device)
            if only is not None:
                at = at[torch.isin(at, only)]
            rows = clean[at].repeat(len(places), 1, 1)
            if at[0] == position:
                rows[:, 0] = changed[places]
            members = [indices[place] for place in places]
            group = self._groups.get(position)
            if group is None:
                self._groups[position] = _Group(position, at, members, rows)
            else:
                group.members.extend(members)
                group.rows = torch.cat([group.rows, rows])

    def _edited(self, layer: Layer, rows: Float[Tensor, "r d"], at: Int[Tensor, " r"]) -> Float[Tensor, "r d"]:
        """Rows of the stream after a layer, with the edits that are made there."""
        return rows if self._edits is None else self._edits.edit_stream(layer.index + 1, rows, at)

    def _positions(self, indices: Sequence[int]) -> Int[Tensor, " n"]:
        device = self._clean.ids.device
        return torch.tensor([self._changes[index].position for index in indices], dtype=torch.long, device=device)

    def _deltas(self, indices: Sequence[int], outer: bool | None = None) -> Float[Tensor, "n d"]:
        """What changes add: all of it, or what is added before a post-norm or after it, else zero."""
        like = self._clean.resid[0]
        if not indices:
            return like[:0]
        changes = [self._changes[index] for index in indices]
        rows = [c.delta if outer in (None, c.outer) else torch.zeros_like(c.delta) for c in changes]
        return torch.stack(rows).to(like.dtype)
