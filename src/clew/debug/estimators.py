"""Estimates of what ablating every head, neuron and embedding to zero would cost, and what each of them takes.

All take a case and what is explained of it, and give the same arrays; docs/estimators.md measures them against the
truth. `refined` is the default: it is the only one that knows where a gradient cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..edits import Place
from ..errors import Cancelled
from ..models.anatomy import Anatomy
from ..models.column import follow
from ..models.forward import forward
from ..models.recording import Gradients, Recording, record
from ..models.replay import Change
from ..models.tape import Stop
from ..nodes import Node
from .case import Case
from .scalar import Scalar
from .verify import measure

# Chosen on the prompts of docs/estimators.md: fewer miss some of the true top 20, more change little.
SUSPECTS = 400
MEASURED = 64


@dataclass(frozen=True)
class Estimates:
    """Estimated effects in units of what is explained (logits for D), zero downstream of it.

    `followed` are the nodes whose estimate is better than a gradient's, with it; `measured` those whose effect was
    measured, so that it is no estimate any more. Both are in the arrays too.
    """

    heads: Float[Tensor, "l h t"]
    neurons: Float[Tensor, "l t n"]
    embed: Float[Tensor, " t"]
    followed: Mapping[Node, float] = field(default_factory=dict)
    measured: Mapping[Node, float] = field(default_factory=dict)

    def of(self, node: Node) -> float:
        """The estimate of a head, neuron or embedding at a position."""
        if node.kind == "embed":
            return float(self.embed[node.position])
        if node.kind == "attn":
            return float(self.heads[node.layer, node.index, node.position])
        assert node.kind == "neuron"
        return float(self.neurons[node.layer, node.position, node.index])

    def largest(self, count: int) -> list[Node]:
        """The `count` nodes with the largest estimates of either sign, largest first; none whose estimate is 0."""
        heads, length = self.heads.shape[1:]
        width = self.neurons.shape[2]

        def head(flat: int) -> Node:
            return Node("attn", flat // (heads * length), flat // length % heads, flat % length)

        def neuron(flat: int) -> Node:
            return Node("neuron", flat // (length * width), flat % width, flat // width % length)

        def embed(flat: int) -> Node:
            return Node("embed", position=flat)

        found: list[tuple[float, Node]] = []
        for array, node in ((self.heads, head), (self.neurons, neuron), (self.embed, embed)):
            sizes = array.abs().flatten()
            top = sizes.topk(min(count, len(sizes)))
            pairs = zip(top.values.tolist(), top.indices.tolist(), strict=True)
            found.extend((size, node(index)) for size, index in pairs if size > 0)
        found.sort(key=lambda pair: -pair[0])
        return [node for _, node in found[:count]]


class Estimator(Protocol):
    def __call__(self, case: Case, scalar: Scalar, stop: Stop | None = None) -> Estimates:
        """Raises Cancelled."""
        ...


def act_grad(case: Case, scalar: Scalar, stop: Stop | None = None) -> Estimates:
    """a·∂D/∂a with nothing frozen: one forward and one backward pass."""
    with _recorded(case, scalar, stop) as (recording, value):
        return _products(case, recording, recording.gradients(value))


def act_grad_held(case: Case, scalar: Scalar, stop: Stop | None = None) -> Estimates:
    """a·∂D/∂a with the scale of the norm in front of the reading frozen, as OpenAI's Transformer Debugger does."""
    with _recorded(case, scalar, stop) as (recording, _):
        streams = recording.end[scalar.positions]
        value = (streams.float() * scalar.directions(streams.detach())).sum()
        return _products(case, recording, recording.gradients(value))


def grad_drop(case: Case, scalar: Scalar, stop: Stop | None = None) -> Estimates:
    """Gradient dropout (Kramár et al. 2024, arXiv:2403.00745), with the sign of the plain estimate.

    For each layer in turn the gradient is cut where it would pass through that layer's attention and MLP; the estimate
    is the mean of the sizes found, over the layers but the node's own. The gradient above the layer is that of the
    plain pass, so each layer takes only the backward pass below it.
    """
    with _recorded(case, scalar, stop) as (recording, value):
        (end_grad,) = torch.autograd.grad(value, recording.end, retain_graph=True)
        gradients = recording.gradients(value, keep=True)
        plain = _products(case, recording, gradients)
        return _dropped(case, recording, [*gradients.resid, end_grad], plain, plain)


