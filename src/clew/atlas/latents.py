"""The latents of an autoencoder among the components of a model: what each writes to the stream, and what each reads.

A latent writes its decoder row, and reads with its encoder's column, wherever the site is (docs/arithmetic.md). All is
linear: a normalisation of what is read has its scale held at 1, as norms have in `relations`.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.anatomy import Anatomy, Depth, Norm
from ..models.sites import pulled, reads_from, write_norms, written
from ..nodes import Node
from ..sae.autoencoder import Autoencoder
from .attached import block_of
from .observation import Block

_TINY = torch.finfo(torch.float32).tiny


class Latents:
    """All latents of one autoencoder. Writes have a post-norm's gain folded in, its scale at 1."""

    def __init__(self, anatomy: Anatomy, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder
        self.block = block_of(autoencoder)
        self._anatomy = anatomy

    @cached_property
    def norm(self) -> Float[Tensor, " n"]:
        """The length of every latent's write, for an activation of 1."""
        return write_norms(self._anatomy, self.autoencoder.writes, self.autoencoder.w_dec)

    def write(self, index: int) -> Float[Tensor, " d"]:
        """What one latent adds to the stream, for an activation of 1."""
        return written(self._anatomy, self.autoencoder.writes, self.autoencoder.w_dec[index])

    def along(self, rows: Float[Tensor, "k d"]) -> Float[Tensor, "k n"]:
        """Every latent's write of length 1 along some rows."""
        rows = pulled(self._anatomy, self.autoencoder.writes, rows)
        return rows @ self.autoencoder.w_dec.T / self.norm.clamp_min(_TINY)

    @property
    def reads_at(self) -> Depth | None:
        """Where the latents read the stream; None when they read what a layer adds to it, or makes that from."""
        site = self.autoencoder.reads
        return reads_from(self._anatomy, site) if site.name in ("resid", "mlp_in") else None

    @property
    def reads_activations(self) -> bool:
        """Whether they read what neurons or heads do, and not what those write."""
        return self.autoencoder.reads.name in ("mlp_act", "attn_act")

    def column(self, index: int) -> Float[Tensor, " w"]:
        """What one latent's input is the product of with what it reads."""
        column, _ = self.autoencoder.reader(index)
        return column - column.mean() if self._centres else column

    def row(self, index: int) -> Float[Tensor, "1 d"]:
        """The same with what the stream, or the layer's addition to it, holds: a norm in front is folded in."""
        norm = self._norm
        column = self.column(index)[None]
        return column if norm is None else norm.pull(column)

    def read(self, rows: Float[Tensor, "r d"]) -> Float[Tensor, "r n"]:
        """What every latent reads of writes."""
        norm = self._norm
        return self._read_site(rows if norm is None else norm.gain * norm.centre(rows))

    def read_activation(self, index: int) -> Float[Tensor, "k n"]:
        """What every latent reads of a neuron's activation, or of each number that a head mixed, where it is 1."""
        site = self.autoencoder.reads
        width = self._anatomy.layers[site.layer].value.width if site.name == "attn_act" else 1
        rows = self.autoencoder.w_enc.new_zeros(width, self.autoencoder.d_in)
        rows[:, index * width : (index + 1) * width].fill_diagonal_(1)
        return self._read_site(rows)

    def _read_site(self, rows: Float[Tensor, "r w"]) -> Float[Tensor, "r n"]:
        """What every latent reads of parts of the value at its site."""
        rows = rows - rows.mean(1, keepdim=True) if self._centres else rows
        read = rows @ self.autoencoder.w_enc
        return read if self.autoencoder.r_mag is None else read * self.autoencoder.r_mag.exp()

    @property
    def _norm(self) -> Norm | None:
        """The norm between the stream and what is read."""
        site = self.autoencoder.reads
        return self._anatomy.layers[site.layer].mlp_norm if site.name == "mlp_in" else None

    @property
    def _centres(self) -> bool:
        return self.autoencoder.normalisation == "layer_norm"


def writes_at(anatomy: Anatomy, block: Block) -> Depth:
    """From where on the stream holds what a block writes."""
    assert block.layer is not None
    early = block.kind == "attn" or (block.part or "").startswith("attn")
    if early and not anatomy.layers[block.layer].parallel:
        return Depth(block.layer, mid=True)
    return Depth(block.layer + 1)


def hears(anatomy: Anatomy, reader: Block, latents: Latents | None, writer: Block) -> bool:
    """Whether one block reads what another writes; `latents` are the reader's, if it is one of latents."""
    assert reader.layer is not None
    if latents is None:
        depth = Depth(reader.layer) if reader.kind == "attn" else anatomy.layers[reader.layer].reads_mlp
    else:
        depth = latents.reads_at
    if depth is not None:
        there = writes_at(anatomy, writer)
        return (there.layer, there.mid) <= (depth.layer, depth.mid)
    assert latents is not None
    site = latents.autoencoder.reads
    kind = "attn" if site.name.startswith("attn") else "neuron"
    parts = {Node(kind, site.layer)}
    if site.name.endswith("_out"):
        parts.add(Node("latent", site.layer, part=site.name.replace("_out", "_act")))
    return writer in parts
