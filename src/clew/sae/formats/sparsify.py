"""EleutherAI's sparsify: TopK autoencoders and transcoders, a folder for each module of the model.

    RUN/config.json             the run: its model
    RUN/MODULE/cfg.json         d_in, num_latents or expansion_factor, k, transcode, skip_connection
    RUN/MODULE/sae.safetensors  encoder.weight [n, d], encoder.bias, W_dec [n, d], b_dec, perhaps W_skip [d, d]

f = TopK(ReLU(W_e(x − b_dec) + b_e)) and x̂ = W_decᵀ f + b_dec, for an autoencoder of the output of MODULE. A transcoder
reads the module's input, subtracts nothing from it, and may add W_skip x. Written from sparsify's own definition:
SAELens transposes W_dec, takes MODULE for a layer whatever it is, and subtracts b_dec by normalize_decoder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..autoencoder import Autoencoder, Origin
from .place import Asked, Said
from .weights import read_json, read_safetensors, setting, text, wrong

WEIGHTS = "sae.safetensors"
CONFIG = "cfg.json"
RUN = "config.json"
_SEED = re.compile(r"seed\d+", re.ASCII)  # of several begun from different weights, one folder deeper


def said(weights: Path) -> Said:
    """What the files say of the autoencoder's place. Raises BadAutoencoder."""
    config = read_json(weights.with_name(CONFIG))
    return _said(weights, config, _run(weights))


def read(weights: Path, asked: Asked) -> Autoencoder:
    """The autoencoder of a folder. Raises BadAutoencoder or WrongAutoencoder."""
    path = weights.with_name(CONFIG)
    config, run = read_json(path), _run(weights)
    transcoder = config.get("transcode") is True
    for name in ("signed", "embed_skip", "gram_lookup"):
        if config.get(name):
            raise wrong(path, f"{name} is on, which is not supported")
    if config.get("activation", "topk") != "topk":
        raise wrong(path, f"the activation function {config['activation']!r} is not supported")
    where = _said(weights, config, run)
    reads, writes = asked.places(where, weights.parent)
    d, k = setting(config, "d_in", int, path), setting(config, "k", int, path)
    n = config.get("num_latents") or d * setting(config, "expansion_factor", int, path)
    if not isinstance(n, int) or k > n:
        raise wrong(path, f"k is {k:,}, of {n} latents")
    found = read_safetensors(weights)
    b_dec = found.take("b_dec", d)
    return Autoencoder(
        reads=reads,
        writes=writes,
        activation="topk",
        w_enc=found.take("encoder.weight", n, d).T.contiguous(),
        b_enc=found.take("encoder.bias", n),
        w_dec=found.take("W_dec", n, d),
        b_dec=b_dec,
        b_pre=None if transcoder else b_dec,
        k=k,
        w_skip=found.take("W_skip", d, d).T.contiguous() if config.get("skip_connection") is True else None,
        origin=Origin(
            name=_module(weights),
            format="sparsify",
            architecture="transcoder" if transcoder else "topk",
            model=where.model or asked.model,
            context=run["ctx_len"] if isinstance(run.get("ctx_len"), int) else None,
            dtype=found.dtype("encoder.weight"),
        ),
    )


def _said(weights: Path, config: dict[str, Any], run: dict[str, Any]) -> Said:
    return Said.of_module(_module(weights), config.get("transcode") is True, text(run.get("model")))


def _module(weights: Path) -> str:
    folder = weights.absolute().parent
    return folder.parent.name if _SEED.fullmatch(folder.name) else folder.name


def _run(weights: Path) -> dict[str, Any]:
    """The settings of the run, which are left out of some copies."""
    folder = weights.absolute().parent
    path = (folder.parent if _SEED.fullmatch(folder.name) else folder).with_name(RUN)
    return read_json(path) if path.is_file() else {}
