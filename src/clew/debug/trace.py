"""Tracing upstream: a node's own pre-activation as the number that is explained.

The norm in front of the node is held, and so are norms on queries and keys. S is
- of a neuron, its input (`in`); with a gate, the gate's (`gate`), the other branch (`up`), or the activation (`both`);
- of attn.L.H@P<-S, the attention score q·k·scaling before any soft-cap, through the query with the key held (`q`), the
  other way round (`k`), or through `both`;
- of a latent, its pre-activation (`in`, debug/latent.py);
- through `v`, of a pair A[P,S]·⟨V_S, ∂D/∂z_P⟩, of a whole head the sum of it over S: D is what was explained before.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import BadNode
from ..models.anatomy import Anatomy, Layer, Projection
from ..models.forward import forward
from ..models.interventions import Interventions
from ..models.probe import LayerProbe, probe
from ..models.subject import SubjectModel
from ..models.tape import AttentionRecord, MlpRecord, SiteRecord, Stop, Tape
from ..nodes import Node, parse
from .case import Case
from .forms import attention_forms, held, total
from .latent import pre_activation
from .scalar import Forms, Scalar

Through = Literal["q", "k", "v", "gate", "up", "both", "in"]
THROUGHS: tuple[Through, ...] = get_args(Through)


@dataclass(frozen=True)
class Step:
    """One step of a trace."""

    node: Node
    through: Through

    def __str__(self) -> str:
        return f"{self.node}:{self.through}"


def step_of(anatomy: Anatomy, node: Node, through: str | None = None) -> Step:
    """A checked step; without `through`, the node's whole pre-activation. Raises BadNode."""
    if node.kind in ("attn", "neuron", "latent") and node.position is None:
        raise BadNode(f"{node} is a component; a node runs at a position.", f"Write {node}@P, P counted from 0.")
    if node.kind not in ("attn", "neuron", "latent"):
        raise BadNode(
            f"{node} has nothing upstream that it reads.", "Trace a head, pair, neuron or latent at a position."
        )
    assert node.layer is not None
    if node.kind == "latent":
        ways: tuple[Through, ...] = ("in",)
    elif node.kind == "neuron":
        gated = anatomy.layers[node.layer].gate is not None
        ways = ("both", "gate", "up") if gated else ("in",)
    else:
        ways = ("v",) if node.source is None else ("both", "q", "k", "v")
    chosen: Through | None = ways[0] if through is None else next((way for way in ways if way == through), None)
    if chosen is None:
        hint = f"Trace it through {', '.join(ways)}."
        if through in ("q", "k", "both") and node.kind == "attn":
            hint = f"Its score is with one token: name it, as in {node}<-0. {hint}"
        raise BadNode(f"{node} cannot be traced through {through!r}.", hint)
    return Step(node, chosen)


def parse_step(anatomy: Anatomy, text: str) -> Step:
    """The step that NODE:THROUGH, or NODE alone, says. Raises BadNode."""
    node, _, through = text.partition(":")
    return step_of(anatomy, parse(node), through or None)


def traced(case: Case, step: Step, parent: Scalar, stop: Stop | None = None) -> Scalar:
    """S of a step, on this prompt under its edits. `parent` is what was explained before. Raises Cancelled."""
    subject, ids, edits = case.subject, case.ids, case.interventions
    anatomy, node = subject.anatomy, step.node
    assert node.layer is not None and node.index is not None and node.position is not None
    layer = anatomy.layers[node.layer]
    gradient = None
    if step.through == "v":
        gradient = _gradient(subject, ids, edits, node, parent, stop)
    with subject.lock:
        if node.kind == "latent":
            return pre_activation(case, node)
        if node.kind == "neuron":
            with torch.no_grad(), nullcontext() if edits is None else edits.hooks():
                stream = forward(anatomy, ids, layer.reads_mlp)
            return _neuron(layer, node.index, node.position, step.through, stream)
        seen = probe(anatomy, ids, node.layer, edits, hold_norms=True)
    if gradient is not None:
        return _values(layer, node, seen, gradient)
    return _score(layer, node, step.through, seen)


