"""What is claimed of every family, checked on a random tiny model against transformers' own forward pass."""

from __future__ import annotations

import pytest
import torch

from clew.debug.answer import Answer, answer
from clew.debug.case import Case
from clew.debug.direction import reading
from clew.debug.lens import lens
from clew.debug.ranking import Selection
from clew.debug.scalar import Final
from clew.models.subject import SubjectModel
from clew.nodes import Node, parse

from .. import reference
from ..families import CONFIGS, PROMPT, ids, subject_of, tiny_hf

ALL = Selection(top=100_000)
TARGETS, DISTRACTORS = [3, 11], [7, 8, 60]
POSITIONS = (0, 5, len(PROMPT) - 1)

# Float32 rounding through three layers, relative to the largest number involved.
TOLERANCE = 1e-4


def ask(subject: SubjectModel, position: int, distractors: list[int], selection: Selection = ALL) -> Answer:
    look = reading(subject.anatomy, TARGETS, distractors)
    return answer(Case(subject, ids(), position), Final(subject.anatomy, look, position), selection)


def effects(result: Answer) -> dict[Node, tuple[float, float]]:
    return {parse(row.id): (row.direct_effect, row.estimated_effect) for row in result.nodes}


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_logits_equal_those_of_transformers(family: str) -> None:
    with torch.no_grad():
        ours = tiny_hf(family)(ids()[None]).logits
        theirs = tiny_hf(family, implementation="eager")(ids()[None]).logits
    assert theirs.abs().max() > 1  # a model of zeros would pass everything
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("distractors", [DISTRACTORS, []], ids=["pair", "mean"])
def test_direct_effects_add_up_to_the_direction(family: str, distractors: list[int]) -> None:
    model = tiny_hf(family)
    subject = subject_of(model)
    plain = tiny_hf(family, implementation="eager")
    for position in POSITIONS:
        result = ask(subject, position, distractors)
        with torch.no_grad():
            value = float(reference.direction(plain, ids(), position, TARGETS, distractors))
        bound = TOLERANCE * max(1, abs(value))
        assert sum(result.effects.terms().values()) == pytest.approx(value, abs=bound)
        rows = [row for row in result.nodes if row.source is None]
        assert sum(row.direct_effect for row in rows) == pytest.approx(value, abs=bound)
        steps = result.effects.by_layer()
        assert sum(step.direct_effect for step in steps) == pytest.approx(value, abs=bound)


