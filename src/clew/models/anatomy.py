"""A causal LM as a sum of writes: the modules of its family, resolved, and the vectors they write.

Nothing here copies a weight: per-component quantities (norms of neuron writes, Gram matrices of head outputs) are
computed once on first use and are small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..errors import BadModel
from .families import Family

NeuronInput = Literal["in", "gate", "up"]


@dataclass(frozen=True)
class Depth:
    """A place along the residual stream: before layer `layer`, or with `mid` between its attention and its MLP.

    Before layer n_layers is before the final norm.
    """

    layer: int
    mid: bool = False


@dataclass(frozen=True)
class Norm:
    """LayerNorm or RMSNorm as `gain ⊙ centre(x)·scale(x) + bias`; RMSNorm neither centres nor shifts."""

    kind: Literal["rms", "layer"]
    gain: Float[Tensor, " d"]
    bias: Float[Tensor, " d"] | None
    eps: float

    @classmethod
    def of(cls, module: nn.Module, offset: float) -> Norm:
        """The norm a module computes; `offset` is added to its weight."""
        if isinstance(module, nn.LayerNorm):
            return cls("layer", module.weight.float(), None if module.bias is None else module.bias.float(), module.eps)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        weight = module.weight
        assert isinstance(weight, Tensor) and isinstance(eps, float)  # every RMSNorm of a declared family
        return cls("rms", weight.float() + offset, None, eps)

    def centre(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """x without its mean over d, for LayerNorm; x itself for RMSNorm."""
        return x - x.mean(-1, keepdim=True) if self.kind == "layer" else x

    def scale(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n 1"]:
        """1/σ(x): what the norm multiplies by, held fixed in every direct effect."""
        x = x.float()
        spread = self.centre(x).square().mean(-1, keepdim=True)
        return torch.rsqrt(spread + self.eps)

    def pull(self, u: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The direction before the norm whose dot product, times the held scale, equals u's after it: centre(γ ⊙ u)."""
        return self.centre(self.gain * u)


@dataclass(frozen=True)
class Projection:
    """A linear map's weight, seen the same way for Linear ([out, in]) and Conv1D ([in, out])."""

    module: nn.Module

    @property
    def by_output(self) -> Float[Tensor, "out in"]:
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return weight.T if isinstance(self.module, Conv1D) else weight

    @property
    def by_input(self) -> Float[Tensor, "in out"]:
        return self.by_output.T

    @property
    def bias(self) -> Float[Tensor, " out"] | None:
        bias = self.module.bias
        return bias if isinstance(bias, Tensor) else None


@dataclass(frozen=True)
class HeadInput:
    """How the heads of a layer read the normed stream x, as queries, keys or values: `weight[h] @ x + bias[h]`.

    That is before any norm on them and before rotary embedding. Keys and values have fewer heads where queries are
    grouped. `first` is the projection's row of head 0, `stride` the rows from one head to the next.
    """

    projection: Projection
    n_heads: int
    width: int
    first: int
    stride: int

    @property
    def weight(self) -> Float[Tensor, "h dh d"]:
        """A view of the projection's weight."""
        return self._split(self.projection.by_output).transpose(1, 2)

    @property
    def bias(self) -> Float[Tensor, "h dh"] | None:
        bias = self.projection.bias
        return None if bias is None else self._split(bias)

    def _split(self, rows: Tensor) -> Tensor:
        return rows[self.first :].unfold(0, self.width, self.stride)[: self.n_heads]


def through(module: nn.Module | None, x: Float[Tensor, "r d"]) -> Float[Tensor, "r d"]:
    """What a norm that may not be there makes of rows."""
    return x if module is None else module(x)


