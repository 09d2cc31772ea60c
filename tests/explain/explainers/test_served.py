"""A neuron of the default model, explained by that model behind a real server: only the form can be asked of it."""

from __future__ import annotations

import numpy as np

from clew.atlas import Components
from clew.debug import Model
from clew.explain.evidence import Evidence, Sample
from clew.explain.explainers import LLMExplainer
from clew.explain.explainers.answers import LONGEST
from clew.explain.llm import open_llm
from clew.explain.records import Cost, Failure
from clew.explain.roles import Draft
from clew.explain.store.answers import Answers
from clew.nodes import parse

NEURON = parse("neuron.5.0")


def test_a_neuron_is_explained_to_the_end_and_asked_about_once(smollm2: Model, served: str, answers: Answers) -> None:
    seen = Components(smollm2).on_prompt(NEURON, "The old ferry left the harbour at noon.")
    tokens, ids = tuple(token.text for token in seen.tokens), tuple(token.id for token in seen.tokens)
    shown = Sample("top", "explain", 0, 0, tokens, ids, np.array(seen.activations), 1)
    evidence = Evidence(NEURON, float(max(1e-3, *seen.activations[1:])), (shown,))
    llm = open_llm(served, answers=answers)
    try:
        explainer = LLMExplainer(llm)
        takes = explainer.estimate(evidence, "tokens", 1)
        before = llm.spent
        (found,) = explainer.explain(evidence, "tokens", 1, 0)
        spent = llm.spent.prompt_tokens - before.prompt_tokens
        assert 0 < spent <= takes.prompt_tokens
        if isinstance(found, Failure):
            assert found.kind in ("malformed", "truncated", "refused")
        else:
            assert (found.llm, found.prompt) == (served, "tokens-1")
            assert 0 < len(found.text) <= LONGEST
            assert found.cost.prompt_tokens == spent
        (again,) = explainer.explain(evidence, "tokens", 1, 0)
        if isinstance(again, Draft):
            assert isinstance(found, Draft)
            assert (again.text, again.cost) == (found.text, Cost(known=1))
        else:
            assert again == found
        assert llm.spent.prompt_tokens - before.prompt_tokens == spent
    finally:
        llm.close()
