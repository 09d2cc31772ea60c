"""A node in its prompt: rows that tell what was measured, and words that may say nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.debug import Model
from clew.debug.run import Run
from clew.errors import BadNode, LLMFailed
from clew.explain.explainers.node import AROUND, Facts, cited, estimate_node, explain_node, facts, read
from clew.explain.llm.client import Answer
from clew.explain.records import Failure
from clew.explain.roles import Draft

from ..scripted import CHAT, RAW, ScriptedLLM

PROMPT = "When Mary and John went to the store, John gave a drink to"
FACTS = Facts(
    "attn.1.2@3",
    "D = 1",
    "Prompt: a b\nNode: attn.1.2@3",
    ("D: +1.0", "verified effect: +0.5", "it reads +0.2 from neuron.0.30@1"),
)


@pytest.fixture(scope="module")
def run(model: Model) -> Run:
    return model.debug(PROMPT, target=" Mary", distractor=" John")


def rows_of(found: Facts) -> dict[str, str]:
    """Rows by what they begin with, up to the colon."""
    return dict(row.split(": ", 1) for row in found.rows if ": " in row)


@pytest.mark.parametrize("node", ["neuron.1.3@13", "attn.1.2@13", "attn.1.2@13<-1", "embed@1"])
def test_rows_tell_what_is_measured(run: Run, node: str) -> None:
    found = facts(run, node, {})
    rows = rows_of(found)
    (effect,) = run.verify(nodes=[node])
    assert effect.verified_effect is not None
    assert rows['D = logit(" Mary") - logit(" John") at token 13 " to"'] == f"{run.value:+.3g}"
    assert rows["direct effect on D"] == f"{effect.direct_effect:+.3g}"
    assert rows["estimated effect on D"] == f"{effect.estimated_effect:+.3g}"
    assert rows["verified effect on D"] == f"{effect.verified_effect:+.3g}"
    most = run.node(node).up[0]
    assert rows["it makes more likely"].startswith(f'"{most.text}" {most.score:+.2g}, ')
    assert found.numbered[1].startswith("[2] ")
    assert found.prompt.startswith(f"Prompt: {PROMPT}\nNode: {node}, at token ")


def test_where_a_head_looks(run: Run) -> None:
    pattern = run.pattern("attn.1.2").rows[13]
    most = max(range(14), key=lambda at: pattern[at])
    row = rows_of(facts(run, "attn.1.2@13", {}))['attention from token 13 " to"']
    assert row.startswith(f'{pattern[most]:.2f} to token {most} "{run.tokens[most].text}", ')
    assert rows_of(facts(run, "attn.1.2@13<-1", {}))["attention"] == (
        f'{pattern[1]:.2f} from token 13 " to" to token 1 " Mary"'
    )


def test_what_was_read_is_the_trace_with_what_is_known_of_it(run: Run) -> None:
    traced = [row for row in run.trace("neuron.2.3@13").nodes(top=6) if row.source is not None or row.kind != "attn"]
    largest = next(row for row in traced if row.kind != "bias")
    known = {largest.id.split("@")[0]: "names of people", "neuron.2.3": "its own words"}
    rows = facts(run, "neuron.2.3@13", known).rows
    assert "in general it does this: its own words" in rows
    read = [row for row in rows if row.startswith("it reads")]
    assert len(read) == 6
    assert read[0].startswith(f"it reads {largest.direct_effect:+.3g} from {largest.id}, token ")
    assert read[0].endswith(", which in general does this: names of people") == (largest.kind != "embed")


def test_a_pair_attends_and_passes_on(run: Run) -> None:
    rows = facts(run, "attn.1.2@13<-1", {}).rows
    assert sum(row.startswith("it attends there because of ") for row in rows) == 3
    assert sum(row.startswith("it passes on, for D, ") for row in rows) == 3


def test_in_a_trace_effects_are_on_its_s(run: Run) -> None:
    traced = run.trace("attn.2.1@13<-1", "q")
    found = facts(traced, "neuron.0.3@13", {})
    assert found.question == found.rows[0] == f"S = what attn.2.1@13<-1 reads (through q): {traced.value:+.3g}"
    assert "verified effect on S" in rows_of(found)


def test_without_a_distractor_d_is_told_against_the_mean(model: Model) -> None:
    found = facts(model.debug(PROMPT, target=" Mary"), "embed@1", {})
    assert found.question.startswith('D = logit(" Mary") - mean logit(all tokens) at token 13 " to": ')


def test_of_a_long_prompt_what_matters_is_told(model: Model) -> None:
    run = model.debug("the " * 60 + "store to", target=" Mary", distractor=" John")
    found = facts(run, "neuron.0.3@2", {})
    position = run.direction.position
    assert position > AROUND + 3
    assert found.prompt.count(" … ") == 1
    assert found.prompt.partition("\n")[0].endswith(" to")


def test_a_bias_is_not_switched_off(tiny: Callable[[str], Model]) -> None:
    run = tiny("gpt2").debug(PROMPT, target=" Mary", distractor=" John")
    found = facts(run, "bias.mlp.1", {})
    assert "verified effect on D" not in rows_of(found)
    assert found.prompt.endswith("\nNode: bias.mlp.1")


def test_a_node_that_is_not_there_is_refused(run: Run) -> None:
    llm = ScriptedLLM(lambda _: "It is [1].")
    for node in ("neuron.1.3@14", "neuron.1.3", "attn.9.9@1", "nonsense"):
        with pytest.raises(BadNode):
            explain_node(llm, run, node, {})
    assert llm.asked == []


@pytest.mark.parametrize("capabilities", [CHAT, RAW])
def test_words_come_with_the_rows_that_they_cite(run: Run, capabilities: object) -> None:
    said = "It reads names [2].\nWithout it less is left [1, 5]."
    llm = ScriptedLLM(lambda _: said, capabilities)  # type: ignore[arg-type]
    takes = estimate_node(llm, run, "attn.1.2@13", {})
    assert llm.asked == []
    found = explain_node(llm, run, "attn.1.2@13", {}, seed=4)
    assert isinstance(found, Draft)
    assert (found.text, found.variant, found.prompt) == (said.replace("\n", " "), "node", "node-1")
    rows = facts(run, "attn.1.2@13", {}).numbered
    assert found.cited == (rows[0], rows[1], rows[4])
    assert found.cost == llm.spent
    (request,) = llm.asked
    assert request.seed == 4
    assert all(row in request.text for row in rows)
    assert takes.requests == 1
    assert takes.prompt_tokens >= llm.spent.prompt_tokens
    assert takes.completion_tokens == request.max_tokens


def test_a_model_that_does_not_answer_is_not_hidden(run: Run) -> None:
    failed = LLMFailed("It is down.", kind="timeout")
    with pytest.raises(LLMFailed, match="It is down"):
        explain_node(ScriptedLLM(lambda _: failed), run, "embed@1", {})


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        ("", "malformed", "empty"),
        ("It reads names and pushes the answer.", "malformed", "cites none"),
        ("It reads names [4].", "malformed", "cites row 4; there are 3"),
        ("It reads names [0].", "malformed", "cites row 0"),
        ("It reads names [1, 2, 17].", "malformed", "cites row 17"),
        ("It reads names [1-9999].", "malformed", "cites row 4"),
        ("It reads neuron.0.3 [3].", "malformed", "speaks of neuron.0.3,"),
        ("It reads names [1]. " * 70, "malformed", "characters"),
        ("I'm sorry, but that is not measured [1].", "refused", "would not answer"),
        ("<think>[1]", "truncated", "thinking"),
    ],
)
def test_words_without_a_source_are_no_answer(said: str, kind: str, why: str) -> None:
    found = read(Answer(said, "stop", 1, 1), FACTS, "scripted")
    assert isinstance(found, Failure)
    assert found.kind == kind
    assert why in found.message


def test_nodes_that_were_measured_may_be_named() -> None:
    found = read(Answer("attn.1.2 reads neuron.0.30 [3].", "stop", 1, 1), FACTS, "scripted")
    assert isinstance(found, Draft)
    assert found.cited == ("[3] it reads +0.2 from neuron.0.30@1",)


def test_a_sentence_that_was_cut_off_is_dropped() -> None:
    found = read(Answer("It reads names [1]. It adds +0.5 and", "length", 1, 1), FACTS, "scripted")
    assert isinstance(found, Draft)
    assert found.text == "It reads names [1]."
    none = read(Answer("It reads", "length", 1, 1), FACTS, "scripted")
    assert isinstance(none, Failure)
    assert none.kind == "truncated"


def test_a_raw_model_that_goes_on_with_another_case_is_cut_off() -> None:
    found = read(Answer("It reads names [1].\n\n---\n\nPrompt: The [9]", "length", 1, 1), FACTS, "scripted")
    assert isinstance(found, Draft)
    assert found.text == "It reads names [1]."


def test_citations_in_all_their_shapes() -> None:
    assert cited("a [3], b [1, 2]; c [5-7] d [8–9] e [2]; f [x] g [] h 4") == [1, 2, 3, 5, 6, 7, 8, 9]


@given(st.sets(st.integers(1, 30), min_size=1), st.data())
def test_what_is_cited_is_read_back(numbers: set[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(sorted(numbers)))
    text = " ".join(f"word [{number}]" for number in order)
    assert cited(text) == sorted(numbers)
    assert cited(f"words [{', '.join(map(str, order))}].") == sorted(numbers)


@given(st.text(max_size=200))
def test_whatever_is_said_cites_rows_that_are_there_or_is_a_failure(said: str) -> None:
    found = read(Answer(said, "stop", 1, 1), FACTS, "scripted")
    if isinstance(found, Draft):
        assert found.cited
        assert all(re.match(r"\[[123]\] ", row) for row in found.cited)
