"""Where text comes from: a name, a file or a folder turned into a corpus."""

from __future__ import annotations

from pathlib import Path

from ..errors import UnknownCorpus, UsageError
from ..models import hub
from .documents import Corpus, Document
from .hub_text import HubText, pinned
from .python_text import PythonText
from .text_files import TextFiles

__all__ = ["BUILT_IN", "Corpus", "Document", "corpus_of"]

BUILT_IN = "python"


def corpus_of(
    name: str | None = None,
    *,
    column: str | None = None,
    revision: str | None = None,
    split: str | None = None,
    config: str | None = None,
) -> Corpus:
    """The corpus of a name.

    None or "python": the text that ships with Python. A path: a file or folder of plain text, JSON lines (.jsonl) or
    Parquet, `column` naming the column of these. Else a dataset of the Hugging Face hub, of which `revision` (main),
    `split` (train) and `config` choose what is read.
    Raises UnknownCorpus, BadCorpus, Offline; UsageError for options that mean nothing for the corpus.
    """
    given = {"revision": revision, "split": split, "config": config}
    if name is None or name == BUILT_IN:
        _refuse({"column": column, **given}, "The text that ships with Python")
        return PythonText()
    if not name or "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
        raise UnknownCorpus(f"{name!r} is not the name of a corpus.", "Give a file, a folder or a dataset's name.")
    try:
        path = Path(name).expanduser()
        is_there = path.is_file() or path.is_dir()
    except (OSError, RuntimeError):  # a name longer than the file system allows, or the home of an unknown user
        path, is_there = Path(name), False
    if is_there:
        _refuse(given, f"{name} is on this machine and")
        return TextFiles(path, column)
    if not hub.is_name(name) or path.suffix.lower() in (".txt", ".md", ".jsonl", ".ndjson", ".parquet"):
        raise UnknownCorpus(
            f"There is no file or folder {name!r}.",
            "Give one, or a Hugging Face dataset such as roneneldan/TinyStories, or nothing for Python's own text.",
        )
    return HubText(name, column, pinned(name, revision), split or "train", config)


def _refuse(options: dict[str, str | None], whose: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{whose} has no {option}.", f"Leave out the {option}.")
