"""Checkpoints: everything a training goes on from, in one file.

It is named STEP.DIGEST.safetensors after the steps done and the SHA-256 of its bytes, so one rename makes it complete
beside the one before it, which is removed after that; what is damaged is known by its name. Numbers that are no
tensors lie in one as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..disk import PARTIAL, digest, on_disk, sync
from ..errors import BadCheckpoint
from .formats.weights import write_safetensors
from .portion import Portion, Storable

VERSION = 1
_JSON = "clew.json"
_NAME = re.compile(r"(\d+)\.([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A training after `step` steps. `numbers` are JSON-ready."""

    step: int
    numbers: dict[str, Any]
    tensors: Storable


class Stored(Mapping[str, Tensor]):
    """The tensors of a file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, "pt") as file:
            self._names = frozenset(file.keys()) - {_JSON}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._path, "pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def part(self, name: str, portion: Portion, dim: int = 0) -> Tensor:
        """Of a tensor whose dimension `dim`, 0 or 1, is latents, those of a portion."""
        with safe_open(self._path, "pt") as file:
            found = file.get_slice(name)
            at = slice(portion.low, portion.high)
            return found[at] if dim == 0 else found[:, at]


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as it lies on disk."""

    step: int
    numbers: dict[str, Any]
    tensors: Stored


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into a folder and remove the ones before. Raises NoSpace; the last one then stays."""
    document = json.dumps({"version": VERSION, "numbers": checkpoint.numbers}).encode()
    tensors = {**checkpoint.tensors, _JSON: torch.frombuffer(bytearray(document), dtype=torch.uint8)}
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


def load(folder: Path) -> Loaded | None:
    """The last checkpoint in a folder; None when there is none. Raises BadCheckpoint."""
    there = _listed(folder)
    if not there:
        return None
    step, path = max(there)
    try:
        if digest(path) != path.name.split(".")[1]:
            raise ValueError("changed")
        tensors = Stored(path)
        with safe_open(path, "pt") as file:
            document = json.loads(file.get_tensor(_JSON).numpy().tobytes())
        version, numbers = document["version"], document["numbers"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadCheckpoint(
            f"The checkpoint {path} is not as it was written.", "Train again with --replace, or into another folder."
        ) from error
    if version != VERSION:
        raise BadCheckpoint(
            f"The checkpoint {path} is of another version of Clew.", "Go on with that, or train again with --replace."
        )
    return Loaded(step, numbers, tensors)


def _listed(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
