"""A training from end to end on a tiny model: what it computes, what it keeps, and that nothing disturbs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from traceback import extract_stack
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from clew.corpus import Contexts, corpus_of, read_contexts
from clew.debug import Model
from clew.errors import (
    BadCheckpoint,
    BadSite,
    Busy,
    NoSpace,
    NothingToLearn,
    TrainingExists,
    UnknownAutoencoder,
    UsageError,
)
from clew.nodes import Site
from clew.sae import load, train
from clew.sae.activations import Buffer, Stream
from clew.sae.autoencoder import Autoencoder
from clew.sae.log import Log
from clew.sae.recipe import Recipe, TrainingPlan
from clew.sae.records import Resampled, TrainingState, TrainPoint
from clew.sae.splicing import ce_recovered
from clew.sae.trackers import TensorBoard, WeightsAndBiases
from clew.sae.trainer import Trainer
from clew.sae.training import TrainEvent, read_log, state_of, training, trainings

MLP = Site("mlp_out", 1)
RECIPES = (
    Recipe(MLP, 32, "relu", sparsity=40.0, learning_rate=0.05),  # so strong that latents die
    Recipe(MLP, 24, "relu", loss="2024"),
    Recipe(MLP, 32, "topk", k=3),
    Recipe(Site("resid", 1), 32, "batchtopk", k=3),
    Recipe(MLP, 16, "jumprelu", seed=1),
    Recipe(Site("mlp_act", 1), 48, "matryoshka", k=4),
    Recipe(Site("mlp_in", 1), 32, "topk", k=3, writes=MLP, skip=True),
    Recipe(Site("mlp_in", 1), 32, "relu", sparsity=40.0, learning_rate=0.05, writes=MLP),
)
B = 256  # tokens in a step
# Four forward passes over a text that is gone through 1.6 times, and a buffer filled five times.
PLAN = TrainingPlan(
    RECIPES,
    tokens=B * 48,
    batch=B,
    context=16,
    buffer=1500,
    log_every=5,
    save_every=B * 10,
    evaluate_every=B * 20,
    seed=2,
)
CLOCKED = ("tokens_per_s", "seconds_left")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The model is so small that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tiny: Callable[[str], Model]) -> Model:
    return tiny("llama")


@pytest.fixture(scope="module")
def undisturbed(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrainEvent]]:
    """The folder of a training that nothing disturbed, and all that it told."""
    out = tmp_path_factory.mktemp("trainings") / "undisturbed"
    return out, list(training(model, PLAN, corpus, out))


def weights(folder: Path, plan: TrainingPlan = PLAN) -> dict[str, Tensor]:
    """All numbers of all autoencoders of a training."""
    return {
        f"{recipe.name}/{name}": tensor
        for recipe in plan.recipes
        for name, tensor in load_file(folder / recipe.name / "sae_weights.safetensors").items()
    }


def log(folder: Path) -> list[dict[str, Any]]:
    """A training's log without what the clock says."""
    return [
        {name: value for name, value in point.to_dict().items() if name not in CLOCKED} for point in read_log(folder)
    ]


