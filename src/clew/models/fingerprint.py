"""Which weights a model has, however it was loaded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .subject import SubjectModel

_SAMPLED = 64  # values per weight


def fingerprint(subject: SubjectModel) -> str:
    """A digest of some values of every weight as bfloat16: the same in every dtype the model is loaded in."""
    digest = hashlib.sha256()
    for name, weight in sorted(subject.hf.named_parameters()):
        flat = weight.detach().reshape(-1)
        at = torch.linspace(0, len(flat) - 1, min(_SAMPLED, len(flat)), dtype=torch.float64).long()
        values = flat[at.to(flat.device)].to(torch.bfloat16).view(torch.int16).cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + values.tobytes())
    return digest.hexdigest()[:16]
