"""Every estimator against its definition, carried out with plain hooks on transformers' own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from clew.debug.case import Case
from clew.debug.direction import reading
from clew.debug.estimators import (
    ESTIMATORS,
    Estimates,
    Estimator,
    act_grad,
    act_grad_held,
    atp_star,
    grad_drop,
    integrated,
    refined,
)
from clew.debug.scalar import Final, Forms, Scalar
from clew.debug.verify import measure
from clew.edits import Place, parse_edit
from clew.errors import Cancelled
from clew.models.anatomy import Anatomy, Depth, Layer
from clew.nodes import Node

from .. import reference
from ..families import CONFIGS, PROMPT, ids, subject_of, tiny_hf

LENGTH = len(PROMPT)
POSITION = 8
TARGETS, DISTRACTORS = [3, 11], [7, 8, 60]

# Float32 rounding through three layers, relative to the largest number involved.
TOLERANCE = 1e-4


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def question(family: str) -> tuple[Case, Final]:
    subject = subject_of(tiny_hf(family))
    look = reading(subject.anatomy, TARGETS, DISTRACTORS)
    return Case(subject, ids(), POSITION), Final(subject.anatomy, look, POSITION)


def plain(family: str) -> tuple[PreTrainedModel, Anatomy]:
    model = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    return model, subject_of(model).anatomy


def dials_of(anatomy: Anatomy, at: float = 1.0) -> reference.Dials:
    def dial(*shape: int) -> Tensor:
        return torch.full(shape, at, requires_grad=True)

    layers = range(len(anatomy.layers))
    return reference.Dials(
        head={layer: dial(LENGTH, anatomy.n_heads) for layer in layers},
        neuron={layer: dial(LENGTH, anatomy.n_neurons) for layer in layers},
        embed=dial(LENGTH),
    )


def slopes(anatomy: Anatomy, dials: reference.Dials, value: Callable[[], Tensor]) -> Estimates:
    """∂value/∂dial of every dial, arranged as estimates are; the derivative by a dial is a·∂value/∂a."""
    with reference.dialled(anatomy, dials):
        value().backward()

    def grad(x: Tensor | None) -> Tensor:
        assert x is not None
        return torch.zeros_like(x) if x.grad is None else x.grad

    return Estimates(
        torch.stack([grad(x).T for x in dials.head.values()]),
        torch.stack([grad(x) for x in dials.neuron.values()]),
        grad(dials.embed),
    )


def same(found: Estimates, expected: Estimates, tolerance: float = TOLERANCE) -> None:
    assert max(float(x.abs().max()) for x in (expected.heads, expected.neurons, expected.embed)) > 0.05
    for name in ("heads", "neurons", "embed"):
        want = getattr(expected, name)
        bound = tolerance * max(1.0, float(want.abs().max()))
        torch.testing.assert_close(
            getattr(found, name), want, atol=bound, rtol=0, msg=lambda m, name=name: f"{name}: {m}"
        )


def d(model: PreTrainedModel) -> Tensor:
    return reference.direction(model, ids(), POSITION, TARGETS, DISTRACTORS)


@contextmanager
def hooked(*pairs: tuple[nn.Module, Callable[..., Any]], before: bool = False) -> Iterator[None]:
    with ExitStack() as stack:
        for module, hook in pairs:
            add = module.register_forward_pre_hook if before else module.register_forward_hook
            stack.callback(add(hook).remove)
        yield


def writes(layer: Layer) -> tuple[nn.Module, nn.Module]:
    """The modules that give what a layer adds to the stream."""
    return layer.attn_post_module or layer.attn_out_module, layer.mlp_post_module or layer.mlp_out_module


def test_act_grad_is_the_derivative_by_a_dial(family: str) -> None:
    model, anatomy = plain(family)
    same(act_grad(*question(family)), slopes(anatomy, dials_of(anatomy), lambda: d(model)))


def test_with_the_final_norm_frozen_its_scale_is_a_constant(family: str) -> None:
    model, anatomy = plain(family)
    kept: list[Tensor] = []
    unembed = anatomy.unembed.weight
    row = unembed[TARGETS].mean(0) - unembed[DISTRACTORS].mean(0)
    norm = anatomy.final_norm_module

    def value() -> Tensor:
        with hooked((norm, lambda m, args: kept.append(args[0])), before=True):
            model(ids()[None])
        x = kept.pop()[0, POSITION]
        if isinstance(norm, nn.LayerNorm):
            centred = x - x.mean()
            factor = ((norm(x) - norm.bias) / centred).detach()
            return (centred * factor) @ row
        return (x * (norm(x) / x).detach()) @ row

    same(act_grad_held(*question(family)), slopes(anatomy, dials_of(anatomy), value))


def with_a_layer_cut(model: PreTrainedModel, anatomy: Anatomy) -> list[Estimates]:
    """The estimates of one run for each layer, with that layer's writes detached."""
    found = []
    for layer in anatomy.layers:
        with hooked(*((module, lambda m, args, output: output.detach()) for module in writes(layer))):
            found.append(slopes(anatomy, dials_of(anatomy), lambda: d(model)))
    return found


