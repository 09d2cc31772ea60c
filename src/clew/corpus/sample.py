"""The first contexts of a corpus, read to see how long it takes, and gone again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..disk import on_disk
from ..models.subject import SubjectModel
from .contexts import Contexts, read_contexts
from .documents import Corpus


@dataclass(frozen=True)
class Sample:
    """Contexts that lie in a folder for now. Tokens had been `read` after so many seconds."""

    contexts: Contexts
    read: tuple[tuple[float, int], ...]
    bytes: int

    def seconds(self, total: int) -> float:
        """What it would take to read so many tokens: a corpus may take a while to open."""
        (first, some), (last, more) = self.read[0], self.read[-1]
        rate = (last - first) / (more - some) if more > some else first / some
        return first + rate * (total - some)

    @property
    def bytes_per_token(self) -> float:
        """On disk."""
        return self.bytes / self.read[-1][1]


@contextmanager
def sampled(
    beside: Path, subject: SubjectModel, corpus: Corpus, *, contexts: int, length: int, bos: bool, seed: int
) -> Iterator[Sample]:
    """The first contexts as `read_contexts` reads them, in a folder beside another one while the block runs.

    Raises what `read_contexts` raises.
    """
    folder = beside.with_name(f".probing-{beside.name}")
    with on_disk(folder.parent):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        started = time.perf_counter()
        steps = read_contexts(
            folder, subject, corpus,
            tokens=contexts * length, length=length, bos=bos, seed=seed, shard=max(1, contexts // 3),
        )  # fmt: skip
        read = tuple((time.perf_counter() - started, done) for done in steps)
        size = sum(path.stat().st_size for path in folder.iterdir())
        yield Sample(Contexts.open(folder), read, size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
