"""A sparse autoencoder as it is used: weights that never change, and what they make of a site's value.

    z = W_encᵀ (x − b_pre) + b_enc      f = act(z)      x̂ = b_dec + W_decᵀ f  (+ W_skipᵀ x)

Everyone's formats are read into this one form (sae/formats); training (sae/trainer.py) has its own parameters and gives
one of these at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import WrongAutoencoder
from ..models.anatomy import Anatomy
from ..models.sites import Split, check_site, width
from ..nodes import Site

Activation = Literal["relu", "topk", "jumprelu", "gated"]
Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]
"""What is done to each x before it is read and undone on x̂: by SAELens' names and definitions."""

_LAYER_NORM_EPS = 1e-5  # SAELens', added to the standard deviation


@dataclass(frozen=True)
class Origin:
    """Where an autoencoder comes from, as far as its files say. `tokens` is how many it was trained on.

    `architecture` is what it was trained as: a batchtopk is served as a jumprelu. `dtype` is that of its file.
    """

    name: str
    format: str = "clew"
    architecture: str = "relu"
    model: str | None = None
    context: int | None = None
    bos: bool | None = None
    tokens: int | None = None
    dtype: str = "float32"
    tied: bool = False


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """Weights in float32 (or what `to` made them), by name; shapes as in SAELens.

    It reads `reads` and gives back `writes`: the same site, or for a transcoder a later one. Any normalisation that is
    a constant factor is folded into the weights. `threshold` is JumpReLU's, `k` TopK's; `b_gate` and `r_mag` belong to
    a gated encoder, whose b_enc is b_mag.
    """

    reads: Site
    writes: Site
    activation: Activation
    w_enc: Float[Tensor, "d_in n"]
    b_enc: Float[Tensor, " n"]
    w_dec: Float[Tensor, "n d_out"]
    b_dec: Float[Tensor, " d_out"]
    b_pre: Float[Tensor, " d_in"] | None = None
    k: int | None = None
    threshold: Float[Tensor, " n"] | None = None
    b_gate: Float[Tensor, " n"] | None = None
    r_mag: Float[Tensor, " n"] | None = None
    w_skip: Float[Tensor, "d_in d_out"] | None = None
    normalisation: Normalisation = "none"
    origin: Origin = field(default_factory=lambda: Origin("autoencoder"))

    @property
    def name(self) -> str:
        return self.origin.name

    @property
    def n_latents(self) -> int:
        return self.w_enc.shape[1]

    @property
    def d_in(self) -> int:
        return self.w_enc.shape[0]

    @property
    def d_out(self) -> int:
        return self.w_dec.shape[1]

    @property
    def is_transcoder(self) -> bool:
        return self.reads != self.writes

    @cached_property
    def decoder_norm(self) -> Float[Tensor, " n"]:
        """‖W_dec[j]‖."""
        return self.w_dec.norm(dim=1)

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Autoencoder:
        """The same with its weights elsewhere."""
        moved = {
            f.name: value.to(device=device, dtype=dtype)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def pre_activations(self, x: Float[Tensor, "*t d_in"]) -> Float[Tensor, "*t n"]:
        """z: what the activation function is given (of a gated encoder, its magnitudes)."""
        z = self._normed(x.to(self.w_enc.dtype))[0] @ self.w_enc
        return z * self.r_mag.exp() + self.b_enc if self.r_mag is not None else z + self.b_enc

    def encode(self, x: Float[Tensor, "*t d_in"]) -> Float[Tensor, "*t n"]:
        """f, none of it negative."""
        x = self._normed(x.to(self.w_enc.dtype))[0]
        z = x @ self.w_enc
        match self.activation:
            case "gated":
                assert self.b_gate is not None and self.r_mag is not None
                return torch.relu(z * self.r_mag.exp() + self.b_enc) * (z + self.b_gate > 0)
            case "jumprelu":
                assert self.threshold is not None
                z = z + self.b_enc
                return torch.relu(z) * (z > self.threshold)
            case "topk":
                assert self.k is not None
                best = torch.relu(z + self.b_enc).topk(min(self.k, self.n_latents), dim=-1)
                return torch.zeros_like(z).scatter_(-1, best.indices, best.values)
            case _:
                return torch.relu(z + self.b_enc)

    def split(self, x: Float[Tensor, "*t d_in"]) -> Split:
        """What the autoencoder makes of a site's value; the error is left to who has the value to reconstruct."""
        x = x.to(self.w_enc.dtype)
        _, scale, mean = self._normed(x)
        base = self.b_dec.expand(*x.shape[:-1], -1)
        if scale is not None:
            base = base * scale
        if mean is not None:
            base = base + mean
        skip = None if self.w_skip is None else x @ self.w_skip
        return Split(self.encode(x), scale, base, skip)

    def decode(self, split: Split) -> Float[Tensor, "*t d_out"]:
        """x̂."""
        whole = split.base + split.strengths @ self.w_dec
        return whole if split.skip is None else whole + split.skip

    def __call__(self, x: Float[Tensor, "*t d_in"]) -> Float[Tensor, "*t d_out"]:
        """x̂ of x."""
        return self.decode(self.split(x))

    def reader(self, index: int) -> tuple[Float[Tensor, " d_in"], Float[Tensor, ""]]:
        """w and c with z_index = w·x + c, where x is normalised already if there is a normalisation."""
        w, c = self.w_enc[:, index], self.b_enc[index]
        if self.r_mag is not None:
            w = w * self.r_mag[index].exp()
        return w, c if self.b_pre is None else c - w @ self.b_pre

    def held_reader(self, index: int, x: Float[Tensor, " d_in"]) -> tuple[Float[Tensor, " d_in"], Float[Tensor, ""]]:
        """The same as functions of x as it is, at this x: the scale of a normalisation is held."""
        w, c = self.reader(index)
        if self.normalisation == "none":
            return w, c
        _, scale, mean = self._normed(x.to(self.w_enc.dtype))
        assert scale is not None
        if mean is None:
            return w / scale, c
        return (w - w.mean()) / (scale + _LAYER_NORM_EPS), c

    def _normed(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the encoder's weights are given, and the scale and mean to undo the normalisation with."""
        scale = mean = None
        match self.normalisation:
            case "layer_norm":
                mean = x.mean(-1, keepdim=True)
                x = x - mean
                scale = x.std(-1, keepdim=True)
                x = x / (scale + _LAYER_NORM_EPS)
            case "constant_norm_rescale":
                scale = x.norm(dim=-1, keepdim=True) / self.d_in**0.5
                x = x / scale
            case _:
                pass
        return (x if self.b_pre is None else x - self.b_pre), scale, mean


def check_fits(autoencoder: Autoencoder, anatomy: Anatomy, model: str) -> None:
    """Raises BadSite or WrongAutoencoder when an autoencoder is not of this model's shape."""
    for site, size in ((autoencoder.reads, autoencoder.d_in), (autoencoder.writes, autoencoder.d_out)):
        check_site(anatomy, site)
        there = width(anatomy, site)
        if size != there:
            raise WrongAutoencoder(
                f"{autoencoder.name} is {size:,} wide, and {site} of {model} has {there:,} numbers.",
                "Name the model and the site that it was trained on.",
            )
