"""Contexts: no token is lost, an interrupted reading leaves the bytes of an undisturbed one, damage is found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from clew.corpus.contexts import Contexts, joined, read_contexts
from clew.corpus.documents import Document
from clew.corpus.packing import Place, pack
from clew.corpus.texts import Corpus, corpus_of
from clew.errors import BadCorpus, CorpusTooShort, NoSpace, UsageError
from clew.models.subject import SubjectModel
from tests.families import subject_of, tiny_hf
from tests.tiny import tokenizer

LENGTH, SHARD = 16, 5


@pytest.fixture(scope="module")
def subject() -> SubjectModel:
    return subject_of(tiny_hf("llama"), tokenizer())


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Documents of 0 to 60 words: some shorter than a context, some several contexts long."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(" ".join(f"word{number}" for _ in range(number * 7 % 61)))
    return corpus_of(str(folder))


def read(folder: Path, subject: SubjectModel, corpus: Corpus, **changed: Any) -> list[int]:
    options: dict[str, Any] = {"tokens": 400, "length": LENGTH, "bos": False, "seed": 0, "shard": SHARD, **changed}
    return list(read_contexts(folder, subject, corpus, **options))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def stream(subject: SubjectModel, corpus: Corpus, seed: int = 0) -> list[int]:
    """All tokens, an end token after every document."""
    ids = (subject.encode(document.text, special=False) for document in corpus.documents(seed))
    end = subject.tokenizer.eos_token_id
    assert isinstance(end, int)
    return [token for text in ids for token in (*text, end)]


# Packing


@given(st.lists(st.integers(0, 12), max_size=20), st.integers(1, 9), st.data())
@example([0, 0, 3, 0], 3, None)
def test_packing_loses_no_token(lengths: list[int], size: int, data: Any) -> None:
    ends = np.cumsum([0, *lengths])
    texts = [np.arange(start, end, dtype=np.int32) for start, end in pairwise(ends)]
    documents = [(text, str(number)) for number, text in enumerate(texts)]
    whole = list(pack(documents, size, Place()))
    total = sum(lengths)
    assert len(whole) == total // size
    assert [token for context in whole for token in context.tokens] == list(range(total - total % size))
    for context in whole:
        first = context.tokens[0]
        assert ends[int(context.origin)] <= first < ends[int(context.origin) + 1]
        # The place after a context is where its tokens end.
        end = context.end
        assert ends[end.documents] + end.tokens == context.tokens[-1] + 1
    if whole and data is not None:
        # Going on from any place gives the rest.
        done = data.draw(st.integers(1, len(whole)))
        place = whole[done - 1].end
        again = list(pack(documents[place.documents :], size, place))
        assert [(c.tokens.tolist(), c.origin, c.end) for c in again] == [
            (c.tokens.tolist(), c.origin, c.end) for c in whole[done:]
        ]


def test_contexts_are_the_stream(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    done = read(tmp_path / "out", subject, corpus)
    assert done == [80, 160, 240, 320, 400]
    contexts = Contexts.open(tmp_path / "out")
    assert (len(contexts), contexts.length, contexts.notes) == (25, LENGTH, corpus.notes())
    expected = stream(subject, corpus)
    assert np.concatenate([contexts.tokens(i) for i in range(25)]).tolist() == expected[:400]
    assert contexts.tokens(7).dtype == np.int32
    texts = {document.origin: document.text for document in corpus.documents(0)}
    for i in range(25):
        first = contexts.tokens(i)[0]
        assert first in (*subject.encode(texts[contexts.origin(i)], special=False), subject.tokenizer.eos_token_id)


def test_contexts_with_a_start_token(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    read(tmp_path / "out", subject, corpus, bos=True)
    contexts = Contexts.open(tmp_path / "out")
    batch = contexts.batch(0, len(contexts))
    assert batch.shape == (25, LENGTH)
    assert (batch[:, 0] == subject.bos_id).all()
    assert batch[:, 1:].flatten().tolist() == stream(subject, corpus)[: 25 * (LENGTH - 1)]


def test_a_model_without_an_end_token(tmp_path: Path, corpus: Corpus) -> None:
    words = tokenizer()
    words.eos_token = None
    words.bos_token = None
    subject = subject_of(tiny_hf("llama"), words)
    read(tmp_path / "out", subject, corpus)
    texts = [document.text for document in corpus.documents(0)]
    expected = [token for text in texts for token in (*subject.encode(text), *subject.encode("\n"))]
    assert Contexts.open(tmp_path / "out").batch(0, 25).flatten().tolist() == expected[:400]
    with pytest.raises(UsageError, match="no start token"):
        read(tmp_path / "out", subject, corpus, bos=True)


def test_seeds_give_other_contexts(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        read(tmp_path / name, subject, corpus, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not torch.equal(Contexts.open(tmp_path / "a").batch(0, 25), Contexts.open(tmp_path / "c").batch(0, 25))


# Going on


@pytest.mark.parametrize("tokens", [400, 390, 64, 100_000], ids=["whole files", "part", "one file", "all there is"])
def test_an_interrupted_reading_gives_the_same_bytes(
    tmp_path: Path, subject: SubjectModel, corpus: Corpus, tokens: int
) -> None:
    read(tmp_path / "undisturbed", subject, corpus, tokens=tokens)
    expected = files(tmp_path / "undisturbed")
    options: dict[str, Any] = {"tokens": tokens, "length": LENGTH, "bos": False, "seed": 0, "shard": SHARD}
    for stop in range(0, len(expected) + 1, len(expected) // 10 + 1):
        folder = tmp_path / f"stopped-{stop}"
        reading = read_contexts(folder, subject, corpus, **options)
        before = list(islice(reading, stop))
        del reading
        folder.mkdir(exist_ok=True)
        # What a kill in the middle of a writing leaves.
        (folder / f"contexts-{stop:05d}.arrow.partial").write_bytes(b"half")
        after = read(folder, subject, corpus, tokens=tokens)
        assert after[: len(before)] == before
        assert len(after) == len(expected)
        assert files(folder) == expected


class Dying:
    """A corpus that dies after so many documents, as a power cut or a broken file would have it."""

    def __init__(self, corpus: Corpus, after: int) -> None:
        self.corpus, self.after = corpus, after
        self.description, self.identity, self.notes = corpus.description, corpus.identity, corpus.notes

    def documents(self, seed: int, skip: int = 0) -> Iterator[Document]:
        for number, document in enumerate(self.corpus.documents(seed, skip), skip):
            if number == self.after:
                raise BadCorpus("The corpus died.")
            yield document


def test_a_reading_that_fails_anywhere_goes_on(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    read(tmp_path / "undisturbed", subject, corpus, tokens=100_000)
    expected = files(tmp_path / "undisturbed")
    folder = tmp_path / "dying"
    tokens = 0
    for after, document in enumerate(corpus.documents(0)):
        with pytest.raises(BadCorpus, match="died"):
            read(folder, subject, Dying(corpus, after), tokens=100_000)
        there = files(folder) if folder.exists() else {}
        assert there == dict(list(expected.items())[: len(there)])
        # A file is written when the first context after it is full.
        assert len(there) == max(tokens // LENGTH - 1, 0) // SHARD
        tokens += len(subject.encode(document.text, special=False)) + 1
    read(folder, subject, corpus, tokens=100_000)
    assert files(folder) == expected


_READ = """
import sys
from pathlib import Path
from clew.corpus.contexts import read_contexts
from clew.corpus.texts import corpus_of
from tests.families import subject_of, tiny_hf
from tests.tiny import tokenizer
subject = subject_of(tiny_hf("llama"), tokenizer())
corpus = corpus_of(sys.argv[2])
print("ready", flush=True)
for done in read_contexts(
    Path(sys.argv[1]), subject, corpus, tokens=200_000, length=16, bos=False, seed=0, shard=100
):
    pass
