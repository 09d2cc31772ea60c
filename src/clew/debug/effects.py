"""Effects of every node on D, reduced as the backward pass reports them.

Definitions are in docs/arithmetic.md. A write w at position P has direct effect w·g when P is the position of
interest, else zero; an activation a has estimated effect a·∂D/∂a, with nothing frozen (attribution by act×grad).

Latents and the error of an autoencoder take the place of its block's heads or neurons. Those of a `resid` site take the
place of everything written before it, whose direct effects are then zero: it acts through them alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models.anatomy import Anatomy, Layer, Norm
from ..models.tape import AttentionRecord, MlpRecord, SiteRecord
from ..nodes import Node, Site
from .dictionary import Dictionaries, Dictionary
from .ranking import Block, Ranking, Row, Selection
from .records import LayerEffect, LayerPosition, TokenEffect


class Effects:
    """An Observer (models/tape.py) that sums effects and ranks nodes.

    What is explained is read from the stream at `positions`, ascending: the direct effect of a write w at positions[k]
    is w·directions[k], the held scale of the norm it is read through included. Later tokens cannot act on it and are
    left out. `dictionaries` are the autoencoders upstream.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        n_tokens: int,
        positions: Int[Tensor, " k"],
        directions: Float[Tensor, "k d"],
        selection: Selection,
        dictionaries: Dictionaries,
    ) -> None:
        self._anatomy = anatomy
        self._dictionaries = dictionaries
        self._replaced = {(d.block, d.site.layer): d for d in dictionaries.values()}
        self._cut = max((d.site.layer for d in dictionaries.values() if d.block == "resid"), default=-2)
        self._positions = positions
        self._directions = directions
        self._selection = selection
        self._ranking = Ranking(selection)
        n_layers = len(anatomy.layers)
        reach = int(positions[-1]) + 1

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, device=directions.device)

        self._reach = reach
        self._n_tokens = n_tokens
        self._token_embed = zeros(reach)
        self._token_from = zeros(reach)
        self._token_to = zeros(reach)
        self._token_mlp = zeros(reach)
        self._direct_map = zeros(n_layers, n_tokens)
        self._estimated_map = zeros(n_layers, n_tokens)
        self._layer_direct = {step: zeros(n_layers) for step in ("attn", "mlp", "bias")}
        self._layer_estimated = {step: zeros(n_layers) for step in ("attn", "mlp", "bias")}
        self._embed = (0.0, 0.0)
        self._latents: dict[Site, tuple[float, float]] = {}
        self._errors: dict[Site, tuple[float, float]] = {}
        self._block_bias: dict[tuple[str, int], tuple[Float[Tensor, " d"], float, float]] = {}
        self._end_bias: list[tuple[str, float]] = []
        self._extra: dict[str, float] = {}
        self._reported: set[tuple[str, int]] = set()
        self._rows = self._index(selection.positions, reach)
        self._columns = self._index(selection.sources, reach)
        everywhere = torch.ones_like(positions, dtype=torch.bool)
        self._listed = everywhere if self._rows is None else torch.isin(positions, self._rows)

    @property
    def cut(self) -> int:
        """The last layer whose writes are read through latents of the stream alone; −2 for none (−1: embeddings)."""
        return self._cut

    def rows(self) -> list[tuple[Node, Row]]:
        return self._ranking.rows()

    def attention(self, record: AttentionRecord) -> None:
        layer, at, reach = self._anatomy.layers[record.layer], self._positions, self._reach
        replaced = ("attn", record.layer) in self._replaced
        heads, groups = layer.n_heads, record.value.shape[0]
        pattern = record.pattern[:, :reach, :reach].float()
        value = record.value[:, :reach].float()
        post = None if record.post_scale is None else record.post_scale[:reach, 0]
        shared = value.repeat_interleave(heads // groups, dim=0)

        # V_S · (W_O g) for every head and source, without W_O's d_model.
        pulled = self._pulled(layer.index, layer.head_out(), layer.attn_post_norm, post)
        direct = pattern[:, at] * (shared @ pulled.permute(1, 2, 0)).transpose(1, 2)
        if record.share is None:
            estimated = pattern * record.pattern_grad[:, :reach, :reach].float()
            by_head, direct_by_head = estimated.sum(2), direct.sum(2)
        else:
            share = record.share[:, :reach, None]
            grad = record.mixed_grad[:reach].float().transpose(0, 1)
            mixed = record.mixed[:reach].float().transpose(0, 1)
            estimated = share * pattern * (grad @ shared.transpose(1, 2))
            direct = share[:, at] * direct
            by_head, direct_by_head = (mixed * grad).sum(-1), torch.einsum("hkd,khd->hk", mixed[:, at], pulled)
            # What edits put in place is read from nowhere, and counted where it is written.
            self._token_to += (by_head - estimated.sum(2)).sum(0)
            if not replaced:
                self._direct_map[record.layer, at] += (direct_by_head - direct.sum(2)).sum(0)

        self._token_from += by_head.sum(0)
        self._token_to += estimated.sum((0, 1))
        self._estimated_map[record.layer, :reach] += by_head.sum(0)
        if replaced:
            return
        self._direct_map[record.layer, :reach] += direct.sum((0, 1))
        self._layer_direct["attn"][record.layer] = direct_by_head.sum()
        self._layer_estimated["attn"][record.layer] = by_head.sum()
        self._reported.add(("attn", record.layer))

        if self._selection.has_kind("attn") and self._selection.has_layer(record.layer):
            self._rank_heads(layer, record, by_head, direct_by_head, post)
            self._rank_pairs(layer, pattern, estimated, direct, shared, record.share, post)

    def mlp(self, record: MlpRecord) -> None:
        layer, at, reach = self._anatomy.layers[record.layer], self._positions, self._reach
        act = record.act[:reach].float()
        estimated = act * record.act_grad[:reach].float()
        post = None if record.post_scale is None else record.post_scale[:reach, 0]
        direct = act[at] * self._pulled(layer.index, layer.mlp_out.by_input, layer.mlp_post_norm, post)

        by_token = estimated.sum(1)
        self._token_mlp += by_token
        self._estimated_map[record.layer, :reach] += by_token
        if ("mlp", record.layer) in self._replaced:
            return
        self._direct_map[record.layer, at] += direct.sum(1)
        self._layer_direct["mlp"][record.layer] = direct.sum()
        self._layer_estimated["mlp"][record.layer] = by_token.sum()
        self._reported.add(("mlp", record.layer))

        kept = self._selection.has_kind("neuron") and self._selection.has_layer(record.layer)
        if kept and self._columns is None:
            norms = act.abs() * layer.neuron_norm
            norms = norms if post is None else norms * post[:, None]
            self._rank_units("neuron", Site("mlp_act", record.layer), act, norms, estimated, direct)

    def site(self, record: SiteRecord) -> None:
        """An autoencoder's latents, its error, and what it writes whatever they are."""
        at, reach = self._positions, self._reach
        made = self._dictionaries[record.coder.writes]
        site, layer, w_dec = made.site, made.site.layer, made.autoencoder.w_dec
        post = None if record.post_scale is None else record.post_scale[:reach, 0]
        grad, error = record.grad[:reach].float(), record.parts.error[:reach]
        split = record.parts.split
        latents, strengths = split.latents[:reach], split.strengths[:reach]
        directions = torch.zeros_like(self._directions) if self._behind(made.block, layer) else self._directions
        pulled = made.pulled(directions, None if post is None else post[at])

        estimated = strengths * (grad @ w_dec.T)
        direct = strengths[at] * (pulled @ w_dec.T)
        error_estimated, error_direct = (error * grad).sum(1), (error[at] * pulled).sum(1)
        self._latents[site] = (float(direct.sum()), float(estimated.sum()))
        self._errors[site] = (float(error_direct.sum()), float(error_estimated.sum()))
        self._direct_map[layer, at] += direct.sum(1) + error_direct
        if split.skip is not None:
            skipped = float((split.skip[:reach][at] * pulled).sum())
            self.extra("skip", self._extra.get("skip", 0.0) + skipped)
        base = split.base[:reach]
        base_direct, base_estimated = float((base[at] * pulled).sum()), float((base * grad).sum())
        self._constant(made, base[at[-1]], base_direct, base_estimated, post)

        if self._columns is not None or not self._selection.has_layer(layer):
            return
        if self._selection.has_kind("latent"):
            norms = strengths.abs() * made.write_norm
            norms = norms if post is None else norms * post[:, None]
            self._rank_units("latent", site, latents, norms, estimated, direct)
        if self._selection.has_kind("error"):
            written = made.written(error).norm(dim=1)
            written = written if post is None else written * post
            by_position = torch.zeros_like(error_estimated)
            by_position[at] = error_direct
            for position in range(reach) if self._rows is None else self._rows.tolist():
                values = [float(metric[position]) for metric in (written, by_position, error_estimated)]
                node = Node("error", layer, position=position, part=site.name)
                self._ranking.add(node, (None, values[0], values[1], values[2]), "error")

    def embed(self, write: Float[Tensor, "t d"], grad: Float[Tensor, "t d"]) -> None:
        reach = self._reach
        write = write[:reach].float()
        estimated = (write * grad[:reach].float()).sum(1)
        direct = torch.zeros_like(estimated)
        direct[self._positions] = (write[self._positions] * self._directions_of(-1)).sum(1)
        self._token_embed += estimated
        self._embed = (float(direct.sum()), float(estimated.sum()))
        kept = self._selection.has_kind("embed") and self._selection.has_layer(None)
        if not kept or self._columns is not None:
            return
        norms = write.norm(dim=1)
        for position in range(reach) if self._rows is None else self._rows.tolist():
            values = (None, float(norms[position]), float(direct[position]), float(estimated[position]))
            self._ranking.add(Node("embed", position=position), values, "embed")

    def bias(self, part: str, layer: int, grad: Float[Tensor, " d"]) -> None:
        """A layer's constant, written at every position; its direct effect is that of the copies at `positions`."""
        place = self._anatomy.layers[layer]
        value = (place.attn_out if part == "attn" else place.mlp_out).bias
        assert value is not None
        value = value.float()
        made = self._replaced.get((part, layer))
        if made is not None and not made.before_projection:
            return  # what the site is made of includes it
        direct, estimated = float(value @ self._directions_of(layer).sum(0)), float(value @ grad)
        if made is not None:
            # One constant, with what the autoencoder adds (`site` comes after this).
            self._block_bias[part, layer] = (value, direct, estimated)
            return
        self._layer_direct["bias"][layer] += direct
        self._layer_estimated["bias"][layer] += estimated
        self._keep_bias(Node("bias", layer, part=part), float(value.norm()), direct, estimated)

    def _constant(
        self,
        made: Dictionary,
        base: Float[Tensor, " w"],
        direct: float,
        estimated: float,
        post: Float[Tensor, " t"] | None,
    ) -> None:
        """What a block writes whatever its latents are: the autoencoder's constant and the block's own bias."""
        part, layer = made.block, made.site.layer
        own, own_direct, own_estimated = self._block_bias.pop((part, layer), (None, 0.0, 0.0))
        write = made.written(base) if post is None else made.written(base) * post[self._positions[-1]]
        write = write if own is None else write + own
        direct, estimated = direct + own_direct, estimated + own_estimated
        self._layer_direct["bias"][layer] += direct
        self._layer_estimated["bias"][layer] += estimated
        self._keep_bias(Node("bias", layer, part=part), float(write.norm()), direct, estimated)

    def extra(self, name: str, effect: float) -> None:
        """A term that no node writes: `edit`, `constant` or `remainder`."""
        self._extra[name] = effect

    def end(self, part: str, write_norm: float, effect: float) -> None:
        """A constant after the last layer, final norm or unembedding: direct and estimated effect are the same."""
        self._end_bias.append((part, effect))
        self._keep_bias(Node("bias", part=part), write_norm, effect, effect)

    def terms(self) -> dict[str, float]:
        """Direct effects by kind, for the accounting."""
        late = sum(effect for _, effect in self._end_bias)
        return {
            "embed": self._embed[0],
            "attn": float(self._layer_direct["attn"].cpu().double().sum()),
            "neuron": float(self._layer_direct["mlp"].cpu().double().sum()),
            "latent": sum((direct for direct, _ in self._latents.values()), 0.0),
            "error": sum((direct for direct, _ in self._errors.values()), 0.0),
            "bias": float(self._layer_direct["bias"].cpu().double().sum()) + late,
            **self._extra,
        }

    def by_token(self) -> list[TokenEffect]:
        """One record a token; tokens after the position of interest have none of D."""
        sums = torch.stack([self._token_embed, self._token_from, self._token_to, self._token_mlp], dim=1).tolist()
        sums += [[0.0] * 4] * (self._n_tokens - self._reach)
        return [TokenEffect(position, *row) for position, row in enumerate(sums)]

    def by_layer(self) -> list[LayerEffect]:
        """The waterfall: embedding, attention and MLP of each layer upstream, all biases, then what no node writes."""
        steps = [LayerEffect("embed", None, *self._embed)]
        for layer in range(len(self._anatomy.layers)):
            for step in ("attn", "mlp", "resid"):
                if (step, layer) in self._reported:
                    direct, estimated = self._layer_direct[step][layer], self._layer_estimated[step][layer]
                    steps.append(LayerEffect(step, layer, float(direct), float(estimated)))
                made = self._replaced.get((step, layer))
                if made is not None and made.site in self._latents:
                    steps.append(LayerEffect("latent", layer, *self._latents[made.site]))
                    steps.append(LayerEffect("error", layer, *self._errors[made.site]))
        late = sum(effect for _, effect in self._end_bias)
        direct = float(self._layer_direct["bias"].cpu().double().sum()) + late
        estimated = float(self._layer_estimated["bias"].cpu().double().sum()) + late
        steps.append(LayerEffect("bias", None, direct, estimated))
        return steps + [LayerEffect(name, None, effect, effect) for name, effect in self._extra.items()]

    def by_layer_position(self) -> LayerPosition:
        return LayerPosition(self._direct_map.tolist(), self._estimated_map.tolist())

    def _behind(self, block: str, layer: int) -> bool:
        """Whether what a block writes is read through latents of the stream alone."""
        return layer < self._cut if block == "resid" else layer <= self._cut

    def _directions_of(self, layer: int) -> Float[Tensor, "k d"]:
        """Direct effects of a unit that a layer's attention or MLP writes (−1: the embedding)."""
        return torch.zeros_like(self._directions) if layer <= self._cut else self._directions

    def _pulled(
        self, layer: int, out: Float[Tensor, "*n d"], post_norm: Norm | None, post: Float[Tensor, " t"] | None
    ) -> Float[Tensor, "*n"]:
        """Direct effect of a unit of each row of an output projection, written at each of `positions`: [k, …]."""
        directions = self._directions_of(layer)
        if post_norm is not None and post is not None:
            directions = post_norm.gain * directions * post[self._positions][:, None]
        return (out.float() @ directions.T).movedim(-1, 0)

    def _index(self, wanted: Sequence[int] | None, n: int) -> Int[Tensor, " m"] | None:
        if wanted is None:
            return None
        return torch.tensor(sorted({i for i in wanted if i < n}), dtype=torch.long, device=self._directions.device)

    def _keep_bias(self, node: Node, write_norm: float, direct: float, estimated: float) -> None:
        placed = self._rows is None and self._columns is None
        if self._selection.has_kind("bias") and self._selection.has_layer(node.layer) and placed:
            self._ranking.add(node, (None, write_norm, direct, estimated), "bias")

    def _rank_heads(
        self,
        layer: Layer,
        record: AttentionRecord,
        estimated: Float[Tensor, "h t"],
        direct: Float[Tensor, "h k"],
        post: Float[Tensor, " t"] | None,
    ) -> None:
        if self._columns is not None:
            return
        reach, number = self._reach, layer.index
        mixed = record.mixed[:reach].float().transpose(0, 1)
        norms = _write_norm(mixed, layer.head_gram)
        heads = torch.arange(layer.n_heads, device=direct.device)[:, None]
        self._ranking.block(
            Block(
                group="attn",
                activation=mixed.norm(dim=-1),
                write_norm=norms if post is None else norms * post,
                estimated=estimated,
                direct=direct[:, self._listed].flatten(),
                direct_ids=(heads * reach + self._positions[self._listed]).flatten(),
                index=None if self._rows is None else (slice(None), self._rows),
                wanted=[n.index * reach + n.position for n in self._wanted("attn", number) if n.source is None],
                node=lambda flat: Node("attn", number, *divmod(flat, reach)),
            )
        )

    def _rank_pairs(
        self,
        layer: Layer,
        pattern: Float[Tensor, "h t s"],
        estimated: Float[Tensor, "h t s"],
        direct: Float[Tensor, "h k s"],
        value: Float[Tensor, "h s dh"],
        share: Float[Tensor, "h t"] | None,
        post: Float[Tensor, " t"] | None,
    ) -> None:
        reach, number = self._reach, layer.index
        norms = pattern * _write_norm(value, layer.head_gram)[:, None]
        if share is not None:
            norms = norms * share[:, :reach, None].abs()
        columns = torch.arange(reach, device=direct.device) if self._columns is None else self._columns
        heads = torch.arange(layer.n_heads, device=direct.device)[:, None]
        at = (heads * reach + self._positions[self._listed])[..., None] * reach + columns
        index = None
        if self._rows is not None or self._columns is not None:
            rows = torch.arange(reach, device=direct.device) if self._rows is None else self._rows
            index = (slice(None), rows[:, None], columns)

        def node(flat: int) -> Node | None:
            head, rest = divmod(flat, reach * reach)
            position, source = divmod(rest, reach)
            return Node("attn", number, head, position, source) if source <= position else None

        self._ranking.block(
            Block(
                group="pair",
                activation=pattern,
                write_norm=norms if post is None else norms * post[:, None],
                estimated=estimated,
                direct=direct[:, self._listed][..., columns].flatten(),
                direct_ids=at.flatten(),
                index=index,
                wanted=[
                    (n.index * reach + n.position) * reach + n.source
                    for n in self._wanted("attn", number)
                    if n.source is not None
                ],
                node=node,
            )
        )

    def _rank_units(
        self,
        kind: Literal["neuron", "latent"],
        site: Site,
        act: Float[Tensor, "t n"],
        norms: Float[Tensor, "t n"],
        estimated: Float[Tensor, "t n"],
        direct: Float[Tensor, "k n"],
    ) -> None:
        """Rank neurons, or latents; a latent that does not fire is no candidate."""
        width, part = act.shape[1], None if kind == "neuron" else site.name
        units = torch.arange(width, device=direct.device)
        wanted = [n for n in self._wanted(kind, site.layer) if n.part == part]
        named = {(n.position, n.index) for n in wanted}

        def node(flat: int) -> Node | None:
            position, unit = divmod(flat, width)
            if kind == "latent" and not act[position, unit] and (position, unit) not in named:
                return None
            return Node(kind, site.layer, unit, position, part=part)

        self._ranking.block(
            Block(
                group=kind,
                activation=act,
                write_norm=norms,
                estimated=estimated,
                direct=direct[self._listed].flatten(),
                direct_ids=(self._positions[self._listed][:, None] * width + units).flatten(),
                index=None if self._rows is None else (self._rows,),
                wanted=[n.position * width + n.index for n in wanted],
                node=node,
            )
        )

    def _wanted(self, kind: str, layer: int) -> list[Any]:
        """Explicitly wanted nodes of a kind and layer; index and position are set, and within reach."""
        nodes = [n for n in self._selection.wanted if n.kind == kind and n.layer == layer]
        return [n for n in nodes if n.position is not None and n.position < self._reach]


def _write_norm(z: Float[Tensor, "h t dh"], gram: Float[Tensor, "h dh dh"]) -> Float[Tensor, "h t"]:
    """‖z W_O‖ for each head and position."""
    return ((z @ gram) * z).sum(-1).clamp_min(0).sqrt()
