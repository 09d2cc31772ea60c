"""What components a model has."""

from __future__ import annotations

from ..errors import BadNode
from ..nodes import Node
from .anatomy import Anatomy


def check_there(anatomy: Anatomy, node: Node) -> None:
    """Raises BadNode when a node or component is of a layer, head or neuron that the model does not have."""
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
    if node.kind in ("latent", "error"):
        raise BadNode(f"{node} belongs to a sparse autoencoder, and none is loaded.", "Use heads and neurons.")
