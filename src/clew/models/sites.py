"""Sites: the tensors that autoencoders read and write, and where the model computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import BadSite
from ..nodes import Site
from .anatomy import Anatomy, Depth
from .forward import Reached

See = Callable[[Float[Tensor, "b t w"]], Float[Tensor, "b t w"] | None]
"""Is shown a site's value as the model computes it; what it returns, if anything, takes its place."""


def check_site(anatomy: Anatomy, site: Site) -> Site:
    """The site. Raises BadSite when the model has no such layer."""
    if site.layer >= len(anatomy.layers):
        raise BadSite(
            f"{site} does not exist: there are {len(anatomy.layers)} layers.",
            f"Counting starts at 0, so the last is {len(anatomy.layers) - 1}.",
        )
    return site


def width(anatomy: Anatomy, site: Site) -> int:
    """How many numbers a token has at a site."""
    layer = anatomy.layers[site.layer]
    match site.name:
        case "mlp_act":
            return layer.n_neurons
        case "attn_act":
            return layer.attn_out.by_input.shape[0]
        case _:
            return anatomy.d_model


def reads_from(anatomy: Anatomy, site: Site) -> Depth:
    """Where along the residual stream the site's value is computed from."""
    match site.name:
        case "resid":
            return Depth(site.layer + 1)
        case "attn_act" | "attn_out":
            return Depth(site.layer)
        case _:
            return anatomy.layers[site.layer].reads_mlp


@contextmanager
def tap(anatomy: Anatomy, site: Site, see: See, prepend: bool = False) -> Iterator[None]:
    """Show `see` the site in every pass inside the block; with `prepend` before what was set to see it earlier."""
    layer = anatomy.layers[site.layer]
    after: nn.Module | None = None
    before: nn.Module | None = None
    match site.name:
        case "mlp_act":
            before = layer.mlp_out_module
        case "attn_act":
            before = layer.attn_out_module
        case "mlp_in":
            before = layer.mlp
        case "mlp_out":
            after = layer.mlp_post_module or layer.mlp_out_module
        case "attn_out":
            after = layer.attn_post_module or layer.attn_out_module
        case _:
            last = site.layer + 1 == len(anatomy.layers)
            before = anatomy.final_norm_module if last else anatomy.layers[site.layer + 1].block

    def entering(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        seen = see(args[0])
        return None if seen is None else (seen, *args[1:])

    def leaving(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return see(output)

    if before is not None:
        handle = before.register_forward_pre_hook(entering, prepend=prepend)
    else:
        assert after is not None
        handle = after.register_forward_hook(leaving, prepend=prepend)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def read_sites(anatomy: Anatomy, sites: Sequence[Site], ids: Int[Tensor, "b t"]) -> dict[Site, Float[Tensor, "b t w"]]:
    """The values of some sites on prompts of one length; the pass ends when the last of them is there."""
    found: dict[Site, Tensor] = {}
    wanted = set(sites)

    def keep(site: Site) -> See:
        def see(x: Tensor) -> None:
            found[site] = x
            if len(found) == len(wanted):
                raise Reached

        return see

    with ExitStack() as stack:
        for site in wanted:
            stack.enter_context(tap(anatomy, site, keep(site)))
        with suppress(Reached):
            anatomy.base(input_ids=ids, use_cache=False)
    return found
