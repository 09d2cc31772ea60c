"""Which folders and plans a training refuses, and that it harms nothing when it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clew.debug import Model
from clew.errors import BadCheckpoint, BadSite, Busy, TrainingExists, UsageError
from clew.nodes import Site
from clew.sae import train
from clew.sae.recipe import Recipe
from clew.sae.records import TrainingState
from clew.sae.training import read_log, state_of, training, trainings

from .plan import MLP, PLAN, RECIPES, B

pytestmark = pytest.mark.usefixtures("one_thread")


def test_other_settings_are_refused_by_name_and_replace_starts_anew(
    model: Model, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan = replace(PLAN, recipes=RECIPES[2:3])
    train(model, plan, corpus, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.name != "training.lock"}
    for other, names in (
        (replace(plan, tokens=B * 9), "tokens"),
        (replace(plan, seed=9, clip=2.0), "clip, seed"),
        (replace(plan, recipes=(replace(RECIPES[2], k=4),)), "recipes"),
    ):
        with pytest.raises(TrainingExists, match=rf"other settings \({names}\)"):
            train(model, other, corpus, out)
    with pytest.raises(TrainingExists, match=r"\(model\)"):
        train(tiny("qwen3"), plan, corpus, out)
    with pytest.raises(TrainingExists, match=r"\(corpus\)"):
        train(model, plan, str(Path(corpus) / "a.txt"), out)
    events = list(training(model, replace(plan, log_every=7, save_every=100), corpus, out))
    assert [event.stage for event in events if isinstance(event, TrainingState)] == ["done"] and len(events) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (out / "mine.txt").write_text("mine")
    other = replace(plan, tokens=B * 20, recipes=(replace(RECIPES[2], k=4),))
    train(model, other, corpus, out, replace=True)
    assert state_of(out).tokens == B * 20
    assert {point.tokens for point in read_log(out)} == {B * 5, B * 10, B * 15, B * 20}
    assert not (out / RECIPES[2].name).exists() and (out / other.recipes[0].name).is_dir()
    assert (out / "mine.txt").read_text() == "mine"


def test_a_folder_with_other_things_is_never_touched(model: Model, corpus: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for anew in (False, True):
        with pytest.raises(TrainingExists, match="other things in it"):
            train(model, PLAN, corpus, out, replace=anew)
    with pytest.raises(TrainingExists, match="other things in it"):
        train(model, PLAN, corpus, out / "mine.txt", replace=True)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_two_trainings_of_one_folder(model: Model, corpus: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = training(model, PLAN, corpus, out)
    next(first)
    assert state_of(out).stage == "running"
    with pytest.raises(Busy, match="Another process is training into out"):
        train(model, PLAN, corpus, out)
    assert state_of(out).stage == "running"
    first.close()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"context": 65}, UsageError),
        ({"tokens": 1}, UsageError),
        ({"recipes": (Recipe(Site("mlp_out", 3), 32),)}, BadSite),
        ({"recipes": (Recipe(MLP, 4, k=5),)}, UsageError),
        ({"recipes": ()}, UsageError),
    ],
)
def test_plans_that_cannot_be_leave_nothing_behind(
    model: Model, corpus: str, tmp_path: Path, changed: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        train(model, replace(PLAN, **changed), corpus, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_checkpoint_is_told(model: Model, corpus: str, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    for event in training(model, PLAN, corpus, out):
        if isinstance(event, TrainingState) and event.saved:
            break
    (path,) = (out / "checkpoint").iterdir()
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    for _ in range(2):
        with pytest.raises(BadCheckpoint, match="is not as it was written" if harm == "cut" else "is missing"):
            train(model, PLAN, corpus, out)
        assert state_of(out).stage == "failed" and "--replace" in state_of(out).message
    (out / "training.json").write_text('{"version": 1')
    with pytest.raises(BadCheckpoint, match=r"training\.json cannot be read"):
        train(model, PLAN, corpus, out)
    assert [(state.stage, state.name) for state in trainings(tmp_path)] == [("failed", "out")]
    assert len(train(model, replace(PLAN, recipes=RECIPES[2:3]), corpus, out, replace=True)) == 1
