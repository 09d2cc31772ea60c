"""Whatever disturbs a training, it goes on from what was saved and ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from traceback import extract_stack

import pytest

from clew.debug import Model
from clew.errors import NoSpace, NothingToLearn, UnknownAutoencoder
from clew.sae.records import Resampled, TrainingState, TrainPoint
from clew.sae.training import TrainEvent, state_of, training, trainings

from .plan import PLAN, RECIPES, B, check_same, opened

pytestmark = pytest.mark.usefixtures("one_thread")


def follow(events: Iterator[TrainEvent], at: Callable[[TrainEvent], None]) -> None:
    for event in events:
        at(event)


def test_a_training_that_is_stopped_again_and_again_ends_with_the_same_bits(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    out, tokens = tmp_path / "cut", []
    for often in cycle((1, 3, 8, 5, 12, 7)):
        asked = iter(range(often))
        events = list(training(model, PLAN, corpus, out, stop=lambda asked=asked: next(asked, None) is None))
        last = events[-1]
        assert isinstance(last, TrainingState) and last == state_of(out)
        tokens.append(last.tokens)
        if last.stage == "done":
            break
        assert last.stage == "stopped" and last.saved == last.tokens
        if last.tokens:
            assert last.message.startswith(
                f"Stopped after {last.tokens:,} tokens; the same command goes on from there."
            )
            assert opened(out, RECIPES[2]).origin.tokens == last.tokens, "what is stopped can be used"
    assert len(set(tokens)) > 7 and tokens == sorted(tokens)
    check_same(out, undisturbed[0])


def test_closing_the_iterator_saves(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    out = tmp_path / "cut"
    for at in (1, 2, 30, 7):
        events = training(model, PLAN, corpus, out)
        for _ in islice(events, at):
            pass
        assert state_of(out).stage == "running"
        events.close()  # pyright: ignore[reportAttributeAccessIssue]
        assert state_of(out).stage == "stopped"
    assert state_of(out).tokens > 2 * B
    list(training(model, PLAN, corpus, out))
    check_same(out, undisturbed[0])


def test_a_long_resampling_can_be_stopped_on_the_way(
    model: Model,
    corpus: str,
    undisturbed: tuple[Path, list[TrainEvent]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "cut"
    first = next(event for event in undisturbed[1] if isinstance(event, Resampled))
    monkeypatch.setattr("clew.sae.training._LONG", 0)
    events = list(
        training(model, PLAN, corpus, out, stop=lambda: "_drawn" in [frame.name for frame in extract_stack()])
    )
    assert not [event for event in events if isinstance(event, Resampled)]
    assert (state_of(out).stage, state_of(out).saved) == ("stopped", first.tokens)
    assert first in list(training(model, PLAN, corpus, out))
    check_same(out, undisturbed[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_then_interrupts(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "cut"
    told: list[TrainEvent] = []
    before = signal.getsignal(number)

    def at(event: TrainEvent) -> None:
        told.append(event)
        if isinstance(event, TrainPoint) and (event.run, event.step) == (RECIPES[3].name, 15):
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        follow(training(model, PLAN, corpus, out), at)
    assert signal.getsignal(number) is before
    last = told[-1]
    assert isinstance(last, TrainingState) and (last.stage, last.saved) == ("stopped", 15 * B)
    assert state_of(out) == last
    list(training(model, PLAN, corpus, out))
    check_same(out, undisturbed[0])


KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)  # a fork has no threads of a pool that its parent started
import clew
from clew.sae.training import state_of, training
from tests.sae.plan import PLAN

model, corpus, root = clew.load(sys.argv[1]), sys.argv[2], Path(sys.argv[3])


def begin(out):
    child = os.fork()
    if child == 0:
        try:
            for _ in training(model, PLAN, corpus, out):
                pass
        except KeyboardInterrupt:
            os._exit(130)
        os._exit(0)
    return child


def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


assert end(begin(root / "undisturbed")) == 0
out = root / "cut"
for number, extra in zip(sys.argv[4::2], map(float, sys.argv[5::2])):
    before = state_of(out).saved if (out / "training.json").exists() else 0
    child = begin(out)
    # Until it has gone on from what was saved, and then for some time more.
    while not (out / "training.json").exists() or state_of(out).saved == before and state_of(out).stage != "done":
        time.sleep(0.01)
    time.sleep(extra)
    os.kill(child, signal.Signals[number])
    print(end(child), state_of(out).stage, state_of(out).saved, flush=True)
assert end(begin(out)) == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_process_that_is_killed_at_any_moment_loses_little(model: Model, corpus: str, tmp_path: Path) -> None:
    kills = ["SIGKILL", "0", "SIGINT", "0.02", "SIGKILL", "0.07", "SIGKILL", "0.03"]
    command = [sys.executable, "-c", KILLED, str(model.path), corpus, str(tmp_path), *kills]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    told = [line.split() for line in ran.stdout.splitlines()]
    assert [(status, stage) for status, stage, _ in told[:2]] == [("-9", "stopped"), ("130", "stopped")]
    saved = [int(tokens) for _, _, tokens in told]
    assert saved == sorted(saved) and saved[0] == B * 10, "what was saved when it was killed is there"
    check_same(tmp_path / "cut", tmp_path / "undisturbed")


def test_activations_that_become_nan_fail_and_lose_little(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    out = tmp_path / "cut"
    weight = model.subject.hf.get_parameter("model.layers.1.mlp.up_proj.weight")
    before = weight[3, 3].item()

    def harm(event: TrainEvent) -> None:
        if isinstance(event, TrainingState) and event.saved == B * 10:
            weight[3, 3] = float("nan")

    try:
        with pytest.raises(NothingToLearn, match=r"mlp_(act|out)\.1 is NaN or infinite"):
            follow(training(model, PLAN, corpus, out), harm)
    finally:
        weight[3, 3] = before
    failed = state_of(out)
    assert (failed.stage, failed.saved, failed.tokens) == ("failed", B * 10, B * 10)
    assert "NaN or infinite" in failed.message
    list(training(model, PLAN, corpus, out))
    check_same(out, undisturbed[0])


def test_a_full_disk_keeps_the_last_checkpoint(
    model: Model,
    corpus: str,
    undisturbed: tuple[Path, list[TrainEvent]],
    small_disk: Callable[[str], Path],
) -> None:
    disk = small_disk("16m")
    out, filler = disk / "out", disk / "filler"

    def fill(event: TrainEvent) -> None:
        if isinstance(event, TrainingState) and event.saved == B * 10:
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            filler.write_bytes(b"\0" * (free - 64 * 1024))

    with pytest.raises(NoSpace, match="full; all that was complete is kept"):
        follow(training(model, PLAN, corpus, out), fill)
    assert state_of(out).saved == B * 10 and state_of(out).stage in ("failed", "stopped")
    assert "full" in state_of(out).message
    filler.unlink()
    list(training(model, PLAN, corpus, out))
    check_same(out, undisturbed[0])


def test_a_training_whose_process_died_is_not_said_to_run(model: Model, corpus: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = training(model, PLAN, corpus, out)
    for event in events:
        if isinstance(event, TrainPoint) and event.step == 15:
            break
    manifest = (out / "training.json").read_bytes()
    assert state_of(out).stage == "running"
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    (out / "training.json").write_bytes(manifest)
    state = state_of(out)
    assert (state.stage, state.tokens) == ("stopped", B * 10)
    assert "ended without a word" in state.message
    assert trainings(tmp_path) == [state]
    assert trainings(tmp_path / "nowhere") == []
    with pytest.raises(UnknownAutoencoder, match="holds no training"):
        state_of(tmp_path)
    with pytest.raises(UnknownAutoencoder, match="holds no training"):
        state_of(tmp_path / "nowhere")
