"""Text from datasets of the Hugging Face hub, streamed: nothing is downloaded beyond what is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from ..errors import BadCorpus, ClewError, Offline, UnknownCorpus
from .documents import Document, LeftOut, pieces, shuffled, text_column


@dataclass(frozen=True)
class HubText:
    """A dataset's split, in the order of the seed: its files shuffled, their rows mixed by a buffer.

    `name` is what `datasets.load_dataset` takes, `revision` a commit (`pinned` finds it), `config` one of the dataset's
    configurations. An origin is name#part:row: the file, counted from 0, and its row, from 1.
    """

    name: str
    column: str | None = None
    revision: str | None = None
    split: str = "train"
    config: str | None = None
    _left_out: LeftOut = field(default_factory=LeftOut, repr=False, compare=False)

    @property
    def description(self) -> str:
        at = "" if self.revision is None else f" at {self.revision[:12]}"
        return f"{self._short}{f', {self.config}' if self.config else ''}, {self.split}{at}"

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "kind": "dataset",
            "name": self._short,
            "config": self.config,
            "split": self.split,
            "revision": self.revision,
            "column": self.column,
        }

    def documents(self, seed: int, skip: int = 0) -> Iterator[Document]:
        return islice(self._documents(seed), skip, None)

    def notes(self) -> list[str]:
        return self._left_out.notes()

    @property
    def _short(self) -> str:
        """The name, of a folder only its last part."""
        return self.name.rsplit("/", 1)[-1] if self.name.startswith((".", "/")) else self.name

    def _documents(self, seed: int) -> Iterator[Document]:
        self._left_out.clear()
        random = Random(seed)
        some = False
        for document in shuffled(self._rows(random), random):
            some = True
            yield document
        if not some:
            raise BadCorpus(f"{self._short} holds no text in {self.split}.", " ".join(self.notes()))

    def _rows(self, random: Random) -> Iterator[Document]:
        datasets = _library()
        datasets.disable_progress_bars()
        try:
            stream = datasets.load_dataset(
                self.name, self.config, split=self.split, revision=self.revision, streaming=True
            )
            column = text_column(_columns(stream), self.column, self._short)
            stream = stream.select_columns([column])
            parts = list(range(stream.num_shards))
            random.shuffle(parts)
            for part in parts:
                for number, row in enumerate(stream.shard(len(parts), part), 1):
                    text = row[column]
                    if text is None or not text.strip():
                        self._left_out.empty_texts += 1
                        continue
                    origin = f"{self._short}#{part}:{number}"
                    yield from (Document(piece, origin) for piece in pieces([self._left_out.sound(text)]))
        except ClewError:
            raise
        except Exception as error:  # the library raises whatever its readers do
            raise _told(error, self._short) from error


def pinned(name: str, revision: str | None) -> str:
    """The commit that a branch, tag or commit of a dataset is now; without one, its main branch.

    Raises UnknownCorpus, Offline, or BadCorpus when the library that reads datasets is missing.
    """
    _library()
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(name, revision=revision).sha
    except Exception as error:
        raise _told(error, name if revision is None else f"{name} at {revision}") from error
    assert commit is not None
    return commit


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise BadCorpus(
            "Datasets of the Hugging Face hub are read with the datasets library, which is not installed.",
            "Install it with pip install 'clew[datasets]', or give a file or folder.",
        ) from error
    return datasets


def _columns(stream: Any) -> dict[str, bool]:
    """Whether each column of a stream holds strings, by its features or else its first row."""
    if stream.features is not None:
        return {
            name: getattr(feature, "dtype", None) in ("string", "large_string")
            for name, feature in stream.features.items()
        }
    first = next(iter(stream), {})
    return {name: isinstance(value, str) for name, value in first.items()}


def _told(error: Exception, name: str) -> ClewError:
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__

    def is_a(*kinds: type[BaseException]) -> bool:
        return any(isinstance(one, kinds) for one in chain)

    if is_a(GatedRepoError):
        return UnknownCorpus(
            f"{name} is gated: its owner must let you in.", "Ask for access on its hub page, then set HF_TOKEN."
        )
    if is_a(RepositoryNotFoundError, RevisionNotFoundError):
        return UnknownCorpus(
            f"There is no file, folder or dataset {name!r} here or on the Hugging Face hub.",
            "Check the spelling. A private dataset needs HF_TOKEN.",
        )
    if is_a(httpx2.HTTPError, HfHubHTTPError, ConnectionError, TimeoutError):
        return Offline(
            f"There is no file or folder {name!r}, and the Hugging Face hub cannot be asked for a dataset of that name"
            f" ({type(error).__name__}).",
            "Check the spelling and the network. Files, and the text that ships with Python, need none.",
        )
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return BadCorpus(f"{name} cannot be read: {reason}", "Check the split, the configuration and the files.")
