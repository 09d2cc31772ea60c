"""A corpus in what is trained on and what is set aside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from clew.corpus import Part, corpus_of, parted
from clew.corpus.parts import ONE_IN, is_set_aside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(200):
        (tmp_path / f"{number:03}.txt").write_text(f"Text number {number}.", encoding="utf-8")
    return tmp_path


def test_every_text_is_in_one_part_in_every_order(folder: Path) -> None:
    corpus = corpus_of(str(folder))
    trained, aside = parted(corpus, "trained"), parted(corpus, "aside")
    for seed in (0, 1, 7):
        mine = [document.text for document in trained.documents(seed)]
        theirs = [document.text for document in aside.documents(seed)]
        assert Counter(mine + theirs) == Counter(document.text for document in corpus.documents(seed))
        assert set(theirs) == {document.text for document in aside.documents(0)}
        assert [document.text for document in trained.documents(seed, skip=5)] == mine[5:]
        # One in sixteen of 200 is 12.5, give or take three standard deviations.
        assert 2 <= len(theirs) <= 23
    assert trained.identity != aside.identity != corpus.identity
    assert trained.description == corpus.description


def test_a_text_that_comes_twice_is_in_one_part(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"Text number {number % 20}.", encoding="utf-8")
    corpus = corpus_of(str(tmp_path))
    trained, aside = ({d.text for d in parted(corpus, part).documents(3)} for part in ("trained", "aside"))
    assert trained.isdisjoint(aside)


def test_what_cannot_be_parted_stays_whole(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("One text alone.", encoding="utf-8")
    corpus = corpus_of(str(tmp_path))
    assert parted(corpus, "trained") is corpus
    assert parted(corpus, "aside") is corpus


def test_enough_of_the_text_that_ships_with_python_is_set_aside() -> None:
    corpus = corpus_of()
    assert isinstance(parted(corpus, "aside"), Part)
    lengths = Counter[bool]()
    for document in corpus.documents(0):
        lengths[is_set_aside(document)] += len(document.text)
    assert lengths[True] / sum(lengths.values()) == pytest.approx(1 / ONE_IN, rel=0.15)
