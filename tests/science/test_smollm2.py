"""The default model, for real: indirect object identification (Wang et al. 2022) as SmolLM2-135M does it."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from clew.debug import Model, Run
from clew.nodes import parse
from clew.settings import EXAMPLE_DISTRACTOR, EXAMPLE_PROMPT, EXAMPLE_TARGET

from .. import reference

LAST = 13


@pytest.fixture(scope="module")
def run(smollm2: Model) -> Run:
    return smollm2.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR)


@pytest.fixture(scope="module")
def plain(smollm2: Model) -> PreTrainedModel:
    """The same weights under transformers' own attention."""
    return AutoModelForCausalLM.from_pretrained(smollm2.path, attn_implementation="eager").eval().requires_grad_(False)


def test_logits_equal_those_of_transformers(smollm2: Model, plain: PreTrainedModel) -> None:
    ids = smollm2.subject.encode_prompt(EXAMPLE_PROMPT)
    with torch.no_grad():
        torch.testing.assert_close(smollm2.subject.hf(ids[None]).logits, plain(ids[None]).logits, atol=1e-3, rtol=0)


def test_the_model_says_mary(run: Run) -> None:
    first = run.candidates(1)[0]
    assert (first.text, first.rank) == (" Mary", 0)
    assert first.probability == pytest.approx(0.92, abs=0.01)
    assert run.direction.value == pytest.approx(6.12, abs=0.02)
    assert {c.text for c in run.candidates(1)} == {" Mary", " John"}


@pytest.mark.parametrize("position", [0, 5, LAST])
@pytest.mark.parametrize("distractor", [EXAMPLE_DISTRACTOR, None])
def test_the_terms_add_up(smollm2: Model, position: int, distractor: str | None) -> None:
    accounting = smollm2.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, distractor, position).accounting()
    assert abs(accounting.difference) < 1e-4 * max(1, abs(accounting.value))
    assert accounting.sum == pytest.approx(sum(accounting.terms.values()))


def test_the_name_mover_is_found(run: Run) -> None:
    heads = [row for row in run.nodes() if row.kind == "attn" and row.source is None]
    largest = sorted(heads, key=lambda row: -abs(row.direct_effect))[:5]
    assert "attn.23.3@13" in [row.id for row in largest]


def test_estimates_of_the_largest_heads_are_derivatives_by_a_dial(smollm2: Model, run: Run) -> None:
    hf, ids = smollm2.subject.hf, smollm2.subject.encode_prompt(EXAMPLE_PROMPT)
    step = 1e-2
    rows = sorted(run.nodes(kinds=["attn"]), key=lambda row: -abs(row.estimated_effect))[:4]
    for row in rows:
        node = parse(row.id)
        assert node.layer is not None
        values = []
        for factor in (1 + step, 1 - step):
            dial = torch.ones(smollm2.subject.anatomy.n_heads, len(ids), len(ids))
            dial[node.index, node.position, slice(None) if node.source is None else node.source] = factor
            hf.set_attn_implementation(reference.IMPLEMENTATION)
            try:
                with torch.no_grad(), reference.dialled(smollm2.subject.anatomy, reference.Dials({node.layer: dial})):
                    d = reference.direction(hf, ids, LAST, [5099], [2322])
            finally:
                hf.set_attn_implementation("clew")
            values.append(float(d))
        assert row.estimated_effect == pytest.approx((values[0] - values[1]) / (2 * step), abs=0.02, rel=0.02), row.id


def test_the_document_follows_the_contract(run: Run) -> None:
    document = run.to_dict()
    assert list(document) == ["model", "tokens", "direction", "candidates", "accounting", "nodes", "timing"]
    assert document["model"] == {
        "name": "smollm2", "family": "llama", "n_layers": 30, "n_heads": 9, "n_neurons": 1536, "d_model": 576,
    }  # fmt: skip
    assert document["tokens"][1] == {"position": 1, "id": 5099, "text": " Mary"}
    assert list(document["accounting"]["terms"]) == ["embed", "attn", "neuron", "latent", "error", "bias"]
    fields = ["id", "kind", "layer", "index", "position", "source", "activation", "write_norm", "direct_effect",
              "estimated_effect", "verified_effect"]  # fmt: skip
    for row in document["nodes"]:
        assert list(row) == fields
        assert row["write_norm"] >= 0
        assert row["verified_effect"] is None
    assert list(document["timing"]) == ["load_s", "pass_s", "table_s", "verify_s"]


def test_the_lens_ends_at_the_answer(run: Run) -> None:
    lens = run.lens()
    assert lens.value[-1][LAST] == pytest.approx(run.direction.value, abs=1e-3)
    assert lens.top[-1][LAST].text == " Mary"
    assert (len(lens.value), len(lens.value[0])) == (31, 14)


def test_the_name_mover_in_detail(run: Run) -> None:
    found = run.node("attn.23.3@13")
    assert found.down[0].text == " John"
    assert found.node.direct_effect == pytest.approx(2.86, abs=0.02)
    assert {excitation.through for excitation in found.excited_by} == {"query", "key"}


def test_a_node_outside_the_table_is_measured_all_the_same(run: Run) -> None:
    listed = {row.id for row in run.nodes()}
    assert "neuron.3.7@2" not in listed
    found = run.node("neuron.3.7@2")
    assert found.node.id == "neuron.3.7@2"
    assert found.node.direct_effect == 0


def test_a_start_token_can_be_put_first(smollm2: Model) -> None:
    run = smollm2.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR, bos=True)
    assert [token.text for token in run.tokens[:2]] == ["<|im_start|>", "When"]
    assert abs(run.accounting().difference) < 1e-3


def test_a_thousand_tokens_work(smollm2: Model) -> None:
    prompt = " the store" * 512
    run = smollm2.debug(prompt)
    assert len(run.tokens) == 1024
    assert abs(run.accounting().difference) < 1e-3
    assert all(row.position is None or row.position < 1024 for row in run.nodes())


def test_without_a_target_the_top_prediction_is_explained(smollm2: Model) -> None:
    run = smollm2.debug(EXAMPLE_PROMPT)
    assert [target.text for target in run.direction.targets] == [" Mary"]
    against = smollm2.debug(EXAMPLE_PROMPT, distractor=" Mary")
    assert [target.text for target in against.direction.targets] == [" the"]
