"""Words find what has them, whatever is typed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clew.explain.records import Subject
from clew.explain.store.explanations import Explanations
from clew.explain.store.search import search, terms

from .made import LATENTS, explanation, score

CITIES, RIVERS, CODE, DOLLAR = (
    "names of cities in France",
    "names of rivers",
    "closing brackets in code",
    'the sign "$"',
)


@pytest.fixture
def filled(kept: Explanations) -> Explanations:
    """Four explanations, and some that are never found."""
    kept.add(explanation("neuron.1.2", CITIES, scores=(score(0.25),)))
    kept.add(explanation("neuron.3.4", RIVERS, llm="other", scores=(score(0.75),)))
    kept.add(explanation("latent.mlp_out.1.2", CODE, subject=LATENTS, scores=(score(0.5),)))
    kept.add(explanation("attn.1.2", DOLLAR, subject=Subject("big", "f00d")))
    kept.add(explanation("neuron.1.2", "cities, a candidate", chosen=False))
    kept.add(explanation("neuron.1.2", "cities here", variant="node", node="neuron.1.2@3", question="?"))
    return kept


def texts(kept: Explanations, words: str = "", **asked: Any) -> list[str]:
    found = search(kept, words, **asked)
    assert found.total == len(found)
    return [one.text for one in found]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", [DOLLAR, CODE, RIVERS, CITIES]),
        ("   ", [DOLLAR, CODE, RIVERS, CITIES]),
        ("city", [CITIES]),
        ("CITIES", [CITIES]),
        ("bracket code", [CODE]),
        ("code bracket", [CODE]),
        ("cities rivers", []),
        ("cit", [CITIES]),
        ("cit france", []),
        ("france cit", [CITIES]),
        ('"names of cities"', [CITIES]),
        ('"cities of names"', []),
        ('"names of riv"', []),
        ('"names of rivers', [RIVERS]),
        ("$", [DOLLAR]),
        ("sign $", [DOLLAR]),
        ("%", []),
        ("in-code", [CODE]),
    ],
)
def test_words_find_what_has_them_all(filled: Explanations, words: str, found: list[str]) -> None:
    assert texts(filled, words) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"model": "tiny"}, [CODE, RIVERS, CITIES]),
        ({"model": "tiny", "fingerprint": "f00d"}, [CODE, RIVERS, CITIES]),
        ({"model": "tiny", "fingerprint": "0bad"}, []),
        ({"kinds": ["latent", "attn"]}, [DOLLAR, CODE]),
        ({"layers": [3]}, [RIVERS]),
        ({"layers": []}, []),
        ({"llm": "other"}, [RIVERS]),
        ({"min_score": 0.5}, [CODE, RIVERS]),
        ({"min_score": 0.5, "layers": [1]}, [CODE]),
        ({"sort": "score"}, [RIVERS, CODE, CITIES, DOLLAR]),
    ],
)
def test_filters_narrow_what_is_found(filled: Explanations, asked: dict[str, Any], found: list[str]) -> None:
    assert texts(filled, **asked) == found


def test_filters_and_order_go_with_words(filled: Explanations) -> None:
    assert texts(filled, "names", sort="score") == [RIVERS, CITIES]
    assert texts(filled, "names", llm="other") == [RIVERS]
    # Both have the word once: the shorter says more of it.
    assert sorted(texts(filled, "names")) == [CITIES, RIVERS]


def test_the_more_of_the_words_the_earlier(kept: Explanations) -> None:
    kept.add(explanation("neuron.0.1", "rivers rivers rivers"))
    kept.add(
        explanation("neuron.0.2", "rivers, and a great many other things that have nothing to do with them at all")
    )
    assert [one.component for one in search(kept, "rivers")] == ["neuron.0.1", "neuron.0.2"]


def test_pages_of_what_is_found(filled: Explanations) -> None:
    page = search(filled, sort="score", offset=1, limit=2)
    assert ([one.text for one in page], page.total) == ([CODE, CITIES], 4)
    assert search(filled, offset=9).total == 4
    assert [one.value for one in page[0].scores] == [0.5]


def test_what_is_removed_or_chosen_later_is_so_at_once(kept: Explanations) -> None:
    added = kept.add(explanation(text="mountains", chosen=False))
    assert texts(kept, "mountains") == []
    kept.add(explanation(text="mountains"))
    kept.add(explanation(text="mountains"))
    assert texts(kept, "mountains") == ["mountains"]
    kept.remove(added.id or 0)
    assert texts(kept, "mountains") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(words=st.text(st.sampled_from("ab $%_*:^\"'()-+.&|!\\<>~{}[]\0é漢") | st.characters(), max_size=12))
def test_no_text_is_a_wrong_search(filled: Explanations, words: str) -> None:
    search(filled, words)


@pytest.mark.parametrize(
    "words", ['"', '""', "x\0b", "NOT", "x AND", "* OR", "{x y}:z", "\ud800", "x\ud800", "'", "x'y", "it's"]
)
def test_the_languages_of_databases_are_not_spoken(filled: Explanations, words: str) -> None:
    assert search(filled, words).total in (0, 4)


def test_terms_are_words_and_phrases() -> None:
    assert terms('one "two three" four') == [("one", False), ("two three", False), ("four", True)]
    assert terms('one "two') == [("one", False), ("two", False)]
    assert terms('  "" ') == []
