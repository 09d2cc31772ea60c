"""Edits against plain hooks on transformers' own forward pass, for every family."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from clew.debug.answer import answer
from clew.debug.case import Case, Second, check_edits
from clew.debug.direction import reading
from clew.debug.ranking import Selection
from clew.debug.scalar import Final
from clew.debug.verify import measure
from clew.edits import Edit, Place, parse_edit
from clew.errors import BadEdit, BadNode
from clew.models.anatomy import Anatomy
from clew.models.interventions import Interventions

from .. import reference
from ..families import CONFIGS, PROMPT, ids, subject_of, tiny_hf

LAST = len(PROMPT) - 1
OTHER = [9, 9, 41, 60, 2, 17, 33, 12, 5, 80, 23, 7, 4]
ALIGNED = [1, 0, None, 3, 4, 12, 6, 7, None, 9, 10, 11]
TARGETS, DISTRACTORS = [3, 11], [7, 8, 60]
TOLERANCE = 1e-4

EDITS = [
    "zero:embed@3",
    "mean:embed@4,7",
    "patch:embed@5",
    "scale:embed=0.5",
    "steer:embed@3=2",
    "zero:attn.1.2@5",
    "zero:attn.0.*",
    "mean:attn.1.3@6",
    "mean:attn.1.*",
    "patch:attn.0.1",
    "patch:attn.1.*@4,6",
    "scale:attn.2.0@9=-1.5",
    "set:attn.1.0@7=3",
    "steer:attn.1.1@5=4",
    "steer:attn.1.1=4",
    "zero:neuron.1.7@5",
    "zero:neuron.0.*@3",
    "mean:neuron.1.12",
    "patch:neuron.1.*@6",
    "scale:neuron.1.3=2",
    "set:neuron.0.5@4=2.5",
    "steer:neuron.1.9@8=3",
    "zero:resid.0@4",
    "mean:resid.1@6",
    "patch:resid.1@9",
    "scale:resid.0=0.9",
    "zero:attn.1.2@6<-3",
    "zero:attn.1.*<-2",
    "scale:attn.0.1@5,8<-4=3",
    "set:attn.1.0@7<-5=0.4",
    "cut:attn.1.2@6<-3",
    "cut:attn.1.*<-2,3",
]


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def case_of(family: str, *edits: str, position: int = LAST) -> Case:
    subject = subject_of(tiny_hf(family))
    second = Second.of(ids(OTHER), ALIGNED)
    stack = tuple(parse_edit(edit) for edit in edits)
    check_edits(Case(subject, ids(), position), stack, second)
    return Case(subject, ids(), position, stack, second)


@torch.no_grad()
def logits_of(case: Case) -> Tensor:
    """All logits of the model with the edits made: [t, v]."""
    with ExitStack() as stack:
        if case.interventions is not None:
            stack.enter_context(case.interventions.hooks())
        return case.subject.hf(case.ids[None]).logits[0]


# The reference: what each place is in transformers' own model, and what each op makes of it.


def module_of(anatomy: Anatomy, place: Place) -> tuple[Any, slice]:
    """The module that is given what a place holds, and where in its input that is."""
    if place.kind == "embed":
        return anatomy.layers[0].block, slice(None)
    assert place.layer is not None
    if place.kind == "resid":
        last = place.layer + 1 == len(anatomy.layers)
        return anatomy.final_norm_module if last else anatomy.layers[place.layer + 1].block, slice(None)
    layer = anatomy.layers[place.layer]
    module = layer.mlp_out_module if place.kind == "neuron" else layer.attn_out_module
    if place.index is None:
        return module, slice(None)
    width = 1 if place.kind == "neuron" else layer.attn_out.by_input.shape[0] // layer.n_heads
    return module, slice(place.index * width, (place.index + 1) * width)


def held(model: PreTrainedModel, prompt: list[int], place: Place) -> Tensor:
    module, part = module_of(subject_of(model).anatomy, place)
    kept: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda m, args: kept.append(args[0][0][:, part]))
    model(ids(prompt)[None])
    handle.remove()
    return kept[0]


def pattern(model: PreTrainedModel, layer: int) -> Tensor:
    kept: list[Tensor] = []
    attn = subject_of(model).anatomy.layers[layer].attn
    handle = attn.register_forward_hook(lambda m, a, out: kept.append(out[1][0]))
    model(ids()[None])
    handle.remove()
    return kept[0]


def instead(model: PreTrainedModel, edit: Edit) -> Callable[[Tensor, int], Tensor | None]:
    """What a place holds at a position once edited; None leaves it."""
    place, value = edit.place, edit.value or 0.0
    clean = held(model, PROMPT, place)
    there = held(model, OTHER, place) if edit.op == "patch" else clean

    def write(position: int) -> Tensor:
        anatomy = subject_of(model).anatomy
        if place.kind == "embed":
            return clean[position]
        assert place.layer is not None and place.index is not None
        layer = anatomy.layers[place.layer]
        if place.kind == "neuron":
            return layer.mlp_out.by_input[place.index]
        _, part = module_of(anatomy, place)
        return clean[position] @ layer.attn_out.by_input[part]

    def new(x: Tensor, position: int) -> Tensor | None:
        match edit.op:
            case "zero":
                return torch.zeros_like(x)
            case "scale":
                return value * x
            case "set":
                return torch.tensor([value]) if place.kind == "neuron" else value * x / x.norm()
            case "mean":
                return torch.stack([clean[p] for p in range(len(clean)) if p != position]).mean(0)
            case "patch":
                counterpart = ALIGNED[position]
                return None if counterpart is None else there[counterpart]
            case _:
                source = position if place.positions is not None else LAST
                along = torch.ones(1) if place.kind == "neuron" else clean[source]
                return x + value * along / write(source).norm()

    return new


@torch.no_grad()
def reference_logits(family: str, *edits: str) -> Tensor:
    """The model's own logits with plain hooks making the edits: [t, v]."""
    model = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    anatomy = subject_of(model).anatomy
    dials = reference.Dials()
    hooks: list[tuple[Any, Any]] = []
    with ExitStack() as stack:
        for text in edits:  # values are read before any hook is set
            edit = parse_edit(text)
            place = edit.place
            positions = range(len(PROMPT)) if place.positions is None else place.positions
            if place.sources is not None:
                assert place.layer is not None
                weights = pattern(model, place.layer)
                dial = dials.pattern.setdefault(place.layer, torch.ones_like(weights))
                for head in range(4) if place.index is None else [place.index]:
                    for p in positions:
                        sources = [s for s in place.sources if s <= p]
                        row = weights[head, p]
                        for s in sources:
                            dial[head, p, s] = {"scale": edit.value, "set": edit.value}.get(edit.op, 0) or 0
                            if edit.op == "set":
                                dial[head, p, s] /= row[s]
                        if edit.op == "cut" and sources:
                            rest = 1 - sum(float(row[s]) for s in sources)
                            dial[head, p] *= 1 / rest if rest > 1e-6 else 0
                continue
            module, part = module_of(anatomy, place)
            hooks.append((module, hook_of(instead(model, edit), part, positions)))
        for module, hook in hooks:
            stack.callback(module.register_forward_pre_hook(hook).remove)
        with reference.dialled(anatomy, dials):
            return model(ids()[None]).logits[0]


