"""What components a model has."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import BadNode
from ..nodes import Node, Site
from .anatomy import Anatomy


def check_there(anatomy: Anatomy, node: Node, latents: Mapping[Site, int] | None = None) -> None:
    """Raises BadNode when a node or component is of a layer, head, neuron or latent that is not there.

    `latents` are how many the autoencoder at each site has.
    """
    sizes = {
        "layer": ("layers", len(anatomy.layers)),
        "attn": ("heads", anatomy.n_heads),
        "neuron": ("neurons a layer", anatomy.n_neurons),
    }
    for name, value in (("layer", node.layer), (node.kind, node.index)):
        if value is not None and name in sizes and value >= sizes[name][1]:
            what, size = sizes[name]
            raise BadNode(
                f"{node} does not exist: there are {size} {what}.",
                f"Counting starts at 0, so the last is {size - 1}.",
            )
    if node.kind not in ("latent", "error"):
        return
    size = {} if latents is None else latents
    if node.site not in size:
        raise BadNode(
            f"{node} belongs to an autoencoder of {node.site}, and none is attached.",
            "Attach one that writes there, with --sae.",
        )
    if node.index is not None and node.index >= size[node.site]:
        raise BadNode(
            f"{node} does not exist: the autoencoder of {node.site} has {size[node.site]:,} latents.",
            f"Counting starts at 0, so the last is {size[node.site] - 1}.",
        )
