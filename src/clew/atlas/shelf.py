"""The atlases on this machine: the one of a model, all under $CLEW_HOME, and whether a folder's files are whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import settings
from ..disk import digest
from ..errors import ClewError
from ..models.subject import HasSubject
from ..records import Record, Records
from .atlas import Atlas, manifest_of
from .attached import Given
from .components import Components
from .records import AtlasInfo
from .store import MANIFEST


@dataclass(frozen=True)
class StoredAtlas(Record):
    """An atlas under $CLEW_HOME; where it cannot be opened, `info` is None and `problem` says why."""

    name: str
    folder: str
    bytes: int
    info: AtlasInfo | None
    problem: str | None


@dataclass(frozen=True)
class StoredFile(Record):
    """A file of an atlas; `problem` is None where its bytes are those that were written."""

    name: str
    bytes: int
    problem: str | None


def components(
    model: HasSubject, atlas: Atlas | Path | str | None = None, autoencoders: Sequence[Given] | None = None
) -> Components:
    """The components of a model with an atlas, or the folder of one, and with the latents of some autoencoders.

    Without one, with what `collect` made of this model, if it did; `Components(model)` uses none at all.
    Raises NoAtlas, WrongAtlas or BadAtlas, and what opening autoencoders does.
    """
    if atlas is None:
        folder = settings.atlas_of(model.subject.name)
        return Components(model, Atlas.open(folder) if (folder / MANIFEST).exists() else None, autoencoders)
    return Components(model, atlas if isinstance(atlas, Atlas) else Atlas.open(atlas), autoencoders)


def stored() -> Records[StoredAtlas]:
    """The atlases under $CLEW_HOME/atlases, by name; unfinished ones are none."""
    found = Records[StoredAtlas]()
    for manifest in sorted(settings.atlases_folder().glob(f"*/{MANIFEST}")):
        folder, info, problem = manifest.parent, None, None
        if folder.name.startswith("."):
            continue
        try:
            info = Atlas.open(folder).info()
        except ClewError as error:
            problem = str(error)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found.append(StoredAtlas(folder.name, str(folder), size, info, problem))
    return found


def checked(folder: Path) -> Iterator[StoredFile]:
    """Every file that an atlas lists, read in full and held against its checksum, one after another.

    Raises NoAtlas, WrongAtlas, or BadAtlas when atlas.json itself cannot be read.
    """
    for name, expected in manifest_of(folder)["files"].items():
        path, problem = folder / name, None
        size = path.stat().st_size if path.is_file() else 0
        if not path.is_file():
            problem = "is missing"
        elif size < expected["bytes"]:
            problem = f"was cut short: {size:,} of {expected['bytes']:,} bytes"
        elif digest(path) != expected["sha256"]:
            problem = "is not as it was written"
        yield StoredFile(name, size, problem)
