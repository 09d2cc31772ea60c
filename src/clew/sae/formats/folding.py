"""Conventions that others keep beside the weights, worked into them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..autoencoder import Autoencoder


def with_norms_folded(autoencoder: Autoencoder) -> Autoencoder:
    """Latents times the norms of their decoder rows, which become 1: what an encoder that multiplies by them gives.

    TopK then ranks latents by what they write. A row of zeros stays one, and its latent never fires.
    """
    norm = autoencoder.decoder_norm

    def times(value: Tensor | None) -> Tensor | None:
        return None if value is None else value * norm

    return replace(
        autoencoder,
        w_enc=autoencoder.w_enc * norm,
        b_enc=autoencoder.b_enc * norm,
        w_dec=autoencoder.w_dec / norm.where(norm > 0, 1)[:, None],
        threshold=times(autoencoder.threshold),
        b_gate=times(autoencoder.b_gate),
    )


def with_factor_folded(autoencoder: Autoencoder, factor: float) -> Autoencoder:
    """Reads and writes x, where the weights read and write factor·x."""
    return replace(
        autoencoder,
        w_enc=autoencoder.w_enc * factor,
        w_dec=autoencoder.w_dec / factor,
        b_dec=autoencoder.b_dec / factor,
        b_pre=None if autoencoder.b_pre is None else autoencoder.b_pre / factor,
    )
