"""The plan that the tests of training carry out, and when two folders hold the same training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from clew.nodes import Site
from clew.sae import load
from clew.sae.autoencoder import Autoencoder
from clew.sae.recipe import Recipe, TrainingPlan
from clew.sae.training import read_log, state_of

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
WIDE = replace(PLAN, buffer=5000)  # filled by three forward passes, so that all ranks have rows of every batch
TENSORS, NUMBERS = 1e-4, 1e-5
CLOCKED = ("tokens_per_s", "seconds_left")


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


def check_close(folder: Path, other: Path, plan: TrainingPlan = PLAN) -> None:
    """The same training by others: every tensor to TENSORS of its largest number, every number of the log to NUMBERS,
    and what is counted exactly. Ranks add the same numbers in another order, so bits differ."""
    mine, theirs = weights(folder, plan), weights(other, plan)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert float((tensor - theirs[name]).abs().max()) <= TENSORS * float(theirs[name].abs().max()), name
    for point, expected in zip(log(folder), log(other), strict=True):
        exact = [name for name, value in expected.items() if not isinstance(value, float)]
        assert "dead" in exact and "density" in exact and "loss" not in exact
        assert [point.pop(name) for name in exact] == [expected.pop(name) for name in exact]
        assert point == pytest.approx(expected, rel=NUMBERS)
    assert state_of(folder).stage == "done"


def opened(folder: Path, recipe: Recipe) -> Autoencoder:
    return load(str(folder / recipe.name))