@dataclass(frozen=True)
class Layer:
    """One transformer layer: its modules, and the geometry of its writes.

    `block` is the whole layer, `attn` and `mlp` its two blocks; with `parallel` both read the same stream. Post-norms
    are folded into the geometry: a write is `post_gain ⊙ (z W_O)` times the post-norm's held scale at its position.
    """

    index: int
    n_heads: int
    block: nn.Module
    attn: nn.Module
    attn_norm: Norm | None
    query: HeadInput
    key: HeadInput
    value: HeadInput
    q_norm: Norm | None
    q_norm_module: nn.Module | None
    k_norm: Norm | None
    k_norm_module: nn.Module | None
    attn_out: Projection
    attn_out_module: nn.Module
    attn_post_norm: Norm | None
    attn_post_module: nn.Module | None
    mlp: nn.Module
    mlp_norm: Norm | None
    gate: Projection | None
    up: Projection
    fused_gate: bool
    act: nn.Module
    mlp_out: Projection
    mlp_out_module: nn.Module
    mlp_post_norm: Norm | None
    mlp_post_module: nn.Module | None
    attn_norm_module: nn.Module | None
    mlp_norm_module: nn.Module | None
    parallel: bool

    @property
    def device(self) -> torch.device:
        """Where its weights are, which of a model that is split is not where others' are."""
        return self.attn_out.by_input.device

    @property
    def n_neurons(self) -> int:
        return self.mlp_out.by_input.shape[0]

    @property
    def reads_mlp(self) -> Depth:
        """Where the MLP reads the stream."""
        return Depth(self.index, mid=not self.parallel)

    @property
    def neuron_inputs(
        self,
    ) -> dict[Literal["in", "gate", "up"], tuple[Float[Tensor, "n d"], Float[Tensor, " n"] | None]]:
        """Weight and bias with which every neuron reads the normed stream: `in`, or `gate` and `up` where gated."""
        n, bias = self.n_neurons, self.up.bias
        if self.gate is None:
            return {"in": (self.up.by_output, bias)}
        gate_bias = self.gate.bias
        up = slice(n, None) if self.fused_gate else slice(None)
        return {
            "gate": (self.gate.by_output[:n], None if gate_bias is None else gate_bias[:n]),
            "up": (self.up.by_output[up], None if bias is None else bias[up]),
        }

    def head_out(self) -> Float[Tensor, "h dh d"]:
        """W_O split by head, in float32; a post-norm's gain is not applied."""
        weight = self.attn_out.by_input
        return weight.reshape(self.n_heads, -1, weight.shape[-1]).float()

    @cached_property
    def head_gram(self) -> Float[Tensor, "h dh dh"]:
        """G_h with zᵀ G_h z = ‖write of z‖², so that norms of writes never expand to d_model."""
        out = self.head_out()
        if self.attn_post_norm is not None:
            out = out * self.attn_post_norm.gain
        return out @ out.transpose(1, 2)

    @cached_property
    def head_whitening(self) -> Float[Tensor, "h dh dh"]:
        """M_h that makes the rows of `M_h W_O^h` orthonormal (a post-norm's gain included): a basis of the space that
        head h writes to. Rows beyond the rank of W_O^h are zero."""
        out = self.head_out().cpu().double()  # mps has no float64
        if self.attn_post_norm is not None:
            out = out * self.attn_post_norm.gain.cpu()
        values, vectors = torch.linalg.eigh(out @ out.transpose(1, 2))
        # The bound of numpy.linalg.matrix_rank on float32 singular values, whose squares these are.
        bound = values[:, -1:] * (max(out.shape[1:]) * torch.finfo(torch.float32).eps) ** 2
        inverse = torch.where(values > bound, values.clamp_min(1e-300).rsqrt(), 0)
        return (inverse[:, :, None] * vectors.transpose(1, 2)).to(self.attn_out.by_input.device, torch.float32)

    @cached_property
    def neuron_norm(self) -> Float[Tensor, " n"]:
        """‖W_out[n]‖ for every neuron, a post-norm's gain included."""
        weight = self.mlp_out.by_input.float()
        if self.mlp_post_norm is not None:
            weight = weight * self.mlp_post_norm.gain
        return weight.norm(dim=-1)


@dataclass(frozen=True)
class Anatomy:
    """Every part of a causal LM that reads or writes the residual stream."""

    base: nn.Module
    embed: nn.Module
    layers: tuple[Layer, ...]
    final_norm: Norm
    final_norm_module: nn.Module
    unembed: nn.Linear
    softcap: float | None

    @property
    def d_model(self) -> int:
        return self.unembed.in_features

    @property
    def end(self) -> Depth:
        """The stream before the final norm."""
        return Depth(len(self.layers))

    @property
    def n_heads(self) -> int:
        return self.layers[0].n_heads

    @property
    def n_neurons(self) -> int:
        return self.layers[0].n_neurons

    @property
    def embed_weight(self) -> Float[Tensor, "v d"]:
        """Token embeddings as stored; multiply by `embed_scale` for what enters the residual stream."""
        weight = self.embed.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def embed_scale(self) -> float:
        """What the family multiplies token embeddings by (√d for Gemma)."""
        return float(getattr(self.embed, "scalar_embed_scale", 1.0))

    @cached_property
    def embed_spread(self) -> dict[Literal["rms", "layer"], Float[Tensor, " v"]]:
        """Of every token's embedding as it enters the stream, what either kind of norm takes its scale from: the mean
        square, and the same after centring."""
        rms, layer = [], []
        for chunk in self.embed_weight.split(4096):
            x = chunk.float() * self.embed_scale
            rms.append(x.square().mean(-1))
            layer.append(x.var(-1, correction=0))
        return {"rms": torch.cat(rms), "layer": torch.cat(layer)}

    @cached_property
    def unembed_mean(self) -> tuple[Float[Tensor, " d"], float]:
        """Mean unembedding row and bias over the vocabulary: the reading of "no distractors"."""
        bias = self.unembed.bias
        return self.unembed.weight.float().mean(0), 0.0 if bias is None else float(bias.float().mean())

    def unembedding(self, ids: Int[Tensor, " n"]) -> tuple[Float[Tensor, " d"], float]:
        """Mean unembedding row and bias of some tokens."""
        bias = self.unembed.bias
        return self.unembed.weight[ids].float().mean(0), 0.0 if bias is None else float(bias[ids].float().mean())

    def cap(self, logits: Float[Tensor, "*n v"]) -> Float[Tensor, "*n v"]:
        """The family's soft-cap on final logits, or the logits as they are."""
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


