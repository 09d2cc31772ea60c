"""What trackers are told of a training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clew.debug import Model
from clew.errors import UsageError
from clew.sae.records import TrainPoint
from clew.sae.trackers import TensorBoard, WeightsAndBiases
from clew.sae.training import read_log, training

from .plan import PLAN, RECIPES, B

pytestmark = pytest.mark.usefixtures("one_thread")


def test_tensorboard_is_told_every_number(model: Model, corpus: str, tmp_path: Path) -> None:
    plan = replace(PLAN, recipes=RECIPES[:3:2])
    cut = training(model, plan, corpus, tmp_path / "out", trackers=[TensorBoard(tmp_path / "board")])
    for event in cut:
        if isinstance(event, TrainPoint) and event.step == 15:
            break
    cut.close()  # pyright: ignore[reportAttributeAccessIssue]
    list(training(model, plan, corpus, tmp_path / "out", trackers=[TensorBoard(tmp_path / "board")]))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    points = read_log(tmp_path / "out")
    for name in ("loss", "fvu", "l0", "dead", "learning_rate"):
        for recipe in plan.recipes:
            got = [(event.step, event.value) for event in board.Scalars(f"{recipe.name}/{name}")]
            expected = [(point.step, getattr(point, name)) for point in points if point.run == recipe.name]
            assert [step for step, _ in got] == [step for step, _ in expected]
            assert [value for _, value in got] == pytest.approx([value for _, value in expected], rel=1e-6)


def test_weights_and_biases_is_told_offline(
    model: Model, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    plan = replace(PLAN, recipes=RECIPES[:1], tokens=B * 10)
    list(training(model, plan, corpus, tmp_path / "out", trackers=[WeightsAndBiases("clew-test")]))
    (written,) = (tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb")
    content = written.read_bytes()
    for name in ("loss", "fvu", "l0", "dead"):
        assert f"{RECIPES[0].name}/{name}".encode() in content


@pytest.mark.parametrize(
    ("module", "made", "extra"),
    [
        ("wandb", lambda: WeightsAndBiases("project"), "clew[wandb]"),
        ("torch.utils.tensorboard", lambda: TensorBoard("folder"), "clew[tensorboard]"),
    ],
)
def test_a_tracker_whose_library_is_missing(
    module: str, made: Callable[[], object], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match="is not installed") as caught:
        made()
    assert extra in caught.value.hint
