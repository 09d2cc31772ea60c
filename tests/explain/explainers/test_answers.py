"""What becomes of what language models say: the words alone, or why there are none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clew.explain.explainers.answers import LONGEST, words_of
from clew.explain.explainers.questions import Question
from clew.explain.llm.client import Answer
from clew.explain.records import Failure

QUESTION = Question(
    "Say in one short sentence what it fires on.",
    (("Text 1:\n ship\t10", "words for ships"),),
    "Text 1:\n tea\t10\n\nThe captain drank his tea in silence.",
    "It fires on:",
    40,
)


def read(text: str, finish: str = "stop") -> str | Failure:
    return words_of(Answer(text, finish, 1, 1), QUESTION)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("words for drinks", "words for drinks"),
        (" words for drinks.\n", "words for drinks"),
        ("This neuron fires on words for drinks.", "words for drinks"),
        ("The component activates strongly on words for drinks", "words for drinks"),
        ("It fires most strongly on hot drinks", "hot drinks"),
        ("This latent is active when a drink is named", "when a drink is named"),
        ("Fires on drinks", "drinks"),
        ("fires and floods", "fires and floods"),
        ("It fires on: words for drinks", "words for drinks"),
        ("**Explanation:** words for drinks", "words for drinks"),
        ("Explanation: This neuron fires on words for drinks.", "words for drinks"),
        ("Sure, here it is:\n\nwords for drinks", "words for drinks"),
        ("- words for drinks\n- words for food", "words for drinks"),
        ("1. words for drinks", "words for drinks"),
        ('"words for drinks"', "words for drinks"),
        ("“words for drinks.”", "words for drinks"),
        ("**words for drinks**", "words for drinks"),
        ('" tea" and " milk"', '" tea" and " milk"'),
        ('tokens such as "." and "!" at an end', 'tokens such as "." and "!" at an end'),
        ("words for drinks. For example tea.", "words for drinks"),
        ("drinks, e.g. tea, and cups", "drinks, e.g. tea, and cups"),
        ("drinks, e.g. Darjeeling tea. And cups.", "drinks, e.g. Darjeeling tea"),
        ("version numbers such as 1.5 and 2.0.", "version numbers such as 1.5 and 2.0"),
        ("<think>It could be tea. Or milk.</think>\n\nwords for drinks", "words for drinks"),
        ("Wörter für Getränke", "Wörter für Getränke"),
        ("饮料的词", "饮料的词"),
    ],
)
def test_the_words_alone_are_kept(said: str, words: str) -> None:
    assert read(said) == words


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        ("", "malformed", "empty"),
        ("  \n ", "malformed", "empty"),
        ("...", "malformed", "no words"),
        ("10", "malformed", "no words"),
        ("It fires on:", "malformed", "no words"),
        (" tea\t10\n ship\t0", "malformed", "repeats"),
        ("Words for ships.", "malformed", "repeats"),
        ("The captain drank his tea in silence.", "malformed", "repeats"),
        ("Say in one short sentence what it fires on", "malformed", "repeats"),
        ("drinks " * 100, "malformed", "700 characters|699 characters"),
        ("I'm sorry, but I can't help with that.", "refused", "sorry"),
        ("I cannot tell from this.", "refused", "cannot"),
        ("<think>It could be tea. Or", "truncated", "thinking"),
    ],
)
def test_what_is_no_explanation_says_why(said: str, kind: str, why: str) -> None:
    found = read(said)
    assert isinstance(found, Failure)
    assert found.kind == kind
    assert any(part in found.message for part in why.split("|"))


def test_an_answer_that_was_cut_off_counts_if_its_first_sentence_was_not() -> None:
    assert read("words for drinks and", "length") == Failure(
        "truncated", "The answer was not at its end after 40 tokens."
    )
    assert read("words for drinks.", "length") == "words for drinks"
    assert read("words for drinks. Such as", "length") == "words for drinks"
    # What a model thinks may not be told at all.
    assert read("", "length") == Failure("truncated", "The answer ended before the model was done thinking.")
    # A raw model goes on with the next case.
    assert read(" words for drinks\n\n---\n\nText 1", "length") == "words for drinks"


def test_a_single_word_may_be_one_that_was_shown() -> None:
    assert read("tea") == "tea"


@given(st.text(max_size=600), st.sampled_from(["stop", "length"]))
@example('"', "stop")
@example("**", "stop")
@example("<think>", "stop")
def test_whatever_is_said_becomes_one_short_line_or_a_failure(said: str, finish: str) -> None:
    found = read(said, finish)
    if isinstance(found, str):
        assert found == found.strip() != ""
        assert len(found) <= LONGEST
        assert len(found.splitlines()) == 1
        assert any(character.isalpha() for character in found)
