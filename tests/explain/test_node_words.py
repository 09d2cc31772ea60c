"""Words for a node in its prompt: what is kept of them, by Python as by the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.atlas.components import Components
from clew.debug import Model
from clew.debug.run import Run
from clew.errors import BadNode, LLMFailed, UnknownLLM
from clew.explain import explain_node
from clew.explain.llm.client import Answer
from clew.explain.node_words import NodeWords, node_of, question_of
from clew.explain.records import Cost, Explanation
from clew.explain.store.explanations import Explanations
from clew.explain.subjects import Subjects

from .llm.server import Scripted, says
from .scripted import ScriptedLLM

PROMPT = "When Mary and John went to the store, John gave a drink to"
NODE = "neuron.1.3@9"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Explanations]:
    explanations = Explanations(f"sqlite:///{tmp_path / 'clew.db'}")
    yield explanations
    explanations.close()


@pytest.fixture(scope="module")
def run(model: Model) -> Run:
    return model.debug(PROMPT, target=" Mary", distractor=" John")


@pytest.fixture(scope="module")
def subjects(model: Model) -> Subjects:
    return Subjects(Components(model))


def test_words_are_kept_with_the_question_and_know_what_is_known(
    run: Run, subjects: Subjects, kept: Explanations
) -> None:
    node = node_of(NODE)
    kept.add(
        Explanation(
            subjects.of(node), "neuron.1.3", "names of people", llm="you", variant="written", prompt="", atlas=None,
            seed=0, chosen=True, cost=Cost(),
        )
    )  # fmt: skip
    llm = ScriptedLLM(lambda request: "It fires weakly [2] and hardly matters [4-5].")
    words = NodeWords(kept, subjects)
    assert words.estimate(llm, run, node).requests == 1 and not llm.asked
    found = words.explain(llm, run, node, seed=3)
    assert "in general it does this: names of people" in llm.asked[0].text
    assert found == kept.get(found.id or 0)
    assert (found.node, found.component, found.variant, found.seed) == (NODE, "neuron.1.3", "node", 3)
    assert [row[:3] for row in found.cited] == ["[2]", "[4]", "[5]"]
    assert found.question == f"{PROMPT}\n' Mary' rather than ' John', after token 13"


def test_a_question_says_its_edits_and_its_trace(run: Run) -> None:
    edited = run.ablate("neuron.2.5@3").trace("attn.2.1@13<-1", "q")
    assert question_of(edited).splitlines() == [
        PROMPT,
        "' Mary' rather than ' John', after token 13",
        "with zero:neuron.2.5@3",
        "through attn.2.1@13<-1:q",
    ]


@pytest.mark.parametrize("said", ["A nice neuron.", Answer("It [9", "length", 9, 9)])
def test_what_is_no_answer_is_kept_as_a_problem(
    run: Run, subjects: Subjects, kept: Explanations, said: str | Answer
) -> None:
    node = node_of(NODE)
    with pytest.raises(LLMFailed):
        NodeWords(kept, subjects).explain(ScriptedLLM(lambda request: said), run, node)
    (problem,) = kept.problems(subjects.of(node), "neuron.1.3")
    assert problem.stage == "node" and kept.of(subjects.of(node), "neuron.1.3") == []


@pytest.mark.parametrize("node", ["embed@3", "neuron.1.3", "direct", "bias.attn.1"])
def test_other_nodes_are_put_in_no_words(node: str) -> None:
    with pytest.raises(BadNode):
        node_of(node)


def test_from_python_in_one_call(model: Model, run: Run, kept: Explanations, scripted: Scripted) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It fires weakly [2]."}}
    used = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}
    scripted.always = says({"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice], "usage": used})
    found = explain_node(model, run, NODE, llm=scripted.reference, explanations=kept)
    assert found == kept.get(found.id or 0) and found.llm == scripted.reference
    with pytest.raises(UnknownLLM):
        explain_node(model, run, NODE, llm="lookup", explanations=kept)
