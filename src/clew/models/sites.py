"""Sites: the tensors that autoencoders read and write, and where the model computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import BadSite
from ..nodes import Site
from .anatomy import Anatomy, Depth, Norm
from .forward import Reached

_ROWS = 4096  # rows carried to the stream at once


@dataclass(frozen=True)
class Split:
    """A site's value as an autoencoder sees it: x = base + Σ_j scale·latents_j·W_dec[j] + skip + error.

    `scale` is what a normalisation of x is undone with, None for none. `base` is what no latent writes: the decoder's
    bias, and the mean that a layer norm took away. `skip` is what a transcoder passes on without latents, or None.
    """

    latents: Float[Tensor, "*t n"]
    scale: Float[Tensor, "*t 1"] | None
    base: Float[Tensor, "*t d"]
    skip: Float[Tensor, "*t d"] | None

    def detach(self) -> Split:
        """Without the graph it was made in."""
        scale, skip = (None if x is None else x.detach() for x in (self.scale, self.skip))
        return Split(self.latents.detach(), scale, self.base.detach(), skip)

    @property
    def first(self) -> Split:
        """That of the first prompt of a batch."""
        scale, skip = (None if x is None else x[0] for x in (self.scale, self.skip))
        return Split(self.latents[0], scale, self.base[0], skip)

    @property
    def strengths(self) -> Float[Tensor, "*t n"]:
        """How much of each decoder row is written: latents × scale."""
        return self.latents if self.scale is None else self.latents * self.scale


class Coder(Protocol):
    """An autoencoder (sae/autoencoder.py), as far as a forward pass needs to know."""

    @property
    def reads(self) -> Site: ...

    @property
    def writes(self) -> Site: ...

    @property
    def w_dec(self) -> Float[Tensor, "n d"]: ...

    def split(self, x: Float[Tensor, "*t d_in"]) -> Split: ...

    def decode(self, split: Split) -> Float[Tensor, "*t d"]: ...


@dataclass(frozen=True)
class Parts:
    """A site's value on a prompt, taken apart: `value` = decoded `split` + `error`. `read` is what the coder reads."""

    read: Float[Tensor, "t d_in"]
    value: Float[Tensor, "t d"]
    split: Split
    error: Float[Tensor, "t d"]

    def detach(self) -> Parts:
        """Without the graph they were made in."""
        return Parts(self.read.detach(), self.value.detach(), self.split.detach(), self.error.detach())

    @property
    def first(self) -> Parts:
        """Those of the first prompt of a batch."""
        return Parts(self.read[0], self.value[0], self.split.first, self.error[0])

    @classmethod
    def of(cls, coder: Coder, read: Float[Tensor, "t d_in"], value: Float[Tensor, "t d"]) -> Parts:
        split = coder.split(read.float())
        value = value.float()
        return cls(read, value, split, value - coder.decode(split))


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


def projection(anatomy: Anatomy, site: Site) -> Float[Tensor, "w d"] | None:
    """What carries a value to the residual stream, before any post-norm; None where it is added as it is."""
    layer = anatomy.layers[site.layer]
    return {"mlp_act": layer.mlp_out.by_input, "attn_act": layer.attn_out.by_input}.get(site.name)


def post_norm(anatomy: Anatomy, site: Site) -> Norm | None:
    """The post-norm that a site's value is yet to pass on its way to the stream."""
    layer = anatomy.layers[site.layer]
    return {"mlp_act": layer.mlp_post_norm, "attn_act": layer.attn_post_norm}.get(site.name)


def written(anatomy: Anatomy, site: Site, value: Float[Tensor, "*n w"]) -> Float[Tensor, "*n d"]:
    """What a part of a site's value adds to the stream: a post-norm's gain is applied, its scale at 1."""
    out, norm = projection(anatomy, site), post_norm(anatomy, site)
    write = value if out is None else value @ out.float()
    return write if norm is None else write * norm.gain


def write_norms(anatomy: Anatomy, site: Site, rows: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
    """The length of what each of many parts of a site's value adds to the stream."""
    return torch.cat([written(anatomy, site, part).norm(dim=1) for part in rows.split(_ROWS)])


def pulled(
    anatomy: Anatomy, site: Site, directions: Float[Tensor, "k d"], scale: Float[Tensor, " k"] | None = None
) -> Float[Tensor, "k w"]:
    """Directions at a site whose dot products with parts of its value are those of `written` with `directions`.

    `scale` is the post-norm's at each row, where it is not 1.
    """
    out, norm = projection(anatomy, site), post_norm(anatomy, site)
    if norm is not None:
        directions = directions * norm.gain
        directions = directions if scale is None else directions * scale[:, None]
    return directions if out is None else directions @ out.float().T


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
