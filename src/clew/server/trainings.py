"""Trainings as HTTP asks about them; those that the page starts run as a process of their own.

So the model stays free for questions, and a training that was started in a terminal is watched the same way: all that
is told comes from the folders under $CLEW_HOME/saes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from .. import settings
from ..disk import on_disk
from ..errors import Busy, ClewError, TrainingExists, UsageError
from ..models import store
from ..sae.folder import MANIFEST, OUTPUT, Manifest, is_free, state_of, trainings
from ..sae.log import read_log
from ..sae.records import TrainingState
from . import references
from .answers import encode
from .cluster import Cluster
from .events import event
from .jobs import left

if TYPE_CHECKING:
    from ..debug import Model
    from ..records import Records
    from ..sae.recipe import TrainingPlan
    from ..sae.records import TrainPoint
    from .schemas.sae import TrainRequest

EVERY = 0.5  # seconds between two looks at a training's folder
_PATIENCE = 20.0  # seconds that a training has to save what it has when the server ends
_STOPPED = 130  # what the command returns when someone told it to stop
_STARTING = "Starting."
_SAYS = "clew: "  # how a line of the command's begins that says what went wrong


@dataclass
class _Child:
    """The process that trains into a folder, with what is known of it until the folder says more.

    `stopping`: whether it was told to stop, so that it is not taken for one that failed.
    """

    process: subprocess.Popen[bytes]
    began: TrainingState
    stopping: bool = False

    @property
    def folder(self) -> Path:
        return Path(self.began.folder)


class Trainings:
    """The trainings of this machine, and the one that this server has started.

    `starting` is held while one is started. `local`: whether the server answers to this machine alone, and may be told
    paths on it. Those that it starts run on the cluster `place`, where it names one.
    """

    def __init__(self, model: Model, local: bool, place: Cluster) -> None:
        self._model = model
        self._local = local
        self._place = place
        self._child: _Child | None = None
        self._closed = False
        self.starting = Lock()

    def listed(self) -> dict[str, Any]:
        """All trainings, and the name of the one that this server runs."""
        found = {state.name: state for state in trainings(settings.saes_folder())}
        child = self._child
        if child is not None:
            with suppress(ClewError):  # deleted since, or what is listed says what ails it
                found[child.folder.name] = self.state(child.folder.name)
        rows = [found[name].to_dict() for name in sorted(found)]
        return {"rows": rows, "busy": child.folder.name if self._is_running() and child is not None else None}

    def state(self, name: str) -> TrainingState:
        """How far a training is. Raises UnknownAutoencoder or BadCheckpoint."""
        folder, child = settings.saes_folder() / name, self._child
        if child is None or child.folder != folder or not folder.exists():
            return state_of(folder)
        code = child.process.poll()
        known = state_of(folder) if (folder / MANIFEST).exists() else child.began
        if code is None:
            # Until it has the folder for itself, the folder still speaks of the time before.
            return known if known.stage == "running" else child.began
        if known is child.began and child.stopping:
            return replace(known, stage="stopped", message="It was stopped before it began.")
        if known.stage in ("done", "failed") or child.stopping or code == _STOPPED:
            return known
        return replace(known, stage="failed", message=_why(folder / OUTPUT, code))

    def log(self, name: str, after: int | None) -> Records[TrainPoint]:
        """The rows of a training's log. Raises UnknownAutoencoder or BadCheckpoint."""
        self.state(name)
        return read_log(settings.saes_folder() / name, after)

    async def events(self, request: Request, name: str, after: int | None) -> AsyncGenerator[bytes]:
        """Rows and states of a training as they come, until it ends, the client leaves or the server closes."""
        told: TrainingState | None = None
        gone = asyncio.create_task(left(request.receive))
        try:
            while not self._closed and not gone.done():
                # The state first: rows that come in between are then told before it is said to have ended.
                state = await run_in_threadpool(self.state, name)
                points = await run_in_threadpool(self.log, name, after)
                if points:
                    after = points[-1].step
                    yield event("points", encode({"rows": points.to_dict()}))
                if state != told:
                    told = state
                    yield event("state", encode(state.to_dict()))
                if state.stage != "running":
                    return
                await asyncio.wait({gone}, timeout=EVERY)
        finally:
            gone.cancel()

    def start(self, asked: TrainRequest) -> TrainingState:
        """Start a training. Raises Busy, UsageError, BadSite, UnknownCorpus, Forbidden, TrainingExists or NoSpace."""
        from ..corpus.texts import corpus_of
        from ..models.sites import check_site

        with self._beginning():
            plan = plan_of(asked).checked()
            folder = self._free(asked)
            for recipe in plan.recipes:
                for site in (recipe.site, recipe.target):
                    check_site(self._model.subject.anatomy, site)
            text = corpus_of(None if asked.corpus is None else references.checked(asked.corpus, self._local))
            options = [*self._model_options(), "--plan", "-", "--out", str(folder)]
            options += [] if asked.corpus is None else ["--corpus", asked.corpus]
            options += ["--replace"] if asked.replace else []
            options += self._place.options()
            began = TrainingState(
                asked.name, str(folder), "running", self._model.name, text.description,
                [recipe.name for recipe in plan.recipes], 0, plan.steps * plan.batch, 0, _STARTING,
            )  # fmt: skip
            return self._run(["train", *options], began, json.dumps(plan.to_dict()).encode())

    def resume(self, name: str) -> TrainingState:
        """Go on with a training. Raises Busy, UnknownAutoencoder, UsageError or NoSpace."""
        with self._beginning():
            state = self.state(name)
            if state.stage == "running":
                raise Busy(f"{name} is being trained.", "Wait until it is done, or stop it.")
            if state.stage == "done":
                raise UsageError(f"{name} is done.", "Train anew under another name to train for longer.")
            return self._run(["resume", state.folder], replace(state, stage="running", message=_STARTING), b"")

    def stop(self, name: str) -> TrainingState:
        """Have a training save what it has and stop, whoever started it. Raises UnknownAutoencoder or UsageError."""
        state = self.state(name)
        if state.stage != "running":
            raise UsageError(f"{name} is not being trained.", "Go on with it first.")
        child = self._child
        if child is not None and self._is_running() and child.folder.name == name:
            _interrupt(child)
        else:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(Manifest.read(Path(state.folder)).pid, signal.SIGINT)
        return state

    def remove(self, name: str) -> None:
        """Delete a training with all that it has made. Raises UnknownAutoencoder or Busy."""
        from ..sae.shelf import remove

        if self.state(name).stage == "running":
            raise Busy(f"{name} is being trained.", "Stop it first.")
        remove(name)

    def end(self) -> None:
        """Have the training that this server has started save and stop, and tell of none any more."""
        self._closed = True
        if self._child is not None and self._is_running() and not self._child.stopping:
            _interrupt(self._child)

    def close(self) -> None:
        """End, and wait until the training has."""
        self.end()
        child = self._child
        if child is None:
            return
        try:
            child.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()

    def _is_running(self) -> bool:
        return self._child is not None and self._child.process.poll() is None

    @contextmanager
    def _beginning(self) -> Iterator[None]:
        """The right to start a training: one at a time."""
        if not self.starting.acquire(blocking=False):
            raise Busy("A training is being started.", "Wait a moment.")
        try:
            child = self._child
            if child is not None and self._is_running():
                raise Busy(f"{child.folder.name} is being trained.", "Wait until it is done, or stop it.")
            yield
        finally:
            self.starting.release()

    def _free(self, asked: TrainRequest) -> Path:
        """The folder to train into. Raises TrainingExists or Busy."""
        folder = settings.saes_folder() / asked.name
        if (folder / MANIFEST).exists():
            if self.state(asked.name).stage == "running":
                raise Busy(f"{asked.name} is being trained.", "Wait until it is done, or stop it.")
            if not asked.replace:
                raise TrainingExists(f"There is a training {asked.name}.", "Go on with it, or take another name.")
        elif folder.exists() and not is_free(folder):
            raise TrainingExists(f"There is something else under the name {asked.name}.", "Take another name.")
        return folder

    def _model_options(self) -> list[str]:
        """The words that load the same model again."""
        subject = self._model.subject
        manifest = subject.path / store.MANIFEST
        revision = json.loads(manifest.read_text(encoding="utf-8"))["revision"] if manifest.exists() else None
        info = self._model.info()
        words = [self._model.name, "--device", info.device, "--dtype", info.dtype]
        return words if revision is None else [*words, "--revision", revision]

    def _run(self, words: list[str], began: TrainingState, plan: bytes) -> TrainingState:
        """Run `clew sae` with these words, the plan on its standard input. Raises NoSpace."""
        folder = Path(began.folder)
        with on_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / OUTPUT).open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "clew", "sae", *words],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C in the server's terminal is the server's to pass on.
                    start_new_session=True,
                )
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as pipe:  # what ended it is in its output
            pipe.write(plan)
        self._child = _Child(process, began)
        return began


def plan_of(asked: TrainRequest) -> TrainingPlan:
    """The plan that a request asks for. Raises BadSite."""
    from ..nodes import parse_site
    from ..sae.recipe import Recipe, TrainingPlan

    recipes = []
    for recipe in asked.recipes:
        given = recipe.model_dump(exclude={"site", "writes"})
        writes = None if recipe.writes is None else parse_site(recipe.writes)
        recipes.append(Recipe(parse_site(recipe.site), writes=writes, **given))
    given = asked.model_dump(exclude={"name", "recipes", "corpus", "replace"})
    return TrainingPlan(tuple(recipes), evaluate_every=asked.save_every, **given)


def _interrupt(child: _Child) -> None:
    child.stopping = True
    child.process.send_signal(signal.SIGINT)


def _why(output: Path, code: int) -> str:
    """Why a process failed, by what it said last."""
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines() if output.exists() else []
    said = [line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)]
    if said:
        return said[-1]
    if code < 0:
        return f"Its process was ended by signal {-code}, perhaps for want of memory. What it had saved is kept."
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"Its process failed: {last.strip()}"
