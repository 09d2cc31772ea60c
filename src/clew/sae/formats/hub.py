"""Autoencoders of the Hugging Face hub, kept in its own cache: what is there already is read without a network."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from ...errors import Offline, UnknownAutoencoder
from ...models.hub import REVISION, is_name, telling


def split(reference: str) -> tuple[str, str]:
    """The repository and the folder or file in it that owner/name/sub/folder names. Raises UnknownAutoencoder."""
    parts = reference.split("/")
    repository, inside = "/".join(parts[:2]), parts[2:]
    if len(parts) < 2 or not is_name(repository) or any(part in ("", ".", "..") or "\\" in part for part in inside):
        raise UnknownAutoencoder(
            f"There is no autoencoder {reference[:200]!r}.",
            "Give a folder, a file, a name that clew sae list shows, or a hub repository such as owner/name/layers.5.",
        )
    return repository, "/".join(inside)


def listed(repository: str, revision: str | None) -> tuple[bool, list[str]]:
    """Whether the hub can be reached, and the files of a repository; if it cannot, those of them that are kept here.

    Raises UnknownAutoencoder, or Offline when nothing is kept.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
        raise UnknownAutoencoder(f"{revision[:200]!r} is not a revision.", "Give a branch, tag or commit.")
    try:
        with _telling(repository, revision):
            files = HfApi().model_info(repository, revision=revision).siblings or []
            return True, [file.rfilename for file in files]
    except Offline as offline:
        try:
            folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            raise offline from None
        return False, [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def fetched(repository: str, revision: str | None, reached: bool, files: list[str]) -> Path:
    """The folder of a repository with some of its files in it, if the hub can be reached or they are here.

    Raises UnknownAutoencoder, Offline or NoSpace.
    """
    from huggingface_hub import snapshot_download

    with _telling(repository, revision):
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=files, local_files_only=not reached)
        )


def _telling(repository: str, revision: str | None) -> AbstractContextManager[None]:
    return telling("autoencoder", repository, revision, UnknownAutoencoder, "clew sae list")
