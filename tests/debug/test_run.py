"""Runs compose: edits, second prompts, traces, comparisons, sweeps and continuations, on a tiny model."""

from __future__ import annotations

import pytest
import torch

import clew
from clew.debug import Model, Run
from clew.debug.agreement import agreement, pearson, ranks
from clew.debug.records import NodeEffect
from clew.errors import BadEdit, BadNode, Cancelled, NotOneToken, PromptTooLong, UsageError

from ..families import CONFIGS
from ..tiny import MAX_LENGTH, tiny_model_folder

PROMPT = "When Mary and John went to the store, John gave a drink to"
SWAPPED = "When Mary and John went to the store, Mary gave a drink to"
LONGER = "Then, when Mary and John went to the park, Mary gave a book to"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return clew.load(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "llama")))


@pytest.fixture
def run(model: Model) -> Run:
    return model.debug(PROMPT, " Mary", " John")


@pytest.fixture
def second(model: Model) -> Run:
    return model.debug(SWAPPED, " Mary", " John")


def test_edits_compose_and_leave_the_run_as_it_was(run: Run) -> None:
    before = run.value
    both = run.ablate("attn.1.2@5").scale("neuron.0.3", 2)
    assert both.edits == ["zero:attn.1.2@5", "scale:neuron.0.3=2"]
    assert both.value == run.edit("zero:attn.1.2@5", "scale:neuron.0.3=2").value
    assert run.edits == [] and run.value == before
    assert both.unedited is run
    assert run.edit().value == before


def test_every_verb_is_an_edit(run: Run, second: Run) -> None:
    assert run.ablate(["embed@2", "attn.0.*"], to="mean").edits == ["mean:embed@2", "mean:attn.0.*"]
    assert run.ablate("neuron.1.3@4", to=2.5).edits == ["set:neuron.1.3@4=2.5"]
    assert run.steer("attn.1.1@3", 4).edits == ["steer:attn.1.1@3=4"]
    assert run.cut("attn.1.1@3<-2").edits == ["cut:attn.1.1@3<-2"]
    assert run.patch("resid.1@9", second).edits == ["patch:resid.1@9"]
    with pytest.raises(UsageError, match="not what a place can be set to"):
        run.ablate("embed@2", to="median")


def test_ablating_costs_what_verifying_says(run: Run) -> None:
    rows = run.verify(nodes=["attn.1.2@5", "embed@2", "neuron.2.3@12"])
    for row in rows:
        assert run.value - run.ablate(row.id).value == pytest.approx(row.verified_effect, abs=1e-4)
    pair = "attn.1.2@5<-3"
    for renormalise, edited in ((False, run.ablate(pair)), (True, run.cut(pair))):
        (row,) = run.verify(nodes=[pair], renormalise=renormalise)
        assert run.value - edited.value == pytest.approx(row.verified_effect, abs=1e-4)


def test_the_most_promising_nodes_are_whole_and_have_what_is_put_in_place(run: Run, model: Model) -> None:
    shorter = model.debug("and John gave a drink to", " Mary", " John")
    paired = run.alignment(shorter)
    assert None in paired
    for how in ({}, {"ablation": "mean"}, {"ablation": "resample", "other": shorter}):
        rows = run.verify(top=40, **how)  # pyright: ignore[reportArgumentType]
        assert len(rows) == 40
        assert all(row.source is None and row.kind != "bias" for row in rows)
    assert all(row.position is not None and paired[row.position] is not None for row in rows)


def test_patching_the_whole_last_stream_is_the_other_prompt(run: Run, second: Run) -> None:
    assert run.patch("resid.2", second).value == pytest.approx(second.value, abs=1e-4)
    assert run.patch("embed", second).value == pytest.approx(second.value, abs=1e-4)
    assert run.value != pytest.approx(second.value, abs=1e-2)


