"""Folders as others write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from .drawing import D, Draw, N


def saelens(folder: Path, draw: Draw, config: dict[str, Any], **more: Tensor) -> dict[str, Tensor]:
    """A folder of SAELens' with these settings."""
    tensors = {"W_enc": draw(D, N), "W_dec": draw(N, D), "b_enc": draw(N), "b_dec": draw(D)} | more
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": N} | config))
    return tensors


def sparsify(folder: Path, draw: Draw, run: dict[str, Any] | None = None, **config: Any) -> dict[str, Tensor]:
    tensors = {
        "encoder.weight": draw(N, D),
        "encoder.bias": draw(N),
        "W_dec": draw(N, D),
        "b_dec": draw(D),
        **({"W_skip": draw(D, D)} if config.get("skip_connection") else {}),
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(
        json.dumps({"d_in": D, "num_latents": N, "k": 5, "normalize_decoder": True} | config)
    )
    if run is not None:
        (folder.parent / "config.json").write_text(json.dumps(run))
    return tensors