def _neuron(layer: Layer, index: int, position: int, through: Through, stream: Float[Tensor, "t d"]) -> Forms:
    shift = layer.n_neurons if layer.fused_gate else 0
    rows: list[tuple[Projection, int]] = []
    if through in ("gate", "both"):
        assert layer.gate is not None
        rows.append((layer.gate, index))
    if through in ("up", "both", "in"):
        rows.append((layer.up, index + shift))
    read = stream[position].float()
    pairs = [held(layer.mlp_norm, row.by_output[i].float()[None], read, _bias(row, i)) for row, i in rows]

    def gated(forms: Float[Tensor, "n 2 1"]) -> Float[Tensor, " n"]:
        return layer.act(forms[:, 0, 0]) * forms[:, 1, 0]

    return Forms(
        depth=layer.reads_mlp,
        positions=torch.tensor([position], device=stream.device),
        at=torch.zeros(len(pairs), dtype=torch.long, device=stream.device),
        weight=torch.stack([weight for weight, _ in pairs]),
        constant=torch.stack([constant for _, constant in pairs]),
        combine=gated if through == "both" else total,
        linear=through != "both",
    )


def _score(layer: Layer, node: Node, through: Through, seen: LayerProbe) -> Forms:
    """q·k·scaling, through one side or both."""
    assert node.index is not None and node.position is not None and node.source is not None
    query, key = seen.sides(node.index, node.position, node.source)
    wanted = {"q": [(node.position, query, key)], "k": [(node.source, key, query)]}
    if through != "both":
        ((at, side, other),) = wanted[through]
        score = (side @ other.detach())[None] * seen.scaling
        return attention_forms(layer, seen, [(at, score)], total, linear=True)

    def product(forms: Float[Tensor, "n 2 dh"]) -> Float[Tensor, " n"]:
        return (forms[:, 0] * forms[:, 1]).sum(-1) * seen.scaling

    return attention_forms(layer, seen, [(node.position, query), (node.source, key)], product, linear=False)


def _values(layer: Layer, node: Node, seen: LayerProbe, gradient: Float[Tensor, " dh"]) -> Forms:
    """Σ_S A[P,S]·⟨V_S, ∂D/∂z_P⟩ over the tokens read, or for a pair over its one token."""
    assert node.index is not None and node.position is not None
    group = node.index // (seen.query.shape[0] // seen.key.shape[0])
    sources = range(node.position + 1) if node.source is None else [node.source]
    values = seen.graphed_value[group].float()
    shares = [(s, (values[s] @ gradient)[None] * seen.pattern[node.index, node.position, s]) for s in sources]
    return attention_forms(layer, seen, shares, total, linear=True)


def _bias(projection: Projection, index: int) -> Float[Tensor, " 1"]:
    weight, bias = projection.by_output, projection.bias
    return torch.zeros(1, device=weight.device) if bias is None else bias[index].float()[None]


def _gradient(
    subject: SubjectModel,
    ids: Int[Tensor, " t"],
    edits: Interventions | None,
    node: Node,
    parent: Scalar,
    stop: Stop | None,
) -> Float[Tensor, " dh"]:
    """∂ parent by a head's mixed values z at its position; an edit that scales z there scales it too."""
    found = _HeadGradient(node)
    with subject.lock:
        tape = Tape(subject.anatomy, edits, stop)
        stream = tape.forward(ids, parent.depth)
        tape.backward(parent.value(stream[parent.positions][None])[0], found)
    if found.gradient is None:
        raise BadNode(f"{node} is not upstream of what is explained.", "Trace a node of the table through v.")
    return found.gradient


class _HeadGradient:
    """An Observer that keeps one head's gradient and lets everything else go."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.gradient: Float[Tensor, " dh"] | None = None

    def attention(self, record: AttentionRecord) -> None:
        if record.layer == self._node.layer:
            assert self._node.index is not None and self._node.position is not None
            share = 1.0 if record.share is None else record.share[self._node.index, self._node.position]
            self.gradient = record.mixed_grad[self._node.position, self._node.index].float() * share

    def mlp(self, record: MlpRecord) -> None: ...

    def site(self, record: SiteRecord) -> None: ...

    def embed(self, write: Float[Tensor, "t d"], grad: Float[Tensor, "t d"]) -> None: ...

    def bias(self, part: str, layer: int, grad: Float[Tensor, " d"]) -> None: ...
