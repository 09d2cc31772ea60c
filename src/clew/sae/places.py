"""Where the autoencoders lie that a reference names: their reports and ratings are kept beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import settings
from ..errors import UnknownAutoencoder
from .formats.finding import below, is_shelf_name


@dataclass(frozen=True)
class Place:
    """One autoencoder: what opens it, a short name for people, and its folder, None for one of the hub."""

    name: str
    reference: str
    folder: Path | None


def places(reference: str) -> list[Place]:
    """All autoencoders in a folder, or the one that a file, a name of the shelf or a repository is.

    On the shelf a name is that of `clew sae list`; elsewhere it begins with the folder that was named. Nothing is read:
    `load(place.reference)` says what cannot be. Raises UnknownAutoencoder for a folder without any.
    """
    shelf = settings.saes_folder().absolute()
    path = Path(reference).expanduser().absolute()
    if not _exists(path) and is_shelf_name(reference) and (shelf / reference).is_dir():
        path = shelf / reference
    if not _exists(path):
        return [Place(reference, reference, None)]
    if path.is_file():
        return [Place(path.parent.name, str(path), path.parent)]
    root = shelf if path.is_relative_to(shelf) else path.parent
    found = [path / one.name for one in below(path)]
    if not found:
        raise UnknownAutoencoder(f"There is no autoencoder in {reference}.", "clew sae list names those on the shelf.")
    return [
        Place(place.relative_to(root).as_posix(), str(place), place if place.is_dir() else place.parent)
        for place in found
    ]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name longer than the file system allows
        return False
