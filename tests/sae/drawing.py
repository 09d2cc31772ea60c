"""Autoencoders with random weights of which every one matters, and what is asked of two that should be one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from clew.nodes import parse_site
from clew.sae import Autoencoder
from clew.sae.autoencoder import Activation, Origin

D, N = 24, 60
Draw = Callable[..., Tensor]


def drawn(
    activation: Activation,
    reads: str | None = None,
    writes: str | None = None,
    *,
    subtracted: bool = False,
    own_bias: bool = False,
    skip: bool = False,
    seed: int = 0,
) -> Autoencoder:
    """Random weights; a transcoder of mlp_in.3 if it writes another site.

    The decoder's bias is subtracted from the input with `subtracted`, another vector with `own_bias`.
    """
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=draw)

    site = parse_site(reads or ("mlp_in.3" if writes else "mlp_out.3"))
    b_dec = normal(D)
    gated = activation == "gated"
    return Autoencoder(
        reads=site,
        writes=parse_site(writes) if writes else site,
        activation=activation,
        w_enc=normal(D, N) * torch.linspace(0.5, 2, N),
        b_enc=normal(N),
        w_dec=normal(N, D) * torch.linspace(0.5, 2, N)[:, None],
        b_dec=b_dec,
        b_pre=b_dec if subtracted else normal(D) if own_bias else None,
        k=5 if activation == "topk" else None,
        threshold=normal(N).abs() if activation == "jumprelu" else None,
        b_gate=normal(N) if gated else None,
        r_mag=normal(N) if gated else None,
        w_skip=normal(D, D) if skip else None,
        origin=Origin(
            "drawn", architecture="batchtopk", model="smollm2", context=64, bos=False, tokens=12_345, dtype="bfloat16"
        ),
    )


def same(one: Autoencoder, other: Autoencoder) -> None:
    """Every field, bit for bit."""
    for field in fields(Autoencoder):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, Tensor) else a == b, field.name


def gives(autoencoder: Autoencoder, x: Tensor, latents: Tensor, output: Tensor) -> None:
    fired = (latents != 0).float().mean()
    assert 0.01 < fired < 0.9, "the comparison would say little"
    torch.testing.assert_close(autoencoder.encode(x), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(autoencoder(x), output, rtol=1e-5, atol=1e-5)
