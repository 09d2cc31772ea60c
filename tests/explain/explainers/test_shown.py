"""What a language model is shown of a component, against texts worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from clew.explain.evidence import Evidence, Sample
from clew.explain.explainers import examples, lists, pairs
from clew.explain.explainers.shots import PAIR_SHOTS, SHOTS, Shot
from clew.explain.records import SampleKind, Split
from clew.nodes import Node

NEURON, HEAD = Node("neuron", 0, 0), Node("attn", 0, 0)


def sample(
    tokens: list[str],
    activations: Sequence[float],
    kind: SampleKind = "top",
    split: Split = "explain",
    first: int = 0,
    pairs: list[tuple[int, int, float]] | None = None,
) -> Sample:
    square = None
    if pairs is not None:
        square = np.zeros((len(tokens), len(tokens)))
        for reader, source, value in pairs:
            square[reader, source] = value
        activations = square.max(1).tolist()
    return Sample(
        kind, split, 0, 0, tuple(tokens), tuple(range(len(tokens))), np.array(activations, float), first, square
    )


def test_a_token_a_line_with_its_level() -> None:
    # 3 of a maximum of 4 is 7.5, and told as 7; what is negative as 0.
    evidence = Evidence(NEURON, 4.0, (sample(["A", " store", "\n", "\t"], [4, 3, -1, 0.1]),))
    assert examples.examples(evidence) == "Text 1:\nA\t10\n store\t7\n\\n\t0\n\\t\t0"


def test_few_firing_tokens_are_listed_again() -> None:
    quiet = sample([f" w{n}" for n in range(10)], [0] * 9 + [2])
    busy = sample([" a", " b"], [1, 0])
    shown = examples.examples(Evidence(NEURON, 2.0, (busy, quiet)))
    # The strongest text comes first, and one in two tokens is not few.
    assert shown.startswith("Text 1:\n w0\t0\n")
    assert shown.endswith(
        "Text 2:\n a\t5\n b\t0\n\nThe same without the tokens it does not fire on:\n\nText 1:\n w9\t10"
    )


def test_a_fifth_of_the_tokens_is_not_few() -> None:
    fifth = sample([f" w{n}" for n in range(10)], [0] * 8 + [1, 2])
    assert "same without" not in examples.examples(Evidence(NEURON, 2.0, (fifth,)))


def test_tokens_that_do_not_count_have_no_level() -> None:
    # The first token is huge in most models, whatever it is.
    evidence = Evidence(NEURON, 2.0, (sample(["The", " store"], [900, 2], first=1),))
    assert examples.examples(evidence) == "Text 1:\nThe\t-\n store\t10"
    assert "The" not in lists.tokens(evidence)


def test_texts_of_other_splits_are_in_no_prompt() -> None:
    seen = [sample([" seen"], [2], kind) for kind in ("top", "band", "near_miss", "random")]
    others = [
        sample([f" {split}{kind}"], [9], kind, split, pairs=[(0, 0, 9)])
        for split in ("calibrate", "validate", "test")
        for kind in ("top", "band", "near_miss", "random")
    ]
    without = Evidence(NEURON, 2.0, tuple(seen))
    evidence = Evidence(NEURON, 2.0, (*others, *seen))
    for show in (examples.examples, examples.contrast, lists.tokens):
        assert show(evidence) == show(without) != ""
    heads = tuple(replace(one, pairs=np.array([[2.0]])) for one in seen)
    without, evidence = Evidence(HEAD, 2.0, heads), Evidence(HEAD, 2.0, (*others, *heads))
    for show in (pairs.examples, pairs.contrast, lists.pairs):
        assert show(evidence) == show(without) != ""


def test_contrast_holds_near_misses_against_top_examples() -> None:
    evidence = Evidence(
        NEURON,
        10.0,
        (
            sample([" ship", " sails"], [10, 0]),
            sample([" train", " leaves"], [1, 0], "near_miss"),
            sample([" rain"], [0], "near_miss"),
            sample([" barge"], [4], "band"),
        ),
    )
    shown, contrast = examples.contrast(evidence).split(
        "Texts that look alike, in which it fires weakly or not at all:"
    )
    assert shown == "Texts in which it fires:\n\nText 1:\n ship\t10\n sails\t0\n\n"
    assert contrast == '\n\nText 2: train leaves\nStrongest: 1 on " train"\n\nText 3: rain\nIt fires nowhere in it.'


def test_without_near_misses_the_weaker_band_examples_are_the_contrast() -> None:
    bands = [sample([f" b{level}"], [level], "band") for level in (2, 6, 4, 8)]
    shown, near = examples.contrasted(Evidence(NEURON, 10.0, (sample([" t"], [10]), *bands)))
    assert [one.tokens[0] for one in shown] == [" t", " b8", " b6"]
    assert [one.tokens[0] for one in near] == [" b4", " b2"]


def test_without_anything_to_contrast_there_is_no_contrast() -> None:
    assert examples.contrast(Evidence(NEURON, 10.0, (sample([" t"], [10]),))) == ""
    assert pairs.contrast(Evidence(HEAD, 10.0, (sample([" t"], [10], pairs=[(0, 0, 10)]),))) == ""


def test_a_list_of_tokens_has_means_and_counts() -> None:
    evidence = Evidence(
        NEURON,
        5.0,
        (
            sample([" the", " cat", " the", " dog", " the"], [0, 5, 0, 2.5, 0]),
            sample([" a", " cat"], [0, 1], "band"),
        ),
    )
    # " cat": 10 and 2, mean 6.0; " dog": 5.0; after " the": 10 and 5, mean 7.5. " a" was seen once.
    assert lists.tokens(evidence) == (
        "Tokens it fires on, with the mean activation and how often each was seen:\n"
        " cat\t6.0\t2\n dog\t5.0\t1\n\n"
        "Tokens after which it fires, with the mean activation of what follows and how often:\n"
        " the\t7.5\t2"
    )


def test_tokens_that_seldom_fire_are_told_where_there_are_no_others() -> None:
    rare = [sample([f" t{n}"] * 50, [1] + [0] * 49) for n in range(7)]
    rows = lists.tokens(Evidence(NEURON, 1.0, tuple(rare))).partition("\n\n")[0].splitlines()[1:]
    assert rows == [f" t{n}\t0.2\t50" for n in range(5)]
    often = sample([" o0", " o1", " o2", " o3", " o4"], [1] * 5)
    rows = lists.tokens(Evidence(NEURON, 1.0, (often, *rare))).partition("\n\n")[0].splitlines()[1:]
    assert rows == [f" o{n}\t10.0\t1" for n in range(5)]


def test_a_pair_is_marked_in_its_text() -> None:
    tokens = ["Mary", " gave", " her", " book"]
    evidence = Evidence(HEAD, 4.0, (sample(tokens, [], pairs=[(2, 0, 4.0), (1, 0, 2.0), (3, 3, 1.0)]),))
    assert pairs.examples(evidence) == (
        'Text 1, strength 10:\n**Mary** gave [[her]] book\nalso " gave" from "Mary", strength 5'
    )


@pytest.mark.parametrize(
    ("tokens", "marked"),
    [
        (["a", " b"], "**a** [[b]]"),
        ([" ", "\n"], "** **[[\\n]]"),
        (["[[", "**"], "**[ [**[[* *]]"),
    ],
)
def test_marks_stand_around_words_and_are_told_from_the_text(tokens: list[str], marked: str) -> None:
    assert pairs.marked(tokens, 1, 0) == marked


def test_a_token_that_reads_itself_has_both_marks() -> None:
    assert pairs.marked(["a", " b"], 1, 1) == "a [[**b**]]"


def test_a_list_of_pairs() -> None:
    tokens = [" he", " sees", " it"]
    evidence = Evidence(
        HEAD, 2.0, (sample(tokens, [], pairs=[(1, 0, 2.0), (2, 0, 1.0)]), sample(tokens, [], pairs=[(1, 0, 1.0)]))
    )
    shown = lists.pairs(evidence).splitlines()
    assert shown[1:3] == [" sees\t he\t7.5\t2", " it\t he\t5.0\t1"]
    assert " he\t6.7\t3" in shown  # it is read with 10, 5 and 5


@pytest.mark.parametrize("shot", [*SHOTS, *PAIR_SHOTS], ids=lambda shot: shot.words)
def test_shots_are_read_as_they_are_written(shot: Shot) -> None:
    for text, read in zip((*shot.texts, *shot.near), shot.evidence.samples, strict=True):
        plain = "".join(read.tokens)
        levels = [int(level) for level in read.activations if level]
        marks = str.maketrans("", "", "[]*{}")
        digits = "".join(f"{{{level}}}" for level in levels)
        assert sorted(plain.translate(marks) + digits.translate(marks)) == sorted(text.translate(marks))
        if read.pairs is not None:
            reader, source = read.strongest
            assert f"[[{read.tokens[reader].strip()}]]" in text
            assert f"**{read.tokens[source].strip()}**" in text
            assert source < reader


def test_where_levels_are_in_a_shot() -> None:
    first = SHOTS[0].evidence.samples[0]
    assert {first.tokens[at]: level for at, level in enumerate(first.activations) if level} == {
        " ferry": 7.0,
        " trawlers": 10.0,
    }