def test_one_stack_patches_from_one_prompt(run: Run, second: Run, model: Model) -> None:
    patched = run.patch("attn.1.2@5", second)
    assert patched.patch("attn.1.1@5", second).edits == ["patch:attn.1.2@5", "patch:attn.1.1@5"]
    with pytest.raises(BadEdit, match="one second prompt"):
        patched.patch("attn.1.1@5", model.debug(LONGER, " Mary", " John"))
    with pytest.raises(BadEdit, match="there is none"):
        run.edit("patch:attn.1.2@5")


def test_a_comparison_has_both_sides_of_every_row(run: Run) -> None:
    edited = run.ablate("attn.1.2@5")
    found = edited.compare(top=5)
    assert (found.left_value, found.right_value) == (run.value, edited.value)
    assert found.difference == pytest.approx(edited.value - run.value)
    wanted = {row.id for row in run.nodes(top=5)} | {row.id for row in edited.nodes(top=5)}
    assert {change.id for change in found.nodes} == wanted
    for change in found.nodes:
        assert change.left is not None and change.right is not None
        assert change.left.id == change.right.id == change.id
        (left,), (right,) = run.find([change.id]), edited.find([change.id])
        assert change.left.estimated_effect == pytest.approx(left.estimated_effect, abs=1e-5)
        assert change.right.direct_effect == pytest.approx(right.direct_effect, abs=1e-5)
        assert change.direct_difference == change.right.direct_effect - change.left.direct_effect
    for change in found.candidates:
        assert change.difference == pytest.approx(change.right.logprob - change.left.logprob)


def test_two_prompts_of_other_lengths_are_compared_by_alignment(run: Run, model: Model) -> None:
    other = model.debug(LONGER, " Mary", " John")
    found = run.compare(other, top=5)
    pairs = run.alignment(other)
    assert pairs[0] is None or pairs[-1] == len(other.tokens) - 1
    assert None in pairs or len(run.tokens) != len(other.tokens)
    there = [change for change in found.nodes if change.left is not None and change.right is not None]
    assert there
    for change in there:
        assert change.left is not None and change.right is not None
        if change.left.position is not None:
            assert change.right.position == pairs[change.left.position]
    alone = [change for change in found.nodes if change.left is None or change.right is None]
    assert all(change.direct_difference is None for change in alone)


def test_the_sweep_is_one_patch_at_a_time(run: Run, second: Run) -> None:
    cells = {cell.place: cell for cell in run.sweep(second)}
    t, layers, heads = len(run.tokens), 3, 4
    assert len(cells) == t * layers * (heads + 2)
    span = second.value - run.value
    for place in ("attn.1.2@9", "resid.0@9", "neuron.2.*@13", "attn.2.0@13"):
        value = run.patch(place, second).value
        assert cells[place].value == pytest.approx(value, abs=1e-4)
        assert cells[place].restored == pytest.approx((value - run.value) / span, abs=1e-4 / abs(span))
    last = cells[f"resid.2@{t - 1}"]
    assert last.restored == pytest.approx(1, abs=1e-3)


def test_a_trace_is_swept_towards_itself_on_the_other_prompt(run: Run, second: Run) -> None:
    traced = run.trace("neuron.1.3@9:gate")
    span = second.trace("neuron.1.3@9:gate").value - traced.value
    cells = {cell.place: cell for cell in traced.sweep(second)}
    assert all(cell.position <= 9 and cell.layer <= 1 for cell in cells.values())
    for place in ("attn.0.2@9", "attn.1.0@9", "neuron.0.*@8", "resid.0@9"):
        moved = cells[place].value - traced.value
        assert cells[place].restored == pytest.approx(moved / span, abs=1e-4 / abs(span))
    (row,) = traced.verify(nodes=["attn.0.2@9"], ablation="resample", other=second)
    assert traced.value - cells["attn.0.2@9"].value == pytest.approx(row.verified_effect, abs=1e-5)


def test_the_same_prompt_has_nothing_to_restore(run: Run) -> None:
    assert all(cell.restored is None for cell in run.sweep(run, kinds=["mlp"]))


def test_a_sweep_of_the_wrong_kind_is_refused(run: Run, second: Run) -> None:
    with pytest.raises(UsageError, match="cannot be swept"):
        run.sweep(second, kinds=["embed"])
    with pytest.raises(UsageError, match="No token"):
        run.sweep(second, alignment=[None] * len(run.tokens))