def anatomy_of(model: PreTrainedModel, family: Family) -> Anatomy:
    """Resolve a family's paths in a loaded model. Raises BadModel when a declared part is not there."""
    base: nn.Module = model.base_model
    config: Any = model.config

    def find(root: nn.Module, path: str) -> nn.Module:
        try:
            return root.get_submodule(path)
        except AttributeError as error:
            raise BadModel(
                f"This {config.model_type} model has no part {path!r} where its family says it is.",
                "The installed transformers may have renamed it: see src/clew/models/families.py.",
            ) from error

    def norm(root: nn.Module, path: str | None) -> Norm | None:
        return None if path is None else Norm.of(find(root, path), family.norm_offset)

    def inputs(block: nn.Module, mixed: int) -> Sequence[HeadInput]:
        """Query, key and value of a layer whose heads together are `mixed` wide."""
        parts = [Projection(find(block, path)) for path in (family.query, family.key, family.value)]
        heads = config.num_attention_heads
        width = mixed // heads
        rows = parts[1].by_output.shape[0]
        if family.interleaved:
            return [HeadInput(part, heads, width, i * width, 3 * width) for i, part in enumerate(parts)]
        if family.query != family.key:
            counts, firsts = (heads, rows // width, rows // width), (0, 0, 0)
        else:
            groups = (rows // width - heads) // 2
            counts, firsts = (heads, groups, groups), (0, mixed, mixed + groups * width)
        return [HeadInput(part, n, width, i, width) for part, n, i in zip(parts, counts, firsts, strict=True)]

    def layer(index: int, block: nn.Module) -> Layer:
        gate = None if family.gate is None else Projection(find(block, family.gate))
        query, key, value = inputs(block, Projection(find(block, family.attn_out)).by_input.shape[0])
        attn_out, mlp_out = find(block, family.attn_out), find(block, family.mlp_out)
        return Layer(
            index=index,
            n_heads=config.num_attention_heads,
            block=block,
            attn=find(block, family.attn),
            attn_norm=norm(block, family.attn_norm),
            query=query,
            key=key,
            value=value,
            q_norm=norm(block, family.q_norm),
            q_norm_module=None if family.q_norm is None else find(block, family.q_norm),
            k_norm=norm(block, family.k_norm),
            k_norm_module=None if family.k_norm is None else find(block, family.k_norm),
            attn_out=Projection(attn_out),
            attn_out_module=attn_out,
            attn_post_norm=norm(block, family.attn_post_norm),
            attn_post_module=None if family.attn_post_norm is None else find(block, family.attn_post_norm),
            mlp=find(block, family.mlp),
            mlp_norm=norm(block, family.mlp_norm),
            attn_norm_module=None if family.attn_norm is None else find(block, family.attn_norm),
            mlp_norm_module=None if family.mlp_norm is None else find(block, family.mlp_norm),
            parallel=bool(getattr(block, "use_parallel_residual", False)),
            gate=gate,
            up=Projection(find(block, family.up)),
            fused_gate=family.gate is not None and family.gate == family.up,
            act=find(block, family.act),
            mlp_out=Projection(mlp_out),
            mlp_out_module=mlp_out,
            mlp_post_norm=norm(block, family.mlp_post_norm),
            mlp_post_module=None if family.mlp_post_norm is None else find(block, family.mlp_post_norm),
        )

    blocks = find(base, family.layers)
    assert isinstance(blocks, nn.ModuleList)
    final_norm = find(base, family.final_norm)
    unembed = model.get_output_embeddings()
    assert isinstance(unembed, nn.Linear)
    return Anatomy(
        base=base,
        embed=find(base, family.embed),
        layers=tuple(layer(i, block) for i, block in enumerate(blocks)),
        final_norm=Norm.of(final_norm, family.norm_offset),
        final_norm_module=final_norm,
        unembed=unembed,
        softcap=getattr(config, "final_logit_softcapping", None),
    )