def atp_star(case: Case, scalar: Scalar, stop: Stop | None = None) -> Estimates:
    """AtP* (Kramár et al. 2024): the attention fix, then gradient dropout.

    The paper recomputes the softmax for queries and keys as nodes. Heads, neurons and embeddings reach it through the
    stream, so here each is followed exactly through the rest of its layer and the next (models/column.py): every head
    and embedding, and the `SUSPECTS` neurons for which it may matter most. What that changes is added to the node's
    estimate under each dropped layer, as the fix is made once.
    """
    with _recorded(case, scalar, stop) as (recording, value):
        (end_grad,) = torch.autograd.grad(value, recording.end, retain_graph=True)
        gradients = recording.gradients(value, keep=True)
        plain = _products(case, recording, gradients)
        reach = int(scalar.positions[-1]) + 1
        nodes = [Node("embed", position=p) for p in range(reach)]
        for layer in range(len(recording.mixed)):
            nodes += [Node("attn", layer, h, p) for h in range(case.subject.anatomy.n_heads) for p in range(reach)]
        nodes += [n for n in _suspects(case.subject.anatomy, recording, gradients, SUSPECTS) if n.kind == "neuron"]
        fixed = _with(plain, _followed(case, scalar, recording, gradients, nodes, 1, stop))
        return _dropped(case, recording, [*gradients.resid, end_grad], plain, fixed)


def integrated(case: Case, scalar: Scalar, stop: Stop | None = None, steps: int = 2) -> Estimates:
    """Integrated gradients along the ablation path, layer by layer (Sundararajan et al. 2017; Hanna et al. 2024).

    All nodes of one block (embeddings, a layer's heads, a layer's neurons) are scaled down to zero together, and the
    gradient is averaged over `steps` Gauss–Legendre points of that path: one pass each for every block. The effects of
    a block's nodes add up to the effect of ablating the block.
    """
    anatomy, edits, depth = case.subject.anatomy, case.interventions, scalar.depth
    points = _gauss_legendre(steps)

    def block(module: nn.Module) -> Float[Tensor, "t w"]:
        total: Tensor | float = 0.0
        for alpha, weight in points:
            if stop is not None and stop():
                raise Cancelled("The estimate was cancelled before it was done.")
            kept: list[Tensor] = []

            def scale(
                module: nn.Module, args: tuple[Any, ...], alpha: float = alpha, kept: list[Tensor] = kept
            ) -> tuple[Any, ...]:
                whole = args[0].detach()
                leaf = (alpha * whole).requires_grad_()
                kept.extend((whole, leaf))
                return (leaf, *args[1:])

            handle = module.register_forward_pre_hook(scale)
            try:
                end = forward(anatomy, case.ids, depth)
            finally:
                handle.remove()
            value = scalar.value(end[scalar.positions][None])[0]
            (grad,) = torch.autograd.grad(value, kept[1])
            total = total + weight * (kept[0] * grad)[0].float()
        assert isinstance(total, Tensor)
        return total

    found = _zeros(case)
    with case.subject.lock, torch.enable_grad(), _edited(edits):
        found.embed.copy_(block(anatomy.layers[0].block).sum(-1))
        for layer in anatomy.layers[: depth.layer + int(depth.mid)]:
            by_head = block(layer.attn_out_module)
            found.heads[layer.index] = by_head.view(len(case.ids), layer.n_heads, -1).sum(-1).T
            if layer.index < depth.layer:
                found.neurons[layer.index] = block(layer.mlp_out_module)
    return found


def refined(
    case: Case, scalar: Scalar, stop: Stop | None = None, suspects: int = SUSPECTS, measured: int = MEASURED
) -> Estimates:
    """act×grad for most nodes; for those it cannot be right for, the model itself.

    A gradient fails where a write is large beside the stream it is added to, as the next norm, softmax and
    non-linearity then leave the neighbourhood it describes. The `suspects` nodes with the largest bound on their
    estimate times the square of that ratio are followed exactly at their own token (models/column.py). Where that
    disagrees most with act×grad, the effect is measured: the `measured` worst are verified effects.

    Under edits nothing is followed, and the most suspect nodes are measured.
    """
    anatomy = case.subject.anatomy
    with _recorded(case, scalar, stop) as (recording, value):
        gradients = recording.gradients(value)
        plain = _products(case, recording, gradients)
        nodes = _suspects(anatomy, recording, gradients, suspects)
        followed: dict[Node, float] = {}
        if case.interventions is None:
            followed = _followed(case, scalar, recording, gradients, nodes, None, stop)
            nodes.sort(key=lambda node: -abs(followed[node] - plain.of(node)))
    worst = sorted(nodes[:measured], key=lambda node: (node.position, node.order))
    effects = [x for batch in measure(case, scalar, [Place.of(n) for n in worst], stop=stop) for x in batch]
    found = dict(zip(worst, effects, strict=True))
    better = _with(plain, followed | found)
    return Estimates(better.heads, better.neurons, better.embed, followed, found)