def hook_of(new: Callable[[Tensor, int], Tensor | None], part: slice, positions: Any) -> Callable[..., Any]:
    def hook(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = args[0].clone()
        for position in positions:
            value = new(args[0][0, position, part], position)
            if value is not None:
                changed[0, position, part] = value
        return (changed, *args[1:])

    return hook


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_equals_plain_hooks(family: str, edit: str) -> None:
    found, wanted = logits_of(case_of(family, edit)), reference_logits(family, edit)
    scale = max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found, wanted, atol=TOLERANCE * scale, rtol=0)
    assert not torch.equal(found, logits_of(case_of(family))), "the edit changes nothing"


def test_a_stack_of_edits_equals_plain_hooks(family: str) -> None:
    stack = ["scale:attn.1.2=2", "zero:attn.1.2@5", "zero:embed@2", "mean:neuron.0.7", "zero:attn.2.1@9<-8",
             "patch:resid.1@9", "scale:resid.1@9=0.5"]  # fmt: skip
    found, wanted = logits_of(case_of(family, *stack)), reference_logits(family, *stack)
    torch.testing.assert_close(found, wanted, atol=TOLERANCE * max(1.0, float(wanted.abs().max())), rtol=0)


def test_the_order_of_the_stack_counts() -> None:
    first = logits_of(case_of("llama", "set:neuron.1.7@5=3", "scale:neuron.1.7@5=2"))
    second = logits_of(case_of("llama", "scale:neuron.1.7@5=2", "set:neuron.1.7@5=3"))
    torch.testing.assert_close(first, reference_logits("llama", "set:neuron.1.7@5=6"), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(second, reference_logits("llama", "set:neuron.1.7@5=3"), atol=TOLERANCE, rtol=0)


def test_an_empty_stack_changes_nothing_bit_for_bit(family: str) -> None:
    case = case_of(family)
    assert case.interventions is None
    plain = logits_of(case)
    empty = Interventions(case.subject.anatomy, len(PROMPT))
    with torch.no_grad(), empty.hooks():
        assert torch.equal(case.subject.hf(ids()[None]).logits[0], plain)


@pytest.mark.parametrize("edit", [edit for edit in EDITS if "@" in edit])
def test_edits_at_a_position_change_no_earlier_one(family: str, edit: str) -> None:
    positions = parse_edit(edit).place.positions
    assert positions is not None
    edited, plain = logits_of(case_of(family, edit)), logits_of(case_of(family))
    assert torch.equal(edited[: positions[0]], plain[: positions[0]])


@pytest.mark.parametrize("edit", EDITS)
def test_the_terms_add_up_under_an_edit(family: str, edit: str) -> None:
    position = 9
    case = case_of(family, edit, position=position)
    look = reading(case.subject.anatomy, TARGETS, DISTRACTORS)
    result = answer(case, Final(case.subject.anatomy, look, position), Selection(top=100_000))
    logits = case.subject.anatomy
    cap = logits.softcap
    found = logits_of(case)[position]
    if cap is not None:
        found = torch.atanh(found / cap) * cap
    value = look.value(found)
    bound = TOLERANCE * max(1.0, abs(value), *(abs(step.direct_effect) for step in result.effects.by_layer()))
    assert result.value == pytest.approx(value, abs=10 * bound if cap else bound)
    terms = result.effects.terms()
    assert sum(terms.values()) == pytest.approx(result.value, abs=bound)
    assert ("edit" in terms) == edit.partition(":")[2].startswith("resid")
    rows = [row for row in result.nodes if row.source is None]
    assert sum(row.direct_effect for row in rows) + terms.get("edit", 0.0) == pytest.approx(result.value, abs=bound)


def test_a_node_that_is_off_has_no_effect() -> None:
    case = case_of("llama", "zero:attn.1.2@9", "zero:neuron.1.7@9", position=9)
    look = reading(case.subject.anatomy, TARGETS, DISTRACTORS)
    table = answer(case, Final(case.subject.anatomy, look, 9), Selection(top=100_000)).nodes
    off = [row for row in table if row.id.startswith(("attn.1.2@9", "neuron.1.7@9"))]
    assert len(off) == 12  # the head, its ten parts, the neuron
    assert all(row.direct_effect == row.estimated_effect == row.write_norm == 0 for row in off)


@pytest.mark.parametrize("edit", EDITS[5:])
def test_verified_effects_hold_under_an_edit(family: str, edit: str) -> None:
    """Against the whole prompt run with one more edit, which the tests above hold to plain hooks."""
    case = case_of(family, edit)
    subject = case.subject
    scalar = Final(subject.anatomy, reading(subject.anatomy, TARGETS, DISTRACTORS), LAST)
    names = ["embed@2", "attn.0.1@5", "attn.1.2@6", "attn.2.3@11", "neuron.0.5@4", "neuron.1.7@5", "neuron.2.1@11"]
    pairs = ["attn.0.2@6<-3", "attn.1.3@8<-2"]
    names += [name for name in pairs if not case.replaces(parse_edit(f"zero:{name}").place)]
    places = [parse_edit(f"zero:{name}").place for name in names]
    found = [effect for batch in measure(case, scalar, places) for effect in batch]

    def value(*stack: str) -> float:
        logits = logits_of(case_of(family, *stack))[LAST]
        cap = subject.anatomy.softcap
        return scalar.reading.value(logits if cap is None else torch.atanh(logits / cap) * cap)

    clean = value(edit)
    # Undoing a soft-cap multiplies rounding where the cap is flat.
    bound = (1e-3 if subject.anatomy.softcap else TOLERANCE) * max(1.0, abs(clean))
    for name, effect in zip(names, found, strict=True):
        assert effect == pytest.approx(clean - value(edit, f"zero:{name}"), abs=bound), name


def test_a_part_of_an_edited_head_cannot_be_verified() -> None:
    case = case_of("llama", "mean:attn.1.2")
    scalar = Final(case.subject.anatomy, reading(case.subject.anatomy, TARGETS, DISTRACTORS), LAST)
    with pytest.raises(BadNode, match="edited there"):
        list(measure(case, scalar, [parse_edit("zero:attn.1.2@6<-3").place]))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("zero:attn.3.0@2", "there are 3 layers"),
        ("zero:attn.1.4", "there are 4 heads"),
        ("zero:neuron.1.40@2", "there are 40 neurons"),
        ("zero:embed@12", "there are 12 tokens"),
        ("zero:attn.1.0<-12", "there are 12 tokens"),
        ("patch:attn.1.0@2", "no counterpart"),
    ],
)
def test_what_the_model_or_prompt_lacks_is_refused(edit: str, says: str) -> None:
    with pytest.raises(BadEdit, match=says):
        case_of("llama", edit)


def test_patching_needs_a_second_prompt() -> None:
    with pytest.raises(BadEdit, match="there is none"):
        check_edits(Case(subject_of(tiny_hf("llama")), ids(), LAST), [parse_edit("patch:attn.1.0")], None)
