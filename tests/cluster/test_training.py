"""A training on a cluster learns what one process learns, whoever is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from clew.cluster import training as module
from clew.cluster.connection import Connection, Machine
from clew.cluster.place import Place
from clew.cluster.pool import RayPool
from clew.cluster.rank import Broken
from clew.cluster.shares import Share
from clew.cluster.training import _Attempt, _Lost, _NoRoom, training
from clew.debug import Model
from clew.errors import BadCorpus, Busy, NotShared, TooFewResources, UsageError, WorkersLost
from clew.pool import Note
from clew.sae import planned
from clew.sae import training as alone
from clew.sae.records import Resampled, TrainingState, TrainPoint
from clew.sae.training import state_of

from ..sae.plan import RECIPES, WIDE, B, check_close

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # Ray's own, of its own options

# Recipes that resample, and that choose what fires from the whole batch; enough steps to be killed in.
PLAN = replace(WIDE, tokens=B * 120, recipes=(replace(RECIPES[0], learning_rate=0.01), RECIPES[2], RECIPES[3]))
# As many steps as are made until the head is known to be gone, and more.
LONG = replace(PLAN, tokens=B * 800, recipes=PLAN.recipes[1:], save_every=B * 40, evaluate_every=0)
OPTIONS: dict[str, Any] = {"address": "local", "workers": 2}


@pytest.fixture(scope="module")
def single(one_thread: None, model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training by one process."""
    out = tmp_path_factory.mktemp("trainings") / "single"
    events = list(alone.training(model, PLAN, corpus, out))
    assert any(isinstance(event, Resampled) for event in events)
    return out


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def begin(self, state: TrainingState, settings: dict[str, Any], started: float, step: int) -> None:
        self.told.append(("begin", step))

    def add(self, event: TrainPoint | Resampled) -> None:
        self.told.append(event)

    def end(self, state: TrainingState) -> None:
        self.told.append(("end", state.stage))


def ranks() -> list[int]:
    """The processes of the workers that train on this process's own cluster."""
    below = psutil.Process().children(recursive=True)
    return [process.pid for process in below if process.name().startswith("ray::RayTrain")]


def test_stopped_and_killed_it_ends_with_what_one_process_learns(
    cluster: Connection, model: Model, corpus: str, single: Path, tmp_path: Path
) -> None:
    out, tracker = tmp_path / "out", Kept()

    # It is stopped on the way,
    events = training(model, PLAN, corpus, out, trackers=[tracker], **OPTIONS)
    for event in events:
        if isinstance(event, TrainingState) and event.saved:
            break
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    stopped = state_of(out)
    assert stopped.stage == "stopped" and 10 * B <= stopped.saved < PLAN.tokens
    assert "the same command goes on from there" in stopped.message
    assert tracker.told[0] == ("begin", 0)

    # goes on, with a part of the latents on each worker, has one killed, and goes on by itself from what was saved.
    killed: list[int] = []
    told: list[Any] = []
    for event in training(model, PLAN, corpus, out, trackers=[tracker], shard_latents=True, **OPTIONS):
        told.append(event)
        if not killed and isinstance(event, TrainingState) and event.stage == "running" and event.message:
            killed.append(ranks()[-1])
            os.kill(killed[0], signal.SIGKILL)
    notes = [event.text for event in told if isinstance(event, Note) and "was lost" in event.text]
    assert len(notes) == 1, notes
    assert f"(process {killed[0]}) was lost: going on from " in notes[0]
    assert isinstance(told[-1], TrainingState) and told[-1].stage == "done"
    check_close(out, single, PLAN)
    begun = [what for what in tracker.told if isinstance(what, tuple)]
    assert begun[-1] == ("end", "done") and len([what for what in begun if what[0] == "begin"]) >= 2
    points = [(event.run, event.step) for event in tracker.told if isinstance(event, TrainPoint)]
    assert {step for _, step in points} >= {step for step in range(5, 121, 5) if step * B > stopped.saved}


