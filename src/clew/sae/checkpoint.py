"""Checkpoints: everything a training goes on from, in one file.

It is named STEP.DIGEST.safetensors after the steps done and the SHA-256 of its bytes, so one rename makes it complete
beside the one before it, which is removed after that; what is damaged is known by its name. Numbers that are no
tensors lie in one as JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..disk import PARTIAL, digest, on_disk, sync
from ..errors import BadCheckpoint
from .formats.weights import write_safetensors

VERSION = 1
_JSON = "clew.json"
_NAME = re.compile(r"(\d+)\.([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A training after `step` steps. `numbers` are JSON-ready."""

    step: int
    numbers: dict[str, Any]
    tensors: dict[str, Tensor]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into a folder and remove the ones before. Raises NoSpace; the last one then stays."""
    document = json.dumps({"version": VERSION, "numbers": checkpoint.numbers}).encode()
    tensors = checkpoint.tensors | {_JSON: torch.frombuffer(bytearray(document), dtype=torch.uint8)}
    partial = folder / f"{checkpoint.step:09d}{PARTIAL}"
    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"*{PARTIAL}"):
            left.unlink()
        try:
            write_safetensors(tensors, partial)
            sync(partial)
            path = folder / f"{checkpoint.step:09d}.{digest(partial)}.safetensors"
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync(folder)
        for _, earlier in _listed(folder):
            if earlier != path:
                earlier.unlink()


def load(folder: Path) -> Checkpoint | None:
    """The last checkpoint in a folder; None when there is none. Raises BadCheckpoint."""
    there = _listed(folder)
    if not there:
        return None
    step, path = max(there)
    try:
        if digest(path) != path.name.split(".")[1]:
            raise ValueError("changed")
        tensors = load_file(path)
        document = json.loads(tensors.pop(_JSON).numpy().tobytes())
        version, numbers = document["version"], document["numbers"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadCheckpoint(
            f"The checkpoint {path} is not as it was written.", "Train again with --replace, or into another folder."
        ) from error
    if version != VERSION:
        raise BadCheckpoint(
            f"The checkpoint {path} is of another version of Clew.", "Go on with that, or train again with --replace."
        )
    return Checkpoint(step, numbers, tensors)


def _listed(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
