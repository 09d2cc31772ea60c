"""One node in detail: the output tokens its write pushes, and the input tokens that excite it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.anatomy import Anatomy, Layer, Norm, Projection
from ..models.probe import LayerProbe, probe
from ..models.subject import SubjectModel
from ..nodes import Node
from ..records import TokenScore
from ..settings import PUSHED
from .case import Case
from .records import Excitation, NodeDetail, NodeEffect


@dataclass(frozen=True)
class Pushed:
    """The ends of a score over the vocabulary."""

    up: list[TokenScore]
    down: list[TokenScore]


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
    with subject.lock:
        seen = None if node.layer is None and node.kind != "embed" else probe(anatomy, case.ids, node.layer or 0, edits)
        write = _write(anatomy, node, seen)
        if node.kind == "neuron":
            assert node.layer is not None and node.index is not None
            scores = neuron_on_embeddings(anatomy, anatomy.layers[node.layer], node.index)
            excited.append(Excitation("input", None, None, _ends(subject, scores).up))
        if node.kind == "attn":
            assert seen is not None
            excited.extend(_excite_head(subject, node, seen))
    if node.kind == "bias" and node.part == "unembed":
        bias = anatomy.unembed.bias
        assert bias is not None
        logits = bias.float()
    else:
        pulled = (
            write
            if node.kind == "bias" and node.part == "final_norm"
            else _through_norm(anatomy, write, final_scale[place])
        )
        logits = anatomy.unembed.weight.float() @ pulled
    pushed = _ends(subject, logits - logits.mean())
    return NodeDetail(effect, pushed.up, pushed.down, excited)


def neuron_on_embeddings(anatomy: Anatomy, layer: Layer, neuron: int) -> Float[Tensor, " v"]:
    """The neuron's activation if the residual stream held one token's embedding and nothing else, for every token.

    Position embeddings are left out; the norm before the MLP takes its scale from the embedding itself.
    """
    up, up_bias = _row(layer.up, neuron, offset=layer.n_neurons if layer.fused_gate else 0)
    value = _read_embeddings(anatomy, layer.mlp_norm, up) + up_bias
    if layer.gate is None:
        return layer.act(value)
    gate, gate_bias = _row(layer.gate, neuron, offset=0)
    return layer.act(_read_embeddings(anatomy, layer.mlp_norm, gate) + gate_bias) * value


def _row(projection: Projection, index: int, offset: int) -> tuple[Float[Tensor, " d"], float]:
    bias = projection.bias
    return projection.by_output[index + offset].float(), 0.0 if bias is None else float(bias[index + offset])


def _read_embeddings(anatomy: Anatomy, norm: Norm | None, direction: Float[Tensor, " d"]) -> Float[Tensor, " v"]:
    """norm(E_t)·direction for every token t of the vocabulary."""
    embeddings = anatomy.embed_weight.float() * anatomy.embed_scale
    if norm is None:
        return embeddings @ direction
    shift = 0.0 if norm.bias is None else float(norm.bias @ direction)
    return (embeddings @ norm.pull(direction)) * norm.scale(embeddings)[:, 0] + shift


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
        scores = _read_embeddings(anatomy, norm, gradient)
        found.append(Excitation(through, node.position, source, _ends(subject, scores - scores.mean()).up))
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


def _through_norm(anatomy: Anatomy, write: Float[Tensor, " d"], scale: Tensor) -> Float[Tensor, " d"]:
    """The write after the final norm, its scale held."""
    norm = anatomy.final_norm
    return norm.gain * norm.centre(write) * scale


def _ends(subject: SubjectModel, scores: Float[Tensor, " v"]) -> Pushed:
    k = min(PUSHED, len(scores))

    def tokens(signed: Tensor, sign: float) -> list[TokenScore]:
        best = signed.topk(k)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [TokenScore(i, subject.text(i), sign * value) for i, value in pairs]

    return Pushed(tokens(scores, 1.0), tokens(-scores, -1.0))
