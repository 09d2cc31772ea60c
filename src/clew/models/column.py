"""What a change at one token does at that token exactly, and at later tokens to first order.

The changed token's own stream is computed layer by layer as the model computes it: norms, softmax over the clean keys
before it, MLP. Every later query sees one changed key and value; its new softmax is known in closed form, so what it
mixes is exact for that layer, and only from there on the gradient stands in for the rest of the model. This carries
the attention fix of AtP* (Kramár et al. 2024, arXiv:2403.00745) from queries and keys to whatever writes to the
stream. It costs one token's row of the model a change, where a replay (models/replay.py) costs one for every later
token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import Cancelled
from .anatomy import Anatomy, Layer, through
from .attention import arguments_at, playing
from .recording import Gradients, Recording, write_at
from .replay import Change
from .tape import Stop

# Rows computed together.
ROWS = 512

Value = Callable[[Float[Tensor, "n k d"]], Float[Tensor, " n"]]


def follow(
    anatomy: Anatomy,
    recording: Recording,
    gradients: Gradients,
    changes: Sequence[Change],
    value: Value,
    positions: Int[Tensor, " k"],
    layers: int | None = None,
    stop: Stop | None = None,
) -> Float[Tensor, " n"]:
    """What each change adds to `value`, a number read at `positions` of the recording's depth; float64.

    A change is followed through the rest of its own layer and `layers` more (None: to the end), after which the
    gradient of the stream at its token stands in. Changes must be upstream of the depth. Raises Cancelled.
    """
    found = [
        _Column(anatomy, recording, gradients, changes[start : start + ROWS], value, positions, layers, stop).run()
        for start in range(0, len(changes), ROWS)
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


class _Column:
    def __init__(
        self,
        anatomy: Anatomy,
        recording: Recording,
        gradients: Gradients,
        changes: Sequence[Change],
        value: Value,
        positions: Int[Tensor, " k"],
        layers: int | None,
        stop: Stop | None,
    ) -> None:
        device = recording.end.device
        self._anatomy = anatomy
        self._recording = recording
        self._gradients = gradients
        self._changes = changes
        self._value = value
        self._positions = positions
        self._last = int(positions[-1])
        self._layers = len(anatomy.layers) if layers is None else layers
        self._stop = stop
        self._found = torch.zeros(len(changes), dtype=torch.float32, device=device)
        # The rows under way: their streams, positions, changes and the layer they began in.
        self._rows = recording.end.detach()[:0]
        self._at = self._index = self._born = torch.zeros(0, dtype=torch.long, device=device)
        self._joining: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, change in enumerate(changes):
            self._joining[change.part, change.layer].append(index)

    @torch.no_grad()
    def run(self) -> Float[Tensor, " n"]:
        depth = self._recording.depth
        embeds = self._joining["embed", 0]
        if embeds:
            at, delta = self._of(embeds)
            # An embedding begins before layer 0, so that its "own layer" is none of the model's.
            self._join(embeds, self._recording.resid[0].detach()[0, at] + delta, at, -1)
        for layer in self._anatomy.layers[: depth.layer]:
            self._check()
            self._leave(layer.index)
            self._mlp(layer, *self._attend(layer))
        if depth.mid:
            self._check()
            self._leave(depth.layer)
            self._rows = self._attend(self._anatomy.layers[depth.layer])[0]
        return self._finish()

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, softcap: float | None
    ) -> Float[Tensor, "1 n h dh"]:
        """AttentionPlayer: each row reads the clean keys before it and its own; what later tokens read is added up."""
        kept = self._recording
        clean_key, clean_value, mask = kept.key[layer], kept.value[layer], kept.mask(layer)
        groups, length, width = clean_key.shape
        n, own = len(self._at), torch.arange(len(self._at), device=self._at.device)
        token = torch.arange(length, device=self._at.device)

        def scores(product: Tensor) -> Tensor:
            product = product * scaling
            return product if softcap is None else torch.tanh(product / softcap) * softcap

        q, k, v = query[0].view(groups, -1, n, width), key[0], value[0]
        reads = scores(torch.einsum("kgnd,ktd->kgnt", q, clean_key))
        reads[:, :, own, self._at] = scores(torch.einsum("kgnd,knd->kgn", q, k))
        if mask is not None:
            reads = reads + mask[self._at]
        reads = reads.masked_fill(token > self._at[:, None], float("-inf"))
        pattern = reads.softmax(-1, dtype=torch.float32).to(query.dtype)
        mixed = torch.einsum("kgnt,ktd->kgnd", pattern, clean_value)
        mixed += pattern[:, :, own, self._at, None] * (v - clean_value[:, self._at])[:, None]

        # Later queries: the weight A of the changed key becomes A·e/(1 + A(e − 1)), all others shrink to sum to 1.
        later = (token > self._at[:, None]) & (token <= self._last)
        if later.any():
            q = kept.query[layer].view(groups, -1, length, width)
            before = scores(torch.einsum("kgqd,ktd->kgtq", q, clean_key))[:, :, self._at]
            rise = (scores(torch.einsum("kgqd,knd->kgnq", q, k)) - before).float().masked_fill(~later, 0.0)
            weight = kept.pattern[layer].view(groups, -1, length, length)[..., self._at].transpose(2, 3).float()
            weight = weight.masked_fill(~later, 0.0)
            grad = self._gradients.mixed[layer].view(length, groups, -1, width).float()
            of_old = torch.einsum("qkgd,ktd->kgtq", grad, clean_value.float())[:, :, self._at]
            of_new = torch.einsum("qkgd,knd->kgnq", grad, v.float())
            mixed_before = kept.mixed[layer].detach()[0].view(length, groups, -1, width).float()
            of_all = torch.einsum("qkgd,qkgd->kgq", grad, mixed_before)[:, :, None]
            # Divided through by e where it is large, so that nothing overflows.
            top = rise.clamp_min(0.0)
            grown, stayed = (rise - top).exp(), (-top).exp()
            total = stayed + weight * (grown - stayed)
            change = (stayed * (of_all - weight * of_old) + weight * grown * of_new) / total - of_all
            self._found[self._index] += change.masked_fill(~later, 0.0).sum((0, 1, 3))
        return mixed.permute(2, 0, 1, 3).reshape(1, n, -1, width)

    def _attend(self, layer: Layer) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Rows after the layer's attention, those whose change is made in it joined, and what its MLP reads."""
        reads = self._rows
        mid = reads
        if len(reads):
            normed = reads if layer.attn_norm_module is None else layer.attn_norm_module(reads)
            with playing(self):
                out, _ = layer.attn(
                    hidden_states=normed[None],
                    **arguments_at(self._recording.kwargs[layer.index], len(self._recording.ids), self._at),
                )
            mid = reads + through(layer.attn_post_module, out[0])
        joining = self._joining["attn", layer.index]
        if joining:
            at, delta = self._of(joining)
            out = self._recording.attn_out[layer.index].detach()[0, at] + delta
            self._rows = mid
            self._join(joining, write_at(layer, "attn", self._recording, out, at), at, layer.index)
            mid = self._rows
            reads = torch.cat([reads, self._recording.resid[layer.index].detach()[0, at]])
        return mid, reads if layer.parallel else mid

    def _mlp(self, layer: Layer, mid: Float[Tensor, "n d"], reads: Float[Tensor, "n d"]) -> None:
        """Rows after the layer's MLP, those whose change is made in it joined."""
        self._rows = mid
        if len(mid):
            out = layer.mlp(through(layer.mlp_norm_module, reads)[None])[0]
            self._rows = mid + through(layer.mlp_post_module, out)
        joining = self._joining["mlp", layer.index]
        if joining:
            at, delta = self._of(joining)
            out = self._recording.mlp_out[layer.index].detach()[0, at] + delta
            self._join(joining, write_at(layer, "mlp", self._recording, out, at), at, layer.index)

    def _leave(self, layer: int) -> None:
        """Rows that have been followed far enough end before this layer, by the gradient of the stream there."""
        done = self._born + self._layers < layer
        if not done.any():
            return
        at = self._at[done]
        change = self._rows[done] - self._recording.resid[layer].detach()[0, at]
        self._found[self._index[done]] += (change.float() * self._gradients.resid[layer][at].float()).sum(-1)
        self._rows, self._at = self._rows[~done], self._at[~done]
        self._index, self._born = self._index[~done], self._born[~done]

    def _finish(self) -> Float[Tensor, " n"]:
        """The number itself, read from the rows that end where it is read."""
        found = self._found.cpu().double()
        clean = self._recording.end.detach()[self._positions]
        row, place = (self._at[:, None] == self._positions).nonzero().unbind(1)
        if len(row):
            streams = clean.repeat(len(row), 1, 1)
            streams[torch.arange(len(row), device=row.device), place] = self._rows[row]
            change = self._value(streams) - self._value(clean[None])
            found.index_add_(0, self._index[row].cpu(), change.cpu().double())
        return found

    def _of(self, indices: Sequence[int]) -> tuple[Int[Tensor, " n"], Float[Tensor, "n d"]]:
        like = self._recording.end
        at = torch.tensor([self._changes[i].position for i in indices], dtype=torch.long, device=like.device)
        return at, torch.stack([self._changes[i].delta for i in indices]).to(like)

    def _join(self, indices: Sequence[int], rows: Float[Tensor, "n d"], at: Int[Tensor, " n"], layer: int) -> None:
        self._rows = torch.cat([self._rows, rows])
        self._at = torch.cat([self._at, at])
        self._index = torch.cat([self._index, torch.tensor(indices, dtype=torch.long, device=at.device)])
        self._born = torch.cat([self._born, torch.full_like(at, layer)])

    def _check(self) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The estimate was cancelled before it was done.")
