"""The dictionary_learning library: a state_dict in ae.pt, and config.json with the settings of its trainer.

    AutoEncoder             ReLU(encoder(x − bias)), decoded with the same bias added
    AutoEncoderNew          ReLU(encoder(x)), and a bias of the decoder's own
    AutoEncoderTopK         TopK(ReLU(encoder(x − b_dec)))
    BatchTopKSAE, MatryoshkaBatchTopKSAE
                            what of ReLU(encoder(x − b_dec)) is over one learned threshold: a JumpReLU
    JumpReluAutoEncoder     a threshold for every latent; nothing is subtracted from x
    GatedAutoEncoder        gate_bias, mag_bias and r_mag, of encoder(x − decoder_bias)

The last two multiply latents by the norms of their decoder rows, and so are they here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...nodes import Site
from ..autoencoder import Activation, Autoencoder, Origin
from .folding import with_norms_folded
from .place import Asked, Said
from .weights import Weights, read_json, read_pt, setting, text, wrong

WEIGHTS = "ae.pt"
CONFIG = "config.json"


@dataclass(frozen=True)
class _Kind:
    """A class of the library: what it was trained as and is served as, and its conventions.

    `bias` is the name of the decoder's, which is `subtracted` from x; latents are multiplied by decoder norms if
    `normed`.
    """

    architecture: str
    activation: Activation
    bias: str = "b_dec"
    subtracted: bool = True
    normed: bool = False


_KINDS = {
    "AutoEncoder": _Kind("relu", "relu", "bias"),
    "AutoEncoderNew": _Kind("relu", "relu", "decoder.bias", subtracted=False),
    "AutoEncoderTopK": _Kind("topk", "topk"),
    "BatchTopKSAE": _Kind("batchtopk", "jumprelu"),
    "MatryoshkaBatchTopKSAE": _Kind("matryoshka", "jumprelu"),
    "JumpReluAutoEncoder": _Kind("jumprelu", "jumprelu", subtracted=False, normed=True),
    "GatedAutoEncoder": _Kind("gated", "gated", "decoder_bias", normed=True),
}
_PARTS = {
    "resid": "resid",
    "resid_post": "resid",
    "resid_out": "resid",
    "mlp": "mlp_out",
    "mlp_out": "mlp_out",
    "attn": "attn_out",
    "attn_out": "attn_out",
    "attention_out": "attn_out",
}
# resid_post_layer_8, mlp_out_layer3
_SUBMODULE = re.compile(r"([a-z_]+?)(?:_layer_?(\d{1,9}))?", re.ASCII)


def said(weights: Path) -> Said:
    """What the files say of the autoencoder's place. Raises BadAutoencoder."""
    config = read_json(weights.with_name(CONFIG))
    trainer = config.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    model = text(trainer.get("lm_name"))
    name = text(trainer.get("submodule_name"))
    buffer = config.get("buffer")
    if isinstance(buffer, dict) and buffer.get("io", "out") != "out":
        return Said(model=model, transcoder=buffer["io"] != "in", unplaced="It reads what a module is given.")
    if name is None:
        return Said(model=model)
    match = _SUBMODULE.fullmatch(name)
    layer = trainer.get("layer") if match is None or match[2] is None else int(match[2])
    if match is not None and match[1] in _PARTS and isinstance(layer, int) and layer >= 0:
        site = Site(_PARTS[match[1]], layer)
        return Said(site, site, model)
    return Said.of_module(name, False, model)


def read(weights: Path, asked: Asked) -> Autoencoder:
    """The autoencoder of a file. Raises BadAutoencoder or WrongAutoencoder."""
    path = weights.with_name(CONFIG)
    config = read_json(path)
    trainer = setting(config, "trainer", dict, path)
    name = setting(trainer, "dict_class", str, path)
    if name not in _KINDS:
        raise wrong(path, f"dict_class is {name!r}, which is not supported")
    kind, where = _KINDS[name], said(weights)
    reads, writes = asked.places(where, weights)
    found = read_pt(weights)
    linear = "encoder.weight" in found  # kept as torch keeps a linear layer, its output first
    d, n = found.shape("encoder.weight")[::-1] if linear else found.shape("W_enc")
    for size, there in (("activation_dim", d), ("dict_size", n)):
        if trainer.get(size, there) != there:
            raise wrong(path, f"{size} is {trainer[size]!r}, and the weights have {there:,}")
    gated = kind.activation == "gated"
    b_dec = found.take(kind.bias, d)
    buffer = config.get("buffer")
    context = buffer.get("ctx_len") if isinstance(buffer, dict) else None
    autoencoder = Autoencoder(
        reads=reads,
        writes=writes,
        activation=kind.activation,
        w_enc=found.take("encoder.weight", n, d).T.contiguous() if linear else found.take("W_enc", d, n),
        b_enc=found.take("mag_bias" if gated else "encoder.bias" if linear else "b_enc", n),
        w_dec=found.take("decoder.weight", d, n).T.contiguous() if linear else found.take("W_dec", n, d),
        b_dec=b_dec,
        b_pre=b_dec if kind.subtracted else None,
        k=_k(found, trainer, n, path) if kind.activation == "topk" else None,
        threshold=_threshold(found, n, kind) if kind.activation == "jumprelu" else None,
        b_gate=found.take("gate_bias", n) if gated else None,
        r_mag=found.take("r_mag", n) if gated else None,
        origin=Origin(
            name=weights.absolute().parent.name,
            format="dictionary_learning",
            architecture=kind.architecture,
            model=where.model or asked.model,
            context=context if isinstance(context, int) else None,
            dtype=found.dtype("encoder.weight" if linear else "W_enc"),
        ),
    )
    return with_norms_folded(autoencoder) if kind.normed else autoencoder


def _k(found: Weights, trainer: Mapping[str, Any], n: int, path: Path) -> int:
    k = int(found.number("k")) if "k" in found else setting(trainer, "k", int, path)
    if not 1 <= k <= n:
        raise wrong(path, f"k is {k:,}, of {n:,} latents")
    return k


def _threshold(found: Weights, n: int, kind: _Kind) -> Tensor:
    if kind.architecture == "jumprelu":
        return found.take("threshold", n)
    return torch.full((n,), found.number("threshold"))
