"""The training step around the objectives: Adam, unit rows, schedules, counters, state, and what is handed out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clew.errors import NothingToLearn, UsageError
from clew.sae.objectives import Batch, Outcome, Weights
from clew.sae.recipe import Recipe
from clew.sae.trainer import PENALTY_WARMUP, Trainer, default_learning_rate

from .recipes import recipes

D_IN, D_OUT, N, BATCH, STEPS = 10, 6, 48, 64, 48
RECIPES = recipes(N, 4)
AUTOENCODERS = [name for name in RECIPES if "transcoder" not in name]


class Source:
    """Sparse sums of a few directions, and a fixed linear picture of them for transcoders; not centred."""

    def __init__(self, recipe: Recipe, d: int = D_IN) -> None:
        draw = torch.Generator().manual_seed(7)
        directions = torch.randn(24, d, generator=draw)
        self.directions = directions / directions.norm(dim=1, keepdim=True)
        self.picture = torch.randn(24, D_OUT, generator=draw)
        self.transcoder = recipe.writes is not None
        self.scale, self.scale_out = 1.0, 1.0
        x, y = self(4000, 1)
        self.scale = float((x.shape[1] / x.square().sum(1).mean()) ** 0.5)
        self.scale_out = float((y.shape[1] / y.square().sum(1).mean()) ** 0.5)

    def __call__(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        draw = torch.Generator().manual_seed(seed)
        strengths = (torch.rand(count, 24, generator=draw) < 0.1) * (0.5 + torch.rand(count, 24, generator=draw))
        x = (strengths @ self.directions + 0.2) * self.scale
        return x, (strengths @ self.picture + 0.3) * self.scale_out if self.transcoder else x


def trainer(
    recipe: Recipe, source: Source, steps: int = STEPS, dead_after: int = 1000, warmup: float = 0.1, decay: float = 0.2
) -> Trainer:
    x, y = source(1000, 2)
    return Trainer(
        recipe, x.shape[1], y.shape[1], steps=steps, batch=BATCH, dead_after=dead_after, warmup=warmup, decay=decay,
        clip=1.0, sample=y, sample_in=x if source.transcoder else None,
    )  # fmt: skip


def train(learner: Trainer, source: Source, start: int, stop: int) -> None:
    for step in range(start, stop):
        x, y = source(BATCH, 100 + step)
        learner.step(x, y if source.transcoder else None)
        if wanted := learner.wants_resampling:
            parts = (source(BATCH, 9000 + step * 100 + part) for part in range(-(-wanted // BATCH)))
            learner.resample(parts if source.transcoder else (x for x, _ in parts))


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_is_adams(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps, each beside torch's own plain Adam on the gradients that the paper's text asks for."""
    source = Source(RECIPES[name])
    learner = trainer(RECIPES[name], source)
    unit = "2024" not in name
    mine: dict[str, Tensor] = {key: weight.clone() for key, weight in learner.weights.items()}
    eps = 6.25e-10 if RECIPES[name].architecture in ("topk", "batchtopk", "matryoshka") else 1e-8
    adam = torch.optim.Adam([{"params": [weight]} for weight in mine.values()], eps=eps, foreach=False)
    clipped = 0
    for step in range(10):
        x, y = source(BATCH, step)
        with monkeypatch.context() as patch:
            found = overheard(learner, patch)
            for key, weight in learner.weights.items():
                mine[key].data.copy_(weight)
            rate = learner.learning_rate
            learner.step(x, y)
        if unit:
            for row, direction in zip(found["w_dec"], mine["w_dec"], strict=True):
                row -= (row @ direction) * direction
        for key, weight in mine.items():
            weight.grad = found[key]
        clipped += float(torch.nn.utils.clip_grad_norm_(list(mine.values()), 1.0)) > 1.0
        for key, group in zip(mine, adam.param_groups, strict=True):
            group["lr"] = rate * (5 if key == "log_threshold" else 1)
        adam.step()
        if unit:
            mine["w_dec"] /= mine["w_dec"].norm(dim=1, keepdim=True)
        for key, weight in learner.weights.items():
            torch.testing.assert_close(weight, mine[key], rtol=2e-6, atol=2e-7, msg=lambda text, key=key: key + text)
    assert clipped == 10 or "relu-20" not in name  # these losses are sums over the width, so clipping is at work


