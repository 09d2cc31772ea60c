"""A model on its way to another process: not its weights but where they lie, and which they have to be.

Each process opens a model once, on the device it was told to use, and finds it again whenever it comes along.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from .. import settings
from ..errors import WrongModel
from . import hub
from .fingerprint import fingerprint
from .store import MANIFEST

if TYPE_CHECKING:
    from .subject import SubjectModel

_device: str | None = None


@dataclass(frozen=True)
class Reference:
    """What a model is loaded by: its name where that names it everywhere, its folder otherwise; `revision` is that of a
    hub model, `fingerprint` a digest of its weights."""

    name: str
    place: str
    revision: str | None
    dtype: str
    fingerprint: str


def use_device(device: str) -> None:
    """Open models on this device (cpu, cuda, cuda:N) in this process from now on, whatever device they came from."""
    global _device
    _device = device


def reference_of(subject: SubjectModel) -> Reference:
    """What leads to a loaded model from elsewhere."""
    place, revision = str(subject.path.absolute()), None
    manifest = subject.path / MANIFEST
    if subject.path.parent == settings.models_folder() and manifest.exists():
        stored = json.loads(manifest.read_text(encoding="utf-8"))
        if hub.is_name(stored["name"]):  # a machine that lacks it pulls it
            place, revision = stored["name"], stored["revision"]
    return Reference(
        name=subject.name,
        place=place,
        revision=revision,
        dtype=str(subject.hf.dtype).removeprefix("torch."),
        fingerprint=fingerprint(subject),
    )


def opened(reference: Reference) -> SubjectModel:
    """The model, on this process's device. Raises WrongModel when other weights lie there, and what loading raises."""
    return _opened(reference, _device)


@lru_cache(maxsize=2)
def _opened(reference: Reference, device: str | None) -> SubjectModel:
    from .subject import load_subject

    subject = load_subject(reference.place, reference.revision, device, reference.dtype)
    if fingerprint(subject) != reference.fingerprint:
        raise WrongModel(
            f"{subject.path} holds other weights here than where the work was given.",
            "Give all machines the same model: one folder on a shared disk, or one revision.",
        )
    return replace(subject, name=reference.name)
