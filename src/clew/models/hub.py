"""Models from the Hugging Face hub: safetensors, config and tokenizer, never a pickle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BadModel, ClewError, NoSpace, Offline, UnknownModel
from .progress import Progress

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,99}", re.ASCII)
PATTERNS = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
]


def is_name(name: str) -> bool:
    """Whether `name` could be a hub id: `gpt2` or `owner/name`, no part of it a step up a folder."""
    return NAME.fullmatch(name) is not None and ".." not in name


def fetch(name: str, revision: str | None, folder: Path, progress: Progress | None = None) -> None:
    """Download a repository's files into `folder`. Raises UnknownModel, Offline, BadModel or NoSpace."""
    from huggingface_hub import HfApi, snapshot_download

    with telling("model", name, revision, UnknownModel, "clew models"):
        files = HfApi().model_info(name, revision=revision, files_metadata=True).siblings or []
        if not any(file.rfilename.endswith(".safetensors") for file in files):
            raise BadModel(
                f"{name}{_at(revision)} has no safetensors weights, and Clew never unpickles a file.",
                "Look for a converted copy, or convert it with transformers and load the folder.",
            )
        total = sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
        bar = None if progress is None else _reporting(progress, total)
        snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=PATTERNS, tqdm_class=bar)


@contextmanager
def telling(what: str, name: str, revision: str | None, unknown: type[ClewError], lists: str) -> Iterator[None]:
    """Says what is wrong with a repository, or with the hub. `lists` is the command that names what is here.

    Raises `unknown`, Offline or NoSpace.
    """
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise unknown(
            f"{name} is gated: its owner must let you in.",
            "Ask for access on its hub page, then set HF_TOKEN and try again.",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise unknown(
            f"There is no {what} {name!r}{_at(revision)} here or on the Hugging Face hub.",
            f"Check the spelling; {lists} names those that are here. A private one needs HF_TOKEN.",
        ) from error
    except (httpx2.HTTPError, HfHubHTTPError, ConnectionError, TimeoutError) as error:
        raise Offline(
            f"{name} is not here yet and the Hugging Face hub cannot be reached ({type(error).__name__}).",
            f"Check the network, then try again; {what}s that are here work offline.",
        ) from error
    except OSError as error:
        if error.errno == 28:
            raise NoSpace(f"The disk filled up while downloading {name}.", "Free some space and try again.") from error
        raise Offline(
            f"{name} could not be downloaded: {error}", "Check the network, then try again; what was fetched is kept."
        ) from error


def _at(revision: str | None) -> str:
    return "" if revision is None else f" at {revision}"


def _reporting(progress: Progress, total: int) -> Any:
    """A tqdm class that reports bytes to `progress` and draws nothing."""
    from tqdm.auto import tqdm

    class Reporting(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._bytes = options.get("unit") == "B"
            options["disable"] = True
            options.pop("name", None)
            super().__init__(*args, **options)
            self._done = 0

        def update(self, n: float | None = 1) -> bool | None:
            if self._bytes:
                self._done += int(n or 0)
                progress("download", min(self._done, total), total)
            return None

    return Reporting
