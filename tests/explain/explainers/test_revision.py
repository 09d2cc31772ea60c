"""Explanations put to the test: texts are proposed, run and told of, and the words follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.atlas import Components, collect
from clew.debug import Model
from clew.errors import LLMFailed, UsageError
from clew.explain.evidence import Evidence, Sample
from clew.explain.explainers import LLMExplainer
from clew.explain.explainers.revision import (
    PROPOSED,
    Proposal,
    Trial,
    Try,
    estimate_revision,
    read_proposals,
    revise,
    revised,
    trying,
)
from clew.explain.llm.client import Answer, Request
from clew.explain.lookup import LookupExplainer
from clew.explain.records import Cost, Failure
from clew.explain.roles import Draft
from clew.nodes import Node, parse

from ..scripted import CHAT, RAW, ScriptedLLM

DRAFT = Draft("words for drinks", "examples", "scripted", "examples-1", Cost(requests=1, prompt_tokens=99))
PROPOSED_TEXTS = "FIRES: a cup of tea\nFIRES: cold milk\nSILENT: a cup of nails"


def evidence(head: bool = False) -> Evidence:
    pairs = np.array([[0, 0], [4.0, 0]]) if head else None
    shown = Sample("top", "explain", 0, 0, ("hot", " tea"), (0, 1), np.array([0, 4.0]), 0, pairs)
    return Evidence(Node("attn" if head else "neuron", 0, 0), 4.0, (shown,))


def fires_on(**levels: float) -> Try:
    """A component that fires on some words, whatever the text."""

    def one(text: str) -> Trial:
        tokens = tuple(word if at == 0 else f" {word}" for at, word in enumerate(text.split()))
        return Trial(tokens, np.array([levels.get(token.strip(), 0.0) for token in tokens]))

    return lambda texts: [one(text) for text in texts]


def test_what_was_proposed_is_run_told_and_cited() -> None:
    answers = iter([PROPOSED_TEXTS, "words for hot drinks"])
    llm = ScriptedLLM(lambda _: next(answers))
    found = revised(llm, DRAFT, evidence(), fires_on(tea=4.0, cup=0.5), seed=3)
    rows = (
        'should fire, fires 10 on " tea", 1 on " cup": a cup of tea',
        "should fire, does not: cold milk",
        'should not fire, fires 1 on " cup": a cup of nails',
    )
    assert isinstance(found, Draft)
    assert (found.text, found.variant, found.prompt) == ("words for hot drinks", "examples", "examples-1+revision-1")
    assert found.cited == rows
    assert found.cost == llm.spent
    proposing, revising = llm.asked
    assert proposing.seed == revising.seed == 3
    assert proposing.messages[-1].content == "Explanation: words for drinks\n\nTexts:"
    shown = revising.messages[-1].content
    assert shown.startswith("Text 1:\nhot\t0\n tea\t10\n\nExplanation found before: words for drinks\n")
    assert shown.endswith("\n".join(["Tests of it:", *rows]) + "\n\nIt fires on:")


def test_an_explanation_that_stands_the_test_stays() -> None:
    llm = ScriptedLLM(lambda _: PROPOSED_TEXTS)
    found = revised(llm, DRAFT, evidence(), fires_on(tea=4.0, milk=3.0))
    assert isinstance(found, Draft)
    assert found.text == DRAFT.text
    assert len(llm.asked) == 1
    assert found.cost == llm.spent


def test_the_same_words_may_be_said_again() -> None:
    long = Draft("words for drinks of any sort", "examples", "scripted", "examples-1+revision-1")
    answers = iter([PROPOSED_TEXTS, "words for drinks of any sort"])
    found = revised(ScriptedLLM(lambda _: next(answers)), long, evidence(), fires_on())
    assert isinstance(found, Draft)
    assert (found.text, found.prompt) == (long.text, "examples-1+revision-1")


def test_of_a_head_the_pair_is_marked() -> None:
    def run(texts: Sequence[str]) -> list[Trial | None]:
        pairs = np.array([[0.0, 0], [2.0, 0]])
        return [Trial(("he", " drinks"), pairs.max(1), 0, pairs) for _ in texts]

    answers = iter(["FIRES: he drinks\nSILENT: drinks", "verbs attend to pronouns"])
    llm = ScriptedLLM(lambda _: next(answers))
    found = revised(llm, DRAFT, evidence(head=True), run)
    assert isinstance(found, Draft)
    assert found.cited == (
        "should happen, strength 5: **he** [[drinks]]",
        "should not happen, strength 5: **he** [[drinks]]",
    )
    assert "**hot** [[tea]]" in llm.asked[1].messages[-1].content


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ("I would try tea.", Failure("malformed", "The answer proposes no text to test the explanation.")),
        ("", Failure("malformed", "The answer is empty.")),
    ],
)
def test_without_proposals_nothing_is_run(said: str, failure: Failure) -> None:
    def run(texts: Sequence[str]) -> list[Trial | None]:
        raise AssertionError

    assert revised(ScriptedLLM(lambda _: said), DRAFT, evidence(), run) == failure


def test_texts_that_the_subject_cannot_read_are_left_out() -> None:
    def run(texts: Sequence[str]) -> list[Trial | None]:
        return [None, *fires_on()(texts[1:])]

    answers = iter([PROPOSED_TEXTS, "tea alone"])
    found = revised(ScriptedLLM(lambda _: next(answers)), DRAFT, evidence(), run)
    assert isinstance(found, Draft)
    assert len(found.cited) == 2
    none = revised(ScriptedLLM(lambda _: PROPOSED_TEXTS), DRAFT, evidence(), lambda texts: [None for _ in texts])
    assert isinstance(none, Failure)


def test_proposals_are_read_from_lines_in_many_shapes() -> None:
    text = """Here are some:
