"""How large a vector a head writes, as a whole and from each token it reads.

Both go through `head_gram`, so that no vector of length d_model is made: `‖z W_O‖² = z G zᵀ` with `G = W_O W_Oᵀ`.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..models.anatomy import Layer


def pair_values(
    layer: Layer,
    pattern: Float[Tensor, "b h t t"],
    value: Float[Tensor, "b kv t dh"],
    post_scale: Float[Tensor, "b t 1"] | None = None,
) -> Float[Tensor, "b h t t"]:
    """`A[P,S]·‖V_S W_O‖`: the norm of what each token P receives from each token S, in float32.

    A post-norm's gain is folded in; with `post_scale`, its 1/σ at every P, so is its held scale.
    """
    batch, groups, length, width = value.shape
    gram = layer.head_gram.view(1, groups, -1, width, width)
    norms = _norm(value.float()[:, :, None], gram).view(batch, -1, 1, length)
    values = pattern.float() * norms
    return values if post_scale is None else values.mul_(post_scale[:, None])


def write_norms(
    layer: Layer, mixed: Float[Tensor, "b t h dh"], post_scale: Float[Tensor, "b t 1"] | None = None
) -> Float[Tensor, "b t h"]:
    """`‖z_P W_O‖`: the norm of what each head adds to the stream at each token, in float32; post-norm as above."""
    norms = _norm(mixed.float().transpose(1, 2), layer.head_gram).transpose(1, 2)
    return norms if post_scale is None else norms * post_scale


def _norm(z: Float[Tensor, "*n t dh"], gram: Float[Tensor, "*n dh dh"]) -> Float[Tensor, "*n t"]:
    return (z @ gram).mul_(z).sum(-1).clamp_min_(0).sqrt_()
