"""What a component's weights say of it and of others, without running the model.

Definitions. A component writes directions of length 1, a post-norm's gain folded in: a neuron or latent one, `ŵ`; a
head any in the row space of its W_O, with orthonormal basis `B` [dh, d]. A component reads with the rows `R` [k, d] of
a projection, the norm in front folded in with its scale at 1 (`Norm.pull`): a neuron's in, gate or up has one row, and
so has a latent's encoder; a head's q, k or v has one a dimension of the head, before any norm on queries and keys and
before rotary embedding. A latent of mlp_out or attn_out reads what that layer's neurons or heads write; one of mlp_act
or attn_act reads their activations, and its encoder's weights on each are `R w`.

- fed_by and feeds: `max ‖R w‖` over the writes w of length 1. From neuron to neuron that is `R·ŵ`, which keeps its
  sign; from a neuron to a head `‖R ŵ‖`; from a head to a neuron `‖B R‖`, the norm of R's projection on what the head
  writes; from head to head the largest singular value of `R Bᵀ`. A latent is in all this as a neuron is. The latents of
  one autoencoder do not feed each other.
- alike: the root mean square cosine of the principal angles (Björck and Golub 1973) between the spaces written,
  `‖B₁ B₂ᵀ‖_F / √min(rank B₁, rank B₂)`, with `ŵ` in place of B for a neuron or latent; between two of these the
  cosine, with its sign.
- pushes: `ŵ·u` with `u = centre(γ ⊙ (W_U[token] − mean W_U))`, γ the final norm's gain; for a head `‖B u‖`, the
  largest over its writes of length 1.

Every product is contracted layer by layer, so that nothing of size components × d_model is made.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.anatomy import Anatomy, Layer, Norm
from ..models.subject import SubjectModel
from ..models.vocabulary import Ends, ends, neuron_on_embeddings, pushes, read_embeddings, through_final_norm
from ..nodes import Node
from ..sae.embeddings import on_embeddings
from ..settings import RELATED
from .latents import Latents, hears
from .observation import Block
from .records import Relation, Through, Weights

_TINY = torch.finfo(torch.float32).tiny


def weights(
    subject: SubjectModel, node: Node, mean: Float[Tensor, " dh"] | None = None, latents: Sequence[Latents] = ()
) -> Weights:
    """What the weights of a component say; `mean` is a head's mean z, for the tokens it pushes.

    `latents` are those of all attached autoencoders, that of a latent among them.
    """
    anatomy, layer, home = subject.anatomy, _layer(subject.anatomy, node), _home(node, latents)
    pushed = pushed_tokens(subject, node, mean, latents)
    assert node.index is not None
    note = None
    match node.kind:
        case "neuron":
            excited = neuron_on_embeddings(anatomy, layer, node.index)
        case "attn":
            excited = _head_on_embeddings(anatomy, layer, node.index)
        case _:
            assert home is not None
            excited = on_embeddings(home.autoencoder, anatomy, node.index)
            if excited is None:
                note = f"It reads {home.autoencoder.reads}, and no token's embedding gets there by itself."
    fed_by, feeds, alike = _related(anatomy, node, latents)
    return Weights(
        id=str(node),
        up=None if pushed is None else pushed.up,
        down=None if pushed is None else pushed.down,
        excited_by=None if excited is None else ends(subject, excited).up,
        fed_by=fed_by,
        feeds=feeds,
        alike=alike,
        note=note,
    )


def pushed_tokens(
    subject: SubjectModel, node: Node, mean: Float[Tensor, " dh"] | None = None, latents: Sequence[Latents] = ()
) -> Ends | None:
    """The output tokens that a write of length 1 pushes: a neuron's, that of one of `latents`, or a head's mean write
    if its mean z is known.

    None where there is nothing to tell: no mean, or a write of length 0.
    """
    anatomy, layer, home = subject.anatomy, _layer(subject.anatomy, node), _home(node, latents)
    if home is not None:
        assert node.index is not None
        write = home.write(node.index)
    elif node.kind == "neuron":
        write = _folded(layer.mlp_post_norm, layer.mlp_out.by_input[node.index].float())
    elif mean is None:
        return None
    else:
        write = _folded(layer.attn_post_norm, mean @ layer.head_out()[node.index])
    size = write.norm()
    return None if size == 0 else ends(subject, pushes(anatomy, through_final_norm(anatomy, write / size, 1.0)))


def push(anatomy: Anatomy, token: int, block: Block, latents: Sequence[Latents] = ()) -> Float[Tensor, " n"]:
    """How much every component of a block pushes an output token, in logits."""
    row = anatomy.unembed.weight[token].float() - anatomy.unembed_mean[0]
    direction = anatomy.final_norm.pull(row)[None]
    home = _home(block, latents)
    if home is not None:
        return home.along(direction)[0]
    layer = _layer(anatomy, block)
    if block.kind == "neuron":
        return _neuron_writes(layer, direction)[0]
    return _head_writes(layer, direction).norm(dim=1)[:, 0]


def largest_singular(products: Float[Tensor, "m a b"], k: int) -> Float[Tensor, " m"]:
    """The largest singular value of each matrix, exact for those that may be among the k largest.

    The rest hold a lower bound. With λ the squared singular values, `Σλ⁴/Σλ³ ≤ max λ ≤ (Σλ⁴)^¼`.
    """
    if 1 in products.shape[1:]:
        return products.flatten(1).norm(dim=1)
    size = products.abs().amax().clamp_min(_TINY)
    unit = products / size
    gram = unit @ unit.mT if unit.shape[1] <= unit.shape[2] else unit.mT @ unit
    square = gram @ gram
    fourth = square.square().sum((1, 2))
    lower = (fourth / (square * gram).sum((1, 2)).clamp_min(_TINY)).sqrt()
    upper = fourth ** (1 / 8)
    bar = lower.topk(min(k, len(lower))).values[-1]
    near = upper >= bar * (1 - 1e-4)  # rounding of the bounds
    lower[near] = torch.linalg.svdvals(unit[near])[:, 0]
    return lower * size


_Part = tuple[Block, Through | None, Float[Tensor, " m"]]


@dataclass
class _Found:
    """The components tied to one, gathered block by block: to a neuron or latent one number, to a head its product
    [a, b]."""

    units: list[_Part] = field(default_factory=list)
    heads: list[tuple[Block, Through | None, Float[Tensor, "h a b"]]] = field(default_factory=list)

    def unit(self, block: Block, through: Through | None, products: Float[Tensor, "k n"]) -> None:
        """With one row the products themselves, with several their norm."""
        # `norm` along the first dimension takes ten times as long.
        size = products[0] if len(products) == 1 else torch.linalg.vecdot(products, products, dim=0).sqrt()
        self.units.append((block, through, size))

    def head(self, block: Block, through: Through | None, products: Float[Tensor, "h a b"]) -> None:
        self.heads.append((block, through, products))

    def best(self, own: Node, size: Callable[[Float[Tensor, "m a b"]], Float[Tensor, " m"]]) -> list[Relation]:
        """The RELATED largest of each kind but for `own`, the largest first. `size` is that of a head's product."""
        heads: list[_Part] = []
        if self.heads:
            counts = [len(products) for _, _, products in self.heads]
            sizes = size(torch.cat([products for _, _, products in self.heads])).split(counts)
            heads = [(block, how, x) for (block, how, _), x in zip(self.heads, sizes, strict=True)]
        neurons = [part for part in self.units if part[0].kind == "neuron"]
        latents = [part for part in self.units if part[0].kind == "latent"]
        found = [relation for parts in (neurons, heads, latents) for relation in _largest(parts, own)]
        return sorted(found, key=lambda relation: -abs(relation.weight))


