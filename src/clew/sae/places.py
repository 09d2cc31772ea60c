"""Where the autoencoders lie that a reference names: their reports and ratings are kept beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import settings
from .formats.loading import locate


@dataclass(frozen=True)
class Place:
    """One autoencoder: what opens it, a short name for people, and its folder, None for one of the hub."""

    name: str
    reference: str
    folder: Path | None


def places(reference: str) -> list[Place]:
    """All autoencoders that a reference leads to.

    On the shelf a name is that of `clew sae list`; elsewhere it begins with the folder or repository that was named.
    Nothing is read: `load(place.reference)` says what cannot be. Raises what `locate` raises.
    """
    location = locate(reference)
    if location.root is None:
        names = [str(PurePosixPath(location.repository, one.name)) for one in location.found]
        return [Place(name, name, None) for name in names]
    root, shelf = location.root.absolute(), settings.saes_folder().absolute()
    start = shelf if root.is_relative_to(shelf) else root.parent
    return [
        Place(
            name=(root / one.name).relative_to(start).as_posix(),
            reference=str(root / (one.weights if location.is_file else one.name)),
            folder=(root / one.weights).parent,
        )
        for one in location.found
    ]
