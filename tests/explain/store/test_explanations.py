"""What is kept is what was added, found by what is asked for, and lost by nothing but removal."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import BadNode, UnknownExplanation
from clew.explain.records import Failure, Problem, Score, Strip, Subject
from clew.explain.store.explanations import Explanations
from clew.explain.store.rows import pack, unpack

from .made import LATENTS, MODEL, explanation, score


def test_an_explanation_comes_back_as_it_was_added(kept: Explanations) -> None:
    given = explanation(scores=(score(), score(0.75, scorer="detection", method=None, strips=())))
    added = kept.add(given)
    assert added.id is not None and added.created is not None
    assert all(one.id is not None and one.strips == () for one in added.scores)
    found = kept.get(added.id)
    assert found == added
    bare = [replace(one, id=None, created=None) for one in found.scores]
    assert bare == [replace(one, strips=()) for one in given.scores]
    assert replace(found, id=None, created=None, scores=()) == replace(given, scores=())


def test_every_field_survives_that_is_seldom_said(kept: Explanations) -> None:
    given = explanation(
        "latent.mlp_out.3.117", subject=LATENTS, node="latent.mlp_out.3.117@4", question="The cat", variant="node",
        validation=None, density=None, atlas=None, cited=(), chosen=False,
    )  # fmt: skip
    added = kept.add(given)
    assert kept.get(added.id or 0) == added
    assert replace(added, id=None, created=None) == given


def test_strips_are_kept_apart_to_six_digits(kept: Explanations) -> None:
    added = kept.add(explanation(scores=(score(),)))
    number = added.scores[0].id
    assert number is not None
    first, second = kept.strips(number)
    assert first == score().strips[0]
    assert second.tokens == ["c\n", "\x00"] and second.simulated is None
    assert second.real == [0.0, 0.333333]
    assert second.failure == Failure("malformed", "no JSON")
    without = kept.add_score(added.id or 0, score(0.25, strips=()))
    assert kept.strips(without.id or 0) == []


def test_the_same_score_is_kept_once_and_gets_the_strips_that_it_lacks(kept: Explanations) -> None:
    added = kept.add(explanation(scores=(score(strips=()), score(None, strips=()))))
    first, failed = added.scores
    assert kept.add_score(added.id or 0, score()).id == first.id
    assert kept.add_score(added.id or 0, score(None)).id == failed.id
    assert len(kept.strips(first.id or 0)) == 2
    others = (
        score(0.25),
        score(seed=4),
        score(llm="other"),
        score(split="validate"),
        score(method=None),
        score(low=0.0),
    )
    for other in others:
        kept.add_score(added.id or 0, other)
    assert len(kept.get(added.id or 0).scores) == 2 + len(others)


def test_what_is_not_there_is_told_by_its_number(kept: Explanations) -> None:
    for ask in (
        lambda: kept.get(7), lambda: kept.remove(7), lambda: kept.strips(7), lambda: kept.add_score(7, score()),
        lambda: kept.add(explanation(parent=7)),
    ):  # fmt: skip
        with pytest.raises(UnknownExplanation, match="7"):
            ask()
    with pytest.raises(BadNode):
        kept.add(explanation("neuron.one.two"))
    assert kept.of(MODEL, "neuron.1.2") == []


def test_the_history_is_newest_first_with_candidates(kept: Explanations) -> None:
    first = kept.add(explanation(text="first"))
    second = kept.add(explanation(text="second", chosen=False))
    edited = kept.add(explanation(text="edited", variant="written", llm="you", parent=first.id))
    kept.add(explanation("neuron.1.3"))
    assert [one.text for one in kept.of(MODEL, "neuron.1.2")] == ["edited", "second", "first"]
    kept.remove(first.id or 0)
    left = kept.of(MODEL, "neuron.1.2")
    assert [one.id for one in left] == [edited.id, second.id]
    assert left[0].parent is None


def test_removal_takes_scores_and_strips_along(kept: Explanations) -> None:
    added = kept.add(explanation(scores=(score(),)))
    kept.remove(added.id or 0)
    with pytest.raises(UnknownExplanation):
        kept.strips(added.scores[0].id or 0)


def test_a_number_is_never_given_twice(kept: Explanations) -> None:
    first = kept.add(explanation(text="one"))
    kept.remove(first.id or 0)
    assert (kept.add(explanation(text="two")).id or 0) > (first.id or 0)


def test_the_same_words_are_kept_once_and_get_the_new_scores(kept: Explanations) -> None:
    first = kept.add(explanation(scores=(score(0.1),), chosen=False))
    again = kept.add(explanation(scores=(score(0.2),)))
    assert again.id == first.id and again.chosen
    found = kept.get(first.id or 0)
    assert found.chosen and [one.value for one in found.scores] == [0.1, 0.2]
    # What was chosen stays so.
    assert kept.add(explanation(chosen=False)).chosen
    for other in (
        explanation(seed=4), explanation(llm="other"), explanation(prompt="examples-2"),
        explanation(variant="contrast"), explanation(subject=Subject("tiny", "0000")), explanation(parent=first.id),
        explanation(text="Names of cities"),
    ):  # fmt: skip
        assert kept.add(other).id != first.id


def test_subjects_are_not_mixed_up_but_one_without_weights_is_of_its_name(kept: Explanations) -> None:
    kept.add(explanation(text="own"))
    kept.add(explanation(text="other weights", subject=Subject("tiny", "0bad")))
    kept.add(explanation(text="other model", subject=Subject("big", "f00d")))
    kept.add(explanation(text="imported", subject=Subject("tiny", None)))
    kept.add(explanation("latent.mlp_out.1.2", "latent", subject=LATENTS))
    assert [one.text for one in kept.of(MODEL, "neuron.1.2")] == ["imported", "own"]
    assert [one.text for one in kept.of(Subject("tiny", None), "neuron.1.2")] == ["imported"]
    assert kept.of(MODEL, "latent.mlp_out.1.2") == []
    assert [one.text for one in kept.of(LATENTS, "latent.mlp_out.1.2")] == ["latent"]


def test_the_best_simulates_best_on_the_test_split(kept: Explanations) -> None:
    def add(text: str, *scores: Score, **changes: Any) -> None:
        kept.add(explanation(text=text, scores=scores, **changes))

    add("weak", score(0.2))
    add("strong", score(0.6))
    add("boasts elsewhere", score(0.9, split="validate"), score(0.95, scorer="detection"))
    add("not chosen", score(0.99), chosen=False)
    add("of a node", score(0.99), variant="node", node="neuron.1.2@3", question="?")
    add("failed", score(None))
    add("unscored", component="neuron.1.3")
    add("unscored, newer", component="neuron.1.3")
    add("pairs", score(0.5, scorer="pairs"), component="attn.0.1")
    add("better pairs", score(0.8, scorer="pairs"), component="attn.0.1")
    best = kept.best(MODEL, ["neuron.1.2", "neuron.1.3", "attn.0.1", "neuron.9.9"])
    assert {name: one.text for name, one in best.items()} == {
        "neuron.1.2": "strong", "neuron.1.3": "unscored, newer", "attn.0.1": "better pairs",
    }  # fmt: skip
    assert [one.value for one in best["neuron.1.2"].scores] == [0.6]


def test_the_last_score_counts_and_a_failed_one_takes_nothing_away(kept: Explanations) -> None:
    one = kept.add(explanation(text="one", scores=(score(0.9),)))
    kept.add(explanation(text="two", scores=(score(0.5),)))
    kept.add_score(one.id or 0, score(None))
    assert kept.best(MODEL, ["neuron.1.2"])["neuron.1.2"].text == "one"
    kept.add_score(one.id or 0, score(0.1))
    assert kept.best(MODEL, ["neuron.1.2"])["neuron.1.2"].text == "two"


def test_the_best_of_thousands_at_once(kept: Explanations) -> None:
    names = [f"neuron.0.{number}" for number in range(6000)]
    kept.add_all(explanation(name) for name in names[::20])
    assert list(kept.best(MODEL, names)) == names[::20]
    assert [one.component for one in kept.chosen(MODEL)] == names[::20]
    assert [one.component for one in kept.chosen(MODEL, ["neuron.0.40", "neuron.0.1", "neuron.0.20"])] == [
        "neuron.0.40", "neuron.0.20",
    ]  # fmt: skip


def test_what_is_explained_is_known_by_recipe(kept: Explanations) -> None:
    judge = "judge"

    def explained(**changes: object) -> set[str]:
        recipe: dict = {
            "llm": "some@http://127.0.0.1:1/v1", "variants": ["examples", "tokens"],
            "prompts": ["examples-1", "tokens-1"], "seed": 3, "simulator": judge,
            "scorers": ["simulation", "detection"],
        }  # fmt: skip
        return kept.explained(MODEL, [f"neuron.1.{n}" for n in range(9)], **{**recipe, **changes})

    both = (score(llm=judge), score(llm=judge, scorer="detection"))
    kept.add(explanation("neuron.1.0", scores=both))
    kept.add(explanation("neuron.1.1", scores=both[:1]))
    kept.add(explanation("neuron.1.2", scores=both, chosen=False))
    kept.add(explanation("neuron.1.3", scores=(both[0], score(None, llm=judge, scorer="detection"))))
    undefined = score(None, llm=judge, scorer="detection", failures=())
    kept.add(explanation("neuron.1.4", scores=(both[0], undefined)))
    kept.add(explanation("neuron.1.5", scores=(score(llm="other"), both[1])))
    kept.add(explanation("neuron.1.6", scores=both, variant="tokens", prompt="tokens-1"))
    kept.add(explanation("neuron.1.7", scores=both, variant="tokens", prompt="tokens-0"))
    kept.add(explanation("neuron.1.8", scores=tuple(replace(one, split="validate") for one in both)))
    assert explained() == {"neuron.1.0", "neuron.1.4", "neuron.1.6"}
    assert explained(scorers=["simulation"]) == {"neuron.1.0", "neuron.1.1", "neuron.1.3", "neuron.1.4", "neuron.1.6"}
    assert explained(scorers=[]) == {f"neuron.1.{n}" for n in (0, 1, 3, 4, 5, 6, 8)}
    assert explained(seed=4) == explained(llm="other") == set()


def test_problems_are_kept_once_and_newest_first(kept: Explanations) -> None:
    slow = Problem("neuron.1.2", "explain", Failure("timeout", "no answer in 120 s"))
    for problem in (slow, Problem("neuron.1.3", "read", Failure("nothing", "never fires")), slow):
        kept.problem(MODEL, problem, "some")
    kept.problem(MODEL, slow, "other")
    assert kept.problems(MODEL, "neuron.1.2") == [slow, slow]
    assert len(kept.problems(MODEL)) == 3
    assert kept.problems(Subject("big", "f00d")) == []


def test_numbers_that_no_database_has_are_told_as_missing(kept: Explanations) -> None:
    odd = score(np.float64("nan"), low=float("inf"), measures={"auc": float("nan"), "top": np.float64(0.5)}, strips=())
    found = kept.get(kept.add(explanation(validation=float("-inf"), scores=(odd,))).id or 0)
    assert found.validation is None
    assert (found.scores[0].value, found.scores[0].low) == (None, None)
    assert found.scores[0].measures == {"auc": None, "top": 0.5}


def test_texts_that_no_database_takes_are_kept_as_far_as_they_can_be(kept: Explanations) -> None:
    found = kept.get(kept.add(explanation(text="a\0b \ud800 \U0001f9f5")).id or 0)
    assert found.text == "a\ufffdb \ufffd \U0001f9f5"
    kept.add(explanation(scores=(score(failures=(Failure("malformed", "\0 \ud800"),)),)))
    kept.problem(MODEL, Problem("neuron.1.2", "explain", Failure("malformed", "\0 \ud800")), "some\0")


def test_a_transaction_is_all_or_nothing(kept: Explanations) -> None:
    with pytest.raises(BadNode):
        kept.add_all([explanation(scores=(score(),)), explanation("nothing")])
    assert kept.of(MODEL, "neuron.1.2") == []


def test_threads_lose_nothing(kept: Explanations) -> None:
    first = kept.add(explanation("neuron.1.0"))

    def work(number: int) -> None:
        added = kept.add(explanation(f"neuron.1.{number}", scores=(score(),)))
        kept.add_score(added.id or 0, score(0.25))
        kept.add_score(first.id or 0, score(number / 100, strips=()))
        kept.add(explanation("neuron.2.2", scores=(score(number / 100, strips=()),)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(1, 25)))
    assert len(kept.get(first.id or 0).scores) == 24
    (same,) = kept.of(MODEL, "neuron.2.2")
    assert sorted(one.value or 0 for one in same.scores) == [number / 100 for number in range(1, 25)]
    for number in range(1, 25):
        assert [one.value for one in kept.of(MODEL, f"neuron.1.{number}")[0].scores] == [0.5, 0.25]


_WRITER = """
import sys
from clew.explain.store.explanations import Explanations
from tests.explain.store.made import explanation
kept = Explanations(sys.argv[1])
for number in range(15):
    kept.add(explanation(f"neuron.{sys.argv[2]}.{number}"))
    kept.add(explanation("neuron.9.9"))
