"""Tensors and settings out of files that anyone may have written, or one sentence about what is wrong with them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import BadAutoencoder
from ..portion import Shared, Storable, in_order

_AGAIN = "Download or save it again."
_DTYPES = {  # by safetensors' names
    torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Weights:
    """The tensors of a file by name, each asked for with the shape that it must have."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self._values = path, values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str) -> Any:
        """What is stored under a name, None if nothing is."""
        return self._values.get(name)

    def shape(self, name: str) -> tuple[int, int]:
        """The shape of a matrix. Raises BadAutoencoder."""
        shape = tuple(self._tensor(name).shape)
        if len(shape) != 2 or 0 in shape:
            raise wrong(self.path, f"{name} has shape {list(shape)}, and is no matrix")
        return shape[0], shape[1]

    def dtype(self, name: str) -> str:
        """The number format of a tensor, such as bfloat16. Raises BadAutoencoder."""
        return str(self._tensor(name).dtype).removeprefix("torch.")

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor in float32. Raises BadAutoencoder if it is missing, of another shape, or not finite."""
        tensor = self._tensor(name)
        if tuple(tensor.shape) != shape:
            raise wrong(self.path, f"{name} has shape {list(tensor.shape)}, where {list(shape)} is due")
        tensor = tensor.to(torch.float32)
        if not tensor.isfinite().all():
            raise BadAutoencoder(f"{self.path} holds numbers in {name} that are NaN or infinite.", "Use another copy.")
        return tensor.contiguous()

    def number(self, name: str) -> float:
        """A tensor of one number. Raises BadAutoencoder."""
        tensor = self._tensor(name)
        if tensor.numel() != 1:
            raise wrong(self.path, f"{name} has shape {list(tensor.shape)}, and is no number")
        return self.take(name, *tensor.shape).item()

    def _tensor(self, name: str) -> Tensor:
        tensor = self._values.get(name)
        if not isinstance(tensor, Tensor):
            raise wrong(self.path, f"there is no tensor {name} in it")
        return tensor


def read_safetensors(path: Path) -> Weights:
    """The tensors of a safetensors file. Raises BadAutoencoder."""
    try:
        return Weights(path, load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise BadAutoencoder(f"{path} is not a whole safetensors file: {_short(error)}.", _AGAIN) from error


def write_safetensors(tensors: Storable, path: Path) -> None:
    """Write tensors, those that lie with several ranks piece by piece: none of them is ever whole in memory.

    Raises OSError, or WorkersLost.
    """
    header: dict[str, Any] = {}
    at, ordered = 0, in_order(tensors)
    for name, tensor in ordered:
        end = at + tensor.shape.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    with path.open("wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for _, tensor in ordered:
            for piece in tensor.pieces() if isinstance(tensor, Shared) else [tensor.detach()]:
                file.write(piece.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def read_pt(path: Path) -> Weights:
    """What torch.save wrote, if it is a dict of tensors, numbers and text: nothing is unpickled.

    Raises BadAutoencoder.
    """
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadAutoencoder(
            f"{path} is damaged, or holds more than tensors, and Clew never unpickles a file.",
            "Look for a safetensors copy, or save its state_dict.",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadAutoencoder(f"{path} is not a whole file of torch.save: {_short(error)}.", _AGAIN) from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise wrong(path, "it holds no tensors by name")
    return Weights(path, values)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises BadAutoencoder."""
    if not path.is_file():
        raise BadAutoencoder(f"{path} is missing.", f"It belongs beside the weights. {_AGAIN}")
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadAutoencoder(f"{path} is not whole JSON: {_short(error)}.", _AGAIN) from error
    if not isinstance(found, dict):
        raise wrong(path, "it holds no settings")
    return found


def setting(settings: Mapping[str, Any], name: str, kind: type, path: Path) -> Any:
    """A setting that must be there and of a kind. Raises BadAutoencoder."""
    value = settings.get(name)
    if not isinstance(value, kind) or (isinstance(value, int) and (isinstance(value, bool) or value < 1)):
        what = "missing" if value is None else f"{value!r:.40}"
        raise wrong(path, f"{name} is {what}")
    return value


def text(value: Any) -> str | None:
    """A setting that may be there, if it is text."""
    return value if isinstance(value, str) and value else None


def wrong(path: Path, what: str) -> BadAutoencoder:
    """An autoencoder that contradicts itself, or is none."""
    return BadAutoencoder(f"{path} cannot be read as an autoencoder: {what}.", "Check that it is one, and whole.")


def _short(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