ESTIMATORS: Mapping[str, Estimator] = {
    "act×grad": act_grad,
    "final norm frozen": act_grad_held,
    "GradDrop": grad_drop,
    "AtP*": atp_star,
    "integrated gradients": integrated,
    "refined": refined,
}


@contextmanager
def _recorded(case: Case, scalar: Scalar, stop: Stop | None) -> Iterator[tuple[Recording, Float[Tensor, ""]]]:
    """One forward pass and what is explained, the subject locked for as long as its graph is used."""
    edits = case.interventions
    with case.subject.lock:
        recording = record(case.subject.anatomy, case.ids, scalar.depth, edits, stop)
        with torch.enable_grad():
            value = scalar.value(recording.end[scalar.positions][None])[0]
        yield recording, value


@contextmanager
def _edited(edits: Any) -> Iterator[None]:
    if edits is None:
        yield
        return
    with edits.hooks():
        yield


def _zeros(case: Case) -> Estimates:
    anatomy, length, device = case.subject.anatomy, len(case.ids), case.ids.device
    n_layers = len(anatomy.layers)
    return Estimates(
        torch.zeros(n_layers, anatomy.n_heads, length, device=device),
        torch.zeros(n_layers, length, anatomy.n_neurons, device=device),
        torch.zeros(length, device=device),
    )


@torch.no_grad()
def _products(case: Case, recording: Recording, gradients: Gradients) -> Estimates:
    found = _zeros(case)
    found.embed.copy_((recording.resid[0][0].float() * gradients.resid[0].float()).sum(-1))
    for layer, grad in enumerate(gradients.mixed):
        found.heads[layer] = _by_head(case.subject.anatomy, recording.mixed[layer], grad)
    for layer, grad in enumerate(gradients.act):
        found.neurons[layer] = recording.act[layer][0].float() * grad.float()
    return found


def _by_head(anatomy: Anatomy, mixed: Float[Tensor, "1 t z"], grad: Float[Tensor, "t z"]) -> Float[Tensor, "h t"]:
    return (mixed[0].float() * grad.float()).view(len(grad), anatomy.n_heads, -1).sum(-1).T


@torch.no_grad()
def _dropped(
    case: Case, recording: Recording, stream_grads: Sequence[Float[Tensor, "t d"]], plain: Estimates, fixed: Estimates
) -> Estimates:
    """Mean sizes over the layers dropped, with the signs of `fixed`; what it differs from `plain` by is held."""
    n = recording.depth.layer
    sizes = _zeros(case)
    for dropped in range(n):
        embed, mixed, act = recording.below(dropped, stream_grads[dropped + 1])
        write = recording.resid[0][0].float()
        sizes.embed.add_(((write * embed[0].float()).sum(-1) + fixed.embed - plain.embed).abs())
        for layer, grad in enumerate(mixed):
            held = fixed.heads[layer] - plain.heads[layer]
            sizes.heads[layer] += (_by_head(case.subject.anatomy, recording.mixed[layer], grad) + held).abs()
        for layer, grad in enumerate(act):
            held = fixed.neurons[layer] - plain.neurons[layer]
            sizes.neurons[layer] += (recording.act[layer][0].float() * grad.float() + held).abs()
        sizes.heads[dropped + 1 :] += fixed.heads[dropped + 1 :].abs()
        sizes.neurons[dropped + 1 :] += fixed.neurons[dropped + 1 :].abs()
    # A node is left out of the one drop that cuts its own layer; in a model of one layer nothing is left.
    if n == 1:
        sizes.heads[0], sizes.neurons[0] = fixed.heads[0].abs(), fixed.neurons[0].abs()
    times = torch.full((len(sizes.heads), 1, 1), max(n - 1, 1), device=sizes.heads.device)
    times[n:] = max(n, 1)
    return Estimates(
        sizes.heads / times * fixed.heads.sign(),
        sizes.neurons / times * fixed.neurons.sign(),
        sizes.embed / max(n, 1) * fixed.embed.sign(),
    )