def _largest(parts: Sequence[_Part], own: Node) -> list[Relation]:
    if not parts:
        return []
    sizes = torch.cat([x for _, _, x in parts])
    starts = list(accumulate((len(x) for _, _, x in parts), initial=0))
    found = []
    # One more than are listed, as one of them may be `own`.
    for at in sizes.abs().topk(min(RELATED + 1, len(sizes))).indices.tolist():
        part = bisect_right(starts, at) - 1
        block, through, _ = parts[part]
        node = replace(block, index=at - starts[part])
        if node != own:
            found.append(Relation(str(node), float(sizes[at]), through))
    return found[:RELATED]


def _related(
    anatomy: Anatomy, own: Node, latents: Sequence[Latents]
) -> tuple[list[Relation], list[Relation], list[Relation]]:
    """Who feeds a component, whom it feeds, and who writes alike."""
    home, block = _home(own, latents), replace(own, index=None)
    basis, reads = _basis(anatomy, own, home), _reads(anatomy, own, home)
    directions = torch.cat([basis, *reads.values()])
    counts = [len(basis), *map(len, reads.values())]
    fed_by, feeds, alike = _Found(), _Found(), _Found()
    ranks = []

    def rows(writer: Block) -> tuple[Float[Tensor, "k d"], list[int]]:
        """What to take the writes of a block along: what `own` writes, and what it reads of them if it does."""
        return (directions, counts) if hears(anatomy, block, home, writer) else (basis, counts[:1])

    for layer in anatomy.layers:
        neurons, heads = Node("neuron", layer.index), Node("attn", layer.index)
        along, parts = rows(neurons)
        cosines, *fed = _neuron_writes(layer, along).split(parts)
        alike.unit(neurons, None, cosines)
        for how, products in zip(reads, fed, strict=False):
            fed_by.unit(neurons, how, products)
        along, parts = rows(heads)
        cosines, *fed = _head_writes(layer, along).split(parts, dim=2)
        alike.head(heads, None, cosines)
        for how, products in zip(reads, fed, strict=False):
            fed_by.head(heads, how, products)
        ranks.append(layer.head_whitening.any(dim=2).sum(1))
        if hears(anatomy, heads, None, block):
            for how, products in _head_reads(layer, basis).items():
                feeds.head(heads, how, products)
        if hears(anatomy, neurons, None, block):
            for how, products in _neuron_reads(layer, basis).items():
                feeds.unit(neurons, how, products)
    for other in latents:
        # What reads one value together is no one's cause of another.
        along, parts = (basis, counts[:1]) if other is home else rows(other.block)
        cosines, *fed = other.along(along).split(parts)
        alike.unit(other.block, None, cosines)
        for how, products in zip(reads, fed, strict=False):
            fed_by.unit(other.block, how, products)
        if other is not home and hears(anatomy, other.block, other, block):
            assert own.index is not None
            read = other.read_activation(own.index) if other.reads_activations else other.read(basis)
            feeds.unit(other.block, "in", read)
    if home is not None and home.reads_activations:
        _fed_by_activations(anatomy, home, own, fed_by)
    smaller = torch.cat(ranks).clamp(max=int(basis.any(dim=1).sum())).clamp(min=1)

    def mean_cosine(products: Float[Tensor, "m a b"]) -> Float[Tensor, " m"]:
        return products.flatten(1).norm(dim=1) / smaller.sqrt()

    def gain(products: Float[Tensor, "m a b"]) -> Float[Tensor, " m"]:
        return largest_singular(products, RELATED)

    return fed_by.best(own, gain), feeds.best(own, gain), alike.best(own, mean_cosine)


