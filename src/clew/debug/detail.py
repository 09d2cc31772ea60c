"""One node in detail: the output tokens its write pushes, and the input tokens that excite it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.anatomy import Anatomy
from ..models.probe import LayerProbe, probe
from ..models.subject import SubjectModel
from ..models.vocabulary import ends, neuron_on_embeddings, pushes, read_embeddings, through_final_norm
from ..nodes import Node
from ..sae.embeddings import on_embeddings
from ..settings import RELATED
from .case import Case
from .latent import pairs
from .latent import write as latent_write
from .records import Excitation, NodeDetail, NodeEffect, PairShare


def detail(
    case: Case,
    node: Node,
    effect: NodeEffect,
    final_scale: Float[Tensor, " t"],
) -> NodeDetail:
    """What a node of this prompt writes and reads. `final_scale` is the final norm's 1/σ per position.

    A bias is written at every position: its push is shown at the one of interest.
    """
    subject, anatomy, edits = case.subject, case.subject.anatomy, case.interventions
    place = case.position if node.position is None else node.position
    excited: list[Excitation] = []
    made = case.writer(node)
    with subject.lock:
        read = made is None and (node.layer is not None or node.kind == "embed")
        seen = probe(anatomy, case.ids, node.layer or 0, edits) if read else None
        write = _write(anatomy, node, seen) if made is None else latent_write(case, made, node)
        if node.kind == "neuron":
            assert node.layer is not None and node.index is not None
            scores = neuron_on_embeddings(anatomy, anatomy.layers[node.layer], node.index)
            excited.append(Excitation("input", None, None, ends(subject, scores).up))
        if node.kind == "attn":
            assert seen is not None
            excited.extend(_excite_head(subject, node, seen))
    related: list[PairShare] = []
    if node.kind == "latent":
        assert made is not None and node.index is not None
        alone = on_embeddings(made.autoencoder, anatomy, node.index)
        excited.extend([] if alone is None else [Excitation("input", None, None, ends(subject, alone).up)])
        if made.block == "attn":
            related.extend(PairShare(str(pair), share) for pair, share in pairs(case, node)[:RELATED])
    if node.kind == "bias" and node.part == "unembed":
        bias = anatomy.unembed.bias
        assert bias is not None
        scores = bias.float() - bias.float().mean()
    elif node.kind == "bias" and node.part == "final_norm":
        scores = pushes(anatomy, write)
    else:
        scores = pushes(anatomy, through_final_norm(anatomy, write, final_scale[place]))
    pushed = ends(subject, scores)
    return NodeDetail(effect, pushed.up, pushed.down, excited, related)


def _excite_head(subject: SubjectModel, node: Node, seen: LayerProbe) -> list[Excitation]:
    """Tokens whose embedding at the reading (query) or read (key) position would raise the attention score most.

    A whole head is shown at the token it attends to most. The other side of the score is held, and a norm on queries
    or keys is linearised where it stands.
    """
    assert node.layer is not None and node.index is not None and node.position is not None
    anatomy = subject.anatomy
    source = node.source
    if source is None:
        source = int(seen.pattern[node.index, node.position].argmax())
    norm = anatomy.layers[node.layer].attn_norm
    found = []
    for through, gradient in seen.score_gradients(node.index, node.position, source).items():
        scores = read_embeddings(anatomy, norm, gradient[None])[:, 0]
        found.append(Excitation(through, node.position, source, ends(subject, scores - scores.mean()).up))
    return found


def _write(anatomy: Anatomy, node: Node, seen: LayerProbe | None) -> Float[Tensor, " d"]:
    """The vector a node adds to the residual stream."""
    match node.kind:
        case "bias" if node.part == "final_norm":
            assert anatomy.final_norm.bias is not None
            return anatomy.final_norm.bias
        case "bias" if node.layer is not None:
            layer = anatomy.layers[node.layer]
            bias = (layer.attn_out if node.part == "attn" else layer.mlp_out).bias
            assert bias is not None
            return bias.float()
        case "bias":
            return torch.zeros(anatomy.d_model)
        case _:
            assert seen is not None
            return seen.write(node)