@torch.no_grad()
def _suspects(anatomy: Anatomy, recording: Recording, gradients: Gradients, count: int) -> list[Node]:
    """The nodes with the largest ‖w‖·‖∂D/∂w‖·(‖w‖/‖x‖)², w being the write and x the stream that next reads it.

    ‖w‖·‖∂D/∂w‖ bounds |act×grad|; the ratio says how far from the prompt as it is the ablation goes.
    """
    found: list[tuple[float, Node]] = []

    def keep(norm: Tensor, grad: Tensor, stream: Tensor, node: Callable[[int], Node]) -> None:
        ratio = norm / stream.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        score = (norm * grad.norm(dim=-1) * ratio.square()).flatten()
        top = score.topk(min(count, len(score)))
        pairs = zip(top.values.tolist(), top.indices.tolist(), strict=True)
        found.extend((value, node(index)) for value, index in pairs if value > 0)

    length = len(recording.ids)
    start = recording.resid[0][0].float()
    keep(start.norm(dim=-1), gradients.resid[0].float(), start, lambda i: Node("embed", position=i))
    for number in range(len(recording.mixed)):
        layer = anatomy.layers[number]
        before, write = recording.resid[number][0].float(), recording.attn_write[number][0].float()
        after_mlp = recording.mlp_write[number][0].float() if number < len(recording.mlp_write) else 0.0
        z = recording.mixed[number][0].float().view(length, layer.n_heads, -1).transpose(0, 1)
        norm = ((z @ layer.head_gram) * z).sum(-1).clamp_min(0).sqrt()
        if layer.attn_post_norm is not None:
            norm = norm * layer.attn_post_norm.scale(recording.attn_out[number][0])[:, 0]
        reader = before + write + (after_mlp if layer.parallel else 0.0)
        keep(
            norm,
            gradients.attn_write[number].float(),
            reader,
            lambda i, number=number: Node("attn", number, *divmod(i, length)),
        )
        if number == len(recording.mlp_write):
            continue
        norm = recording.act[number][0].float().abs() * layer.neuron_norm
        if layer.mlp_post_norm is not None:
            norm = norm * layer.mlp_post_norm.scale(recording.mlp_out[number][0])
        width = layer.n_neurons
        keep(
            norm,
            gradients.mlp_write[number].float()[:, None],
            (before + write + after_mlp)[:, None],
            lambda i, number=number, width=width: Node("neuron", number, i % width, i // width),
        )
    found.sort(key=lambda pair: -pair[0])
    return [node for _, node in found[:count]]


def _followed(
    case: Case,
    scalar: Scalar,
    recording: Recording,
    gradients: Gradients,
    nodes: Sequence[Node],
    layers: int | None,
    stop: Stop | None,
) -> dict[Node, float]:
    """The effects of nodes followed through their own layer and `layers` more."""
    anatomy = case.subject.anatomy
    with torch.no_grad():
        changes = [_removal(anatomy, recording, node) for node in nodes]
        lost = follow(anatomy, recording, gradients, changes, scalar.value, scalar.positions, layers, stop)
    return dict(zip(nodes, (-lost).tolist(), strict=True))


def _removal(anatomy: Anatomy, recording: Recording, node: Node) -> Change:
    """What setting a node to zero adds to what its block gives."""
    assert node.position is not None
    if node.kind == "embed":
        return Change("embed", 0, node.position, -recording.resid[0][0, node.position].detach())
    assert node.layer is not None and node.index is not None
    layer = anatomy.layers[node.layer]
    if node.kind == "neuron":
        act = recording.act[node.layer][0, node.position, node.index].detach()
        return Change("mlp", node.layer, node.position, -act * layer.mlp_out.by_input[node.index])
    mixed = recording.mixed[node.layer][0, node.position].detach()
    width = len(mixed) // layer.n_heads
    part = slice(node.index * width, (node.index + 1) * width)
    return Change("attn", node.layer, node.position, -mixed[part] @ layer.attn_out.by_input[part])


def _with(plain: Estimates, better: Mapping[Node, float]) -> Estimates:
    """The estimates with those of some nodes replaced."""
    heads, neurons, embed = plain.heads.clone(), plain.neurons.clone(), plain.embed.clone()
    for node, effect in better.items():
        match node.kind:
            case "embed":
                embed[node.position] = effect
            case "attn":
                heads[node.layer, node.index, node.position] = effect
            case _:
                neurons[node.layer, node.position, node.index] = effect
    return Estimates(heads, neurons, embed)


def _gauss_legendre(steps: int) -> list[tuple[float, float]]:
    """Points and weights of the quadrature over [0, 1] (Golub and Welsch 1969)."""
    k = torch.arange(1, steps, dtype=torch.float64)
    beside = k / (4 * k.square() - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return list(zip(((points + 1) / 2).tolist(), vectors[0].square().tolist(), strict=True))
