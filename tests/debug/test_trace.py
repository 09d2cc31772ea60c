"""What a node reads, against transformers' own modules: S, its terms, and direct, estimated and verified effects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clew.debug.answer import answer
from clew.debug.case import Case
from clew.debug.direction import reading
from clew.debug.ranking import Selection
from clew.debug.scalar import Final, Scalar
from clew.debug.trace import parse_step, traced
from clew.debug.verify import measure
from clew.edits import Place
from clew.errors import BadNode
from clew.models.anatomy import Layer
from clew.models.subject import SubjectModel
from clew.nodes import Node, parse

from .. import reference
from ..families import CONFIGS, PROMPT, ids, subject_of, tiny_hf

LAST = len(PROMPT) - 1
TARGETS, DISTRACTORS = [3, 11], [7, 8, 60]
TOLERANCE = 1e-4

PAIRS = ["attn.2.1@9<-7:q", "attn.2.1@9<-7:k", "attn.2.1@9<-7:both", "attn.1.2@5<-5:both", "attn.0.3@6<-5:q"]
VALUES = ["attn.2.1@11<-9:v", "attn.2.3@11:v", "attn.1.0@8:v"]
GATED = ["neuron.2.7@9:both", "neuron.1.30@6:gate", "neuron.1.30@6:up", "neuron.0.3@4:both"]
PLAIN = ["neuron.2.7@9:in", "neuron.0.3@4:in"]


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def steps_of(subject: SubjectModel) -> list[str]:
    gated = subject.anatomy.layers[0].gate is not None
    return PAIRS + VALUES + (GATED if gated else PLAIN)


def root(subject: SubjectModel, position: int = LAST) -> Final:
    return Final(subject.anatomy, reading(subject.anatomy, TARGETS, DISTRACTORS), position)


def trace(subject: SubjectModel, step: str, parent: Scalar | None = None) -> Scalar:
    parsed = parse_step(subject.anatomy, step)
    return traced(Case(subject, ids(), LAST), parsed, root(subject) if parent is None else parent)


class Reference:
    """S of a step as a differentiable function of a run of transformers' own model, its norms held at the clean run."""

    def __init__(self, family: str, step: str) -> None:
        self.model = tiny_hf(family, implementation=reference.IMPLEMENTATION)
        self.anatomy = subject_of(self.model).anatomy
        name, _, self.through = step.partition(":")
        self.node = parse(name)
        assert self.node.layer is not None
        self.layer: Layer = self.anatomy.layers[self.node.layer]
        with torch.no_grad():
            self.clean = self.run()
        self.gradient = self._gradient() if self.through == "v" else None

    def run(self, dials: reference.Dials | None = None) -> dict[str, Any]:
        """What one pass gives: the stream that the node reads, the normed stream, pattern and attention's arguments."""
        kept: dict[str, Any] = {}
        neuron = self.node.kind == "neuron"
        norm = self.layer.mlp_norm_module if neuron else self.layer.attn_norm_module
        reader = self.layer.mlp if neuron else self.layer.attn

        def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kept["normed"] = args[0] if args else kwargs["hidden_states"]
            # A cache would take the keys of the next call for more of the prompt.
            left_out = ("hidden_states", "cache", "past_key_values", "layer_past")
            kept["kwargs"] = {name: value for name, value in kwargs.items() if name not in left_out}
            if norm is None:
                kept["stream"] = kept["normed"]

        with ExitStack() as stack:
            stack.callback(reader.register_forward_pre_hook(read, with_kwargs=True).remove)
            if norm is not None:
                hook = norm.register_forward_pre_hook(lambda module, args: kept.__setitem__("stream", args[0]))
                stack.callback(hook.remove)
            attn = self.layer.attn.register_forward_hook(lambda m, a, out: kept.__setitem__("pattern", out[1][0]))
            stack.callback(attn.remove)
            stack.enter_context(reference.dialled(self.anatomy, reference.Dials() if dials is None else dials))
            kept["D"] = reference.direction(self.model, ids(), LAST, TARGETS, DISTRACTORS)
        return kept

    def value(self, stream: Tensor) -> Tensor:
        """S on a stream [1, t, d], the norm held at the clean run's scale."""
        normed = self._held(stream)
        node = self.node
        assert node.index is not None and node.position is not None
        if node.kind == "neuron":
            return self._neuron(normed)
        query, key, value, scaling = self._attention(normed)
        group = node.index // (query.shape[1] // key.shape[1])
        if self.through == "v":
            assert self.gradient is not None
            sources = range(node.position + 1) if node.source is None else [node.source]
            weights = self.clean["pattern"][node.index, node.position].detach()
            return sum((weights[s] * (value[0, group, s] @ self.gradient) for s in sources), torch.zeros(()))
        q, k = query[0, node.index, node.position], key[0, group, node.source]
        clean_q, clean_k = (x.detach() for x in self._sides(self.clean["stream"]))
        return {"q": q @ clean_k, "k": clean_q @ k, "both": q @ k}[self.through] * scaling

    def _sides(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        query, key, _, _ = self._attention(self._held(stream))
        assert self.node.index is not None
        group = self.node.index // (query.shape[1] // key.shape[1])
        return query[0, self.node.index, self.node.position], key[0, group, self.node.source]

    def _held(self, stream: Tensor) -> Tensor:
        norm = self.layer.mlp_norm_module if self.node.kind == "neuron" else self.layer.attn_norm_module
        clean = self.clean["stream"].detach()
        if norm is None:
            return stream
        if isinstance(norm, nn.LayerNorm):
            scale = (norm(clean) - norm.bias) / (clean - clean.mean(-1, keepdim=True))
            return (stream - stream.mean(-1, keepdim=True)) * scale + norm.bias
        return stream * (norm(clean) / clean)

    def _neuron(self, normed: Tensor) -> Tensor:
        node, layer = self.node, self.layer
        kept: list[Any] = []
        gate = None
        with ExitStack() as stack:
            modules: list[nn.Module] = [] if layer.gate is None else [layer.gate.module]
            for module in dict.fromkeys([*modules, layer.up.module]):
                stack.callback(module.register_forward_hook(lambda m, a, out: kept.append(out)).remove)
            layer.mlp(normed)
        if layer.fused_gate:
            gate, up = kept[0].chunk(2, dim=-1)
        elif layer.gate is not None:
            gate, up = kept
        else:
            (up,) = kept
        u = up[0, node.position, node.index]
        if gate is None or self.through == "up":
            return u
        g = gate[0, node.position, node.index]
        return g if self.through == "gate" else layer.act(g) * u

    def _attention(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        """Query, key and value of the layer on a normed stream, norms on queries and keys held."""
        kept: dict[str, Any] = {}

        def seen(
            module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: Any = None, **_: Any
        ) -> Any:
            kept["all"] = (query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling)
            return reference._attention(module, query, key, value, mask, scaling)

        with pytest.MonkeyPatch.context() as patch, self._norms_held():
            patch.setitem(reference.AttentionInterface._global_mapping, reference.IMPLEMENTATION, seen)
            self.layer.attn(hidden_states=normed, **self.clean["kwargs"])
        return kept["all"]

    @contextmanager
    def _norms_held(self) -> Iterator[None]:
        modules = [m for m in (self.layer.q_norm_module, self.layer.k_norm_module) if m is not None]
        factors: list[Tensor] = []
        with ExitStack() as stack:
            for module in modules:
                stack.callback(
                    module.register_forward_hook(lambda m, a, out: factors.append((out / a[0]).detach())).remove
                )
            if modules:
                with torch.no_grad():
                    self.layer.attn(hidden_states=self.clean["normed"], **self.clean["kwargs"])
        with ExitStack() as stack:
            for module, factor in zip(modules, factors, strict=True):
                hook: Callable[..., Any] = lambda m, a, out, factor=factor: a[0] * factor  # noqa: E731
                stack.callback(module.register_forward_hook(hook).remove)
            yield

    def _gradient(self) -> Tensor:
        """∂D/∂z of the head at its position, by autograd through transformers' own pass."""
        kept: list[Tensor] = []

        def leaf(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            kept.append(args[0].detach().requires_grad_())
            return (kept[0], *args[1:])

        handle = self.layer.attn_out_module.register_forward_pre_hook(leaf)
        d = reference.direction(self.model, ids(), LAST, TARGETS, DISTRACTORS)
        handle.remove()
        (grad,) = torch.autograd.grad(d, kept[0])
        width = grad.shape[-1] // self.layer.n_heads
        assert self.node.index is not None
        return grad[0, self.node.position, self.node.index * width : (self.node.index + 1) * width]


def table_of(subject: SubjectModel, scalar: Scalar) -> Any:
    return answer(Case(subject, ids(), LAST), scalar, Selection(top=100_000))


def scale_of(result: Any) -> float:
    return max(1.0, abs(result.value), *(abs(step.direct_effect) for step in result.effects.by_layer()))


def upstream(rows: Any) -> list[Any]:
    return [row for row in rows if row.kind in ("embed", "attn", "neuron")]


def some(rows: Any, n: int = 40) -> list[Any]:
    """Rows of every kind: the largest estimates, and a spread of the rest."""
    ranked = sorted(upstream(rows), key=lambda row: -abs(row.estimated_effect))
    return ranked[:n] + ranked[n :: max(1, len(ranked) // n)]


def test_s_and_its_terms(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    for step in steps_of(subject):
        result = table_of(subject, trace(subject, step))
        theirs = Reference(family, step)
        wanted = float(theirs.value(theirs.clean["stream"]))
        bound = TOLERANCE * scale_of(result)
        assert result.value == pytest.approx(wanted, abs=bound), step
        terms = result.effects.terms()
        assert sum(terms.values()) == pytest.approx(wanted, abs=bound), step
        rows = [row for row in result.nodes if row.source is None]
        listed = sum(row.direct_effect for row in rows) + terms["constant"] + terms.get("remainder", 0.0)
        assert listed == pytest.approx(wanted, abs=bound), step
        assert ("remainder" in terms) == step.endswith("both"), step


def test_the_score_is_that_of_the_attention_itself(family: str) -> None:
    """Without a soft-cap or a window in between, differences of log-attention are differences of S."""
    subject = subject_of(tiny_hf(family))
    if family in ("gemma2",):
        return  # its scores are capped before the softmax; test_s_and_its_terms has the value before the cap
    pattern = Reference(family, "attn.2.1@9<-7:q").clean["pattern"][1, 9]
    scores = [table_of(subject, trace(subject, f"attn.2.1@9<-{source}:q")).value for source in (9, 8, 7)]
    logs = pattern[[9, 8, 7]].log()
    for i in (1, 2):
        assert scores[i] - scores[0] == pytest.approx(float(logs[i] - logs[0]), abs=1e-3)


def test_direct_effects_are_what_s_loses_to_first_order_without_the_write(family: str) -> None:
    subject, largest = subject_of(tiny_hf(family)), 0.0
    for step in steps_of(subject):
        scalar = trace(subject, step)
        result = table_of(subject, scalar)
        theirs = Reference(family, step)
        leaf = theirs.clean["stream"].detach().requires_grad_()
        (grad,) = torch.autograd.grad(theirs.value(leaf), leaf)
        plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
        anatomy = subject_of(plain).anatomy
        bound = TOLERANCE * scale_of(result)
        ranked = sorted(upstream(result.nodes), key=lambda row: -abs(row.direct_effect))
        largest = max(largest, abs(ranked[0].direct_effect))
        for row in ranked[:6] + ranked[-2:]:
            node = parse(row.id)
            lost = reference.write(plain, anatomy, ids(), node)
            assert row.direct_effect == pytest.approx(float(grad[0, node.position] @ lost), abs=bound), (step, row.id)
    assert largest > 0.1


def test_estimated_effects_are_derivatives_by_a_dial(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    for step in steps_of(subject):
        result = table_of(subject, trace(subject, step))
        theirs = Reference(family, step)
        dials = all_dials(theirs)
        theirs.value(theirs.run(dials)["stream"]).backward()
        bound = TOLERANCE * scale_of(result)
        for row in some(result.nodes, 60):
            assert row.estimated_effect == pytest.approx(slope(dials, parse(row.id)), abs=bound), (step, row.id)


def test_verified_effects_are_what_s_loses_in_a_rerun(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    for step in steps_of(subject):
        scalar = trace(subject, step)
        result = table_of(subject, scalar)
        theirs = Reference(family, step)
        rows = some(result.nodes, 12)
        places = [Place.of(parse(row.id)) for row in rows]
        found = [effect for batch in measure(Case(subject, ids(), LAST), scalar, places) for effect in batch]
        bound = TOLERANCE * scale_of(result)
        with torch.no_grad():
            clean = float(theirs.value(theirs.clean["stream"]))
            for row, effect in zip(rows, found, strict=True):
                without = float(
                    theirs.value(theirs.run(reference.without(theirs.anatomy, len(PROMPT), parse(row.id)))["stream"])
                )
                assert effect == pytest.approx(clean - without, abs=bound), (step, row.id)


def test_v_is_taken_of_what_was_explained_before() -> None:
    """Through V of a trace's S: the estimated effect of the pair on that S."""
    subject = subject_of(tiny_hf("llama"))
    parent = trace(subject, "attn.2.1@9<-7:q")
    table = {row.id: row for row in table_of(subject, parent).nodes}
    for name in ("attn.1.0@9<-3", "attn.0.2@7", "attn.1.3@9"):
        value = table_of(subject, trace(subject, f"{name}:v", parent)).value
        assert value == pytest.approx(table[name].estimated_effect, abs=TOLERANCE)
        assert value != pytest.approx(table_of(subject, trace(subject, f"{name}:v")).value, abs=1e-3)


# The most seen over all families is 0.017 of the largest term (or of 1); twice that is the bound.
BF16_BOUND = 0.034


def test_bfloat16_can_be_traced_through_everything(family: str) -> None:
    subject = subject_of(tiny_hf(family).to(torch.bfloat16))  # pyright: ignore
    for step in steps_of(subject):
        result = table_of(subject, trace(subject, step))
        terms = result.effects.terms()
        assert sum(terms.values()) == pytest.approx(result.value, abs=BF16_BOUND * scale_of(result)), step


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("embed@3", "nothing upstream"),
        ("attn.1.0:q", "is a component"),
        ("attn.1.0@5:q", "cannot be traced through 'q'"),
        ("attn.1.0@5<-3:gate", "cannot be traced through 'gate'"),
        ("neuron.1.0@5:in", "cannot be traced through 'in'"),
        ("neuron.1.0@5:sideways", "cannot be traced through 'sideways'"),
    ],
)
def test_what_cannot_be_traced_is_refused(step: str, says: str) -> None:
    with pytest.raises(BadNode, match=says):
        parse_step(subject_of(tiny_hf("llama")).anatomy, step)


def test_v_of_a_node_that_is_not_upstream_is_refused() -> None:
    subject = subject_of(tiny_hf("llama"))
    with pytest.raises(BadNode, match="not upstream"):
        trace(subject, "attn.2.0@5<-3:v", trace(subject, "attn.1.1@9<-7:q"))


def all_dials(theirs: Reference) -> reference.Dials:
    t, anatomy = len(PROMPT), theirs.anatomy

    def dial(*shape: int) -> Tensor:
        return torch.ones(*shape, requires_grad=True)

    layers = range(len(anatomy.layers))
    return reference.Dials(
        {layer: dial(anatomy.n_heads, t, t) for layer in layers},
        {layer: dial(t, anatomy.n_heads) for layer in layers},
        {layer: dial(t, anatomy.n_neurons) for layer in layers},
        dial(t),
    )


def slope(dials: reference.Dials, node: Node) -> float:
    if node.kind == "embed":
        found, at = dials.embed, node.position
    else:
        assert node.layer is not None
        if node.kind == "neuron":
            found, at = dials.neuron[node.layer], (node.position, node.index)
        elif node.source is None:
            found, at = dials.head[node.layer], (node.position, node.index)
        else:
            found, at = dials.pattern[node.layer], (node.index, node.position, node.source)
    assert found is not None and found.grad is not None
    return float(found.grad[at])
