"""How a training begins: what it is to do is checked, and it takes its folder, or finds it as another rank has it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from ..corpus.parts import parted
from ..corpus.texts import Corpus, corpus_of
from ..errors import NotShared, UnknownAutoencoder, UsageError, WrongModel
from ..models.fingerprint import fingerprint
from ..models.sites import check_site
from ..models.subject import SubjectModel
from .folder import VERSION, Manifest, held, prepared
from .group import Group, OneFate
from .recipe import TrainingPlan

_SEEN = 30.0  # seconds after which a shared folder shows what another machine wrote there

Found = TypeVar("Found")


@contextmanager
def begun(
    subject: SubjectModel, plan: TrainingPlan, corpus: Corpus | str | None, folder: Path, anew: bool, group: Group
) -> Iterator[tuple[Manifest, Corpus | None]]:
    """A training with its folder for itself: its manifest, and the text to train on, which only rank 0 reads.

    Raises what `training` says.
    """
    text: Corpus | None = None
    manifest: Manifest | None = None
    with ExitStack() as stack:
        with OneFate(group):
            check_plan(subject, plan)
            if group.rank == 0:
                text = parted(corpus_of(corpus) if corpus is None or isinstance(corpus, str) else corpus, "trained")
                manifest = _manifest(subject, plan, text)
                stack.enter_context(held(folder))
                manifest = prepared(folder, manifest, anew)
        told = torch.zeros(2, dtype=torch.float64)
        if manifest is not None:
            told[0], told[1] = manifest.started, manifest.stage == "done"
        group.spread_([told])
        started, is_done = told.tolist()
        with OneFate(group):
            if manifest is None:
                manifest = seen(folder, lambda: begun_at(folder, started))
                manifest = replace(manifest, stage="done" if is_done else "running")
                _check_weights(subject, manifest)
        assert manifest is not None
        yield manifest, text


def seen(folder: Path, look: Callable[[], Found | None]) -> Found:
    """What rank 0 has written into the folder, once it is to be seen from here. Raises NotShared, BadCheckpoint."""
    late = time.monotonic() + _SEEN
    while (found := look()) is None:
        if time.monotonic() > late:
            raise NotShared(
                f"{folder} is not the same folder on {socket.gethostname()} as where the training was begun.",
                "Train into a folder on a disk that all machines share: --out.",
            )
        time.sleep(0.1)
    return found


def begun_at(folder: Path, started: float) -> Manifest | None:
    """The manifest of the training in a folder that was started first at that time. Raises BadCheckpoint."""
    with suppress(UnknownAutoencoder):
        manifest = Manifest.read(folder)
        return manifest if manifest.started == started else None


def _manifest(subject: SubjectModel, plan: TrainingPlan, corpus: Corpus) -> Manifest:
    """That of a training that begins now."""
    now = time.time()
    return Manifest(
        version=VERSION,
        plan=plan.to_dict(),
        model={
            "name": Path(subject.name).name if Path(subject.name).exists() else subject.name,
            "fingerprint": fingerprint(subject),
            "dtype": str(subject.hf.dtype).removeprefix("torch."),
        },
        corpus={"description": corpus.description, "identity": corpus.identity},
        started=now,
        updated=now,
        pid=os.getpid(),
    )


def check_plan(subject: SubjectModel, plan: TrainingPlan) -> None:
    """Raises BadSite or UsageError for what this model cannot do."""
    for recipe in plan.recipes:
        check_site(subject.anatomy, recipe.site)
        check_site(subject.anatomy, recipe.target)
    if plan.context > subject.max_length:
        raise UsageError(
            f"Contexts of {plan.context:,} tokens cannot be read: {subject.name} takes up to {subject.max_length:,}.",
            "Choose a shorter context.",
        )
    if plan.bos and subject.bos_id is None:
        raise UsageError(f"{subject.name} has no start token.", "Train without it.")


def _check_weights(subject: SubjectModel, manifest: Manifest) -> None:
    """Raises WrongModel."""
    if manifest.model["fingerprint"] != fingerprint(subject):
        raise WrongModel(
            f"The model on {socket.gethostname()} has other weights than where the training was begun.",
            "Give all machines the same model: one folder on a shared disk, or one revision.",
        )
