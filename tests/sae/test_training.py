"""A training from end to end on a tiny model: what it computes, what it tells and what it keeps."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clew.corpus import Contexts, corpus_of, read_contexts
from clew.debug import Model
from clew.errors import BadCheckpoint
from clew.nodes import Site
from clew.sae import train
from clew.sae.activations import Buffer, Stream
from clew.sae.autoencoder import Autoencoder
from clew.sae.log import Log
from clew.sae.recipe import Recipe, TrainingPlan
from clew.sae.records import Resampled, TrainingState, TrainPoint
from clew.sae.splicing import ce_recovered
from clew.sae.trainer import Trainer
from clew.sae.training import TrainEvent, read_log, state_of, training, trainings

from .plan import MLP, PLAN, RECIPES, B, log, opened

pytestmark = pytest.mark.usefixtures("one_thread")

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
