"""One latent of one prompt: what it reads, as a number to explain; what it writes; which token pairs it comes from.

S is the latent's pre-activation z = w·x + c (sae/autoencoder.py), a normalisation of x held. The site's value x is read
from the stream with the norm in front held: of a `resid` site it is the stream itself; an MLP's is what its neurons
make of the stream; attention's is the mix of values, its pattern held.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..edits import Place
from ..models.anatomy import Depth, Layer
from ..models.clean import Clean
from ..models.probe import probe
from ..models.tape import shares
from ..nodes import Node, Site
from .case import Case
from .dictionary import Dictionary
from .forms import attention_forms, held, total
from .scalar import Forms, Scalar, ThroughMlp


def pre_activation(case: Case, node: Node) -> Scalar:
    """S of a latent at its position. The caller holds the subject's lock."""
    assert node.position is not None and node.index is not None
    made = case.dictionaries[node.site]
    layer, position, reads = made.layer, node.position, made.autoencoder.reads
    clean = _clean(case, made)
    x = clean.parts[made.site].read[position].float()
    w, c = made.autoencoder.held_reader(node.index, x)
    at = torch.tensor([position], device=x.device)
    match reads.name:
        case "resid":
            return Forms(
                depth=Depth(reads.layer + 1),
                positions=at,
                at=torch.zeros_like(at),
                weight=w[None, :, None],
                constant=c[None, None],
                combine=total,
                linear=True,
                own=made.site,
            )
        case "mlp_in":
            stream = clean.stream(case.subject.anatomy, layer.reads_mlp)[position].float()
            weight, constant = held(layer.mlp_norm, w[None], stream, c[None])
            return Forms(layer.reads_mlp, at, torch.zeros_like(at), weight[None], constant[None], total, linear=True)
        case "mlp_act" | "mlp_out":
            return _through_mlp(case, layer, position, reads, clean, w, c)
        case _:
            return _through_attention(case, layer, position, made, clean, w, c)


@torch.no_grad()
def write(case: Case, made: Dictionary, node: Node) -> Float[Tensor, " d"]:
    """The vector that a latent, an error, or the constant of an autoencoder's block adds to the stream.

    The constant's is that at the position of interest. The caller holds the subject's lock.
    """
    position = case.position if node.position is None else node.position
    clean = _clean(case, made)
    parts, layer = clean.parts[made.site], made.layer
    match node.kind:
        case "latent":
            value = parts.split.strengths[position, node.index] * made.autoencoder.w_dec[node.index]
        case "error":
            value = parts.error[position]
        case _:
            value = parts.split.base[position]
    written = made.written(value)
    if made.post_norm is not None:
        out = (clean.attn_out if made.block == "attn" else clean.mlp_out)[layer.index][position]
        written = written * made.post_norm.scale(out)
    bias = (layer.attn_out if made.block == "attn" else layer.mlp_out).bias
    if node.kind != "bias" or not made.before_projection or bias is None:
        return written
    return written + bias.float()