def test_traces_chain(run: Run) -> None:
    one = run.trace("attn.2.1@13<-7", through="q")
    two = one.trace("neuron.1.3@13:gate")
    assert [(step.node, step.through) for step in two.steps] == [("attn.2.1@13<-7", "q"), ("neuron.1.3@13", "gate")]
    assert two.steps[0].value == one.value and two.steps[1].value == two.value
    assert two.direction == run.direction
    assert {row.position for row in two.nodes() if row.position is not None} <= set(range(14))
    assert all(row.layer is None or row.layer < 2 for row in two.nodes())
    document = two.to_dict()
    assert document["trace"] == two.steps.to_dict()
    assert document["accounting"]["value"] == two.value
    assert len(two.candidates()) == len(run.candidates())


def test_a_trace_verifies_its_own_number(run: Run) -> None:
    traced = run.trace("attn.2.1@13<-7", through="k")
    rows = traced.verify(top=10)
    assert len(rows) == 10
    assert all(row.position is not None and row.position <= 7 for row in rows)
    assert traced.verified()[0].id == rows[0].id
    assert traced.agreement().n == 10
    assert not run.verified()


def test_edits_come_before_traces(run: Run) -> None:
    edited = run.ablate("attn.0.1").trace("attn.2.1@13<-7:both")
    plain = run.trace("attn.2.1@13<-7:both")
    assert edited.value != pytest.approx(plain.value, abs=1e-4)
    assert edited.compare().left_value == pytest.approx(plain.value)
    with pytest.raises(UsageError, match="Edit first"):
        plain.ablate("attn.0.1")


@pytest.mark.parametrize(
    ("node", "says"), [("attn.2.1@14<-7:q", "does not exist"), ("attn.3.1@9<-7:q", "does not exist")]
)
def test_a_node_that_is_not_there_cannot_be_traced(run: Run, node: str, says: str) -> None:
    with pytest.raises(BadNode, match=says):
        run.trace(node)


def test_only_what_is_upstream_can_be_verified(run: Run) -> None:
    traced = run.trace("neuron.1.3@9")
    for node in ("neuron.1.4@9", "attn.2.0@9", "attn.0.0@10"):
        with pytest.raises(BadNode):
            traced.verify(nodes=[node])
    assert traced.verify(nodes=["attn.1.0@9"])[0].verified_effect is not None


def test_a_pattern_is_the_heads_attention(run: Run) -> None:
    rows = run.pattern("attn.1.2").rows
    assert [len(row) for row in rows] == list(range(1, 15))
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in rows)
    (pair,) = run.find(["attn.1.2@9<-4"])
    assert rows[9][4] == pytest.approx(pair.activation, abs=1e-6)
    assert run.cut("attn.1.2@9<-4").pattern("attn.1.2").rows[9][4] == 0
    for bad in ("attn.1.2@3", "neuron.1.2", "attn.1.9", "attn.7.0"):
        with pytest.raises(BadNode):
            run.pattern(bad)