def test_every_node_is_in_an_unbounded_table(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    anatomy, t = subject.anatomy, len(PROMPT)
    found = {parse(row.id) for row in ask(subject, t - 1, DISTRACTORS).nodes}
    layers = range(len(anatomy.layers))
    expected = {Node("embed", position=p) for p in range(t)}
    for layer in layers:
        for p in range(t):
            expected |= {Node("neuron", layer, n, p) for n in range(anatomy.n_neurons)}
            expected |= {Node("attn", layer, h, p) for h in range(anatomy.n_heads)}
            expected |= {Node("attn", layer, h, p, s) for h in range(anatomy.n_heads) for s in range(p + 1)}
    assert {node for node in found if node.kind != "bias"} == expected


def test_direct_effect_is_the_difference_the_write_makes_with_the_norm_held(family: str) -> None:
    position = 5
    subject = subject_of(tiny_hf(family))
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    anatomy = subject_of(plain).anatomy
    table = {parse(row.id): row for row in ask(subject, position, DISTRACTORS).nodes}
    nodes = [Node("embed", position=position), Node("neuron", 2, 0, 0)]
    for layer in range(3):
        nodes += [Node("attn", layer, h, position) for h in range(4)]
        nodes += [Node("attn", layer, 1, position, s) for s in range(position + 1)]
        nodes += [Node("neuron", layer, n, position) for n in (0, 7, 39)]
    for node in nodes:
        lost = reference.write(plain, anatomy, ids(), node)
        row = table[node]
        assert row.write_norm == pytest.approx(float(lost.norm()), abs=1e-4, rel=1e-4), node
        expected = 0.0
        if node.position == position:
            expected = reference.held_difference(plain, anatomy, ids(), position, TARGETS, DISTRACTORS, lost)
        assert row.direct_effect == pytest.approx(expected, abs=TOLERANCE), node


@pytest.mark.parametrize("position", [5, len(PROMPT) - 1])
def test_estimated_effect_is_the_derivative_by_a_dial(family: str, position: int) -> None:
    subject = subject_of(tiny_hf(family))
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    dials = reference.estimated_effects(plain, subject_of(plain).anatomy, ids(), position, TARGETS, DISTRACTORS)
    assert dials.embed is not None
    largest = 0.0
    for node, (_, estimated) in effects(ask(subject, position, DISTRACTORS)).items():
        layer, index, at = node.layer, node.index, node.position
        if node.kind == "embed":
            expected = dials.embed[at]
        elif node.kind == "neuron" and layer is not None:
            expected = dials.neuron[layer][at, index]
        elif node.kind == "attn" and layer is not None:
            expected = (
                dials.head[layer][at, index] if node.source is None else dials.pattern[layer][index, at, node.source]
            )
        else:
            continue
        largest = max(largest, abs(estimated))
        assert estimated == pytest.approx(float(expected), abs=TOLERANCE), node
    assert largest > 0.05


def test_estimated_effect_of_a_bias_is_the_derivative_by_a_dial(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    position = len(PROMPT) - 1
    rows = [parse(row.id) for row in ask(subject, position, DISTRACTORS).nodes if row.kind == "bias"]
    table = effects(ask(subject, position, DISTRACTORS))
    anatomy = subject.anatomy
    for node in rows:
        if node.layer is None:
            continue
        layer = anatomy.layers[node.layer]
        bias = (layer.attn_out if node.part == "attn" else layer.mlp_out).bias
        assert bias is not None
        kept = bias.clone()
        values = []
        for step in (1.01, 0.99):
            bias.data.copy_(kept * step)
            with torch.no_grad():
                values.append(float(reference.direction(subject.hf, ids(), position, TARGETS, DISTRACTORS)))
        bias.data.copy_(kept)
        assert table[node][1] == pytest.approx((values[0] - values[1]) / 0.02, abs=5e-3), node


def test_sums_by_token_and_layer_are_sums_of_the_table(family: str) -> None:
    position = 7
    result = ask(subject_of(tiny_hf(family)), position, DISTRACTORS)
    maps = result.effects.by_layer_position()
    for token in result.effects.by_token():
        rows = [row for row in result.nodes if row.kind != "bias"]
        at = [row for row in rows if row.position == token.position and row.source is None]
        read = [row for row in rows if row.source == token.position]

        def total(some: list, kind: str, metric: str = "estimated_effect") -> float:
            return sum(getattr(row, metric) for row in some if row.kind == kind)

        assert token.embed == pytest.approx(total(at, "embed"), abs=TOLERANCE)
        assert token.attn_from == pytest.approx(total(at, "attn"), abs=TOLERANCE)
        assert token.attn_to == pytest.approx(total(read, "attn"), abs=TOLERANCE)
        assert token.mlp == pytest.approx(total(at, "neuron"), abs=TOLERANCE)
        for layer in range(3):
            here = [row for row in at if row.layer == layer]
            there = [row for row in read if row.layer == layer]
            estimated = total(here, "attn") + total(here, "neuron")
            assert maps.estimated[layer][token.position] == pytest.approx(estimated, abs=TOLERANCE)
            direct = total(there, "attn", "direct_effect") + total(here, "neuron", "direct_effect")
            assert maps.direct[layer][token.position] == pytest.approx(direct, abs=TOLERANCE)


def test_lens_is_the_final_norm_and_unembedding_on_every_hidden_state(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    plain = tiny_hf(family, implementation="eager")
    look = reading(subject.anatomy, TARGETS, DISTRACTORS)

    class Texts:
        def text(self, token: int) -> str:
            return str(token)

    object.__setattr__(subject, "tokenizer", None)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(SubjectModel, "text", Texts.text)
        result = lens(Case(subject, ids(), len(PROMPT) - 1), look)
        states = plain.base_model(ids()[None], output_hidden_states=True).hidden_states
        norm = subject_of(plain).anatomy.final_norm_module
        unembed = plain.get_output_embeddings()
        assert unembed is not None
        assert len(result.value) == 4
        for layer, state in enumerate(states):
            # transformers' last hidden state has been through the final norm already
            logits = unembed(state[0] if layer == 3 else norm(state[0]))
            expected = logits[:, TARGETS].mean(-1) - logits[:, DISTRACTORS].mean(-1)
            torch.testing.assert_close(torch.tensor(result.value[layer]), expected, atol=TOLERANCE, rtol=0)
            capped = subject.anatomy.cap(logits)
            top = capped.softmax(-1).max(-1)
            assert [cell.id for cell in result.top[layer]] == top.indices.tolist()
            assert [c.probability for c in result.top[layer]] == pytest.approx(top.values.tolist(), abs=TOLERANCE)


# bfloat16 keeps 8 bits, so every add to the stream rounds by up to 2⁻⁹ of it. The most seen over all families and both
# measures is 0.043 of the largest step (or of 1); twice that is the bound.
BF16_BOUND = 0.09


def test_bfloat16_stays_within_its_bound(family: str) -> None:
    position = len(PROMPT) - 1
    exact = ask(subject_of(tiny_hf(family)), position, DISTRACTORS)
    rough = ask(subject_of(tiny_hf(family).to(torch.bfloat16)), position, DISTRACTORS)  # pyright: ignore
    steps = zip(exact.effects.by_layer(), rough.effects.by_layer(), strict=True)
    scale = max(1.0, max(abs(step.direct_effect) for step in exact.effects.by_layer()))
    for one, other in steps:
        assert other.direct_effect == pytest.approx(one.direct_effect, abs=BF16_BOUND * scale), one
    look = reading(subject_of(tiny_hf(family)).anatomy, TARGETS, DISTRACTORS)
    total = sum(rough.effects.terms().values())
    assert rough.logits is not None
    assert total == pytest.approx(look.value(rough.logits), abs=BF16_BOUND * scale)
