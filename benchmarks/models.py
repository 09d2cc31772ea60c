"""The models that are measured: the default one, and the shape of GPT-2 small with random weights."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import torch
from transformers import AutoModelForCausalLM, GPT2Config

import clew
from clew.debug import Model
from clew.models import attention
from clew.models.anatomy import anatomy_of
from clew.models.families import family_of
from clew.models.subject import SubjectModel

GPT2_SHAPE = "GPT-2-small shape"
DEFAULT = "SmolLM2-135M"


def load(name: str) -> Model:
    """One of the two measured models."""
    if name == DEFAULT:
        return clew.load()
    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(GPT2Config(), attn_implementation=attention.IMPLEMENTATION)
    hf.eval().requires_grad_(False)
    # Random weights need no tokenizer: every measurement is on token ids.
    tokenizer = None
    return Model(
        SubjectModel(
            name=name,
            path=Path(),
            family="gpt2",
            hf=hf,
            tokenizer=tokenizer,  # pyright: ignore[reportArgumentType]
            anatomy=anatomy_of(hf, family_of("gpt2")),
            load_s=0.0,
            lock=Lock(),
        )
    )
