"""Corpora: what is read, in which order, what is left out and said to be, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.corpus import documents
from clew.corpus.documents import PIECE, Document, pieces
from clew.corpus.hub_text import HubText
from clew.corpus.texts import Corpus, corpus_of
from clew.errors import BadCorpus, Offline, UnknownCorpus, UsageError

JUNK = bytes(range(256)) * 8


def texts(corpus: Corpus, seed: int = 0, skip: int = 0) -> list[str]:
    return [document.text for document in corpus.documents(seed, skip)]


def refusal(name: Path, **options: str | None) -> str:
    """What reading a file or folder to its end is refused with."""
    with pytest.raises(BadCorpus) as refused:
        texts(corpus_of(str(name), **options))
    return str(refused.value)


def parquet(path: Path, columns: dict[str, Any], row_group_size: int | None = None) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size)
    return path


# Pieces and order


@given(st.lists(st.text(st.sampled_from("ab \n"), max_size=40), max_size=30), st.integers(2, 30))
def test_pieces_are_the_text(chunks: list[str], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE", size)
        found = list(pieces(chunks))
    assert "".join(found) == "".join(chunks)
    assert all(0 < len(piece) <= size for piece in found)
    for piece, after in pairwise(found):
        # Cut at a line's end or a space in the second half, unless there is none.
        half = (piece + after)[size // 2 : size]
        assert piece.endswith("\n") or ("\n" not in half and (piece.endswith(" ") or " " not in half))


def test_a_shuffle_holds_no_more_than_it_may() -> None:
    drawn = 0

    def source() -> Iterator[Document]:
        nonlocal drawn
        for number in range(3000):
            drawn += 1
            yield Document("x" * PIECE, str(number))

    seen = []
    for count, document in enumerate(documents.shuffled(source(), Random(0)), 1):
        seen.append(document.origin)
        if drawn < 3000:
            assert (drawn - count) * PIECE <= documents.HELD_CHARS
    assert sorted(seen, key=int) == [str(number) for number in range(3000)]
    assert seen != sorted(seen, key=int)


# The text that ships with Python


@pytest.fixture(scope="module")
def built_in() -> list[Document]:
    return list(corpus_of().documents(0))


def test_the_built_in_text_is_large_and_mixed(built_in: list[Document]) -> None:
    # SmolLM2 spells it with 3.83 characters a token.
    assert sum(len(document.text) for document in built_in) > 2_000_000 * 4
    assert max(len(document.text) for document in built_in) <= PIECE
    head = built_in[:1000]
    code = sum(len(document.text) for document in head if document.origin.endswith(".py"))
    prose = sum(len(document.text) for document in head) - code
    assert abs(code - prose) <= PIECE
    origins = {document.origin for document in built_in}
    assert {"textwrap.dedent", "pydoc_data.topics: with", "argparse.py", "email.message.Message.get_payload"} <= origins
    unwanted = re.compile(r"(^|[/.])tests?[/.]|site-packages|_sysconfigdata|^/")
    assert not [origin for origin in origins if unwanted.search(origin)]
    assert corpus_of().notes() == []


def test_a_docstring_is_whole_and_not_in_the_source_as_well(built_in: list[Document]) -> None:
    [docstring] = [document.text for document in built_in if document.origin == "textwrap.dedent"]
    assert docstring == textwrap.dedent.__doc__.strip().replace("\n    ", "\n")  # type: ignore[union-attr]
    source = "".join(document.text for document in built_in if document.origin == "textwrap.py")
    assert "def dedent(text):\n" in source
    assert "Remove any common leading whitespace from every line" not in source


def test_the_built_in_text_depends_on_the_seed_alone(built_in: list[Document]) -> None:
    again = corpus_of("python")
    assert list(again.documents(0, skip=4)) == built_in[4:]
    other = list(again.documents(1))
    assert other != built_in
    assert sorted(other, key=str) == sorted(built_in, key=str)
    assert again.identity == corpus_of().identity
    assert str(Path(sys.prefix)) not in json.dumps(again.identity) + again.description


# Files


def test_a_folder_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"\xef\xbb\xbfOne\r\ntwo \xe2\x88\x9e.\r\n")
    (folder / "deep" / "b.md").write_text("# Three\n")
    (folder / "deep" / "c.jsonl").write_text('{"text": "four"}\n\n{"text": null}\n{"text": "five\\ud83d!"}')
    parquet(folder / "d.parquet", {"id": ["x"], "text": ["six"]})
    (folder / ".hidden.txt").write_text("no")
    (folder / "deep" / ".hidden" / "e.txt").write_text("no")
    (folder / "junk.bin").write_bytes(JUNK)
    (folder / "latin.txt").write_bytes("é".encode("latin-1"))
    (folder / "empty.txt").touch()
    (folder / "blank.txt").write_text("\n \n")
    (folder / "empty.parquet").touch()
    corpus = corpus_of(str(folder))
    assert {(document.text, document.origin) for document in corpus.documents(0)} == {
        ("One\ntwo ∞.\n", "mixed/a.txt"),
        ("# Three\n", "mixed/deep/b.md"),
        ("four", "mixed/deep/c.jsonl:1"),
        ("five\ufffd!", "mixed/deep/c.jsonl:4"),
        ("six", "mixed/d.parquet:1"),
    }
    notes = [
        "3 empty files and 2 binary files were left out.",
        "1 row without any text was left out.",
        "In 1 text halves of characters were replaced by U+FFFD.",
    ]
    assert corpus.notes() == notes
    texts(corpus)
    assert corpus.notes() == notes, "counted anew"
    assert corpus.description == "mixed (9 files)"


def test_links_are_followed_once(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("one")
    (folder / "here").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.txt").symlink_to(tmp_path / "gone")
    assert list(corpus_of(str(folder)).documents(0)) == [Document("one", "corpus/again/a.txt")]


def test_the_order_of_files_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    corpus = corpus_of(str(tmp_path))
    first = texts(corpus)
    assert texts(corpus_of(str(tmp_path))) == first
    assert texts(corpus, skip=20) == first[20:]
    assert texts(corpus, seed=1) != first
    assert sorted(texts(corpus, seed=1)) == sorted(first) != first


def test_a_large_file_is_mixed(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    file.write_text("".join(f'{{"text": "{number}"}}\n' for number in range(3000)))
    head = [int(text) for text in texts(corpus_of(str(file)))[:300]]
    assert min(head) < 100
    assert 900 < max(head) <= 1300


def test_the_identity_knows_of_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    os.utime(file, ns=(0, 10**18))
    before = corpus_of(str(tmp_path)).identity
    assert str(tmp_path) not in json.dumps(before)
    assert corpus_of(str(tmp_path)).identity == before
    file.write_text("two")
    os.utime(file, ns=(0, 10**18 + 1))
    assert corpus_of(str(tmp_path)).identity != before


def test_a_column_is_named_or_clear(tmp_path: Path) -> None:
    table = {"id": [1, 2], "title": ["a", "b"], "body": ["c", None]}
    file = parquet(tmp_path / "t.parquet", table)
    assert sorted(texts(corpus_of(str(file), column="title"))) == ["a", "b"]
    one = corpus_of(str(file), column="body")
    assert texts(one) == ["c"]
    assert one.notes() == ["1 row without any text was left out."]
    assert "several columns of strings" in refusal(file)
    assert "--column: 'title', 'body'" in refusal(file)
    assert "no column 'text'. It has 'title', 'body'." in refusal(file, column="text")
    assert "Column 'id' of t.parquet does not hold strings" in refusal(file, column="id")
    assert "no column of strings" in refusal(parquet(tmp_path / "n.parquet", {"id": [1]}))
    dictionary = pa.array(["x", "y", "x"]).dictionary_encode()
    assert sorted(texts(corpus_of(str(parquet(tmp_path / "d.parquet", {"only": dictionary}))))) == ["x", "x", "y"]

    lines = tmp_path / "t.jsonl"
    lines.write_text('{"id": 1, "title": "a", "body": "b"}\n{"id": 2, "body": "c"}\n')
    assert sorted(texts(corpus_of(str(lines), column="body"))) == ["b", "c"]
    assert "t.jsonl:1 has several columns" in refusal(lines)
    assert "t.jsonl:2 has no column 'title'. It has 'body'." in refusal(lines, column="title")
    assert "Column 'id' of t.jsonl:1" in refusal(lines, column="id")

    (tmp_path / "plain.txt").write_text("text")
    assert "no column 'body'" in refusal(tmp_path / "plain.txt", column="body")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not json", "is not a line of JSON"),
        (b'{"text": "cut', "is not a line of JSON"),
        (b'["text"]', "is not a JSON object"),
        (b"[" * 100_000, "is not a line of JSON"),
        (b'{"text": "caf\xe9"}', "is not a line of JSON"),
        (b'{"text": 5}', "does not hold strings"),
        (b"{}", "has no column 'text'"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    file = tmp_path / "f.jsonl"
    # Far enough in that the head of the file is sound.
    file.write_bytes(b'{"text": "%s"}\n' % (b"x" * 70_000) + b'{"text": "b"}\n' + line + b"\n")
    message = refusal(file, column="text")
    assert message.startswith(("f.jsonl:3 ", "Column 'text' of f.jsonl:3 "))
    assert said in message


def test_a_file_that_is_no_text_is_refused_when_alone(tmp_path: Path) -> None:
    junk, empty, blank = tmp_path / "junk.txt", tmp_path / "empty.txt", tmp_path / "blank.txt"
    junk.write_bytes(JUNK)
    empty.touch()
    blank.write_text(" \n")
    assert "junk.txt is not UTF-8 text" in refusal(junk)
    assert "empty.txt is empty" in refusal(empty)
    assert "blank.txt holds no text" in refusal(blank)
    utf16 = tmp_path / "utf16.txt"
    utf16.write_text("Windows", encoding="utf-16")
    assert "utf16.txt is not UTF-8 text" in refusal(utf16)


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    assert "holds no text file" in refusal(tmp_path)
    (tmp_path / "empty.txt").touch()
    assert "holds no text file" in refusal(tmp_path)
    (tmp_path / "junk").write_bytes(JUNK)
    assert "holds no text. 1 empty file and 1 binary file were left out." in refusal(tmp_path)


@pytest.mark.parametrize("bad", [b"\xff", b"\0"])
def test_a_file_that_stops_being_text(tmp_path: Path, bad: bytes) -> None:
    file = tmp_path / "half.txt"
    file.write_bytes(b"good text\n" * 30_000 + bad + b"good text\n" * 30_000)
    assert "half.txt begins as UTF-8 text" in refusal(file)
    (tmp_path / "other.txt").write_text("other")
    corpus = corpus_of(str(tmp_path))
    found = texts(corpus)
    assert "other" in found
    assert 200_000 < sum(map(len, found)) <= 300_005
    assert corpus.notes() == [f"{tmp_path.name}/half.txt was read up to its first byte that is not text."]


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_parquet_file_that_is_cut_short(tmp_path: Path, kept: float) -> None:
    file = parquet(tmp_path / "t.parquet", {"text": [f"text {number}" for number in range(5000)]})
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept)])
    assert "t.parquet is not a whole Parquet file" in refusal(file)
    broken = bytearray(whole)
    broken[len(whole) // 3 : len(whole) // 2] = Random(0).randbytes(len(whole) // 2 - len(whole) // 3)
    file.write_bytes(broken)
    assert "t.parquet is not a whole Parquet file" in refusal(file)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("text")
    corpus = corpus_of(str(tmp_path))
    file.unlink()
    with pytest.raises(BadCorpus, match=r"a\.txt cannot be read: No such file"):
        texts(corpus)


_MEASURED = """
import re, sys
from pathlib import Path
from clew.corpus.texts import corpus_of
from clew.errors import ClewError
corpus = corpus_of(sys.argv[1])
def peak():
    # Unlike getrusage's, not inherited from the process that started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
