"""The folder of a training: what it is to do, how far it is, and whose it is now.

    training.json            the plan, the model, the corpus; stage, message, tokens
    training.lock            held by the process that trains
    contexts-*.arrow         the text, as tokens
    checkpoint/              what it goes on from
    log.parquet, log-tail.parquet
    RECIPE/                  an autoencoder, once the training is done or was stopped

A training that is done keeps no text and no checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..disk import PARTIAL, on_disk, written
from ..errors import BadCheckpoint, Busy, ClewError, TrainingExists, UnknownAutoencoder
from ..records import Records
from .log import LOG, TAIL
from .recipe import TrainingPlan
from .records import Stage, TrainingState

MANIFEST, LOCK, CHECKPOINT, TEXT = "training.json", "training.lock", "checkpoint", "contexts-*.arrow"
OUTPUT = "output.txt"
"""Where a process that starts another one to train may have it write; a folder with nothing else in it is empty."""

VERSION = 1  # of what trainings write
_WAIT = 1.0  # seconds for a lock that someone only looks at
_DIED = "Its process ended without a word; the same command goes on from the last checkpoint."
_FREE = ("log_every", "evaluate_every", "save_every")  # of a plan: they change nothing that is learned


@dataclass(frozen=True)
class Manifest:
    """What `training.json` holds. Times are seconds since 1970; `updated` is when `tokens` was last told."""

    version: int
    plan: dict[str, Any]
    model: dict[str, str]
    corpus: dict[str, Any]
    started: float
    updated: float
    pid: int
    stage: Stage = "running"
    message: str = ""
    tokens: int = 0
    saved: int = 0

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises UnknownAutoencoder when there is no training, and BadCheckpoint."""
        path = folder / MANIFEST
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            manifest = cls(**given)
            TrainingPlan.of(manifest.plan)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnknownAutoencoder(f"{folder} holds no training.", "See clew sae list.") from error
        except (ClewError, OSError, ValueError, TypeError, KeyError) as error:
            raise BadCheckpoint(f"{path} cannot be read.", "Train into another folder.") from error
        if manifest.version != VERSION:
            raise BadCheckpoint(
                f"{folder} holds a training of another version of Clew.", "Go on with that, or train elsewhere."
            )
        return manifest

    def write(self, folder: Path) -> None:
        """Raises NoSpace."""
        with written(folder / MANIFEST) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def state(self, folder: Path) -> TrainingState:
        """As the page shows it."""
        plan = TrainingPlan.of(self.plan)
        return TrainingState(
            name=folder.name,
            folder=str(folder),
            stage=self.stage,
            model=self.model["name"],
            corpus=self.corpus["description"],
            runs=[recipe.name for recipe in plan.recipes],
            tokens=self.tokens,
            total=plan.steps * plan.batch,
            saved=self.saved,
            message=self.message,
        )

    def differences(self, other: Manifest) -> list[str]:
        """What another training does otherwise, by the names of its settings."""
        mine, theirs = self._settings(), other._settings()
        return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))

    def _settings(self) -> dict[str, Any]:
        plan = {name: value for name, value in self.plan.items() if name not in _FREE}
        weights = {"model": self.model["fingerprint"], "dtype": self.model["dtype"]}
        return plan | weights | {"corpus": self.corpus["identity"]}


def state_of(folder: Path | str) -> TrainingState:
    """How far the training in a folder is, whoever runs it; one whose process has died is stopped.

    Raises UnknownAutoencoder when there is none, BadCheckpoint when its files are damaged.
    """
    folder = Path(folder).absolute()
    manifest = Manifest.read(folder)
    if manifest.stage == "running" and not _is_held(folder):
        # It may have ended between the two looks.
        manifest = Manifest.read(folder)
        if manifest.stage == "running":
            manifest = replace(manifest, stage="stopped", tokens=manifest.saved, message=_DIED)
    return manifest.state(folder)


def trainings(root: Path | str) -> Records[TrainingState]:
    """The trainings in the folders of a folder, by name; one that cannot be read is told as failed."""
    found = Records[TrainingState]()
    for path in sorted(Path(root).absolute().glob(f"*/{MANIFEST}")):
        folder = path.parent
        try:
            found.append(state_of(folder))
        except ClewError as error:
            found.append(TrainingState(folder.name, str(folder), "failed", "", "", [], 0, 0, 0, str(error)))
    return found


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Has a folder for oneself, and makes it. Raises Busy, NoSpace, or TrainingExists for one with other things."""
    if folder.exists() and not (folder / MANIFEST).exists() and not is_free(folder):
        raise TrainingExists(f"{folder} is a folder with other things in it.", "Take another --out.")
    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # A server gives up a training from another thread than the one that began it.
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        with on_disk(folder):
            lock.acquire(timeout=_WAIT)
    except Timeout as error:
        raise Busy(f"Another process is training into {folder.name}.", "Wait for it, or take another --out.") from error
    try:
        yield
    finally:
        lock.release()


def prepared(folder: Path, manifest: Manifest, anew: bool) -> Manifest:
    """The manifest of this training as far as it is: the given one where it begins. `anew` throws an earlier one away.

    Raises TrainingExists, BadCheckpoint or NoSpace.
    """
    if (folder / MANIFEST).exists() and anew:
        _clear(folder, manifest)
    if (folder / MANIFEST).exists():
        earlier = Manifest.read(folder)
        differs = earlier.differences(manifest)
        if differs:
            raise TrainingExists(
                f"{folder} holds a training with other settings ({', '.join(differs)}).",
                "Give the same ones to go on with it, --replace to start anew, or another --out.",
            )
        if earlier.stage == "done":
            return earlier
        free = {name: manifest.plan[name] for name in _FREE}
        manifest = replace(earlier, plan=earlier.plan | free, pid=manifest.pid, stage="running", message="")
    manifest.write(folder)
    return manifest


def tidy(folder: Path) -> None:
    """Remove what a training needs only until it is done."""
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    for path in folder.glob(TEXT):
        path.unlink()


def _clear(folder: Path, manifest: Manifest) -> None:
    """Remove what a training has written, by name: whatever else lies there stays."""
    runs = {recipe.name for recipe in TrainingPlan.of(manifest.plan).recipes}
    with suppress(BadCheckpoint):  # then nobody knows its names any more
        runs |= {recipe.name for recipe in TrainingPlan.of(Manifest.read(folder).plan).recipes}
    with on_disk(folder):
        (folder / MANIFEST).unlink()
        tidy(folder)
        for name in (LOG, TAIL):
            (folder / name).unlink(missing_ok=True)
        for name in runs:
            shutil.rmtree(folder / name, ignore_errors=True)


def is_free(folder: Path) -> bool:
    """Whether there is nothing in a folder that a training would not put there itself before its manifest."""
    if not folder.is_dir():
        return False
    return all(path.name in (LOCK, OUTPUT, MANIFEST + PARTIAL) for path in folder.iterdir())


def _is_held(folder: Path) -> bool:
    """Whether a process has the folder for itself."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:  # a folder that only others may write to: nobody trains there
        return False
    lock.release()
    return False
