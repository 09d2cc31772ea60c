"""The objectives as their papers write them, for autograd: dense, slow, and sharing no code with what is tested."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from clew.sae.recipe import Recipe


class Step(Function):
    """H(z − θ) with the pseudo-derivative by θ of Rajamanoharan et al. 2024, eq. 12."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, threshold = ctx.saved_tensors
        kernel = (((z - threshold) / ctx.width).abs() < 0.5).to(z.dtype)
        return None, (-kernel / ctx.width * grads[0]).sum(0), None


class Jump(Function):
    """z·H(z − θ), with the pseudo-derivative by θ of the same paper, eq. 11."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, threshold = ctx.saved_tensors
        kernel = (((z - threshold) / ctx.width).abs() < 0.5).to(z.dtype)
        by_threshold = (-threshold / ctx.width * kernel * grads[0]).sum(0)
        return (z > threshold).to(z.dtype) * grads[0], by_threshold, None


def encode(recipe: Recipe, weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """z and f."""
    if recipe.architecture == "jumprelu" or (recipe.architecture == "relu" and recipe.loss == "2024"):
        read = x
    else:
        read = x - (weights["b_dec"] if recipe.writes is None else weights["b_pre"])
    z = read @ weights["w_enc"].T + weights["b_enc"]
    match recipe.architecture:
        case "relu":
            return z, torch.relu(z)
        case "jumprelu":
            return z, Jump.apply(z, weights["log_threshold"].exp(), width(recipe, x))
        case "topk":
            chosen = z.topk(recipe.k, dim=1).indices
            mask = torch.zeros_like(z).scatter(1, chosen, 1.0)
        case _:
            chosen = z.flatten().topk(recipe.k * len(z)).indices
            mask = torch.zeros_like(z.flatten()).scatter(0, chosen, 1.0).view_as(z)
    return z, torch.relu(z) * mask


def width(recipe: Recipe, x: Tensor) -> float:
    """The straight-through estimator's, in units of x."""
    return recipe.bandwidth * x.shape[1] ** 0.5


def decode(weights: dict[str, Tensor], x: Tensor, f: Tensor) -> Tensor:
    """x̂."""
    out = weights["b_dec"] + f @ weights["w_dec"]
    return out + x @ weights["w_skip"] if "w_skip" in weights else out


def error_of(recipe: Recipe, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """y − x̂."""
    return y - decode(weights, x, encode(recipe, weights, x)[1])


def loss(
    recipe: Recipe,
    weights: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    penalty: float,
    dead: Tensor | None = None,
    held: Tensor | None = None,
) -> Tensor:
    """The whole loss; `held` is the error that the auxiliary loss is to make up for, by default that of now."""
    z, f = encode(recipe, weights, x)
    error = y - decode(weights, x, f)
    if recipe.architecture == "relu":
        lengths = weights["w_dec"].norm(dim=1) if recipe.loss == "2024" else torch.ones_like(weights["b_enc"])
        return (error**2).sum(1).mean() + penalty * (f * lengths).sum(1).mean()
    if recipe.architecture == "jumprelu":
        steps = Step.apply(z, weights["log_threshold"].exp(), width(recipe, x))
        return (error**2).mean() + penalty * steps.sum(1).mean()
    variance = ((y - y.mean(0)) ** 2).sum()
    if recipe.architecture == "matryoshka":
        sizes = [round(share * recipe.latents) for share in recipe.nested]
        errors = []
        for size in sizes:
            inner = {**weights, "w_dec": weights["w_dec"][:size]}
            errors.append(y - decode(inner, x, f[:, :size]))
        total = torch.stack([(off**2).sum() for off in errors]).mean() / variance
    else:
        total = (error**2).sum() / variance
    if dead is not None:
        held = error.detach() if held is None else held
        best = z[:, dead].topk(min(y.shape[1] // 2, len(dead)), dim=1)
        revived = torch.zeros_like(z[:, dead]).scatter(1, best.indices, torch.relu(best.values))
        missing = held - revived @ weights["w_dec"][dead]
        total = total + recipe.auxiliary * (missing**2).sum() / variance
    return total