def test_a_plan_is_measured_by_a_worker(cluster: Connection, model: Model, corpus: str, tmp_path: Path) -> None:
    with RayPool("local", workers=2) as pool:
        found = planned(model, PLAN, corpus, out=tmp_path / "out", pool=pool, shard_latents=True)
    assert (found.workers, found.steps, found.shard_latents) == (2, 120, True)
    assert found.pass_s > 0 and found.step_s > 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_worker_raises_arrives_as_it_was(cluster: Connection, model: Model, corpus: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Contexts of 65 tokens cannot be read"):
        list(training(model, replace(PLAN, context=65), corpus, tmp_path / "out", **OPTIONS))


def test_what_there_is_no_room_for_is_refused(cluster: Connection, model: Model, corpus: str, tmp_path: Path) -> None:
    with pytest.raises(TooFewResources, match="no room for 3 workers"):
        list(training(model, PLAN, corpus, tmp_path / "out", address="local", workers=3))


def attempt(cluster: Connection) -> _Attempt:
    found: Any = _Attempt(cluster, None, False, Share(2, 1, 0), lambda: False)  # pyright: ignore[reportArgumentType]
    found._there = {0: Place("here", cluster.node, 11, ""), 1: Place("there", "other", 12, "")}
    return found


def test_who_was_lost_is_named(cluster: Connection) -> None:
    """Those that only miss another worker are not."""
    from ray.exceptions import ActorDiedError
    from ray.train import WorkerGroupError

    missing, dead = WorkersLost("Another worker is gone."), ActorDiedError()
    cases: list[tuple[dict[int, Exception], str]] = [
        ({0: missing, 1: dead}, r"^Worker 1 on there \(process 12\) was lost$"),
        ({0: dead, 1: dead}, r"^Worker 0 on here \(process 11\) and Worker 1 on there \(process 12\) were lost$"),
        ({0: missing}, r"^Worker 0 on here \(process 11\) was lost$"),
    ]
    for failures, named in cases:
        ended = attempt(cluster)
        ended._error = WorkerGroupError("", failures)
        with pytest.raises(_Lost, match=named):
            ended._judge()
    ended = attempt(cluster)
    ended._error = OSError("no more\nfiles")
    with pytest.raises(_Lost, match=r"^Ray Train's run was lost \(no more\)$"):
        ended._judge()


def test_a_place_that_another_machine_does_not_see_is_told(cluster: Connection) -> None:
    error = BadCorpus("There is no text.", "Give some.")
    for rank, kind in ((0, BadCorpus), (1, NotShared)):
        ended = attempt(cluster)
        ended._broken = Broken(rank, error)
        with pytest.raises(kind, match="There is no text"):
            ended._judge()


# What is done about losses, with attempts that only say how they end


class Machines:
    """A connection to a cluster whose machines come and go."""

    def __init__(self, *counts: int) -> None:
        self._counts = list(counts)

    def machines(self) -> list[Machine]:
        """As many as the next count says, of one CPU each; the last count stays."""
        count = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        return [Machine(str(number), "host", 1.0, 0.0, 0, number == 0) for number in range(count)]


def following(
    monkeypatch: pytest.MonkeyPatch, folder: Path, connection: Machines, ends: Sequence[tuple[int, Exception | None]]
) -> tuple[list[Any], list[int]]:
    """What is told of attempts that save so many tokens and then end like that, and with how many workers each was."""
    left, shares = list(ends), list[int]()

    class Attempt:
        def __init__(self, connection: Any, job: Any, anew: bool, share: Share, stop: Any) -> None:
            shares.append(share.workers)

        def events(self) -> Iterator[Any]:
            saved, error = left.pop(0)
            (folder / "saved").write_text(str(saved))
            yield TrainingState("out", str(folder), "running", "m", "c", [], saved, 900, saved, "")
            if error is not None:
                raise error

    monkeypatch.setattr(module, "_Attempt", Attempt)
    monkeypatch.setattr(module._Run, "_saved", property(lambda self: int((folder / "saved").read_text())))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (folder / "saved").write_text("0")
    job: Any = (None, None, None, folder)
    run = module._Run(connection, job, 2, None, lambda: False, [])  # pyright: ignore[reportArgumentType]
    return list(run.events(False)), shares


def test_it_goes_on_with_the_workers_there_is_room_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lost = _Lost("Worker 1 on b was lost")
    ends = [(100, lost), (100, lost), (300, lost), (300, Busy("It is taken.")), (300, None)]
    told, shares = following(monkeypatch, tmp_path, Machines(2, 1, 1, 1, 2), ends)
    assert [event.text for event in told if isinstance(event, Note)] == [
        "Worker 1 on b was lost: going on from 100 tokens, on 1 of 2 workers.",
        "Worker 1 on b was lost: going on from 100 tokens, on 1 of 2 workers.",
        "Worker 1 on b was lost: going on from 300 tokens.",
    ]
    assert shares == [2, 1, 1, 2, 2], "and with all of them when they are back"


def test_workers_that_wait_for_a_machine_that_is_gone_become_fewer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends = [(100, _Lost("Worker 1 on b was lost")), (100, _NoRoom()), (100, _NoRoom()), (100, None)]
    told, shares = following(monkeypatch, tmp_path, Machines(2, 2, 2, 1), ends)
    assert [event.text for event in told if isinstance(event, Note)] == [
        "Worker 1 on b was lost: going on from 100 tokens.",
        "The workers have not started yet: they wait for room on the cluster.",
    ]
    assert shares == [2, 2, 2, 1]


def test_losses_without_progress_end_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lost = _Lost("Worker 0 on a was lost")
    with pytest.raises(WorkersLost, match="Worker 0 on a was lost, and so it was 2 times before"):
        following(monkeypatch, tmp_path, Machines(2), [(100, lost)] * 3 + [(100, None)])


def test_a_folder_that_another_has_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Busy):
        following(monkeypatch, tmp_path, Machines(2), [(0, Busy("It is taken."))])


# The command line, with a cluster of its own


@pytest.fixture
def command(model: Model, corpus: str, tmp_path: Path) -> list[str]:
    (tmp_path / "plan.json").write_text(json.dumps(LONG.to_dict()))
    return [
        sys.executable, "-m", "clew", "sae", "train", str(model.path), "--corpus", corpus,
        "--plan", str(tmp_path / "plan.json"), "--out", str(tmp_path / "out"), "--ray", "local", "--workers", "2",
    ]  # fmt: skip


def test_a_head_that_is_gone_is_told_and_the_training_goes_on(
    one_thread: None, command: list[str], model: Model, corpus: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for _ in alone.training(model, LONG, corpus, tmp_path / "single"):
        pass
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        try:
            while first.poll() is None and not ((out / "command.json").exists() and state_of(out).saved):
                time.sleep(0.05)
            below = psutil.Process(first.pid).children(recursive=True)
            (head,) = [process for process in below if process.name() == "gcs_server"]
            head.kill()
            _, told = first.communicate(timeout=120)
        finally:
            first.kill()
    assert first.returncode == 1
    assert "The head node of the cluster at" in told and "is gone" in told
    saved = state_of(out).saved
    assert 0 < saved < LONG.tokens
    resumed = subprocess.run(
        [sys.executable, "-m", "clew", "sae", "resume", str(out)], capture_output=True, text=True, timeout=240
    )
    assert resumed.returncode == 0, resumed.stderr
    check_close(out, tmp_path / "single", LONG)