def pairs(case: Case, node: Node) -> list[tuple[Node, float]]:
    """What each head, reading each token, adds to the pre-activation of a latent of attention; largest first.

    A[P,S]·⟨V_S W_O, w⟩: the whole pre-activation but for constants and what edits put in place.
    """
    assert node.position is not None and node.index is not None
    made = case.dictionaries[node.site]
    layer = made.layer
    with case.subject.lock, torch.no_grad():
        clean = _clean(case, made)
        w, _ = made.autoencoder.held_reader(node.index, clean.parts[made.site].read[node.position].float())
        directions, _ = _head_directions(layer, made, clean, node.position, w)
        value = clean.value[layer.index].float()
        pattern = clean.pattern[layer.index][:, node.position].float()
        per_head = value.repeat_interleave(layer.n_heads // len(value), dim=0)
        found = pattern * (per_head @ directions[:, :, None])[..., 0]
        share, _ = _head_shares(layer, made, clean, node.position)
        found = (found * share[:, None])[:, : node.position + 1]
    ranked = found.abs().flatten().argsort(descending=True).tolist()
    width = node.position + 1
    return [
        (Node("attn", layer.index, flat // width, node.position, flat % width), float(found.flatten()[flat]))
        for flat in ranked
    ]


def _clean(case: Case, made: Dictionary) -> Clean:
    """The clean run with a site taken apart, and with its layer's heads where it is one of attention."""
    places = [Place("error", made.site.layer, part=made.site.name)]
    if made.block == "attn":
        places.append(Place("attn", made.site.layer))
    return case.clean(places)


@torch.no_grad()
def _through_mlp(
    case: Case, layer: Layer, position: int, reads: Site, clean: Clean, w: Float[Tensor, " w"], c: Float[Tensor, ""]
) -> ThroughMlp:
    stream = clean.stream(case.subject.anatomy, layer.reads_mlp)[position].float()
    scale = torch.ones(1, device=w.device) if layer.mlp_norm is None else layer.mlp_norm.scale(stream)
    post = None
    if layer.mlp_post_norm is not None:
        post = layer.mlp_post_norm.scale(clean.mlp_out[layer.index][position])
    edits = case.interventions
    change = None if edits is None else partial(edits.edit_neurons, layer.index)
    return ThroughMlp(layer, position, w, float(c), reads.name == "mlp_out", scale, post, change)


def _through_attention(
    case: Case,
    layer: Layer,
    position: int,
    made: Dictionary,
    clean: Clean,
    w: Float[Tensor, " w"],
    c: Float[Tensor, ""],
) -> Forms:
    seen = probe(case.subject.anatomy, case.ids, layer.index, case.interventions, hold_norms=True)
    directions, constant = _head_directions(layer, made, clean, position, w)
    share, left = _head_shares(layer, made, clean, position)
    group = layer.n_heads // len(seen.graphed_value)
    weights = (share[:, None] * seen.pattern[:, position].float()).T  # s, h
    parts = []
    for source in range(position + 1):
        values = seen.graphed_value[:, source].float().repeat_interleave(group, dim=0)
        parts.append((source, ((values * directions).sum(-1) * weights[source]).sum()[None]))
    forms = attention_forms(layer, seen, parts, total, linear=True)
    own = forms.constant.clone()
    own[0, 0] += float(c) + constant + float((left * directions).sum())
    return replace(forms, constant=own)


def _head_directions(
    layer: Layer, made: Dictionary, clean: Clean, position: int, w: Float[Tensor, " w"]
) -> tuple[Float[Tensor, "h dh"], float]:
    """What a unit of each head's z adds to w·x at a position, a post-norm's scale held; and what the bias adds."""
    if made.autoencoder.reads.name == "attn_act":
        return w.view(layer.n_heads, -1), 0.0
    if layer.attn_post_norm is not None:
        w = layer.attn_post_norm.pull(w) * layer.attn_post_norm.scale(clean.attn_out[layer.index][position])
    bias = layer.attn_out.bias
    return layer.head_out() @ w, 0.0 if bias is None else float(bias.float() @ w)


def _head_shares(
    layer: Layer, made: Dictionary, clean: Clean, position: int
) -> tuple[Float[Tensor, " h"], Float[Tensor, "h dh"]]:
    """What of each head's z at a position, as edited, is a multiple of its mix of values, and what is left over."""
    whole = clean.parts[made.site].read if made.autoencoder.reads.name == "attn_act" else clean.mixed[layer.index]
    edited = whole[position].float().view(1, layer.n_heads, -1)
    value = clean.value[layer.index].float()
    per_head = value.repeat_interleave(layer.n_heads // len(value), dim=0)
    pattern = clean.pattern[layer.index][:, position, None].float()
    mixed = (pattern @ per_head)[:, 0][None]
    share = shares(edited, mixed)[:, 0]
    return share, edited[0] - share[:, None] * mixed[0]