def overheard(learner: Trainer, patch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Filled with a copy of the gradients of the steps to come."""
    found: dict[str, Tensor] = {}
    learn = learner.objective.outcome

    def outcome(weights: Weights, batch: Batch) -> Outcome:
        given = learn(weights, batch)
        found.update({key: gradient.clone() for key, gradient in given.gradients.items()})
        return given

    patch.setattr(learner.objective, "outcome", outcome)
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_rows_of_the_decoder_keep_norm_one(name: str) -> None:
    source = Source(RECIPES[name])
    learner = trainer(RECIPES[name], source)
    train(learner, source, 0, 20)
    norms = learner.weights["w_dec"].norm(dim=1)
    if "2024" in name:
        assert (norms - 1).abs().max() > 1e-3
    else:
        torch.testing.assert_close(norms, torch.ones(N), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_going_on_is_as_if_never_stopped(name: str) -> None:
    """Bit for bit: weights, moments, counters, thresholds, generator; across a resampling."""
    source = Source(RECIPES[name])
    whole = trainer(RECIPES[name], source)
    train(whole, source, 0, 17)
    kept = {key: value.clone() for key, value in whole.state().items()}
    copy = {key: value.clone() for key, value in kept.items()}
    train(whole, source, 17, 31)
    resumed = trainer(RECIPES[name], source)
    resumed.load(kept)
    train(resumed, source, 17, 31)
    ours, theirs = resumed.state(), whole.state()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key
    assert all(torch.equal(kept[key], copy[key]) for key in kept), "what was loaded is not gone on with"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", RECIPES)
def test_a_loss_that_is_not_finite_changes_nothing(name: str, bad: float) -> None:
    source = Source(RECIPES[name])
    learner = trainer(RECIPES[name], source)
    train(learner, source, 0, 3)
    before = {key: value.clone() for key, value in learner.state().items()}
    x, y = source(BATCH, 5)
    x = x.clone()
    x[3, 2] = bad
    with pytest.raises(NothingToLearn, match="not finite"):
        learner.step(x, y if source.transcoder else None)
    after = learner.state()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    train(learner, source, 3, 5)


@pytest.mark.parametrize("name", RECIPES)
def test_a_batch_of_one_token_or_of_equal_ones_is_learnt_from(name: str) -> None:
    source = Source(RECIPES[name])
    learner = trainer(RECIPES[name], source)
    x, y = source(1, 3)
    for copies in (1, 5):
        stats = learner.step(x.expand(copies, -1), y.expand(copies, -1))
        assert stats.variance_sum == pytest.approx(0, abs=1e-6)
        assert stats.error_sum > 0


def test_a_sample_that_nothing_can_be_learnt_from_is_refused() -> None:
    for rows, words in ((torch.ones(50, D_IN), "all the same"), (torch.full((50, D_IN), torch.nan), "not finite")):
        with pytest.raises(NothingToLearn, match=words):
            Trainer(RECIPES["topk"], D_IN, D_IN, steps=9, batch=8, dead_after=9, warmup=0, decay=0, clip=1, sample=rows)


def test_more_active_latents_than_there_are_is_refused() -> None:
    for architecture in ("topk", "batchtopk", "matryoshka"):
        with pytest.raises(UsageError, match="cannot fire"):
            replace(RECIPES["topk"], architecture=architecture, k=N + 1).checked()


def test_learning_rate_and_penalty_follow_their_schedules() -> None:
    source = Source(RECIPES["topk"])
    learner = trainer(replace(RECIPES["topk"], learning_rate=0.5), source, steps=40, warmup=0.25, decay=0.5)
    rates = []
    for step in range(40):
        rates.append(learner.learning_rate)
        learner.step(source(BATCH, step)[0])
    up = [0.5 * (step + 1) / 10 for step in range(10)]
    down = [0.5 * (40 - step) / 20 for step in range(20, 40)]
    assert rates == pytest.approx(up + [0.5] * 10 + down)
    constant = trainer(replace(RECIPES["relu-2023"], sparsity=0.3), source, steps=100)
    rising = trainer(replace(RECIPES["relu-2024"], sparsity=0.3), source, steps=100)
    for step in range(8):
        assert constant.penalty == 0.3
        assert rising.penalty == pytest.approx(0.3 * min(1, (step + 1) / (PENALTY_WARMUP * 100)))
        x, _ = source(BATCH, step)
        constant.step(x)
        rising.step(x)


def test_learning_rates_that_are_not_named_follow_size_and_length() -> None:
    recipe = replace(RECIPES["topk"], learning_rate=None, latents=2**14)
    assert default_learning_rate(recipe, 10**6) == pytest.approx(2e-4)
    assert default_learning_rate(recipe, 10_000) == pytest.approx(2e-4)
    assert default_learning_rate(recipe, 2500) == pytest.approx(4e-4)
    assert default_learning_rate(replace(recipe, latents=2**12), 2500) == pytest.approx(8e-4)
    assert default_learning_rate(recipe, 10) == 3e-3


def test_stats_are_sums_and_means_of_the_batch() -> None:
    source = Source(RECIPES["relu-2023"])
    learner = trainer(RECIPES["relu-2023"], source)
    weights = {key: weight.clone() for key, weight in learner.weights.items()}
    x, _ = source(BATCH, 5)
    rate, penalty = learner.learning_rate, learner.penalty
    stats = learner.step(x)
    f = torch.relu((x - weights["b_dec"]) @ weights["w_enc"].T + weights["b_enc"])
    error = x - weights["b_dec"] - f @ weights["w_dec"]
    wanted = {
        "reconstruction": error.square().sum() / BATCH,
        "sparsity": penalty * f.sum() / BATCH,
        "error_sum": error.square().sum(),
        "variance_sum": (x - x.mean(0)).square().sum(),
        "l0": (f > 0).sum() / BATCH,
    }
    for name, value in wanted.items():
        assert getattr(stats, name) == pytest.approx(float(value), rel=1e-5), name
    assert stats.loss == pytest.approx(stats.reconstruction + stats.sparsity, rel=1e-6)
    assert stats.auxiliary == 0
    assert stats.learning_rate == rate


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_counters_count_tokens(name: str) -> None:
    """On how many each latent fired, and which fired on none of the last so many."""
    source = Source(RECIPES[name])
    learner = trainer(RECIPES[name], source, dead_after=3 * BATCH)
    silent = torch.tensor([5, 20])
    history: list[Tensor] = []
    for step in range(9):
        if step == 4:
            learner.weights["b_enc"][silent] = -100.0
        x, _ = source(BATCH, step)
        outcome = learner.objective.outcome(learner.weights, batch_of(learner, x))
        history.append(outcome.fired.clone())
        learner.step(x)
        quiet = torch.stack(history[-3:]).sum(0) == 0
        assert learner.dead == (int(quiet.sum()) if step >= 2 else 0)
        if step == 5:
            counts, tokens = learner.take_counts()
            assert torch.equal(counts, torch.stack(history).sum(0).long())
            assert tokens == 6 * BATCH
    counts, tokens = learner.take_counts()
    assert torch.equal(counts, torch.stack(history[6:]).sum(0).long())
    assert tokens == 3 * BATCH
    assert not counts[silent].any()


def batch_of(learner: Trainer, x: Tensor) -> Batch:
    dead = learner._dead_latents() if learner.recipe.architecture in ("topk", "batchtopk", "matryoshka") else None
    return Batch(x, x, learner.penalty, dead)


@pytest.mark.parametrize("name", RECIPES)
def test_it_learns_and_hands_out_what_it_learnt(name: str) -> None:
    """The autoencoder reads activations as the model makes them, and does with them what the trainer did."""
    recipe = RECIPES[name]
    source = Source(recipe)
    steps = 200
    learner = trainer(recipe, source, steps=steps)
    first = learner.step(*source(BATCH, 1))
    train(learner, source, 1, steps)
    x, y = source(4000, 1)
    scale, scale_out = 0.37, 2.3
    autoencoder = learner.autoencoder(scale, "toy", "a/model", 32, False, scale_out if recipe.writes else None)
    raw = x / scale
    rebuilt = autoencoder(raw) * (scale_out if recipe.writes else scale)
    fvu = float((rebuilt - y).square().sum() / (y - y.mean(0)).square().sum())
    l0 = float((autoencoder.encode(raw) > 0).sum(1).float().mean())
    last = learner.step(x, y)
    assert last.error_sum / last.variance_sum < (0.65 if recipe.writes else 0.3) * first.error_sum / first.variance_sum
    # A batch has its own threshold, and the autoencoder the mean of many: a few tokens near it fire or do not.
    near = 0.05 if recipe.architecture in ("batchtopk", "matryoshka") else 1e-4
    assert fvu == pytest.approx(last.error_sum / last.variance_sum, rel=near)
    assert l0 == pytest.approx(last.l0, rel=near)
    torch.testing.assert_close(autoencoder.decoder_norm, torch.ones(N), rtol=1e-5, atol=1e-5)
    assert autoencoder.origin.architecture == recipe.architecture
    assert autoencoder.origin.tokens == steps * BATCH
    assert (autoencoder.reads, autoencoder.writes) == (recipe.site, recipe.target)
    wanted = {"relu": "relu", "topk": "topk"}.get(recipe.architecture, "jumprelu")
    assert autoencoder.activation == wanted


def test_the_threshold_is_a_running_mean_that_starts_at_its_first_value() -> None:
    source = Source(RECIPES["batchtopk"])
    learner = trainer(RECIPES["batchtopk"], source, steps=5000)
    mean = 0.0
    for step in range(30):
        x, _ = source(BATCH, step)
        least = learner.objective.outcome(learner.weights, batch_of(learner, x)).least
        assert least is not None
        rate = max(0.01, 1 / (step + 1))
        mean += rate * (float(least) - mean)
        learner.step(x)
    threshold = learner.autoencoder(1.0, "t", None, None, None).threshold
    assert threshold is not None
    torch.testing.assert_close(threshold, torch.full((N,), mean), rtol=1e-5, atol=1e-6)


def test_the_auxiliary_loss_revives() -> None:
    """Latents that never fire stay dead without it, and half of them come to fire with it."""
    source = Source(RECIPES["topk"])
    dead = {}
    for auxiliary in (0.0, 1 / 32):
        learner = trainer(replace(RECIPES["topk"], k=2, auxiliary=auxiliary), source, steps=250, dead_after=20 * BATCH)
        learner.weights["b_enc"][:16] = -1.0  # so that they are never among the two largest
        train(learner, source, 0, 250)
        dead[auxiliary] = learner.dead
    assert dead[0.0] >= 16
    assert dead[1 / 32] <= 10


def test_first_weights_are_tied_and_reconstruct() -> None:
    source = Source(RECIPES["topk"])
    for name in AUTOENCODERS:
        learner = trainer(RECIPES[name], source)
        weights = learner.weights
        size = weights["w_enc"].norm(dim=1)
        torch.testing.assert_close(size, size[:1].expand(N), rtol=1e-5, atol=0)
        torch.testing.assert_close(weights["w_enc"] / size[:, None], weights["w_dec"], rtol=1e-5, atol=1e-6)
        assert weights["w_enc"].data_ptr() != weights["w_dec"].data_ptr()
        stats = learner.step(source(1000, 2)[0])
        assert stats.error_sum < stats.variance_sum


def test_the_seed_draws_the_weights() -> None:
    source = Source(RECIPES["topk"])
    one, same = (trainer(RECIPES["topk"], source).state() for _ in range(2))
    other = trainer(replace(RECIPES["topk"], seed=1), source).state()
    assert torch.equal(one["weights.w_enc"], same["weights.w_enc"])
    assert not torch.equal(one["weights.w_enc"], other["weights.w_enc"])
