"""What a latent makes of tokens alone: of the vocabulary's embeddings."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.anatomy import Anatomy
from .autoencoder import Autoencoder

_CHUNK = 4096  # tokens at once
_ROWS = ("b_enc", "w_dec", "threshold", "b_gate", "r_mag")  # weights with a row a latent


def on_embeddings(autoencoder: Autoencoder, anatomy: Anatomy, index: int) -> Float[Tensor, " v"] | None:
    """One latent's pre-activation z if the stream held one token's embedding and nothing else, for every token.

    Position embeddings are left out; a norm in front of what is read takes its scale from the embedding. None for a
    latent that does not read the stream.
    """
    site = autoencoder.reads
    if site.name not in ("resid", "mlp_in"):
        return None
    norm = anatomy.layers[site.layer].mlp_norm if site.name == "mlp_in" else None
    at = slice(index, index + 1)
    rows = {name: value[at] for name in _ROWS if (value := getattr(autoencoder, name)) is not None}
    one = replace(autoencoder, w_enc=autoencoder.w_enc[:, at], **rows)
    found = []
    for chunk in anatomy.embed_weight.split(_CHUNK):
        x = chunk.float() * anatomy.embed_scale
        if norm is not None:
            x = norm.gain * norm.centre(x) * norm.scale(x)
            x = x if norm.bias is None else x + norm.bias
        found.append(one.pre_activations(x)[:, 0])
    return torch.cat(found)