1. FIRES: A cup of tea.
- **Silent:** A cup of nails.
2) fires: "Milk, please."
FIRES: A cup of tea.
* FIRES:
OTHER: Sand
FIRES: one
FIRES: two
FIRES: three
---
SILENT: not of this one"""
    assert read_proposals(text) == [
        Proposal("A cup of tea.", True),
        Proposal("A cup of nails.", False),
        Proposal("Milk, please.", True),
        Proposal("one", True),
        Proposal("two", True),
    ]


def test_a_text_that_was_cut_off_is_not_run() -> None:
    assert read_proposals("FIRES: tea\nSILENT: a cup of na", whole=False) == [Proposal("tea", True)]
    llm = ScriptedLLM(lambda _: Answer("FIRES: a cup of", "length", 9, 9))
    assert isinstance(revised(llm, DRAFT, evidence(), fires_on()), Failure)


@given(st.text(max_size=300), st.booleans())
def test_whatever_is_proposed_is_a_line_of_the_answer(text: str, whole: bool) -> None:
    for one in read_proposals(text, whole):
        assert one.text in text
        assert one.text.strip() != ""


@given(st.lists(st.tuples(st.sampled_from(["FIRES", "SILENT"]), st.text("ab c", min_size=1)), max_size=20))
def test_no_more_texts_than_were_asked_for(lines: list[tuple[str, str]]) -> None:
    found = read_proposals("\n".join(f"{sort}: {text}" for sort, text in lines))
    assert all(sum(one.fires is fires for one in found) <= PROPOSED for fires in (True, False))
    assert len({one.text for one in found}) == len(found)


@pytest.mark.parametrize("capabilities", [CHAT, RAW])
def test_an_estimate_is_no_less_than_what_is_asked(capabilities: object) -> None:
    most = "\n".join(f"{sort}: {n} {'tea for two ' * 14}" for sort in ("FIRES", "SILENT") for n in range(PROPOSED))
    answers = iter([most, "tea"])
    llm = ScriptedLLM(lambda _: next(answers), capabilities)  # type: ignore[arg-type]
    assert isinstance(revised(llm, DRAFT, evidence(), fires_on(tea=0.5)), Draft)
    expected = estimate_revision(LLMExplainer(llm), evidence(), "examples")
    assert expected.requests == len(llm.asked) == 2
    assert expected.prompt_tokens >= llm.spent.prompt_tokens
    assert expected.completion_tokens == sum(request.max_tokens for request in llm.asked)


@pytest.fixture(scope="module")
def components(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Components:
    """A tiny model with an atlas."""
    folder = tmp_path_factory.mktemp("atlas") / "atlas"
    return Components(model, collect(model, corpus, out=folder, tokens=1000, context=32, window=16))


@pytest.mark.parametrize("name", ["neuron.1.3", "attn.1.2"])
def test_texts_are_run_behind_a_line_break(components: Components, name: str) -> None:
    # As corpora are read without a start token here, and the first token is huge whatever it is.
    text = "Mary gave a book"
    (found,) = trying(components, parse(name))([text])
    assert found is not None
    assert "".join(found.tokens) == text
    assert found.first == 0
    seen = components.on_prompt(name, f"\n{text}")
    assert len(seen.tokens) == len(found.tokens) + 1
    if seen.pairs is None:
        assert found.activations.tolist() == seen.activations[1:]
    else:
        assert found.pairs is not None
        assert found.pairs[np.tril_indices(len(found.tokens))].tolist() == [
            value for row in seen.pairs[1:] for value in row[1:]
        ]
        assert found.activations.tolist() == [max(row[1:]) for row in seen.pairs[1:]]


def test_what_cannot_be_run_is_none(components: Components) -> None:
    assert trying(components, parse("neuron.1.3"))(["Mary " * 100, ""]) == [None, None]


def test_a_component_is_revised_to_the_end(components: Components) -> None:
    def answer(request: Request) -> str:
        return "FIRES: Mary gave\nSILENT: John gave" if "Texts:" in request.text else "names of people"

    shown = Sample("top", "explain", 0, 0, ("hot", " tea"), (0, 1), np.array([0, 4.0]), 0)
    known = Evidence(parse("neuron.1.3"), 1e-6, (shown,))
    found = revise(LLMExplainer(ScriptedLLM(answer)), DRAFT, known, components)
    assert isinstance(found, Draft)
    assert len(found.cited) == 2
    failed = LLMFailed("It is down.", kind="error")
    assert revise(LLMExplainer(ScriptedLLM(lambda _: failed)), DRAFT, known, components) == Failure(
        "error", "It is down."
    )


def test_a_latent_without_its_autoencoder_is_not_revised() -> None:
    def run(texts: Sequence[str]) -> list[Trial | None]:
        raise UsageError("Its autoencoder is not attached.")

    found = revised(ScriptedLLM(lambda _: PROPOSED_TEXTS), DRAFT, evidence(), run)
    assert found == Failure("unsupported", "Its autoencoder is not attached.")


def test_a_lookup_is_not_revised(components: Components) -> None:
    with pytest.raises(UsageError, match="nothing is revised"):
        revise(LookupExplainer(), DRAFT, evidence(), components)
    with pytest.raises(UsageError, match="nothing is revised"):
        estimate_revision(LookupExplainer(), evidence(), "examples")
