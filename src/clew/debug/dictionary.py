"""Autoencoders attached to a model: what their latents write to the residual stream, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from ..errors import UsageError, WrongAutoencoder
from ..models.anatomy import Anatomy, Depth, Layer, Norm
from ..models.sites import post_norm, pulled, write_norms, written
from ..nodes import Site
from ..sae.autoencoder import Autoencoder, check_fits


@dataclass(frozen=True, eq=False)
class Dictionary:
    """An autoencoder at its site. Its latents and its error replace the block that writes there, or all of the stream.

    A latent's write is its strength times its decoder row, for sites before an output projection carried through it;
    a post-norm that is yet to come is applied with its scale held, as it is to neurons and heads.
    """

    autoencoder: Autoencoder
    anatomy: Anatomy

    @property
    def site(self) -> Site:
        return self.autoencoder.writes

    @property
    def block(self) -> Literal["attn", "mlp", "resid"]:
        """What it replaces: a layer's heads, its neurons, or everything written up to the end of its layer."""
        return "attn" if self.site.name.startswith("attn") else "mlp" if self.site.name.startswith("mlp") else "resid"

    @property
    def layer(self) -> Layer:
        return self.anatomy.layers[self.site.layer]

    @property
    def before_projection(self) -> bool:
        """Whether the site's value passes an output projection on its way to the stream."""
        return self.site.name in ("attn_act", "mlp_act")

    @property
    def post_norm(self) -> Norm | None:
        """The post-norm that the value is yet to pass."""
        return post_norm(self.anatomy, self.site)

    @cached_property
    def write_norm(self) -> Float[Tensor, " n"]:
        """‖write‖ of a unit of each latent, a post-norm's gain included, its scale not."""
        return write_norms(self.anatomy, self.site, self.autoencoder.w_dec)

    def written(self, value: Float[Tensor, "*n w"]) -> Float[Tensor, "*n d"]:
        """What a part of the site's value adds to the stream, but for a post-norm's held scale."""
        return written(self.anatomy, self.site, value)

    def pulled(self, directions: Float[Tensor, "k d"], post: Float[Tensor, " k"] | None) -> Float[Tensor, "k w"]:
        """The direction at the site whose dot product with a part of its value is that part's effect along another in
        the stream; `post` is the held scale of a post-norm at each row."""
        return pulled(self.anatomy, self.site, directions, post)

    def upstream_of(self, depth: Depth) -> bool:
        """Whether its latents are written before the stream is read at a depth."""
        layer = self.site.layer
        if self.block == "resid":
            return layer < depth.layer
        return layer < depth.layer or (layer == depth.layer and depth.mid and self.block == "attn")


Dictionaries = Mapping[Site, Dictionary]


def dictionaries(anatomy: Anatomy, model: str, autoencoders: Sequence[Autoencoder]) -> Dictionaries:
    """Autoencoders by the site they write. Raises WrongAutoencoder, BadSite, or UsageError for two of one block."""
    found: dict[Site, Dictionary] = {}
    device = anatomy.unembed.weight.device
    for autoencoder in autoencoders:
        check_fits(autoencoder, anatomy, model)
        site = autoencoder.writes
        if autoencoder.is_transcoder and (autoencoder.reads.name, autoencoder.reads.layer, site.name) != (
            "mlp_in", site.layer, "mlp_out",
        ):  # fmt: skip
            raise WrongAutoencoder(
                f"{autoencoder.name} reads {autoencoder.reads} and writes {site}: its latents belong to no one block.",
                "The debugger takes transcoders that read mlp_in and write mlp_out of the same layer.",
            )
        made = Dictionary(autoencoder.to(device), anatomy)
        twice = next((d for d in found.values() if (d.block, d.site.layer) == (made.block, site.layer)), None)
        if twice is not None:
            raise UsageError(
                f"{autoencoder.name} and {twice.autoencoder.name} would both replace what {site} is made of.",
                "Attach one of them at a time.",
            )
        found[site] = made
    return found
