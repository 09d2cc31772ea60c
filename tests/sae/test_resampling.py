"""Resampling against a literal slow reading of the 2023 recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from clew.sae.objectives import Batch, Relu
from clew.sae.resampling import Schedule, draw, schedule
from clew.sae.trainer import Trainer

from . import literal
from .recipes import recipes

D, N, STEPS, BATCH = 8, 24, 64, 32
RECIPE = recipes(N)["relu-2023"]


def trainer(steps: int = STEPS, name: str = "relu-2023") -> Trainer:
    recipe = recipes(N)[name]
    return Trainer(
        recipe, D, D, steps=steps, batch=BATCH, dead_after=10**9, warmup=0.0, decay=0.0, clip=1.0,
        sample=rows(500, 1), sample_in=None if recipe.writes is None else rows(500, 2),
    )  # fmt: skip


def rows(count: int, seed: int) -> Tensor:
    x = torch.randn(count, D, generator=torch.Generator().manual_seed(seed)) + 0.5
    return x * (D / x.square().sum(1).mean()) ** 0.5


def trained(learner: Trainer, steps: int, silent: Tensor) -> Trainer:
    """After some steps in which some latents never fired."""
    learner.weights["b_enc"][silent] = -100.0
    for step in range(steps):
        learner.step(rows(BATCH, 10 + step))
    return learner


SILENT = torch.tensor([3, 4, 10, 23])


def test_the_recipes_own_schedule() -> None:
    whole = schedule(200_000, 8192)
    assert [step for step in range(200_001) if whole.due(step)] == [25_000, 50_000, 75_000, 100_000]
    assert whole.window == 12_500
    assert whole.inputs == 819_200
    assert schedule(10_000_000, 8192) == whole


def test_shorter_runs_resample_at_the_same_shares() -> None:
    short = schedule(1600, 64)
    assert [step for step in range(1601) if short.due(step)] == [200, 400, 600, 800]
    assert short == Schedule(spacing=200, inputs=6553)
    assert short.window == 100
    assert schedule(146, 2048).inputs == 4 * 2048
    assert not any(schedule(7, 64).due(step) for step in range(8))


def test_which_latents_are_dead_and_when_it_is_due() -> None:
    """Those that fired on nothing in the window; others that are silent for less are left alone."""
    learner = trained(trainer(), 5, SILENT[:0])
    learner.weights["b_enc"][SILENT] = -100.0
    asked: dict[int, int | None] = {}
    for step in range(5, STEPS):
        learner.step(rows(BATCH, 10 + step))
        asked[step + 1] = learner.wants_resampling
    # The spacing is 8 steps and the window 4. At step 8 the silent latents have been silent for 3.
    assert {step for step, wanted in asked.items() if wanted is not None} == {16, 24, 32}
    assert asked[16] == schedule(STEPS, BATCH).inputs


def test_it_is_asked_for_once_and_only_if_something_is_dead() -> None:
    learner = trained(trainer(), 8, SILENT)
    assert learner.wants_resampling is not None
    assert learner.resample([rows(64, 5)]) == len(SILENT)
    assert learner.wants_resampling is None
    assert trained(trainer(), 8, SILENT[:0]).wants_resampling is None
    off = Trainer(
        replace(RECIPE, resample=False), D, D, steps=STEPS, batch=BATCH, dead_after=99, warmup=0, decay=0, clip=1,
        sample=rows(99, 1),
    )  # fmt: skip
    assert trained(off, 8, SILENT).wants_resampling is None


def slow_draw(batches: list[tuple[Tensor, Tensor]], loss, count: int, generator: torch.Generator) -> list[Tensor]:
    """One draw at a time, one input at a time, from the same uniform numbers."""
    drawn: list[Tensor | None] = [None] * count
    total = 0.0
    for x, y in batches:
        squares = [float(loss(x[at : at + 1], y[at : at + 1])) ** 2 for at in range(len(x))]
        moves, places = torch.rand(2, count, dtype=torch.float64, generator=generator)
        total += sum(squares)
        for slot in range(count):
            if moves[slot] * total < sum(squares):
                rest = float(places[slot]) * sum(squares)
                at = 0
                while rest >= squares[at]:
                    rest -= squares[at]
                    at += 1
                drawn[slot] = x[at]
    return [row for row in drawn if row is not None]


@pytest.mark.parametrize("name", ["relu-2023", "relu-2023-transcoder"])
def test_resampling_is_what_the_recipe_says(name: str) -> None:
    learner = trained(trainer(name=name), 8, SILENT) if "transcoder" not in name else silent_transcoder(name)
    before = {key: value.clone() for key, value in learner.state().items()}
    weights = {key: weight.clone() for key, weight in learner.weights.items()}
    batches = [(rows(40, seed), rows(40, seed + (50 if "transcoder" in name else 0))) for seed in range(100, 105)]
    generator = torch.Generator()
    generator.set_state(before["generator"])
    penalty = learner.penalty
    chosen = slow_draw(
        batches,
        lambda x, y: literal.loss(learner.recipe, weights, x, y, penalty),
        len(SILENT),
        generator,
    )
    assert learner.resample(iter(batches)) == len(SILENT)
    after = learner.state()
    living = [j for j in range(N) if j not in SILENT]
    size = 0.2 * torch.stack([weights["w_enc"][j].norm() for j in living]).mean()
    inputs, targets = (torch.cat(side) for side in zip(*batches, strict=True))
    for latent, x in zip(SILENT.tolist(), chosen, strict=True):
        y = targets[(inputs == x).all(1).nonzero()[0, 0]]
        torch.testing.assert_close(after["weights.w_dec"][latent], y / y.norm(), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(after["weights.w_enc"][latent], x / x.norm() * size, rtol=1e-6, atol=1e-7)
    assert not after["weights.b_enc"][SILENT].any()
    # Adam forgets exactly what it knew of what changed, and nothing else moves.
    for key, value in before.items():
        if key in ("weights.w_dec", "weights.w_enc", "weights.b_enc"):
            assert torch.equal(after[key][living], value[living])
        elif key.split(".")[1:] in [[w, m] for w in ("w_enc", "w_dec", "b_enc") for m in ("exp_avg", "exp_avg_sq")]:
            assert not after[key][SILENT].any()
            assert torch.equal(after[key][living], value[living])
            assert value[living].any()
        elif key == "last_fired":
            assert (after[key][SILENT] == 8 * BATCH).all()
        elif key not in ("generator", "counters"):
            assert torch.equal(after[key], value), key


def silent_transcoder(name: str) -> Trainer:
    learner = trainer(name=name)
    learner.weights["b_enc"][SILENT] = -100.0
    for step in range(8):
        learner.step(rows(BATCH, 10 + step), rows(BATCH, 60 + step))
    return learner


def test_decoder_moments_of_the_dead_are_there_to_be_forgotten() -> None:
    """Latents that fired at first have moments when they die: resampling must find them by name."""
    learner = trained(trainer(), 5, SILENT[:0])
    trained(learner, 11, SILENT)
    state = learner.state()
    for name in ("w_enc", "w_dec", "b_enc"):
        assert state[f"adam.{name}.exp_avg_sq"][SILENT].any()
    learner.resample([rows(64, 5)])
    for name in ("w_enc", "w_dec", "b_enc"):
        assert not learner.state()[f"adam.{name}.exp_avg_sq"][SILENT].any()


def test_inputs_are_drawn_in_proportion_to_their_weight() -> None:
    weight = torch.tensor([0.0, 1.0, 4.0, 9.0, 0.5, 16.0, 0.0, 2.5, 3.0])
    x = torch.arange(9.0)[:, None]
    count = 60_000
    batches = [(part, part) for part in x.split([2, 1, 4, 2])]
    drawn = draw(batches, lambda pair: weight[pair[0][:, 0].long()], count, torch.Generator().manual_seed(3))
    assert drawn is not None
    seen = torch.bincount(drawn[0][:, 0].long(), minlength=9)
    assert not seen[weight == 0].any()
    here = weight > 0
    assert chisquare(seen[here].numpy(), (weight[here] / weight.sum() * count).numpy()).pvalue > 1e-3


def test_nothing_is_drawn_where_nothing_is_lost() -> None:
    x = torch.ones(3, 2)
    assert draw([(x, x)], lambda pair: torch.zeros(len(pair[0])), 4, torch.Generator()) is None


def test_one_batch_is_held_at_a_time() -> None:
    """A batch is not asked for before the last was let go of."""
    learner = trained(trainer(), 8, SILENT)
    alive = 0

    class Rows(Tensor):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream():
        nonlocal alive
        for seed in range(6):
            assert alive <= 1
            alive += 1
            yield rows(16, seed).as_subclass(Rows)

    assert learner.resample(stream()) == len(SILENT)


def test_losses_are_those_of_the_objective() -> None:
    learner = trained(trainer(), 8, SILENT)
    x = rows(20, 3)
    assert isinstance(learner.objective, Relu)
    found = learner.objective.losses(learner.weights, Batch(x, x, learner.penalty))
    wanted = [literal.loss(RECIPE, dict(learner.weights), x[[at]], x[[at]], learner.penalty) for at in range(20)]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-5, atol=1e-6)
