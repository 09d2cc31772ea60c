"""What a collection is to do, settled before it starts and kept beside its results: same plan, same bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
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
from ..nodes import SITES, Node
from ..sae.autoencoder import Autoencoder
from .blocks import Keep
from .records import AtlasAutoencoder, AtlasModel

VERSION = 1  # of everything an atlas holds; raised when old ones can no longer be read
KINDS = ("attn", "neuron", "latent")
_SITE = re.compile(rf"(attn|neuron|latent)(?:(?<=latent)\.({'|'.join(SITES)}))?(?:\.(\d+)(?:-(\d+))?)?", re.ASCII)
MAX_CONTEXT = 32_767  # positions are kept as 16-bit integers


@dataclass(frozen=True)
class Plan:
    """A collection: `contexts` pieces of `length` tokens, `batch` to a forward pass, `shard` to a saving."""

    version: int
    model: AtlasModel
    dtype: str
    sites: tuple[str, ...]
    autoencoders: tuple[AtlasAutoencoder, ...]
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
    def digest(self) -> str:
        """Of all that is in it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def blocks(self) -> list[Node]:
        """The layers whose heads or neurons are collected, each as a node without an index."""
        return [block_of(site) for site in self.sites]

    def differences(self, other: dict[str, Any]) -> list[str]:
        """The names of what another plan, as `to_dict` gave it, has otherwise.

        An autoencoder is the same under another name; plans had none once.
        """
        mine, theirs = self.to_dict(), {"autoencoders": [], **other}
        for plan in (mine, theirs):
            plan["autoencoders"] = sorted((one["writes"], one["fingerprint"]) for one in plan["autoencoders"])
        return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))

    def only(self, sites: Iterable[str]) -> Plan:
        """The same for some of its blocks."""
        sites = in_order(sites)
        return replace(
            self, sites=sites, autoencoders=tuple(one for one in self.autoencoders if f"latent.{one.writes}" in sites)
        )


def block_of(site: str) -> Node:
    """The block that a name such as neuron.5 or latent.mlp_out.10 stands for."""
    kind, *part, layer = site.split(".")
    assert kind in ("attn", "neuron", "latent")
    return Node(kind, int(layer), part=part[0] if part else None)


def site_of(block: Node) -> str:
    """The name of a block or of a component's block, such as neuron.5."""
    return f"{block.kind}.{block.layer}" if block.part is None else f"{block.kind}.{block.part}.{block.layer}"


def in_order(sites: Iterable[str]) -> tuple[str, ...]:
    """Names of blocks in the order of an atlas: kind after kind, by layer."""

    def place(site: str) -> tuple[int, int, str]:
        block = block_of(site)
        assert block.layer is not None
        return KINDS.index(block.kind), block.layer, block.part or ""

    return tuple(sorted(set(sites), key=place))


def sites_of(given: Sequence[str] | None, n_layers: int, attached: Collection[str] = ()) -> tuple[str, ...]:
    """The blocks that attn, neuron, neuron.5, attn.0-11 or latent.mlp_out.10 name, in order; None: all.

    `attached` are the blocks of latents that there are. Raises UsageError.
    """
    found: set[str] = set()
    for text in given or ("attn", "neuron", *attached):
        match = _SITE.fullmatch(text.strip())
        if match is None:
            raise UsageError(
                f"{text!r} is not a site.", "Write attn, neuron, neuron.5, attn.0-11, latent or latent.mlp_out.10."
            )
        kind, part, first, last = match.groups()
        layers = range(n_layers) if first is None else range(int(first), int(last or first) + 1)
        if not layers or layers[-1] >= n_layers:
            raise UsageError(f"The model has no layers {text!r}.", f"Its layers are 0 to {n_layers - 1}.")
        if kind != "latent":
            found.update(f"{kind}.{layer}" for layer in layers)
            continue
        there = {site: block_of(site) for site in attached}
        named = {site for site, block in there.items() if block.part == (part or block.part) and block.layer in layers}
        if not named:
            raise UsageError(f"No autoencoder is attached for {text.strip()!r}.", "Name one with --sae.")
        found |= named
    return in_order(found)


def autoencoder_of(autoencoder: Autoencoder) -> AtlasAutoencoder:
    """What an atlas says of an autoencoder whose latents it holds."""
    return AtlasAutoencoder(
        name=autoencoder.name,
        reads=str(autoencoder.reads),
        writes=str(autoencoder.writes),
        architecture=autoencoder.origin.architecture,
        latents=autoencoder.n_latents,
        fingerprint=weights_of(autoencoder),
    )


def weights_of(autoencoder: Autoencoder) -> str:
    """A digest of all that an autoencoder computes with, in float32; its name and origin are not in it."""
    digest = hashlib.sha256()
    for field in fields(autoencoder):
        value = getattr(autoencoder, field.name)
        if isinstance(value, torch.Tensor):
            digest.update(f"{field.name} {tuple(value.shape)}".encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().data)
        elif field.name != "origin":
            digest.update(f"{field.name} {value}".encode())
    return digest.hexdigest()[:16]


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
