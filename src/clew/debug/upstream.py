"""Which nodes there are, and which of them are upstream of what is explained."""

from __future__ import annotations

from ..errors import BadNode
from ..models.inventory import check_there
from ..nodes import Node
from .case import Case
from .scalar import Final, Scalar


def checked_node(case: Case, scalar: Scalar | None, node: Node) -> Node:
    """The node. Raises BadNode when this model or prompt has none such, or it is not upstream of `scalar`."""
    anatomy = case.subject.anatomy
    reach = len(case.ids) if scalar is None else int(scalar.positions[-1]) + 1
    check_there(anatomy, node, {site: made.autoencoder.n_latents for site, made in case.dictionaries.items()})
    if node.position is not None and node.position >= reach:
        what = "tokens" if scalar is None else "tokens up to the one explained"
        raise BadNode(
            f"{node} does not exist: there are {reach} {what}.", f"Counting starts at 0, so the last is {reach - 1}."
        )
    if node.kind == "direct":
        raise BadNode("direct is D itself, not a node that writes.", "Name a head, neuron, embedding or bias.")
    if node.kind in ("attn", "neuron", "latent") and node.position is None:
        raise BadNode(f"{node} is a component; a node runs at a position.", f"Write {node}@{reach - 1}.")
    if node.kind == "bias" and not _has_bias(case, node):
        raise BadNode(f"This model has no {node}.", "Not every family has biases.")
    if scalar is not None and not _upstream(case, scalar, node):
        raise BadNode(f"{node} is not upstream of what is explained.", "Name a node of an earlier layer.")
    made = case.standing_for({"attn": "attn", "neuron": "mlp"}.get(node.kind), node.layer)
    if scalar is not None and made is not None:
        raise BadNode(
            f"{node} is not a node here: the latents of {made.autoencoder.name} stand for what {made.site} holds.",
            f"Name a latent or error of {made.site}, or take that autoencoder off.",
        )
    return node


def _has_bias(case: Case, node: Node) -> bool:
    anatomy = case.subject.anatomy
    if case.writer(node) is not None:
        return True
    if node.part == "resid":
        return False
    if node.layer is None:
        return (anatomy.final_norm.bias if node.part == "final_norm" else anatomy.unembed.bias) is not None
    layer = anatomy.layers[node.layer]
    return (layer.attn_out if node.part == "attn" else layer.mlp_out).bias is not None


def _upstream(case: Case, scalar: Scalar, node: Node) -> bool:
    depth = scalar.depth
    attached = case.upstream(depth, scalar.own)
    if node.kind in ("latent", "error"):
        return node.site in attached
    if node.part == "resid":
        return any(site.name == "resid" and site.layer == node.layer for site in attached)
    if node.layer is None:
        # Constants of the end belong to D alone, which has no constant terms of its own.
        return node.kind != "bias" or isinstance(scalar, Final)
    attention = node.kind == "attn" or node.part == "attn"
    return node.layer < depth.layer or (node.layer == depth.layer and depth.mid and attention)
