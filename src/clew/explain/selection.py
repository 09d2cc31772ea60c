"""Which components are to be explained: neuron.5.200, neuron.5.*, neuron.2-4.0-99, attn.*.*, latent.mlp_out.10.0-99."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..atlas.components import Components
from ..atlas.observation import Block
from ..atlas.plan import block_of, site_of
from ..errors import BadNode
from ..nodes import SITES, Node

_N = r"(?:0|[1-9][0-9]{0,8})"
_SOME = rf"(\*|{_N}(?:-{_N})?)"
_SPEC = re.compile(rf"(attn|neuron|latent\.(?:{'|'.join(SITES)}|\*))\.{_SOME}\.{_SOME}", re.ASCII)
_HOW = "Write neuron.5.200, neuron.5.0-199, neuron.2-4.*, attn.*.* or latent.mlp_out.10.0-99, counting from 0."


def selected(specs: Sequence[str], components: Components) -> list[Node]:
    """The components that specs name, each once, in the model's order: layer by layer, heads, neurons, latents.

    A layer, head, neuron or latent is a number, a range with both ends in it, or * for all there are; the site of a
    latent may be * too. A spec may be several, with commas between them. Of latents, those layers are meant that have
    an autoencoder. Raises BadNode for what does not parse or is not there, and when nothing is named.
    """
    sizes = _sizes(components)
    found: dict[Block, set[int]] = {}
    for text in (part.strip() for spec in specs for part in spec.split(",")):
        for block, indexes in _named(text, len(components.subject.anatomy.layers), sizes).items():
            found.setdefault(block, set()).update(indexes)
    if not found:
        raise BadNode("No component is named.", _HOW)
    return [replace(block, index=index) for block in sizes for index in sorted(found.get(block, ()))]


def _sizes(components: Components) -> dict[Block, int]:
    """How many components every block has, in the model's order."""
    anatomy = components.subject.anatomy
    latents = {block_of(site): known.latents for site, known in components.latents.items()}
    sizes: dict[Block, int] = {}
    for layer in anatomy.layers:
        sizes[Node("attn", layer.index)] = anatomy.n_heads
        sizes[Node("neuron", layer.index)] = anatomy.n_neurons
        here = (block for block in latents if block.layer == layer.index)
        sizes.update({block: latents[block] for block in sorted(here, key=lambda block: block.part or "")})
    return sizes


def _named(text: str, n_layers: int, sizes: dict[Block, int]) -> dict[Block, range]:
    """The blocks that one spec names, and which components of each."""
    match = _SPEC.fullmatch(text)
    if match is None:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise BadNode(f"{shown!r} names no components.", _HOW)
    kind, _, part = match[1].partition(".")
    layers = _range(text, match[2], n_layers, "the model", "layers")
    blocks = [
        block for block in sizes if block.kind == kind and part in ("", "*", block.part) and block.layer in layers
    ]
    if not blocks:
        raise BadNode(f"No autoencoder is attached where {text} names latents.", "Attach one with --sae.")
    what = {"attn": "heads", "neuron": "neurons"}.get(kind, "latents")
    return {block: _range(text, match[3], sizes[block], site_of(block), what) for block in blocks}


def _range(text: str, numbers: str, size: int, whole: str, what: str) -> range:
    """The numbers that a part of a spec stands for, of `size` that there are. Raises BadNode."""
    if numbers == "*":
        return range(size)
    first, _, last = numbers.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not found:
        raise BadNode(f"{text} has a range that ends before it begins: {numbers}.", "Put the smaller number first.")
    if found[-1] >= size:
        raise BadNode(
            f"{text} goes beyond what there is: {whole} has {size:,} {what}.",
            f"Counting starts at 0, so the last is {size - 1}.",
        )
    return found