def check_same(folder: Path, other: Path) -> None:
    """The same bits and the same log."""
    mine, theirs = weights(folder), weights(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name
    assert log(folder) == log(other)
    assert state_of(folder).stage == "done"


def follow(events: Iterator[TrainEvent], at: Callable[[TrainEvent], None]) -> None:
    for event in events:
        at(event)


# What is computed


def test_a_training_is_its_parts_put_together_by_hand(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    """Buffer, scales, trainers and resampling in a loop of their own give the same bits and the same log."""
    out, events = undisturbed
    subject, plan, total = model.subject, PLAN, B * 48
    needed = -(-total // 15) + 8
    for _ in read_contexts(
        tmp_path, subject, corpus_of(corpus), tokens=needed * 16, length=16, bos=False, seed=2, shard=10**6
    ):
        pass
    contexts = Contexts.open(tmp_path)
    used = len(contexts) - 8
    assert used < needed - 8, "the text is too short for one pass"
    sites = sorted({site for recipe in RECIPES for site in (recipe.site, recipe.target)})
    stream = Stream(subject, contexts, used, sites, 1, 2)
    buffer = Buffer(stream, 1500, total, 2)
    while not buffer.is_ready:
        buffer.read()
    scale = {site: buffer.scale(site) for site in sites}
    sample = {site: rows * scale[site] for site, rows in buffer.first(8192).items()}
    trainers = [
        Trainer(
            recipe, sample[recipe.site].shape[1], sample[recipe.target].shape[1], steps=48, batch=B,
            dead_after=plan.dead_after, warmup=plan.warmup, decay=plan.decay, clip=plan.clip,
            sample=sample[recipe.target], sample_in=sample[recipe.site] if recipe.writes else None,
        )
        for recipe in RECIPES
    ]  # fmt: skip
    fired: list[list[tuple[Tensor, int]]] = [[] for _ in RECIPES]
    kept: list[list[Any]] = [[] for _ in RECIPES]
    resampled: list[tuple[str, int, int]] = []
    rows: list[dict[str, Any]] = []
    held_out = contexts.batch(used, 8)
    for step in range(1, 49):
        for recipe, trainer in zip(RECIPES, trainers, strict=True):
            wanted = trainer.wants_resampling
            if wanted is not None:
                drawn = []
                for part in stream.sample(wanted, step - 1, sorted({recipe.site, recipe.target})):
                    left = wanted - sum(len(x) for x, _ in drawn)
                    drawn.append(
                        (
                            part[recipe.site][:left] * scale[recipe.site],
                            part[recipe.target][:left] * scale[recipe.target],
                        )
                    )
                assert sum(len(x) for x, _ in drawn) == wanted
                resampled.append((recipe.name, step - 1, trainer.resample(drawn)))
        while not buffer.is_ready:
            buffer.read()
        batch = buffer.draw(B)
        for i, (recipe, trainer) in enumerate(zip(RECIPES, trainers, strict=True)):
            x, y = (batch[site] * scale[site] for site in (recipe.site, recipe.target))
            kept[i].append(trainer.step(x) if recipe.writes is None else trainer.step(x, y))
        measured = step in (20, 40) or step == 48
        if step % 5 and not measured:
            continue
        for i, (recipe, trainer) in enumerate(zip(RECIPES, trainers, strict=True)):
            fired[i].append(trainer.take_counts())
            stats, kept[i] = kept[i], []
            rows.append(row_by_hand(recipe, trainer, step, stats, fired[i], resampled))
            if measured:
                autoencoder = trainer.autoencoder(
                    scale[recipe.site], recipe.name, None, None, None, scale[recipe.target] if recipe.writes else None
                )
                rows[-1]["ce_recovered"] = ce_recovered(subject, autoencoder, held_out, 1)
    logged = log(out)
    assert len(logged) == len(rows)
    exact = ("run", "density", "ce_recovered")
    for got, expected in zip(logged, rows, strict=True):
        assert [got.pop(name) for name in exact] == [expected.pop(name) for name in exact]
        assert got == pytest.approx(expected, rel=1e-12, abs=0.0)
    assert any(point.ce_recovered is not None for point in read_log(out))
    told = [(event.run, event.step, event.count) for event in events if isinstance(event, Resampled)]
    assert told == resampled and sum(number for _, _, number in resampled) > 0
    for recipe, trainer in zip(RECIPES, trainers, strict=True):
        expected = trainer.autoencoder(
            scale[recipe.site], recipe.name, "model", 16, False, scale[recipe.target] if recipe.writes else None
        )
        check_equal(opened(out, recipe), expected)


def row_by_hand(
    recipe: Recipe,
    trainer: Trainer,
    step: int,
    stats: list[Any],
    fired: list[tuple[Tensor, int]],
    resampled: list[tuple[str, int, int]],
) -> dict[str, Any]:
    counts, seen = fired[-1]
    assert seen == len(stats) * B
    shares = counts.numpy() / seen
    edges = np.arange(-28, 1) / 4
    bins = np.histogram(np.log10(shares[shares > 0]), edges)[0]
    # Stretches of dead_after tokens, cut where a row of the log ends: this one and the one before.
    stretches: list[list[tuple[Tensor, int]]] = [[]]
    for pair in fired:
        if sum(tokens for _, tokens in stretches[-1]) >= PLAN.dead_after:
            stretches.append([])
        stretches[-1].append(pair)
    lately = torch.stack([numbers for stretch in stretches[-2:] for numbers, _ in stretch]).sum(0)
    since = step - len(stats)
    mean = {name: float(np.mean([getattr(one, name) for one in stats])) for name in (
        "loss", "reconstruction", "sparsity", "auxiliary", "l0",
    )}  # fmt: skip
    return mean | {
        "run": recipe.name,
        "step": step,
        "tokens": step * B,
        "fvu": sum(one.error_sum for one in stats) / sum(one.variance_sum for one in stats),
        "ce_recovered": None,
        "dead": trainer.dead,
        "nearly_dead": int((lately <= 1).sum()),
        "resampled": sum(number for run, at, number in resampled if run == recipe.name and since <= at < step),
        "learning_rate": stats[-1].learning_rate,
        "density": {"edges": edges.tolist(), "counts": bins.tolist(), "below": int((counts == 0).sum())},
    }


def opened(folder: Path, recipe: Recipe) -> Autoencoder:
    return load(str(folder / recipe.name))


def check_equal(got: Autoencoder, expected: Autoencoder) -> None:
    """The same function: saving may write the same weights in another way."""
    x = torch.randn(50, expected.d_in, generator=torch.Generator().manual_seed(0))
    assert (got.reads, got.writes, got.activation) == (expected.reads, expected.writes, expected.activation)
    torch.testing.assert_close(got.encode(x), expected.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got(x), expected(x), rtol=1e-5, atol=1e-5)
    assert (got.origin.architecture, got.origin.tokens) == (expected.origin.architecture, expected.origin.tokens)


def test_what_was_learned_explains_the_sites_as_the_model_has_them(model: Model, corpus: str, tmp_path: Path) -> None:
    """The normalisation is folded in: on raw values the FVU is about what the log's last row says."""
    recipes = (Recipe(MLP, 64, "topk", k=6), Recipe(Site("mlp_in", 1), 64, "topk", k=6, writes=MLP))
    plan = TrainingPlan(recipes, tokens=12_800, batch=64, context=32, buffer=4000, log_every=50)
    found = train(model, plan, corpus, tmp_path / "out")
    for _ in read_contexts(
        tmp_path, model.subject, corpus_of(corpus), tokens=4000, length=32, bos=False, seed=1, shard=10**6
    ):
        pass
    stream = Stream(model.subject, Contexts.open(tmp_path), 120, [MLP, Site("mlp_in", 1)], 1, 0)
    rows = stream.read()
    logged = {point.run: point.fvu for point in read_log(tmp_path / "out")}
    for recipe, autoencoder in zip(recipes, found, strict=True):
        y = rows[recipe.target]
        error = (y - autoencoder(rows[recipe.site])).square().sum() / (y - y.mean(0)).square().sum()
        assert error.item() == pytest.approx(logged[recipe.name], rel=0.1)
        assert error.item() < 0.6


# What is told and kept


def test_what_a_training_tells(undisturbed: tuple[Path, list[TrainEvent]]) -> None:
    out, events = undisturbed
    states = [event for event in events if isinstance(event, TrainingState)]
    # How many of these there are is a matter of time.
    states = [state for state in states if not state.message.startswith("Filling the buffer:")]
    points = [event for event in events if isinstance(event, TrainPoint)]
    assert points == list(read_log(out))
    assert [state.saved for state in states] == [0, 0, *range(B * 10, B * 48, B * 10), B * 48]
    assert [state.stage for state in states] == ["running"] * 6 + ["done"]
    assert states[0].message.startswith("Reading text:")
    last = states[-1]
    assert "gone through 1.6 times" in last.message
    assert (last.name, last.total, last.tokens) == ("undisturbed", B * 48, B * 48)
    assert last.runs == [recipe.name for recipe in RECIPES]
    assert last == state_of(out) == trainings(out.parent)[0]
    assert all(point.tokens_per_s > 0 and point.seconds_left >= 0 for point in points)
    assert points[-1].seconds_left == 0
    kept = {path.name for path in out.iterdir()}
    assert kept == {"training.json", "training.lock", "log.parquet", *(recipe.name for recipe in RECIPES)}
    assert read_log(out, 45) == [point for point in points if point.step > 45] != []
    assert read_log(out, 48) == []


def test_a_text_that_is_too_short_is_gone_through_again_and_that_is_said(
    model: Model, corpus: str, tmp_path: Path
) -> None:
    plan = replace(PLAN, recipes=RECIPES[2:3], tokens=20_000)
    for _ in islice(training(model, plan, corpus, tmp_path / "out"), 3):
        pass
    message = state_of(tmp_path / "out").message
    assert "The corpus ended after 8," in message
    assert "tokens to train on: they are gone through 2.6 times, each time in another order." in message


# What disturbs it


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
from tests.sae.test_training import PLAN

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


# What is refused


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


# What fails


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


# Looking on


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


def test_the_log_is_whole_at_every_moment_of_its_writing(
    undisturbed: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    points = list(read_log(undisturbed[0]))
    runs = len(RECIPES)
    writer = Log(tmp_path)
    assert read_log(tmp_path) == []
    states: list[dict[str, bytes]] = []

    def snapshot() -> None:
        states.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})

    for start in range(0, 6 * runs, runs):
        for point in points[start : start + runs]:
            writer.add(point)
        writer.flush()
        assert list(read_log(tmp_path)) == points[: start + runs]
        snapshot()
        if start == 2 * runs:
            writer.merge()
            assert list(read_log(tmp_path)) == points[: start + runs]
            snapshot()
    # Killed between the merged log's writing and the tail's removal: both hold the same rows.
    both = states[2] | states[3]
    for name, content in both.items():
        (tmp_path / name).write_bytes(content)
    assert list(read_log(tmp_path)) == points[: 3 * runs]
    # A checkpoint of an earlier step takes back what came after it.
    (tmp_path / "log-tail.parquet").write_bytes(states[-1]["log-tail.parquet"])
    again = Log(tmp_path)
    again.resume(points[4 * runs].step)
    assert list(read_log(tmp_path)) == points[: 5 * runs]
    again.resume(0)
    assert read_log(tmp_path) == []
    (tmp_path / "log.parquet").write_bytes(states[3]["log.parquet"][:-9])
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        read_log(tmp_path)


# Trackers


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
