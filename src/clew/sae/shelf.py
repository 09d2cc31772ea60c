"""The autoencoders on this machine, under $CLEW_HOME/saes: those added, and those that trainings left.

A name is a folder there, or a folder in that of a training, such as mine/mlp_out.10-topk-4608-k32; every part of it is
checked before it is a path.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .. import settings
from ..disk import PARTIAL, on_disk, sync
from ..errors import BadAutoencoder, UnknownAutoencoder, UsageError
from ..nodes import Site
from ..records import Records
from .autoencoder import Autoencoder
from .folder import MANIFEST, held, is_free
from .formats import load, saelens, save
from .formats.finding import below, is_shelf_name, shelved
from .records import AutoencoderInfo


def add(
    reference: str | os.PathLike[str],
    name: str | None = None,
    site: Site | str | None = None,
    writes: Site | str | None = None,
    model: str | None = None,
    revision: str | None = None,
) -> AutoencoderInfo:
    """Copy the autoencoder that `load` gives for a reference onto the shelf, under its own name or another.

    Raises UsageError for a name that is taken or cannot be one, and what `load` raises.
    """
    if name is not None:
        _check_free(name)
    autoencoder = load(reference, site, writes, model, revision)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", autoencoder.name).strip("-.") if name is None else name
    folder = _check_free(name)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}{PARTIAL}")
    with on_disk(folder.parent):
        try:
            save(autoencoder, partial)
            _check_free(name)
            partial.rename(folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return info_of(autoencoder, name)


def listed() -> Records[AutoencoderInfo]:
    """What is on the shelf and in the trainings there, by name. What cannot be read is left out; `load` says why."""
    root, found = settings.saes_folder(), Records[AutoencoderInfo]()
    for one in below(root) if root.is_dir() else []:
        if one.weights.name != saelens.WEIGHTS or not is_shelf_name(one.name):
            continue
        try:
            found.append(saelens.info(root / one.weights.parent, one.name))
        except BadAutoencoder:
            continue
    return found


def remove(name: str) -> None:
    """Delete an autoencoder of the shelf, or a training with all in it, also one that failed before it began.

    Raises UnknownAutoencoder, or Busy while it is being trained.
    """
    folder, training = shelved(name), shelved(name.partition("/")[0])
    if not (folder / MANIFEST).is_file() and not below(folder) and not is_free(folder):
        raise UnknownAutoencoder(
            f"{name} holds neither an autoencoder nor a training.", "clew sae list names those that are here."
        )
    if (training / MANIFEST).is_file() or is_free(training):
        with held(training):  # nobody trains into it
            pass
    hidden = folder.with_name(f".{folder.name}.removed")
    with on_disk(folder.parent):
        shutil.rmtree(hidden, ignore_errors=True)
        folder.rename(hidden)  # gone at once, however long deleting takes
        shutil.rmtree(hidden)


def info_of(autoencoder: Autoencoder, reference: str, judged: bool = False) -> AutoencoderInfo:
    """What an autoencoder is, for a list; `reference` opens it again."""
    origin = autoencoder.origin
    return AutoencoderInfo(
        name=origin.name,
        reference=reference,
        model=origin.model,
        reads=str(autoencoder.reads),
        writes=str(autoencoder.writes),
        architecture=origin.architecture,
        activation=autoencoder.activation,
        latents=autoencoder.n_latents,
        k=autoencoder.k,
        format=origin.format,
        tokens=origin.tokens,
        dtype=origin.dtype,
        judged=judged,
    )


def _check_free(name: str) -> Path:
    """The folder of a new name. Raises UsageError."""
    if "/" in name or not is_shelf_name(name):
        raise UsageError(f"{name[:200]!r} cannot be a name.", "Use letters, digits, dots, dashes and underscores.")
    folder = settings.saes_folder() / name
    if folder.exists():
        raise UsageError(f"There is an autoencoder or a training {name} already.", "Choose another name, or remove it.")
    return folder