def _fed_by_activations(anatomy: Anatomy, home: Latents, own: Node, fed_by: _Found) -> None:
    """The neurons or heads whose activations a latent reads, by its encoder's weights on them."""
    assert own.index is not None
    site, column = home.autoencoder.reads, home.column(own.index)
    if site.name == "mlp_act":
        fed_by.unit(Node("neuron", site.layer), "in", column[None])
    else:
        heads = anatomy.layers[site.layer].n_heads
        fed_by.head(Node("attn", site.layer), "in", column.view(heads, -1, 1))


def _home(node: Node, latents: Sequence[Latents]) -> Latents | None:
    """The autoencoder of a latent or of a block of them."""
    if node.kind != "latent":
        return None
    return next(one for one in latents if one.block == replace(node, index=None))


def _layer(anatomy: Anatomy, node: Node) -> Layer:
    assert node.layer is not None
    return anatomy.layers[node.layer]


def _basis(anatomy: Anatomy, node: Node, home: Latents | None) -> Float[Tensor, "r d"]:
    """Orthonormal rows that span what a component writes; zeros beyond its rank."""
    assert node.index is not None
    layer = _layer(anatomy, node)
    if node.kind != "attn":
        post, row = layer.mlp_post_norm, layer.mlp_out.by_input
        write = _folded(post, row[node.index].float()) if home is None else home.write(node.index)
        return (write / write.norm().clamp_min(_TINY))[None]
    return layer.head_whitening[node.index] @ _folded(layer.attn_post_norm, layer.head_out()[node.index])


