"""Words from a language model: what it is asked, what becomes of its answers, and what that takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clew.errors import LLMFailed, NothingToExplain, UsageError
from clew.explain.evidence import Evidence, Sample
from clew.explain.explainers import LLMExplainer
from clew.explain.llm.client import Answer, Request
from clew.explain.records import Cost, Failure, Variant
from clew.explain.roles import Draft, Estimate
from clew.nodes import Node

from ..scripted import CHAT, RAW, ScriptedLLM

VARIANTS: tuple[Variant, ...] = ("examples", "tokens", "contrast")


def evidence(component: Node | None = None) -> Evidence:
    """A component that fires on drinks; of a head, one that reads drinks from whoever drinks."""
    head = component is not None and component.kind == "attn"
    samples = []
    for kind, tokens, values in (
        ("top", ("Ann", " drank", " tea"), [0, 0, 4]),
        ("band", ("Bob", " drank", " milk"), [0, 0, 2]),
        ("near_miss", ("Cid", " drank", " himself"), [0, 0, 0.1]),
    ):
        pairs = None
        if head:
            pairs = np.zeros((3, 3))
            pairs[2, 0] = values[2]
        samples.append(Sample(kind, "explain", 0, 0, tokens, (0, 1, 2), np.array(values, float), 0, pairs))  # type: ignore[arg-type]
    return Evidence(component or Node("neuron", 1, 2), 4.0, tuple(samples))


def test_a_chat_is_asked_turn_by_turn() -> None:
    llm = ScriptedLLM(lambda _: "words for drinks")
    (draft,) = LLMExplainer(llm).explain(evidence(), "examples", 1, 7)
    (request,) = llm.asked
    roles = [message.role for message in request.messages]
    assert roles == ["system", *["user", "assistant"] * 3, "user"]
    assert request.prompt is None
    assert request.messages[-1].content == (
        "Text 1:\nAnn\t0\n drank\t0\n tea\t10\n\nText 2:\nBob\t0\n drank\t0\n milk\t5\n\nIt fires on:"
    )
    assert request.temperature == 0
    assert draft == Draft(
        "words for drinks",
        "examples",
        "scripted",
        "examples-1",
        Cost(requests=1, prompt_tokens=llm.count(request.text), completion_tokens=4),
    )


def test_a_model_that_does_not_chat_goes_on_with_a_text() -> None:
    llm = ScriptedLLM(lambda _: " words for drinks\n\n---\n\nText 1:", RAW)
    (draft,) = LLMExplainer(llm).explain(evidence(), "examples", 1, 0)
    (request,) = llm.asked
    assert request.messages == ()
    assert request.prompt is not None
    assert request.prompt.endswith("\n milk\t5\n\nIt fires on:")
    assert "\n\nIt fires on: words for boats and other small vessels\n\n---\n\n" in request.prompt
    assert isinstance(draft, Draft)
    assert draft.text == "words for drinks"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("component", [Node("neuron", 1, 2), Node("latent", 1, 2, part="mlp_out"), Node("attn", 1, 2)])
def test_every_variant_asks_about_every_kind(variant: Variant, component: Node) -> None:
    llm = ScriptedLLM(lambda _: "words for drinks")
    explainer = LLMExplainer(llm)
    (draft,) = explainer.explain(evidence(component), variant, 1, 0)
    assert isinstance(draft, Draft)
    assert (draft.variant, draft.prompt) == (variant, explainer.prompt_of(variant)) == (variant, f"{variant}-1")
    shown = llm.asked[0].messages[-1].content
    marked = "**Ann** drank [[tea]]" in shown
    assert marked == (component.kind == "attn" and variant != "tokens")
    assert ("himself" in shown) == (variant != "examples")
    assert shown.endswith("The head:" if component.kind == "attn" else "It fires on:")
    # Answered examples are shown as what is asked about is.
    first = llm.asked[0].messages[1].content
    assert first.split("\n")[0].rstrip("0123456789:") == shown.split("\n")[0].rstrip("0123456789:")


def test_candidates_differ_by_temperature_and_seed_and_the_first_is_the_likeliest() -> None:
    llm = ScriptedLLM(lambda request: f"drinks of kind {request.seed}")
    found = LLMExplainer(llm).explain(evidence(), "tokens", 3, 2)
    assert [(one.temperature, one.seed) for one in llm.asked] == [(0.0, 40), (0.7, 41), (0.7, 42)]
    assert [one.text for one in found if isinstance(one, Draft)] == [f"drinks of kind {seed}" for seed in (40, 41, 42)]


def test_seeds_share_no_request() -> None:
    def asked(seed: int) -> set[Request]:
        llm = ScriptedLLM(lambda _: "drinks")
        LLMExplainer(llm).explain(evidence(), "tokens", 20, seed)
        return set(llm.asked)

    assert len(asked(0) | asked(1)) == 40


def test_a_candidate_that_fails_is_a_failure_in_its_place() -> None:
    answers = iter(["drinks", LLMFailed("It took too long.", kind="timeout"), "", "I cannot say."])
    found = LLMExplainer(ScriptedLLM(lambda _: next(answers))).explain(evidence(), "examples", 4, 0)
    assert isinstance(found[0], Draft)
    assert found[1] == Failure("timeout", "It took too long.")
    assert [one.kind for one in found[1:] if isinstance(one, Failure)] == ["timeout", "malformed", "refused"]


def test_an_answer_that_was_known_cost_nothing() -> None:
    llm = ScriptedLLM(lambda _: Answer("drinks", "stop", 500, 5, known=True))
    (draft,) = LLMExplainer(llm).explain(evidence(), "examples", 1, 0)
    assert isinstance(draft, Draft)
    assert draft.cost == Cost(known=1)


def test_without_near_misses_or_band_examples_there_is_nothing_to_contrast() -> None:
    llm = ScriptedLLM(lambda _: "drinks")
    alone = replace(evidence(), samples=evidence().samples[:1])
    explainer = LLMExplainer(llm)
    assert explainer.explain(alone, "contrast", 3, 0) == [
        Failure("nothing", "There are no texts to hold against its examples.")
    ]
    assert explainer.estimate(alone, "contrast", 3) == Estimate()
    assert llm.asked == []


def test_without_examples_nothing_is_asked() -> None:
    llm = ScriptedLLM(lambda _: "drinks")
    unseen = replace(evidence(), samples=tuple(replace(one, split="test") for one in evidence().samples))
    for variant in VARIANTS:
        with pytest.raises(NothingToExplain, match=r"no examples of neuron\.1\.2"):
            LLMExplainer(llm).explain(unseen, variant, 1, 0)
    assert llm.asked == []


def test_a_variant_that_shows_no_examples_is_refused() -> None:
    with pytest.raises(UsageError, match="no way to find words"):
        LLMExplainer(ScriptedLLM(lambda _: "drinks")).explain(evidence(), "written", 1, 0)


@pytest.mark.parametrize("capabilities", [CHAT, RAW])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_estimate_is_no_less_than_what_is_asked(capabilities: object, variant: Variant) -> None:
    llm = ScriptedLLM(lambda _: "drinks", capabilities)  # type: ignore[arg-type]
    explainer = LLMExplainer(llm)
    takes = explainer.estimate(evidence(), variant, 3)
    assert llm.asked == []
    explainer.explain(evidence(), variant, 3, 0)
    assert takes.requests == len(llm.asked) == 3
    assert takes.prompt_tokens >= llm.spent.prompt_tokens
    assert takes.completion_tokens == sum(request.max_tokens for request in llm.asked)


def test_thoughts_count_in_an_estimate_of_a_chat() -> None:
    def takes(**changes: object) -> int:
        llm = ScriptedLLM(lambda _: "drinks", replace(CHAT, **changes))
        return LLMExplainer(llm).estimate(evidence(), "examples", 2).completion_tokens

    assert takes(thinking=1000) == takes() + 2000
    assert takes(thinking=1000, chat=False) == takes()
