"""Words without a language model: what is found is what was planted, and what is written is read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import UsageError
from clew.explain.evidence import Evidence, Sample
from clew.explain.lookup import LookupExplainer, LookupSimulator, Rule, _words, read
from clew.explain.records import Cost, Failure
from clew.explain.roles import Draft, Simulation
from clew.nodes import Node


def sample(text: str, activations: list[float], first: int = 0, split: str = "explain") -> Sample:
    """A text of words, each a token with its leading space."""
    tokens = tuple(f" {word}" for word in text.split())
    assert len(tokens) == len(activations)
    return Sample("top", split, 0, 0, tokens, tuple(range(len(tokens))), np.array(activations), first)  # type: ignore[arg-type]


def words_of(*samples: Sample) -> str:
    maximum = max(float(one.activations[one.first :].max()) for one in samples)
    (draft,) = LookupExplainer().explain(Evidence(Node("neuron", 0, 0), maximum, samples), "examples", 1, 0)
    assert isinstance(draft, Draft)
    assert (draft.variant, draft.llm) == ("tokens", "lookup")
    return draft.text


def test_tokens_that_fire_are_named_with_their_mean_level() -> None:
    words = words_of(sample("a store is a shop", [0, 4, 0, 0, 2]), sample("the store and the shop", [0, 4, 0, 0, 2.4]))
    assert words == 'Fires on " store" (10) and " shop" (6).'


def test_what_fires_after_a_token_is_a_rule_of_its_own() -> None:
    words = words_of(
        sample("the dog saw the cat with one eye", [0, 5, 0, 0, 5, 0, 0, 0]), sample("by the way", [0, 0, 5])
    )
    assert words == 'Fires on any token after " the" (10).'


def test_tokens_that_are_not_counted_say_nothing() -> None:
    words = words_of(sample("huge thing here", [100, 0, 1], first=1))
    assert words == 'Fires on " here" (10).'


def test_what_never_varies_has_no_words() -> None:
    found = LookupExplainer().explain(
        Evidence(Node("neuron", 0, 0), 1.0, (sample("a b c", [1, 1, 1]),)), "examples", 1, 0
    )
    assert [type(one) for one in found] == [Failure]


def test_only_the_explain_split_is_read() -> None:
    seen, unseen = sample("a store", [0, 1]), sample("a shop", [0, 1], split="test")
    assert words_of(seen, unseen) == words_of(seen)


def test_words_are_read_as_a_person_may_write_them() -> None:
    rules, elsewhere = read('Prices: " dollars", or a token after " cost" (4.5) - elsewhere about 0.5')
    assert rules == [Rule(" dollars", 10, False), Rule(" cost", 4.5, True)]
    assert elsewhere == 0.5
    (found,), cost = LookupSimulator().simulate(
        'after " the" (4), " cat" (7)', [sample("the cat the dog", [0, 0, 0, 0])]
    )
    assert isinstance(found, Simulation)
    assert found.expected.tolist() == [0, 7, 0, 4]
    assert cost == Cost()


@pytest.mark.parametrize("words", ["fires on shops", "", '""', "'store' (3)"])
def test_words_without_a_quoted_token_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match="quote no token"):
        LookupSimulator().simulate(words, [sample("a", [0])])


@given(
    st.lists(
        st.builds(
            Rule,
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
            st.integers(1, 10).map(float),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([0.0, 0.3, 2.0]),
)
def test_what_is_written_is_read_back(rules: list[Rule], elsewhere: float) -> None:
    found, base = read(_words(rules, elsewhere))
    assert sorted(found, key=str) == sorted(rules, key=str)
    assert base == elsewhere
