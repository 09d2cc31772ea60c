"""OpenAI's autoencoders of GPT-2 small: one file a layer, whose place is in its path.

    …/{mlp_post_act|resid_delta_mlp|resid_delta_attn|resid_post_mlp}[_VERSION]/autoencoders/{L}.pt

holds pre_bias, latent_bias, encoder.weight [n, d], decoder.weight [d, n], perhaps activation and activation_state_dict:
latents = act(W_e(x − pre_bias) + latent_bias) and x̂ = W_d latents + pre_bias. Where the activation is TopK, x is layer
normed first (Gao et al. 2024, and the code published with it). Every latent is kept where it is, dead or not: the
counters beside the weights are not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from ...nodes import Site
from ..autoencoder import Autoencoder, Origin
from .place import Asked, Said
from .weights import Weights, read_pt, wrong

_SITES = {
    "mlp_post_act": "mlp_act",
    "resid_delta_mlp": "mlp_out",
    "resid_delta_attn": "attn_out",
    "resid_post_mlp": "resid",
}
_LOCATION = re.compile(rf"({'|'.join(_SITES)}|resid_post_attn)(_v\w+)?", re.ASCII)
_LAYER = re.compile(r"(0|[1-9][0-9]{0,8})\.pt", re.ASCII)


def is_named(weights: Path) -> bool:
    """Whether a file is where OpenAI keeps an autoencoder."""
    return _LAYER.fullmatch(weights.name) is not None and _location(weights) is not None


def said(weights: Path) -> Said:
    """What the path says of the autoencoder's place."""
    location, layer = _location(weights), _LAYER.fullmatch(weights.name)
    model = "gpt2" if "gpt2-small" in weights.absolute().parts else None
    if location is None or layer is None:
        return Said(model=model)
    if location[1] not in _SITES:
        return Said(model=model, unplaced="It reads the residual stream between attention and MLP, which is no site.")
    site = Site(_SITES[location[1]], int(layer[1]))
    return Said(site, site, model)


def read(weights: Path, asked: Asked) -> Autoencoder:
    """The autoencoder of a file. Raises BadAutoencoder or WrongAutoencoder."""
    where = said(weights)
    reads, writes = asked.places(where, weights)
    found = read_pt(weights)
    activation = found.value("activation") or "ReLU"
    if activation not in ("ReLU", "TopK"):
        raise wrong(weights, f"its activation is {activation!r:.40}, which is not supported")
    n, d = found.shape("encoder.weight")
    topk = activation == "TopK"
    b_dec = found.take("pre_bias", d)
    w_enc = found.take("encoder.weight", n, d)
    tied = "decoder.weight" not in found and "decoder.linear.weight" in found
    w_dec = w_enc if tied else found.take("decoder.weight", d, n).T.contiguous()
    location = _location(weights)
    return Autoencoder(
        reads=reads,
        writes=writes,
        activation="topk" if topk else "relu",
        w_enc=w_enc.T.contiguous(),
        b_enc=found.take("latent_bias", n),
        w_dec=w_dec,
        b_dec=b_dec,
        b_pre=b_dec,
        k=_k(found, n) if topk else None,
        normalisation="layer_norm" if topk else "none",
        origin=Origin(
            name=weights.stem if location is None else f"{location[0]}.{weights.stem}",
            format="openai",
            architecture="topk" if topk else "relu",
            model=where.model or asked.model,
            dtype=found.dtype("encoder.weight"),
            tied=tied,
        ),
    )


def _location(weights: Path) -> re.Match[str] | None:
    """The folder that names what was read, nearest first."""
    above = (_LOCATION.fullmatch(part) for part in reversed(weights.absolute().parent.parts))
    return next((match for match in above if match is not None), None)


def _k(found: Weights, n: int) -> int:
    state = found.value("activation_state_dict")
    state = state if isinstance(state, dict) else {}
    k, after = state.get("k"), state.get("postact_fn", "ReLU")
    k = k.item() if isinstance(k, Tensor) and k.numel() == 1 else k
    if after != "ReLU":
        raise wrong(found.path, f"its TopK is followed by {after!r:.40}, which is not supported")
    if not isinstance(k, int) or not 1 <= k <= n:
        raise wrong(found.path, f"k is {k!r:.40}, of {n:,} latents")
    return k
