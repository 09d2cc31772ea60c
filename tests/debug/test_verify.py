"""Verified effects against a re-run of the whole prompt, transformers' own, with plain hooks making the change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from clew.debug.answer import answer
from clew.debug.case import Case, Second
from clew.debug.direction import reading
from clew.debug.ranking import Selection
from clew.debug.scalar import Final
from clew.debug.verify import measure
from clew.edits import Place, parse_edit, parse_place
from clew.errors import BadEdit, BadNode, Cancelled, UsageError
from clew.models import replay
from clew.models.anatomy import Anatomy
from clew.nodes import Node, parse

from .. import reference
from ..families import CONFIGS, PROMPT, ids, subject_of, tiny_hf

LAST = len(PROMPT) - 1
OTHER = [9, 9, 41, 60, 2, 17, 33, 12, 5, 80, 23, 7, 4]
SECOND = Second.of(ids(OTHER), list(range(len(PROMPT))))
TARGETS, DISTRACTORS = [3, 11], [7, 8, 60]
TOLERANCE = 1e-4


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def some_nodes(position: int) -> list[Node]:
    """Every kind of node, in every layer, before, near and at `position`."""
    found = [Node("embed", position=p) for p in range(position + 1)]
    for layer in range(3):
        for p in sorted({0, position // 2, position}):
            found += [Node("attn", layer, h, p) for h in range(4)]
            found += [Node("attn", layer, 1, p, s) for s in range(p + 1)]
            found += [Node("neuron", layer, n, p) for n in (0, 7, 39)]
    return found


@torch.no_grad()
def rerun(
    model: PreTrainedModel, node: Node, position: int, instead: Callable[[Tensor], Tensor], renormalise: bool = False
) -> float:
    """D with what the node holds replaced by `instead(everything its component holds on the prompt, [t, …])`."""
    anatomy = subject_of(model).anatomy
    if node.source is not None:
        assert node.layer is not None
        dial = torch.ones(4, len(PROMPT), len(PROMPT))
        if renormalise:
            weight = pattern(model, anatomy, node.layer)[node.index, node.position, node.source]
            dial[node.index, node.position] = 1 / (1 - weight) if weight < 1 else 0.0
        dial[node.index, node.position, node.source] = 0
        with reference.dialled(anatomy, reference.Dials({node.layer: dial})):
            return float(reference.direction(model, ids(), position, TARGETS, DISTRACTORS))
    module, part = held(anatomy, node)

    def hook(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = args[0].clone()
        changed[0, node.position, part] = instead(args[0][0][:, part])
        return (changed, *args[1:])

    handle = module.register_forward_pre_hook(hook)
    try:
        return float(reference.direction(model, ids(), position, TARGETS, DISTRACTORS))
    finally:
        handle.remove()


def held(anatomy: Anatomy, node: Node) -> tuple[Any, slice]:
    """The module that is given what the node holds, and where in its input that is."""
    if node.kind == "embed":
        return anatomy.layers[0].block, slice(None)
    assert node.layer is not None and node.index is not None
    layer = anatomy.layers[node.layer]
    if node.kind == "neuron":
        return layer.mlp_out_module, slice(node.index, node.index + 1)
    width = layer.attn_out.by_input.shape[0] // layer.n_heads
    return layer.attn_out_module, slice(node.index * width, (node.index + 1) * width)


def pattern(model: PreTrainedModel, anatomy: Anatomy, layer: int) -> Tensor:
    kept = []
    handle = anatomy.layers[layer].attn.register_forward_hook(lambda m, a, out: kept.append(out[1][0]))
    model(ids()[None])
    handle.remove()
    return kept[0]


def value_on(model: PreTrainedModel, prompt: list[int], node: Node) -> Tensor:
    module, part = held(subject_of(model).anatomy, node)
    kept = []
    handle = module.register_forward_pre_hook(lambda m, args: kept.append(args[0][0][:, part]))
    model(ids(prompt)[None])
    handle.remove()
    return kept[0][node.position]


def verified(model: PreTrainedModel, nodes: list[Node], position: int, **how: Any) -> dict[Node, float]:
    subject = subject_of(model)
    look = Final(subject.anatomy, reading(subject.anatomy, TARGETS, DISTRACTORS), position)
    places = [Place.of(node) for node in nodes]
    found = [effect for batch in measure(Case(subject, ids(), position), look, places, **how) for effect in batch]
    return dict(zip(nodes, found, strict=True))


def compare(
    family: str,
    nodes: list[Node],
    position: int,
    instead: Callable[[PreTrainedModel, Node], Callable[[Tensor], Tensor]],
    **how: Any,
) -> None:
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    clean = float(reference.direction(plain, ids(), position, TARGETS, DISTRACTORS))
    found = verified(tiny_hf(family), nodes, position, **how)
    for node in nodes:
        truth = clean - rerun(plain, node, position, instead(plain, node), how.get("renormalise", False))
        assert found[node] == pytest.approx(truth, abs=TOLERANCE * max(1.0, abs(clean))), node
    assert max(abs(effect) for effect in found.values()) > 0.05


@pytest.mark.parametrize("position", [0, 6, LAST])
def test_zero_ablation_equals_a_rerun(family: str, position: int) -> None:
    compare(family, some_nodes(position), position, lambda model, node: lambda held: torch.zeros_like(held[0]))


def test_a_pair_can_be_cut_with_its_row_renormalised(family: str) -> None:
    pairs = [node for node in some_nodes(LAST) if node.source is not None]
    compare(family, pairs, LAST, lambda model, node: lambda held: held[0], renormalise=True)


@pytest.mark.parametrize("edit", ["zero:attn.1.0@6<-1", "scale:attn.1.0@6<-3=4", "set:attn.1.0@6<-1=3"])
def test_a_renormalised_row_keeps_the_sum_that_edits_gave_it(edit: str) -> None:
    """Verifying a pair under edits is what one more cut does, also where the row does not sum to 1."""
    subject = subject_of(tiny_hf("llama"))
    look = Final(subject.anatomy, reading(subject.anatomy, TARGETS, DISTRACTORS), LAST)
    pair = parse_place("attn.1.0@6<-3")
    edited = Case(subject, ids(), LAST, (parse_edit(edit),))
    more = Case(subject, ids(), LAST, (parse_edit(edit), parse_edit(f"cut:{pair}")))
    ((effect,),) = measure(edited, look, [pair], renormalise=True)
    before, after = (answer(case, look, Selection()).value for case in (edited, more))
    assert effect == pytest.approx(before - after, abs=TOLERANCE)
    assert abs(before - after) > 10 * TOLERANCE


def test_mean_ablation_equals_a_rerun(family: str) -> None:
    nodes = [node for node in some_nodes(6) if node.source is None]

    def others(node: Node) -> Callable[[Tensor], Tensor]:
        return lambda held: torch.cat([held[: node.position], held[node.position + 1 :]]).mean(0)  # type: ignore[operator, misc]

    compare(family, nodes, 6, lambda model, node: others(node), ablation="mean")


def test_resampling_equals_a_rerun(family: str) -> None:
    nodes = [node for node in some_nodes(LAST) if node.source is None]

    def from_other(model: PreTrainedModel, node: Node) -> Callable[[Tensor], Tensor]:
        value = value_on(model, OTHER, node)
        return lambda held: value

    compare(family, nodes, LAST, from_other, ablation="resample", second=SECOND)


def test_batches_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = some_nodes(LAST)
    whole = verified(tiny_hf("gemma2"), nodes, LAST)
    monkeypatch.setattr(replay, "ROWS", 13)
    apart = verified(tiny_hf("gemma2"), nodes, LAST)
    assert apart == pytest.approx(whole, abs=1e-5)


def test_it_can_be_cancelled_between_layers() -> None:
    subject = subject_of(tiny_hf("llama"))
    look = Final(subject.anatomy, reading(subject.anatomy, TARGETS, DISTRACTORS), LAST)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5  # three layers of the clean run, two of the replay

    places = [Place.of(node) for node in some_nodes(LAST)]
    with pytest.raises(Cancelled):
        list(measure(Case(subject, ids(), LAST), look, places, stop=stop))
    assert not subject.lock.locked()


@pytest.mark.parametrize(
    ("node", "how", "error", "says"),
    [
        ("bias.attn.0", {}, BadEdit, "cannot be changed"),
        ("attn.0.1@3<-2", {"ablation": "mean"}, UsageError, "can be zeroed"),
        ("attn.0.1@3", {"ablation": "median"}, UsageError, "not a way to ablate"),
        ("attn.0.1@3", {"ablation": "resample"}, UsageError, "second prompt"),
        (
            "attn.0.1@3",
            {"ablation": "resample", "second": Second.of(ids([5]), [0] + [None] * LAST)},
            BadNode,
            "no count",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(node: str, how: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        verified(tiny_hf("llama"), [parse(node)], LAST, **how)


def test_a_prompt_of_one_token_has_no_mean() -> None:
    subject = subject_of(tiny_hf("llama"))
    look = Final(subject.anatomy, reading(subject.anatomy, TARGETS, DISTRACTORS), 0)
    with pytest.raises(UsageError, match="one token"):
        list(measure(Case(subject, ids([5]), 0), look, [parse_place("embed@0")], "mean"))