"""


def test_a_killed_reading_gives_the_same_bytes(tmp_path: Path, subject: SubjectModel) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"Line {number} of a long text.\n" for number in range(20_000)))

    def start() -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", _READ, str(tmp_path / "killed"), str(text)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    options: dict[str, Any] = {"tokens": 200_000, "length": 16, "bos": False, "seed": 0, "shard": 100}
    list(read_contexts(tmp_path / "undisturbed", subject, corpus_of(str(text)), **options))
    with start() as process:
        while process.poll() is None and not (tmp_path / "killed" / "contexts-00030.arrow").exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    expected, there = files(tmp_path / "undisturbed"), len(list((tmp_path / "killed").glob("*.arrow")))
    assert 30 < there < len(expected) == 125
    list(read_contexts(tmp_path / "killed", subject, corpus_of(str(text)), **options))
    assert files(tmp_path / "killed") == expected


def test_asking_for_more_or_fewer_tokens(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    folder = tmp_path / "out"
    for tokens in (64, 160, 400, 390, 100_000, 200_000, 80):
        read(folder, subject, corpus, tokens=tokens)
        read(tmp_path / str(tokens), subject, corpus, tokens=tokens)
        assert files(folder) == files(tmp_path / str(tokens))


def test_nothing_is_written_twice(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    folder = tmp_path / "out"
    read(folder, subject, corpus)
    times = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    assert read(folder, subject, corpus) == [80, 160, 240, 320, 400]
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == times


@pytest.mark.parametrize("damage", ["cut", "empty", "edited", "exchanged", "gone", "junk"])
@pytest.mark.parametrize("index", [0, 2, 4])
def test_damage_is_found_and_mended(
    tmp_path: Path, subject: SubjectModel, corpus: Corpus, damage: str, index: int
) -> None:
    folder = tmp_path / "out"
    read(folder, subject, corpus)
    expected = files(folder)
    path = sorted(folder.iterdir())[index]
    content = path.read_bytes()
    token = Contexts.open(folder).tokens(index * SHARD + 3).tobytes()
    changed = {
        "cut": content[: len(content) * 2 // 3],
        "empty": b"",
        "edited": content.replace(token, token[4:] + token[:4]),
        "exchanged": expected["contexts-00001.arrow"],
        "junk": b"\0" * len(content),
    }
    if damage == "gone":
        path.unlink()
    else:
        assert changed[damage] != content
        path.write_bytes(changed[damage])
    if damage in ("cut", "empty", "junk"):
        with pytest.raises(BadCorpus, match=f"{path.name} is damaged"):
            Contexts.open(folder)
    if damage == "gone":
        with pytest.raises(BadCorpus, match="not complete"):
            Contexts.open(folder)
    assert read(folder, subject, corpus) == [80, 160, 240, 320, 400]
    assert files(folder) == expected


def test_an_edited_byte_is_found_wherever_it_is(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    folder = tmp_path / "out"
    read(folder, subject, corpus, tokens=64)
    [path] = folder.iterdir()
    content = path.read_bytes()
    whole = Contexts.open(folder)
    expected = [(whole.tokens(i).tolist(), whole.origin(i)) for i in range(len(whole))]
    del whole
    refused = 0
    for position in range(0, len(content), 11):
        edited = bytearray(content)
        edited[position] ^= 1 << position % 8
        path.unlink()
        path.write_bytes(edited)
        try:
            contexts = Contexts.open(folder)
            assert [(contexts.tokens(i).tolist(), contexts.origin(i)) for i in range(len(contexts))] == expected
        except BadCorpus:
            refused += 1
        assert read(folder, subject, corpus, tokens=64) == [64]
        assert path.read_bytes() == content
    # The others are in bytes that nothing reads.
    assert refused > len(content) // 11 // 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"length": 8}, {"bos": True}, {"shard": 6}, {"corpus": "other"}])
def test_a_folder_of_other_contexts_is_left_alone(
    tmp_path: Path, subject: SubjectModel, corpus: Corpus, change: dict[str, Any]
) -> None:
    folder = tmp_path / "out"
    read(folder, subject, corpus)
    before = files(folder)
    if change.pop("corpus", None):
        (tmp_path / "other.txt").write_text("Another text. " * 500)
        corpus = corpus_of(str(tmp_path / "other.txt"))
    with pytest.raises(UsageError, match="another corpus or in another way"):
        read(folder, subject, corpus, **change)
    assert files(folder) == before


# What cannot be read


def test_a_short_corpus_says_so(tmp_path: Path, subject: SubjectModel) -> None:
    file = tmp_path / "short.txt"
    file.write_text("word " * 10)
    count = len(subject.encode(file.read_text())) + 1
    assert 32 < count < 64
    assert read(tmp_path / "out", subject, corpus_of(str(file)), length=16) == [count // 16 * 16]
    [note] = Contexts.open(tmp_path / "out").notes
    assert note == f"The corpus ended after {count // 16 * 16} of the 400 tokens asked for."
    with pytest.raises(CorpusTooShort, match="64 tokens"):
        read(tmp_path / "long", subject, corpus_of(str(file)), length=64)
    assert not (tmp_path / "long").exists()


def test_notes_are_kept(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    (tmp_path / "corpus" / "junk").write_bytes(b"\0\1\2")
    corpus = corpus_of(str(tmp_path / "corpus"))
    read(tmp_path / "out", subject, corpus, tokens=100_000)
    notes = Contexts.open(tmp_path / "out").notes
    assert notes[0] == "1 empty file and 1 binary file were left out."
    assert notes[1].startswith("The corpus ended after ")


def test_numbers_that_cannot_be(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    for change in ({"tokens": 0}, {"length": 0}, {"length": 1, "bos": True}, {"length": 65}, {"shard": 0}):
        with pytest.raises(UsageError):
            read(tmp_path / "out", subject, corpus, **change)
    assert not (tmp_path / "out").exists()


def test_a_full_disk(tmp_path: Path, subject: SubjectModel, corpus: Corpus, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("32k")
    filler = disk / "filler"
    filler.write_bytes(b"\0" * 16_384)
    with pytest.raises(NoSpace, match="full; all that was complete is kept"):
        read(disk / "out", subject, corpus, tokens=100_000)
    read(tmp_path / "undisturbed", subject, corpus, tokens=100_000)
    expected = files(tmp_path / "undisturbed")
    there = files(disk / "out")
    assert 0 < len(there) < len(expected)
    assert there == dict(list(expected.items())[: len(there)])
    filler.unlink()
    with pytest.raises(NoSpace):
        read(disk / "out", subject, corpus, tokens=100_000)
    assert len(files(disk / "out")) > len(there)
    small_disk("1m")
    read(disk / "out", subject, corpus, tokens=100_000)
    assert files(disk / "out") == expected


def test_a_folder_that_cannot_be_written(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(NoSpace, match="cannot be written to"):
        read(tmp_path / "out" / "contexts", subject, corpus)


def test_a_corpus_that_shrinks(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    class Shrunk(Dying):
        def documents(self, seed: int, skip: int = 0) -> Iterator[Document]:
            return islice(self.corpus.documents(seed, skip), max(self.after - skip, 0))

    reading = read_contexts(
        tmp_path / "out", subject, corpus, tokens=400, length=LENGTH, bos=False, seed=0, shard=SHARD
    )
    assert list(islice(reading, 2)) == [80, 160]
    with pytest.raises(BadCorpus, match="shorter than it was"):
        read(tmp_path / "out", subject, Shrunk(corpus, 0))


# Access


def test_one_file_of_all(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    read(tmp_path / "a", subject, corpus, tokens=100_000)
    read(tmp_path / "b", subject, corpus, tokens=100_000, shard=7)
    for name in ("a", "b"):
        joined(tmp_path / name, tmp_path / f"{name}.arrow")
    assert (tmp_path / "a.arrow").read_bytes() == (tmp_path / "b.arrow").read_bytes()
    apart, whole = Contexts.open(tmp_path / "a"), Contexts.open(tmp_path / "a.arrow")
    assert len(apart) == len(whole) > 30
    assert (apart.length, apart.notes) == (whole.length, whole.notes)
    for i in range(len(whole)):
        assert (apart.tokens(i) == whole.tokens(i)).all()
        assert apart.origin(i) == whole.origin(i)
    (tmp_path / "a.arrow").write_bytes((tmp_path / "a.arrow").read_bytes()[:-300])
    with pytest.raises(BadCorpus, match=r"a\.arrow is damaged"):
        Contexts.open(tmp_path / "a.arrow")
    with pytest.raises(BadCorpus, match="holds no contexts"):
        Contexts.open(tmp_path / "corpus")


def test_batches_of_one_file_are_of_one_size(tmp_path: Path, subject: SubjectModel) -> None:
    file = tmp_path / "text.txt"
    file.write_text("When Mary and John went to the store. " * 3000)
    read(tmp_path / "out", subject, corpus_of(str(file)), tokens=20_000, length=8, shard=300)
    joined(tmp_path / "out", tmp_path / "one.arrow")
    with pa.memory_map(str(tmp_path / "one.arrow")) as source, pa.ipc.open_file(source) as reader:
        assert [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)] == [1024, 1024, 452]
    apart, whole = Contexts.open(tmp_path / "out"), Contexts.open(tmp_path / "one.arrow")
    for first, n in ((0, 2500), (0, 1), (299, 2), (1023, 300), (2499, 1), (2490, 100), (700, 900)):
        expected = np.stack([whole.tokens(i) for i in range(first, min(first + n, 2500))])
        for contexts in (apart, whole):
            batch = contexts.batch(first, n)
            assert batch.dtype == torch.int64
            assert batch.tolist() == expected.tolist()
    for contexts in (apart, whole):
        for i in (-1, 2500):
            with pytest.raises(IndexError):
                contexts.tokens(i)
            with pytest.raises(IndexError):
                contexts.origin(i)
        with pytest.raises(IndexError):
            contexts.batch(2500, 1)
        with pytest.raises(ValueError, match="read-only"):
            contexts.tokens(0)[0] = 1


def test_the_files_say_what_they_are_of(tmp_path: Path, subject: SubjectModel, corpus: Corpus) -> None:
    read(tmp_path / "out", subject, corpus)
    with pa.memory_map(str(tmp_path / "out" / "contexts-00002.arrow")) as source, pa.ipc.open_file(source) as reader:
        assert reader.schema.names == ["tokens", "origin"]
        assert reader.schema.field("tokens").type == pa.list_(pa.field("item", pa.int32(), nullable=False), LENGTH)
        metadata = json.loads(reader.schema.metadata[b"clew"])
    assert metadata["reading"]["corpus"] == corpus.identity
    assert (metadata["index"], metadata["contexts"], metadata["last"]) == (2, SHARD, None)
    end = SimpleNamespace(**metadata["end"])
    texts = [subject.encode(document.text, special=False) for document in islice(corpus.documents(0), end.documents)]
    assert sum(len(text) + 1 for text in texts) + end.tokens == 15 * LENGTH
