"""Affine functions of the stream made of what a layer reads, the norm in front held."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.anatomy import Depth, Layer, Norm
from ..models.probe import LayerProbe
from .scalar import Combine, Forms


def attention_forms(
    layer: Layer,
    seen: LayerProbe,
    parts: list[tuple[int, Float[Tensor, " m"]]],
    combine: Combine,
    linear: bool,
) -> Forms:
    """Forms of what the attention reads: each part a function of it at one position."""
    positions = sorted({at for at, _ in parts})
    # Parts of one number each are read at positions of their own, so one gradient holds those of all.
    whole = seen.gradient(torch.cat([part for _, part in parts]).sum()) if linear else None
    weights, constants = [], []
    for at, part in parts:
        gradient = torch.stack([seen.gradient(number)[at] for number in part]) if whole is None else whole[at][None]
        own = part.detach().float() - gradient @ seen.read.detach()[0, at].float()
        weight, constant = held(layer.attn_norm, gradient, seen.stream[at].float(), own)
        weights.append(weight)
        constants.append(constant)
    device = seen.stream.device
    return Forms(
        depth=Depth(layer.index),
        positions=torch.tensor(positions, device=device),
        at=torch.tensor([positions.index(at) for at, _ in parts], device=device),
        weight=torch.stack(weights),
        constant=torch.stack(constants),
        combine=combine,
        linear=linear,
    )


def held(
    norm: Norm | None, rows: Float[Tensor, "m d"], stream: Float[Tensor, " d"], own: Float[Tensor, " m"]
) -> tuple[Float[Tensor, "d m"], Float[Tensor, " m"]]:
    """Weights and constants of rows that read the normed stream, as functions of the stream, the norm's scale held."""
    if norm is None:
        return rows.T, own
    constant = own if norm.bias is None else own + rows @ norm.bias
    return (norm.pull(rows) * norm.scale(stream)).T, constant


def total(forms: Float[Tensor, "n f m"]) -> Float[Tensor, " n"]:
    """The sum of all forms."""
    return forms.sum((1, 2))
