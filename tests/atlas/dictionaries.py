"""Random autoencoders for tiny models, and what they read, by plain hooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clew.models.anatomy import Anatomy
from clew.models.sites import width
from clew.nodes import Site, parse_site
from clew.sae.autoencoder import Activation, Autoencoder, Normalisation, Origin

K = 5  # latents that fire in a topk


def random_autoencoder(
    anatomy: Anatomy,
    reads: str,
    writes: str | None = None,
    activation: Activation = "relu",
    n: int = 48,
    seed: int = 0,
    normalisation: Normalisation = "none",
) -> Autoencoder:
    """Every weight that its kind has is random; about a quarter of the latents of a relu fire at a token."""
    draw = torch.Generator().manual_seed(seed)
    site = parse_site(reads)
    target = site if writes is None else parse_site(writes)
    d_in, d_out = width(anatomy, site), width(anatomy, target)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=draw) * scale

    return Autoencoder(
        reads=site,
        writes=target,
        activation=activation,
        w_enc=normal(d_in, n, scale=d_in**-0.5),
        b_enc=normal(n, scale=0.3) - 0.5,
        w_dec=normal(n, d_out),
        b_dec=normal(d_out, scale=0.1),
        b_pre=normal(d_in, scale=0.1),
        k=K if activation == "topk" else None,
        threshold=normal(n, scale=0.2).abs() if activation == "jumprelu" else None,
        b_gate=normal(n, scale=0.3) if activation == "gated" else None,
        r_mag=normal(n, scale=0.3) if activation == "gated" else None,
        normalisation=normalisation,
        origin=Origin(f"{reads}-{activation}-{seed}"),
    )


def literal(one: Autoencoder, x: Tensor) -> Tensor:
    """What a published autoencoder of its kind computes, by its definition."""
    if one.normalisation == "layer_norm":
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.std(-1, keepdim=True) + 1e-5)
    elif one.normalisation == "constant_norm_rescale":
        x = x / (x.norm(dim=-1, keepdim=True) / one.d_in**0.5)
    z = (x - (0 if one.b_pre is None else one.b_pre)) @ one.w_enc
    if one.activation == "gated":
        assert one.r_mag is not None and one.b_gate is not None
        return torch.relu(torch.exp(one.r_mag) * z + one.b_enc) * (z + one.b_gate > 0)
    z = z + one.b_enc
    if one.activation == "jumprelu":
        assert one.threshold is not None
        return torch.where(z > one.threshold, torch.relu(z), 0)
    if one.activation == "topk":
        assert one.k is not None
        kth = z.sort(dim=-1, descending=True).values[..., one.k - 1 : one.k]
        return torch.where(z >= kth, torch.relu(z), 0)
    return torch.relu(z)


@contextmanager
def read_by_hooks(anatomy: Anatomy, sites: Sequence[Site]) -> Iterator[dict[Site, list[Tensor]]]:
    """The values of sites in every pass inside the block, by hooks on what computes them."""
    seen: dict[Site, list[Tensor]] = {site: [] for site in sites}
    handles = []
    for site in sites:
        layer = anatomy.layers[site.layer]
        before: dict[str, nn.Module] = {
            "mlp_act": layer.mlp_out_module, "attn_act": layer.attn_out_module, "mlp_in": layer.mlp
        }  # fmt: skip
        after: dict[str, nn.Module] = {
            "mlp_out": layer.mlp_post_module or layer.mlp_out_module,
            "attn_out": layer.attn_post_module or layer.attn_out_module,
            "resid": layer.block,
        }

        def entering(module: nn.Module, args: Any, site: Site = site) -> None:
            seen[site].append(args[0].clone())

        def leaving(module: nn.Module, args: Any, output: Any, site: Site = site) -> None:
            seen[site].append((output[0] if isinstance(output, tuple) else output).clone())

        if site.name in before:
            handles.append(before[site.name].register_forward_pre_hook(entering))
        else:
            handles.append(after[site.name].register_forward_hook(leaving))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
