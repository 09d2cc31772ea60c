"""What this process holds."""

from __future__ import annotations

import sys

import psutil
import torch

from .subject import SubjectModel


def peak(subject: SubjectModel) -> int:
    """The most that was held, in bytes: of the GPU where the model is on one, else of this process."""
    if subject.device.type == "cuda":
        return torch.cuda.max_memory_allocated(subject.device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