def rederived(family: str) -> Estimates:
    """GradDrop as the paper has it: for each layer a run with its writes detached, and the mean of the sizes."""
    model, anatomy = plain(family)
    first = slopes(anatomy, dials_of(anatomy), lambda: d(model))
    sizes = Estimates(torch.zeros_like(first.heads), torch.zeros_like(first.neurons), torch.zeros_like(first.embed))
    for layer, cut in enumerate(with_a_layer_cut(model, anatomy)):
        # The nodes of the layer itself have no gradient left, so that they add nothing.
        assert cut.heads[layer].abs().max() == 0 and cut.neurons[layer].abs().max() == 0
        sizes = Estimates(
            sizes.heads + cut.heads.abs(), sizes.neurons + cut.neurons.abs(), sizes.embed + cut.embed.abs()
        )
    n = len(anatomy.layers)
    return Estimates(
        sizes.heads / (n - 1) * first.heads.sign(),
        sizes.neurons / (n - 1) * first.neurons.sign(),
        sizes.embed / n * first.embed.sign(),
    )


def test_grad_drop_is_the_mean_over_layers_of_gradients_derived_again(family: str) -> None:
    same(grad_drop(*question(family)), rederived(family))


@pytest.mark.parametrize("steps", [1, 2])
def test_integrated_gradients_are_means_of_slopes_along_the_path(family: str, steps: int) -> None:
    model, anatomy = plain(family)
    found = integrated(*question(family), steps=steps)
    points = [0.5] if steps == 1 else [0.5 - 12**-0.5, 0.5 + 12**-0.5]
    for layer in (0, 2):
        expected = torch.zeros(LENGTH, anatomy.n_heads)
        for point in points:
            dial = torch.full((LENGTH, anatomy.n_heads), point, requires_grad=True)
            with reference.dialled(anatomy, reference.Dials(head={layer: dial})):
                d(model).backward()
            assert dial.grad is not None
            expected += dial.grad / steps
        bound = TOLERANCE * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(found.heads[layer], expected.T, atol=bound, rtol=0)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama"])
def test_integrated_gradients_of_a_block_add_up_to_ablating_it(family: str) -> None:
    """With 48 points to 1% of the largest effect, after layer 0: on a stream near zero a norm turns too sharply."""
    model, anatomy = plain(family)
    found = integrated(*question(family), steps=48)
    layers = anatomy.layers[1:]
    sums = {f"attn.{x.index}": float(found.heads[x.index].sum()) for x in layers}
    sums |= {f"mlp.{x.index}": float(found.neurons[x.index].sum()) for x in layers}

    def without(module: nn.Module) -> float:
        with torch.no_grad(), hooked((module, lambda m, args: (torch.zeros_like(args[0]), *args[1:])), before=True):
            return float(d(model))

    with torch.no_grad():
        clean = float(d(model))
    truth = {f"attn.{x.index}": clean - without(x.attn_out_module) for x in layers}
    truth |= {f"mlp.{x.index}": clean - without(x.mlp_out_module) for x in layers}
    assert sums == pytest.approx(truth, abs=0.01 * max(abs(x) for x in truth.values()))


def held_by(anatomy: Anatomy, node: Node) -> tuple[nn.Module, slice]:
    """The module that is given what the node holds, and where in its input that is."""
    if node.kind == "embed":
        return anatomy.layers[0].block, slice(None)
    assert node.layer is not None and node.index is not None
    layer = anatomy.layers[node.layer]
    if node.kind == "neuron":
        return layer.mlp_out_module, slice(node.index, node.index + 1)
    width = layer.attn_out.by_input.shape[0] // layer.n_heads
    return layer.attn_out_module, slice(node.index * width, (node.index + 1) * width)