"""


def test_two_programs_that_begin_together_lose_nothing(url: str) -> None:
    root = Path(__file__).parents[3]
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", _WRITER, url, str(layer)], cwd=root) for layer in (0, 1)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    kept = Explanations(url)
    names = [f"neuron.{layer}.{number}" for layer in (0, 1) for number in range(15)]
    assert len(kept.best(MODEL, names)) == 30
    assert len(kept.of(MODEL, "neuron.9.9")) == 1
    kept.close()


def test_a_reader_sees_what_is_there_while_another_writes(tmp_path: Path) -> None:
    kept = Explanations(f"sqlite:///{tmp_path / 'clew.db'}")
    added = kept.add(explanation())
    other = sqlite3.connect(tmp_path / "clew.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert kept.get(added.id or 0) == added
    other.execute("ROLLBACK")
    other.close()
    kept.close()


@given(
    st.lists(
        st.builds(
            Strip,
            st.sampled_from(["top", "random"]),
            st.integers(0, 10**9),
            st.integers(0, 100),
            st.lists(st.text(st.characters(exclude_categories=[]))),
            st.lists(st.floats(-6e4, 6e4, width=16)),
            st.none() | st.lists(st.floats(0, 10, width=16)),
            st.none() | st.builds(Failure, st.text(), st.text()),
        )
    )
)
def test_strips_come_back_to_six_digits(strips: list[Strip]) -> None:
    found = unpack(pack(strips))
    assert len(found) == len(strips)
    for one, other in zip(found, strips, strict=True):
        assert replace(one, real=(), simulated=None) == replace(other, real=(), simulated=None)
        np.testing.assert_allclose(one.real, other.real, rtol=1e-5)
        assert (one.simulated is None) == (other.simulated is None)