def _reads(anatomy: Anatomy, node: Node, home: Latents | None) -> dict[Through, Float[Tensor, "k d"]]:
    """The directions, before the norm in front, in which a component reads writes; none if it reads activations."""
    assert node.index is not None
    layer = _layer(anatomy, node)
    reads: dict[Through, Tensor] = {}
    if home is not None:
        return {} if home.reads_activations else {"in": home.row(node.index)}
    if node.kind == "neuron":
        norm = layer.mlp_norm
        for how, (weight, _) in layer.neuron_inputs.items():
            reads[how] = weight[node.index][None]
    else:
        norm = layer.attn_norm
        group = layer.n_heads // layer.key.n_heads
        reads["q"] = layer.query.weight[node.index]
        reads["k"] = layer.key.weight[node.index // group]
        reads["v"] = layer.value.weight[node.index // group]
    return {how: x.float() if norm is None else norm.pull(x.float()) for how, x in reads.items()}


def _neuron_writes(layer: Layer, rows: Float[Tensor, "k d"]) -> Float[Tensor, "k n"]:
    """Every neuron's write of length 1 along some rows. Rows first: matrix products with few columns are slow."""
    weight = layer.mlp_out.by_input.float()
    return _folded(layer.mlp_post_norm, rows) @ weight.T / layer.neuron_norm.clamp_min(_TINY)


def _head_writes(layer: Layer, rows: Float[Tensor, "k d"]) -> Float[Tensor, "h dh k"]:
    """Every head's basis along some rows."""
    along = _folded(layer.attn_post_norm, rows) @ layer.attn_out.by_input.float().T
    return layer.head_whitening @ along.view(len(rows), layer.n_heads, -1).permute(1, 2, 0)


def _neuron_reads(layer: Layer, rows: Float[Tensor, "r d"]) -> dict[Through, Float[Tensor, "r n"]]:
    """What every neuron reads of writes, the norm's scale at 1."""
    normed = _normed(layer.mlp_norm, rows)
    return {how: normed @ weight.float().T for how, (weight, _) in layer.neuron_inputs.items()}


def _head_reads(layer: Layer, rows: Float[Tensor, "r d"]) -> dict[Through, Float[Tensor, "h dh r"]]:
    """What every head reads of writes, the norm's scale at 1; heads of a group share keys and values."""
    normed = _normed(layer.attn_norm, rows).T
    group = layer.n_heads // layer.key.n_heads
    return {
        "q": layer.query.weight.float() @ normed,
        "k": (layer.key.weight.float() @ normed).repeat_interleave(group, dim=0),
        "v": (layer.value.weight.float() @ normed).repeat_interleave(group, dim=0),
    }


def _head_on_embeddings(anatomy: Anatomy, layer: Layer, head: int) -> Float[Tensor, " v"]:
    """The norm of what a head would write about each token, reading its embedding alone with a weight of 1.

    Position embeddings are left out; the norm in front takes its scale from the embedding, a post-norm's is 1.
    """
    group = head // (layer.n_heads // layer.value.n_heads)
    value = read_embeddings(anatomy, layer.attn_norm, layer.value.weight[group].float())
    if layer.value.bias is not None:
        value += layer.value.bias[group]
    return torch.linalg.vecdot(value @ layer.head_gram[head], value).clamp_min(0).sqrt()


def _folded(norm: Norm | None, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """With a post-norm's gain."""
    return x if norm is None else x * norm.gain


def _normed(norm: Norm | None, x: Float[Tensor, "r d"]) -> Float[Tensor, "r d"]:
    """Writes after the norm in front of a block, its scale at 1."""
    return x if norm is None else norm.gain * norm.centre(x)