@pytest.mark.parametrize("family", CONFIGS)
def test_generation_under_edits_is_that_of_whole_passes(family: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Token by token from the cache, against the whole text run again for each token."""
    model = clew.load(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / family, family)))
    run = model.debug(PROMPT, " Mary", " John")
    other = model.debug(SWAPPED, " Mary", " John")
    edited = run.edit(
        "scale:attn.1.2=3", "zero:attn.0.1<-2", "set:neuron.1.3@4=5", "patch:attn.1.0", "mean:neuron.0.2", second=other
    )
    found = edited.generate(8)
    ids = [token.id for token in run.tokens]
    for token in found:
        case = edited._case
        assert case.interventions is not None
        rows = torch.arange(len(ids))
        with torch.no_grad(), case.interventions.hooks(lambda rows=rows: rows):
            logits = model.subject.hf(torch.tensor([ids])).logits[0, -1]
        assert token.position == len(ids)
        assert token.probability == pytest.approx(float(logits.softmax(-1).max()), abs=1e-4)
        assert token.id == int(logits.argmax())
        ids.append(token.id)


def test_a_token_can_be_named_by_its_id(model: Model, run: Run) -> None:
    target, distractor = run.direction.targets[0].id, run.direction.distractors[0].id
    assert model.debug(PROMPT, target, [distractor]).value == run.value
    for wrong in (-1, 10**6):
        with pytest.raises(NotOneToken, match="not the id of a token"):
            model.debug(PROMPT, wrong)


def test_sampling_is_seeded(run: Run) -> None:
    def text(seed: int, temperature: float = 1.5) -> list[int]:
        return [token.id for token in run.generate(12, temperature, seed)]

    assert text(1) == text(1)
    assert len({tuple(text(seed)) for seed in range(6)}) > 1
    assert text(1, 0.0) == text(2, 0.0)
    # However low a temperature is, it leaves the likeliest token.
    assert text(1, 1e-300) == text(1, 1e-38) == text(1, 0.0)


def test_generation_stops_where_the_model_does(model: Model, run: Run) -> None:
    long = model.debug(PROMPT + " the store" * 24, " Mary", " John")
    room = MAX_LENGTH - len(long.tokens)
    assert 0 < room < 60
    assert len(long.generate(60)) <= room
    full = model.debug(" the" * MAX_LENGTH, " Mary", " John")
    with pytest.raises(PromptTooLong):
        full.generate(1)
    for n, temperature in ((0, 0.0), (10**6, 0.0), (3, -1.0), (3, float("nan"))):
        with pytest.raises(UsageError):
            run.generate(n, temperature)
    with pytest.raises(Cancelled):
        list(run.generating(5, stop=lambda: True))
    assert not model.subject.lock.locked()


def test_agreement_is_correlation() -> None:
    def row(estimated: float, verified: float | None) -> NodeEffect:
        return NodeEffect("embed@0", "embed", None, None, 0, None, None, 1.0, 0.0, estimated, verified)

    found = agreement([row(1, 2), row(2, 4), row(3, 7), row(9, None)])
    assert found.n == 3
    assert found.pearson == pytest.approx(0.9933992677987828)  # numpy.corrcoef([1, 2, 3], [2, 4, 7])
    assert found.spearman == pytest.approx(1)
    assert agreement([]).pearson is None
    assert agreement([row(1, 2), row(1, 3)]).pearson is None
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 0.0])).tolist() == [2.5, 1.0, 2.5, 0.0]
    assert pearson(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])) == pytest.approx(-1)


def test_a_second_prompt_is_taken_as_the_model_runs_it(run: Run, second: Run, model: Model) -> None:
    for other in (second.ablate("attn.1.2"), second.trace("attn.2.1@9<-7")):
        with pytest.raises(UsageError, match="as the model runs it"):
            run.patch("attn.1.2@9", other)
        with pytest.raises(UsageError, match="as the model runs it"):
            run.sweep(other)
    elsewhere = model.debug(SWAPPED, " John", " Mary")
    for ask in (run.sweep, run.compare):
        with pytest.raises(UsageError, match="other tokens"):
            ask(elsewhere)
    with pytest.raises(UsageError, match="Trace both"):
        run.compare(second.trace("attn.2.1@9<-7"))
    with pytest.raises(BadNode, match="no counterpart"):
        run.trace("attn.2.1@9<-7").compare(second, [None] * 14)


def test_traces_of_two_prompts_are_compared(run: Run, second: Run) -> None:
    traced = run.trace("attn.2.1@9<-7:q").trace("attn.0.2@9")
    found = traced.compare(second, top=5)
    beside = second.trace("attn.2.1@9<-7:q").trace("attn.0.2@9")
    assert found.right_value == beside.value
    assert found.difference == pytest.approx(beside.value - traced.value)
    assert traced.compare(beside, top=5) == found


def test_part_of_a_character_cannot_be_named_by_a_text(model: Model) -> None:
    with pytest.raises(NotOneToken, match="part of a character"):
        model.debug(PROMPT, "\ufffd")
