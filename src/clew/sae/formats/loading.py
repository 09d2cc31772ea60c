"""Autoencoders by reference: one, or all that there are under it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import UnknownAutoencoder
from ...nodes import Site, parse_site
from ..autoencoder import Autoencoder
from . import hub
from .finding import Found, among, below, file_of, is_shelved, shelved
from .place import Asked

Given = Autoencoder | Path | str
"""An autoencoder, or what opens one: a name on the shelf, a folder, a file or a repository."""

_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Location:
    """Where a reference leads: autoencoders under a folder, or in a repository, of a hub that is `reached` or not.

    `root` is the folder that they are named from, None in a repository; `is_file`: what is named is a file in it.
    """

    reference: str
    found: Sequence[Found]
    root: Path | None = None
    is_file: bool = False
    repository: str = ""
    revision: str | None = None
    reached: bool = True

    def fetched(self, found: Sequence[Found], weights: bool) -> Path:
        """The folder in which the settings of these are, and with `weights` those too."""
        if self.root is not None:
            return self.root
        files = [file for one in found for file in one.files(weights)]
        return hub.fetched(self.repository, self.revision, self.reached, files)


def load(
    reference: str | os.PathLike[str],
    site: Site | str | None = None,
    writes: Site | str | None = None,
    model: str | None = None,
    revision: str | None = None,
) -> Autoencoder:
    """The autoencoder that a reference names.

    That is a folder or file of any format that Clew reads (docs/formats.md), a name that `clew sae list` shows, or a
    Hugging Face repository, owner/name or owner/name/sub/folder, at a revision. Of several under it, the one that reads
    `site`. `site`, `writes` and `model` also supply what its files do not say.

    Raises UnknownAutoencoder, BadAutoencoder, WrongAutoencoder (its files say another site), BadSite, Offline, NoSpace.
    """
    asked = _asked(site, writes, model)
    location = locate(os.fspath(reference), revision)
    fitting = _fitting(location, asked) if len(location.found) > 1 else location.found
    if len(fitting) != 1:
        several = fitting or location.found
        names = ", ".join(one.name for one in several[:_SHOWN])
        more = f" and {len(several) - _SHOWN:,} more" if len(several) > _SHOWN else ""
        what = f"{len(several):,} autoencoders" + ("" if fitting else f", none of which {asked.words}")
        raise UnknownAutoencoder(f"{location.reference} holds {what}: {names}{more}.", "Name one of them, or its site.")
    return _read(location, fitting, asked)[0]


def load_all(
    reference: str | os.PathLike[str],
    site: Site | str | None = None,
    writes: Site | str | None = None,
    model: str | None = None,
    revision: str | None = None,
) -> list[Autoencoder]:
    """All autoencoders under a reference, up to four folders deep; with a `site`, those that read it.

    Raises what `load` raises.
    """
    asked = _asked(site, writes, model)
    location = locate(os.fspath(reference), revision)
    fitting = _fitting(location, asked) if len(location.found) > 1 else location.found
    if not fitting:
        raise UnknownAutoencoder(f"No autoencoder in {location.reference} {asked.words}.", "Leave the site out.")
    return _read(location, fitting, asked)


def opened(given: Iterable[Given]) -> list[Autoencoder]:
    """Autoencoders that were given as they are, or by what opens them. Raises what `load` raises."""
    found: list[Autoencoder] = []
    for one in given:
        found += [one] if isinstance(one, Autoencoder) else load_all(one)
    return found


def _asked(site: Site | str | None, writes: Site | str | None, model: str | None) -> Asked:
    reads, target = (parse_site(one) if isinstance(one, str) else one for one in (site, writes))
    return Asked(reads, target, model)


def locate(reference: str, revision: str | None = None) -> Location:
    """Where a reference leads; at least one autoencoder is there, and none is read. Raises what `load` raises."""
    if not reference or "\0" in reference or any("\ud800" <= char <= "\udfff" for char in reference):
        raise UnknownAutoencoder(f"{reference!r} is not the name of an autoencoder.", "Give a folder or a hub name.")
    try:
        path = Path(reference).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError):  # a name longer than the file system allows, or the home of an unknown user
        path, is_folder, is_file = Path(reference), False, False
    if is_file:
        return Location(reference, [file_of(path)], path.parent, is_file=True)
    if not is_folder and is_shelved(reference):
        path, is_folder = shelved(reference), True
    if is_folder:
        return _some(Location(reference, below(path), path))
    if reference.startswith((".", "/", "~")):
        raise UnknownAutoencoder(f"There is no folder or file {reference[:200]}.", "Check the path.")
    repository, inside = hub.split(reference)
    reached, files = hub.listed(repository, revision)
    under = [file for file in files if not inside or file == inside or file.startswith(inside + "/")]
    found = among(under, Path(repository))
    return _some(Location(reference, found, repository=repository, revision=revision, reached=reached))


def _some(location: Location) -> Location:
    if not location.found:
        raise UnknownAutoencoder(
            f"There is no autoencoder in {location.reference}.",
            "Looked for are sae_weights.safetensors, sae.safetensors, ae.pt and OpenAI's L.pt, four folders deep.",
        )
    return location


def _fitting(location: Location, asked: Asked) -> Sequence[Found]:
    """Those that read and write what is asked for, by their settings alone."""
    if asked.site is None and asked.writes is None:
        return location.found
    root = location.fetched(location.found, weights=False)
    fitting: list[Found] = []
    for one in location.found:
        said = one.format.said(root / one.weights)
        if said.reads is not None and asked.fits(said):
            fitting.append(one)
    return fitting


def _read(location: Location, found: Sequence[Found], asked: Asked) -> list[Autoencoder]:
    root = location.fetched(found, weights=True)
    autoencoders = [one.format.read(root / one.weights, asked) for one in found]
    if location.repository and len(found) == 1 and len(found[0].weights.parts) == 1:
        # The folder that a repository is kept in is named by its commit.
        origin = replace(autoencoders[0].origin, name=location.repository.rpartition("/")[2])
        return [replace(autoencoders[0], origin=origin)]
    return autoencoders
