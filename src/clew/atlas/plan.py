"""What a collection is to do, settled before it starts and kept beside its results: same plan, same bytes."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int
from transformers import __version__ as transformers_version

from ..errors import UsageError
from ..models.fingerprint import fingerprint
from ..models.store import MANIFEST
from ..models.subject import SubjectModel
from ..nodes import Node
from .blocks import Keep
from .records import AtlasModel

VERSION = 1  # of everything an atlas holds; raised when old ones can no longer be read
KINDS = ("attn", "neuron")
_SITE = re.compile(r"(attn|neuron)(?:\.(\d+)(?:-(\d+))?)?")
MAX_CONTEXT = 32_767  # positions are kept as 16-bit integers


@dataclass(frozen=True)
class Plan:
    """A collection: `contexts` pieces of `length` tokens, `batch` to a forward pass, `shard` to a saving."""

    version: int
    model: AtlasModel
    dtype: str
    sites: tuple[str, ...]
    corpus: dict[str, Any]
    tokens: int
    length: int
    bos: bool
    seed: int
    keep: Keep
    batch: int
    shard: int
    made_with: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def blocks(self) -> list[Node]:
        """The layers whose heads or neurons are collected, each as a node without an index."""
        return [block_of(site) for site in self.sites]

    def differences(self, other: dict[str, Any]) -> list[str]:
        """The names of what another plan, as `to_dict` gave it, has otherwise."""
        mine = self.to_dict()
        return sorted(name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name))


def block_of(site: str) -> Node:
    """The block that a name such as neuron.5 stands for."""
    kind, _, layer = site.partition(".")
    assert kind in ("attn", "neuron")
    return Node(kind, int(layer))


def site_of(block: Node) -> str:
    """The name of a block or of a component's block, such as neuron.5."""
    return f"{block.kind}.{block.layer}"


def sites_of(given: list[str] | None, n_layers: int) -> tuple[str, ...]:
    """The blocks that attn, neuron, neuron.5 or attn.0-11 name, attention first; None: all. Raises UsageError."""
    found: set[tuple[int, str]] = set()
    for text in given or list(KINDS):
        match = _SITE.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"{text!r} is not a site.", "Write attn, neuron, neuron.5 or attn.0-11.")
        kind, first, last = match.groups()
        layers = range(n_layers) if first is None else range(int(first), int(last or first) + 1)
        if not layers or layers[-1] >= n_layers:
            raise UsageError(f"The model has no layers {text!r}.", f"Its layers are 0 to {n_layers - 1}.")
        found.update((layer, kind) for layer in layers)
    return tuple(f"{kind}.{layer}" for kind in KINDS for layer, of in sorted(found) if of == kind)


def model_of(subject: SubjectModel) -> AtlasModel:
    """What an atlas says of its model."""
    anatomy, manifest = subject.anatomy, subject.path / MANIFEST
    revision = json.loads(manifest.read_text())["revision"] if manifest.exists() else None
    return AtlasModel(
        name=Path(subject.name).name if Path(subject.name).exists() else subject.name,
        revision=revision,
        family=subject.family,
        n_layers=len(anatomy.layers),
        n_heads=anatomy.n_heads,
        n_neurons=anatomy.n_neurons,
        d_model=anatomy.d_model,
        fingerprint=fingerprint(subject),
    )


def lots(seed: int, context: Int[np.ndarray, " n"], stream: int) -> Float64[np.ndarray, " n"]:
    """A number in [0, 1) for every context, by hash: no state to carry (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = context.astype(np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream << 48)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


def made_with() -> dict[str, str]:
    """The versions that decide the bytes of a result."""
    return {"clew": version("clew"), "torch": torch.__version__.partition("+")[0], "transformers": transformers_version}
