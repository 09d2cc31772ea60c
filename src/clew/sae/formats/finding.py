"""Which autoencoders there are under a name: a file, a folder, the shelf, a repository of the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ... import settings
from ...errors import BadAutoencoder, UnknownAutoencoder
from ..autoencoder import Autoencoder
from . import dictionary_learning, openai, saelens, sparsify
from .place import Asked, Said

DEPTH = 4  # folders below the one that is named
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", re.ASCII)
_DIGITS = re.compile(r"(\d+)", re.ASCII)


@dataclass(frozen=True)
class Format:
    """How a format is read. Beside the weights are `config`, None where there is none, and perhaps `others`."""

    config: str | None
    said: Callable[[Path], Said]
    read: Callable[[Path, Asked], Autoencoder]
    others: tuple[str, ...] = ()


_DICTIONARY_LEARNING = Format(dictionary_learning.CONFIG, dictionary_learning.said, dictionary_learning.read)
_OPENAI = Format(None, openai.said, openai.read)
_BY_WEIGHTS = {
    saelens.WEIGHTS: Format(saelens.CONFIG, saelens.said, saelens.read, (saelens.OWN, saelens.SCALER)),
    sparsify.WEIGHTS: Format(sparsify.CONFIG, sparsify.said, sparsify.read),
    dictionary_learning.WEIGHTS: _DICTIONARY_LEARNING,
}


@dataclass(frozen=True)
class Found:
    """The weights of an autoencoder, relative to where it was looked for, and their format."""

    weights: PurePosixPath
    format: Format

    @property
    def name(self) -> str:
        """What tells it from its neighbours: its folder, or its file where a folder holds several."""
        return str(self.weights if self.format.config is None else self.weights.parent)

    def files(self, weights: bool) -> list[str]:
        """The files that its settings may be in, and with `weights` all that it may be made of; relative too."""
        beside = [name for name in (self.format.config, *(self.format.others if weights else ())) if name is not None]
        files = [str(self.weights.with_name(name)) for name in beside]
        files += [str(folder / sparsify.RUN) for folder in list(self.weights.parents)[1:3]]
        return [*files, str(self.weights)] if weights else files


def among(files: Iterable[str], root: Path) -> list[Found]:
    """The autoencoders among files, which are named relative to `root`; layer 2 before layer 10."""
    found: list[Found] = []
    for file in files:
        path = PurePosixPath(file)
        if path.name in _BY_WEIGHTS:
            found.append(Found(path, _BY_WEIGHTS[path.name]))
        elif openai.is_named(root / path):
            found.append(Found(path, _OPENAI))
    return sorted(found, key=_natural)


def below(folder: Path) -> list[Found]:
    """The autoencoders in a folder and up to four folders deeper; hidden ones are left alone."""
    files: list[str] = []
    for here, folders, names in os.walk(folder):
        at = Path(here).relative_to(folder)
        folders[:] = [name for name in folders if not name.startswith(".")] if len(at.parts) < DEPTH else []
        files += [(at / name).as_posix() for name in names]
    return among(files, folder)


def file_of(path: Path) -> Found:
    """The autoencoder that a file of weights is. Raises BadAutoencoder."""
    form = _BY_WEIGHTS.get(path.name)
    if form is None and path.suffix == ".pt":
        form = _DICTIONARY_LEARNING if path.with_name(dictionary_learning.CONFIG).is_file() else _OPENAI
    if form is None:
        raise BadAutoencoder(
            f"{path} is no file of weights that Clew knows.", f"Those are {', '.join(_BY_WEIGHTS)}, and OpenAI's L.pt."
        )
    return Found(PurePosixPath(path.name), form)


def is_shelf_name(name: str) -> bool:
    """Whether a name is made of parts that can be folders under $CLEW_HOME/saes, and nowhere else."""
    parts = name.split("/")
    return len(parts) <= DEPTH and all(_PART.fullmatch(part) for part in parts)


def is_shelved(name: str) -> bool:
    """Whether there is a folder of this name under $CLEW_HOME/saes."""
    return is_shelf_name(name) and (settings.saes_folder() / name).is_dir()


def shelved(name: str) -> Path:
    """The folder of a name under $CLEW_HOME/saes. Raises UnknownAutoencoder."""
    if not is_shelved(name):
        raise UnknownAutoencoder(f"There is no autoencoder {name[:200]!r}.", "clew sae list names those that are here.")
    return settings.saes_folder() / name


def _natural(found: Found) -> list[tuple[bool, int | str]]:
    """A key that sorts numbers inside names by their size."""
    parts = filter(None, _DIGITS.split(str(found.weights)))
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in parts]
