"""Gradients written by hand, against autograd of the literal loss and against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clew.sae import objectives
from clew.sae.objectives import Batch, JumpRelu, objective_of
from clew.sae.recipe import Recipe

from . import literal
from .recipes import recipes

B, N = 12, 16
RECIPES = recipes(N)
DENSE, SPARSE = -1.0, 2.0  # shares of firing pairs from which products are dense: always, never
PENALTY = 0.07
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)


def problem(recipe: Recipe, seed: int = 0) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Random weights, inputs and targets."""
    torch.manual_seed(seed)
    d_in, d_out = (7, 7) if recipe.writes is None else (7, 5)
    w_dec = torch.randn(N, d_out, dtype=torch.float64)
    weights = {
        "w_enc": torch.randn(N, d_in, dtype=torch.float64) * 0.5,
        "b_enc": torch.randn(N, dtype=torch.float64) * 0.3,
        "w_dec": w_dec / w_dec.norm(dim=1, keepdim=True) * (2 if recipe.loss == "2024" else 1),
        "b_dec": torch.randn(d_out, dtype=torch.float64) * 0.2,
    }
    objective = objective_of(recipe)
    if objective.centre == "b_pre":
        weights["b_pre"] = torch.randn(d_in, dtype=torch.float64) * 0.2
    if isinstance(objective, JumpRelu):
        weights["log_threshold"] = torch.randn(N, dtype=torch.float64) * 0.3 - 1
    if recipe.skip:
        weights["w_skip"] = torch.randn(d_in, d_out, dtype=torch.float64) * 0.3
    x = torch.randn(B, d_in, dtype=torch.float64) + 0.3
    y = x if recipe.writes is None else torch.randn(B, d_out, dtype=torch.float64) + 0.1
    return weights, x, y


def dead_of(recipe: Recipe) -> Tensor | None:
    """Latents to call dead: more than the d/2 that the auxiliary loss takes."""
    return torch.tensor([1, 4, 5, 9, 14]) if recipe.architecture in ("topk", "batchtopk", "matryoshka") else None


@pytest.mark.parametrize("share", [DENSE, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_autograds(name: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "WORTHWHILE", share)
    recipe = RECIPES[name]
    for seed in range(3):
        weights, x, y = problem(recipe, seed)
        dead = dead_of(recipe)
        outcome = objective_of(recipe).outcome(weights, Batch(x, y, PENALTY, dead))
        leaves = {key: weight.clone().requires_grad_() for key, weight in weights.items()}
        loss = literal.loss(recipe, leaves, x, y, PENALTY, dead)
        wanted = torch.autograd.grad(loss, list(leaves.values()))
        close(outcome.loss, loss.detach())
        assert set(outcome.gradients) == set(weights)
        for key, gradient in zip(leaves, wanted, strict=True):
            assert gradient.abs().max() > 0, key
            close(outcome.gradients[key], gradient, msg=lambda text, key=key: key + text)


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_finite_differences(name: str) -> None:
    recipe = RECIPES[name]
    weights, x, y = problem(recipe)
    dead = dead_of(recipe)
    held = literal.error_of(recipe, weights, x, y)
    found = objective_of(recipe).outcome(weights, Batch(x, y, PENALTY, dead)).gradients
    for key, weight in weights.items():
        if key == "log_threshold":
            continue  # not the derivative of the loss, which is a staircase: see below
        slopes = torch.empty_like(weight)
        for place in range(weight.numel()):
            slopes.view(-1)[place] = slope(
                lambda w: literal.loss(recipe, w, x, y, PENALTY, dead, held), weights, key, place
            )
        torch.testing.assert_close(found[key], slopes, rtol=1e-6, atol=1e-8, msg=lambda text, key=key: key + text)


def slope(
    of: Callable[[dict[str, Tensor]], Tensor], weights: dict[str, Tensor], key: str, place: int, step: float = 1e-5
) -> Tensor:
    """A central difference by one number."""
    ends = []
    for sign in (1, -1):
        moved = weights[key].clone()
        moved.view(-1)[place] += sign * step
        ends.append(of({**weights, key: moved}))
    return (ends[0] - ends[1]) / (2 * step)


@pytest.mark.parametrize("name", ["jumprelu", "jumprelu-transcoder"])
def test_threshold_gradients_are_those_of_ramps(name: str) -> None:
    """A jump's derivative is taken to be a rectangle: that of a ramp as wide. Ramps have finite differences."""
    recipe = RECIPES[name]
    weights, x, y = problem(recipe)
    wide = literal.width(recipe, x)
    start = weights["log_threshold"].exp()
    z, f = literal.encode(recipe, weights, x)

    def ramped(moved: dict[str, Tensor]) -> Tensor:
        climbed = ramp(z - moved["log_threshold"].exp()) - ramp(z - start)
        error = y - literal.decode(weights, x, f + start * climbed)
        return (error**2).mean() + PENALTY * ((z > start) + climbed).sum(1).mean()

    def ramp(over: Tensor) -> Tensor:
        return (over / wide + 0.5).clamp(0, 1)

    assert ((z - start).abs() < wide / 2).sum() > 5
    slopes = torch.stack([slope(ramped, weights, "log_threshold", place) for place in range(N)])
    found = objective_of(recipe).outcome(weights, Batch(x, y, PENALTY)).gradients["log_threshold"]
    torch.testing.assert_close(found, slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["topk", "batchtopk", "matryoshka"])
def test_auxiliary_loss_reaches_the_encoder(name: str) -> None:
    """Of latents that do not fire, so that nothing else reaches it."""
    recipe = RECIPES[name]
    weights, x, y = problem(recipe)
    weights["b_enc"][:] = 3.0
    dead = torch.tensor([2, 7, 11])
    weights["b_enc"][dead] = 0.0
    _, f = literal.encode(recipe, weights, x)
    assert not f[:, dead].any()
    objective = objective_of(recipe)
    alone = objective.outcome(weights, Batch(x, y)).gradients
    assert not alone["w_enc"][dead].any()
    assert not alone["b_enc"][dead].any()
    revived = objective.outcome(weights, Batch(x, y, dead=dead)).gradients
    for key in ("w_enc", "w_dec"):
        assert (revived[key][dead].abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", ["relu-2023", "relu-2024"])
def test_losses_of_tokens_have_the_loss_as_their_mean(name: str) -> None:
    recipe = RECIPES[name]
    weights, x, y = problem(recipe)
    objective = objective_of(recipe)
    assert isinstance(objective, objectives.Relu)
    losses = objective.losses(weights, Batch(x, y, PENALTY))
    each = [literal.loss(recipe, weights, x[at : at + 1], y[at : at + 1], PENALTY) for at in range(B)]
    close(losses, torch.stack(each))
    close(losses.mean(), objective.outcome(weights, Batch(x, y, PENALTY)).loss)


class Sizes(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that any operation gives."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_no_step_makes_an_array_of_tokens_by_k_by_width(architecture: str) -> None:
    b, n, d, k = 64, 128, 96, 16
    recipe = recipes(n, k)[architecture]
    torch.manual_seed(0)
    weights = {
        "w_enc": torch.randn(n, d), "b_enc": torch.zeros(n), "w_dec": torch.randn(n, d), "b_dec": torch.zeros(d)
    }  # fmt: skip
    x = torch.randn(b, d)
    with Sizes() as sizes:
        objective_of(recipe).outcome(weights, Batch(x, x, dead=torch.arange(0, n, 3)))
    assert sizes.largest <= max(b * n, n * d) < b * k * d