try:
    said = sum(len(document.text) for document in corpus.documents(0))
except ClewError as error:
    said = str(error)
print((peak() - before) // 1024, said)
"""


linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@linux
@pytest.mark.parametrize(
    ("name", "content", "said", "mb"),
    [
        ("line.txt", b"word " * 10_000_000, "50000000", 20),
        ("solid.txt", b"x" * 50_000_000, "50000000", 20),
        ("line.jsonl", b"word " * 10_000_000, "line.jsonl:1 is not a line of JSON", 150),
        ("large.jsonl", b'{"text": "%s"}' % (b"word " * 10_000_000), "50000000", 220),
        ("huge.jsonl", b"word " * 15_000_000, "huge.jsonl:1 is longer than 64 MB", 200),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_a_single_long_line(tmp_path: Path, name: str, content: bytes, said: str, mb: int) -> None:
    """What is held: for text a buffer of 4 million characters; for JSON the line, its text and copies of either."""
    file = tmp_path / name
    file.write_bytes(content)
    run = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    taken, _, rest = run.stdout.partition(" ")
    assert rest.startswith(said)
    assert int(taken) < mb


@linux
def test_a_large_parquet_file_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """One row group of 200 MB, whose pages hold some megabytes each."""
    rows = [os.urandom(2500).hex() for _ in range(40_000)]
    file = parquet(tmp_path / "large.parquet", {"text": rows}, row_group_size=len(rows))
    run = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    taken, _, rest = run.stdout.partition(" ")
    assert rest.strip() == "200000000"
    assert int(taken) < 80


# Names


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.txt")
    for name in ("./nothing", missing, "corpus.jsonl", "", "a\0b", "x/y/z", "../..x", "~nobody/x", "x" * 5000):
        with pytest.raises(UnknownCorpus):
            corpus_of(name)
    with pytest.raises(UsageError, match="ships with Python has no column"):
        corpus_of(column="text")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UsageError, match="has no revision"):
        corpus_of(str(tmp_path), revision="main")


def test_a_dataset_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Offline, match="no file or folder 'nobody/nothing', and the Hugging Face hub cannot be asked"):
        corpus_of("nobody/nothing")


def test_a_dataset_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadCorpus, match=r"clew\[datasets\]"):
        corpus_of("nobody/nothing")


# Datasets, streamed by their library from a folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "stories"
    folder.mkdir()
    for part in range(3):
        rows = [f"story {part}.{number}" for number in range(100)]
        parquet(folder / f"train-{part:05d}-of-00003.parquet", {"story": rows, "length": list(range(100))})
    parquet(folder / "test-00000-of-00001.parquet", {"story": ["last", None, ""], "length": [4, 0, 0]})
    return folder


def test_a_dataset_is_streamed(dataset: Path) -> None:
    corpus = HubText(str(dataset))
    found = list(corpus.documents(0))
    assert {document.text for document in found} == {f"story {part}.{row}" for part in range(3) for row in range(100)}
    for document in found:
        part, row = document.text.removeprefix("story ").split(".")
        assert document.origin == f"stories#{part}:{int(row) + 1}"
    assert list(HubText(str(dataset)).documents(0, skip=123)) == found[123:]
    assert [document.text for document in HubText(str(dataset)).documents(1)] != [document.text for document in found]
    other = HubText(str(dataset), split="test")
    assert texts(other) == ["last"]
    assert other.notes() == ["2 rows without any text were left out."]
    assert other.description == "stories, test"


def test_a_dataset_is_read_no_further_than_needed(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "HELD_DOCUMENTS", 10)
    (dataset / "train-00002-of-00003.parquet").write_bytes(b"PAR1 cut short")
    for seed in range(20):
        corpus = HubText(str(dataset))
        try:
            assert len(list(islice(corpus.documents(seed), 50))) == 50
        except BadCorpus:
            continue
        return
    pytest.fail("no order in which the broken part is not the first")


def test_a_dataset_that_cannot_be_read(dataset: Path) -> None:
    for corpus, said in (
        (HubText(str(dataset), column="length"), "Column 'length' of stories does not hold strings"),
        (HubText(str(dataset), column="text"), "stories has no column 'text'. It has 'story'."),
        (HubText(str(dataset), split="nowhere"), "nowhere"),
        (HubText(str(dataset), config="nothing"), "nothing"),
    ):
        with pytest.raises(BadCorpus, match=re.escape(said)):
            texts(corpus)