class Columns:
    """A node's effect, its own token computed as it is and every other token's stream put back after each layer.

    What later tokens mix under that is multiplied by the gradient of D by it. Nothing of Clew's passes is used.
    """

    def __init__(self, family: str) -> None:
        self.model, self.anatomy = plain(family)
        with ExitStack() as stack:
            self.streams, self.mixed = self._kept(stack)
            value = d(self.model)
            self.clean = float(value.detach())
            tensors = [*self.streams, *self.mixed]
            grads = torch.autograd.grad(value, tensors)
        n = len(self.streams)
        self.stream_grads, self.mixed_grads = grads[:n], grads[n:]

    def _kept(self, stack: ExitStack) -> tuple[list[Tensor], list[Tensor]]:
        """What the blocks and attention outputs are given in the next pass."""
        streams: list[Tensor] = []
        mixed: list[Tensor] = []

        def enter(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            stream = args[0] if streams else args[0].detach().requires_grad_()
            streams.append(stream)
            return (stream, *args[1:])

        for layer in self.anatomy.layers:
            stack.enter_context(hooked((layer.block, enter), before=True))
            stack.enter_context(hooked((layer.attn_out_module, lambda m, args: mixed.append(args[0])), before=True))
        return streams, mixed

    @torch.no_grad()
    def effect(self, node: Node, layers: int | None = None) -> float:
        """The node followed through its own layer and `layers` more; None: to the end."""
        p, n = node.position, len(self.anatomy.layers)
        assert p is not None
        own = -1 if node.layer is None else node.layer
        last = n - 1 if layers is None else min(n - 1, own + layers)
        found = 0.0
        module, part = held_by(self.anatomy, node)

        def ablate(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            changed = args[0].clone()
            changed[0, p, part] = 0
            return (changed, *args[1:])

        def put_back(layer: int) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
                nonlocal found
                stream = self.streams[layer].clone()
                stream[0, p] = args[0][0, p]
                if layer == last + 1:
                    found -= float(((stream - self.streams[layer]) * self.stream_grads[layer]).sum())
                return (stream, *args[1:])

            return hook

        def later(layer: int) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
                nonlocal found
                if own < layer <= last:
                    change = (args[0] - self.mixed[layer]) * self.mixed_grads[layer]
                    found -= float(change[0, p + 1 :].sum())

            return hook

        pairs: list[tuple[nn.Module, Callable[..., Any]]] = [(x.block, put_back(x.index)) for x in self.anatomy.layers]
        pairs += [(x.attn_out_module, later(x.index)) for x in self.anatomy.layers]
        with hooked(*pairs, (module, ablate), before=True):
            end = float(d(self.model))
        return found + (self.clean - end if last == n - 1 and p == POSITION else 0.0)


def some_nodes() -> list[Node]:
    found = [Node("embed", position=p) for p in (0, 4, POSITION)]
    for layer in range(3):
        for p in (0, 4, 7, POSITION):
            found += [Node("attn", layer, h, p) for h in range(4)]
            found += [Node("neuron", layer, n, p) for n in (0, 7, 39)]
    return found


def test_followed_nodes_are_exact_at_their_own_token(family: str) -> None:
    columns = Columns(family)
    found = refined(*question(family), suspects=100_000, measured=0)
    assert found.measured == {}
    wanted = [node for node in some_nodes() if found.followed.get(node)]
    assert len(wanted) > 40  # sliding windows leave fewer
    for node in wanted:
        expected = columns.effect(node)
        assert found.followed[node] == pytest.approx(expected, abs=TOLERANCE * max(1.0, abs(columns.clean))), node
        assert found.of(node) == pytest.approx(found.followed[node], abs=1e-6)


def truth(case: Case, scalar: Scalar, nodes: list[Node]) -> dict[Node, float]:
    found = [x for batch in measure(case, scalar, [Place.of(node) for node in nodes]) for x in batch]
    return dict(zip(nodes, found, strict=True))


def test_followed_nodes_at_the_position_of_interest_are_verified_effects(family: str) -> None:
    case, scalar = question(family)
    found = refined(case, scalar, suspects=100_000, measured=0)
    nodes = [node for node in some_nodes() if node.position == POSITION and found.followed.get(node)]
    for node, effect in truth(case, scalar, nodes).items():
        assert found.followed[node] == pytest.approx(effect, abs=TOLERANCE * max(1.0, abs(effect))), node


def test_atp_star_holds_what_following_a_node_one_layer_further_changes(family: str) -> None:
    model, anatomy = plain(family)
    first = slopes(anatomy, dials_of(anatomy), lambda: d(model))
    columns = Columns(family)
    cuts = with_a_layer_cut(model, anatomy)
    found = atp_star(*question(family))
    for node in (n for n in some_nodes() if n.kind != "neuron"):
        fixed = columns.effect(node, layers=1)
        held = fixed - first.of(node)
        sizes = [abs(cut.of(node) + held) for layer, cut in enumerate(cuts) if layer != node.layer]
        expected = sum(sizes) / len(sizes)
        bound = TOLERANCE * max(1.0, abs(columns.clean), expected)
        assert abs(found.of(node)) == pytest.approx(expected, abs=bound), node
        if abs(fixed) > bound:
            assert found.of(node) * fixed > 0, node


def test_refined_measures_the_worst_and_leaves_the_rest_to_the_gradient() -> None:
    case, scalar = question("llama")
    gradient = act_grad(case, scalar)
    found = refined(case, scalar, suspects=60, measured=10)
    assert len(found.followed) == 60 and len(found.measured) == 10
    gaps = {node: abs(effect - gradient.of(node)) for node, effect in found.followed.items()}
    assert min(gaps[node] for node in found.measured) >= max(gaps[n] for n in gaps if n not in found.measured)
    assert found.measured == pytest.approx(truth(case, scalar, list(found.measured)), abs=TOLERANCE)
    for node, effect in found.measured.items():
        assert found.of(node) == pytest.approx(effect, abs=1e-6)
    untouched = [node for node in some_nodes() if node not in found.followed]
    assert len(untouched) > 20
    for node in untouched:
        assert found.of(node) == gradient.of(node)


def test_the_largest_estimates_of_either_sign_come_first() -> None:
    found = act_grad(*question("llama"))
    sizes = {Node("embed", position=p): abs(float(x)) for p, x in enumerate(found.embed)}
    for layer in range(3):
        for p in range(LENGTH):
            sizes |= {Node("attn", layer, h, p): abs(float(found.heads[layer, h, p])) for h in range(4)}
            sizes |= {Node("neuron", layer, n, p): abs(float(found.neurons[layer, p, n])) for n in range(40)}
    expected = sorted((node for node in sizes if sizes[node] > 0), key=lambda node: -sizes[node])
    assert found.largest(50) == expected[:50]
    assert found.largest(100_000) == expected
    assert {node.kind for node in found.largest(50)} == {"attn", "neuron", "embed"}


def test_under_edits_the_most_suspect_nodes_are_measured_and_none_followed() -> None:
    case, scalar = question("gemma2")
    edits = tuple(parse_edit(text) for text in ("zero:attn.1.2@4", "scale:attn.0.1@5<-3=0.5", "scale:resid.0@2=1.5"))
    edited = Case(case.subject, case.ids, POSITION, edits)
    found = refined(edited, scalar, suspects=40, measured=12)
    assert found.followed == {} and len(found.measured) == 12
    assert found.measured == pytest.approx(truth(edited, scalar, list(found.measured)), abs=TOLERANCE)
    assert float(found.heads[1, 2, 4]) == 0.0
    assert not torch.equal(act_grad(edited, scalar).heads, act_grad(case, scalar).heads)


@pytest.mark.parametrize("depth", [Depth(2), Depth(1, mid=True)], ids=["between layers", "before an MLP"])
def test_another_number_than_d_can_be_explained(depth: Depth) -> None:
    """A product of what is read at two positions, as a traced attention score is. What reaches it without passing
    another token is followed exactly."""
    case, _ = question("gemma2")
    torch.manual_seed(0)
    weight, constant = 0.1 * torch.randn(2, 24, 3), torch.randn(2, 3)
    score = Forms(
        depth=depth,
        positions=torch.tensor([4, POSITION]),
        at=torch.tensor([0, 1]),
        weight=weight,
        constant=constant,
        combine=lambda forms: (forms[:, 0] * forms[:, 1]).sum(-1),
        linear=False,
    )
    found = refined(case, score, suspects=100_000, measured=0)
    last = ("attn" if depth.mid else "neuron", 1)
    exact = [n for n in found.followed if n.position == POSITION or (n.position == 4 and (n.kind, n.layer) == last)]
    assert len(exact) > 50
    assert {node.layer for node in found.followed} == {None, 0, 1}
    effects = truth(case, score, exact)
    assert max(abs(effect) for effect in effects.values()) > 0.05
    for node, effect in effects.items():
        assert found.followed[node] == pytest.approx(effect, abs=TOLERANCE * max(1.0, abs(effect))), node
    for name in ("act×grad", "GradDrop", "AtP*", "integrated gradients"):
        other = ESTIMATORS[name](case, score)
        assert other.neurons[depth.layer :].abs().max() == 0
        assert other.heads[:2].abs().amax((1, 2)).min() > 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_it_can_be_cancelled(name: str) -> None:
    case, scalar = question("llama")
    estimator: Estimator = ESTIMATORS[name]
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    estimator(case, scalar, count)
    for limit in {1, asked // 2, asked}:
        left = limit

        def stop() -> bool:
            nonlocal left
            left -= 1
            return left == 0

        case, scalar = question("llama")  # a case keeps its clean run, and would ask less often the second time
        with pytest.raises(Cancelled):
            estimator(case, scalar, stop)
        assert not case.subject.lock.locked()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_downstream_of_the_position_has_no_effect(name: str) -> None:
    found = ESTIMATORS[name](*question("qwen2"))
    after = slice(POSITION + 1, None)
    assert found.heads[:, :, after].abs().max() == 0
    assert found.neurons[:, after].abs().max() == 0
    assert found.embed[after].abs().max() == 0
    assert found.heads[:, :, POSITION].abs().max() > 0
