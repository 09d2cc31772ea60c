"""What training starts from: weights drawn at random and fitted to a sample of what they will see."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .objectives import Objective
from .portion import Portion
from .recipe import Recipe
from .sparse import largest_of_all, largest_of_ranks

FIRST_L0 = 64  # latents that fire at the start of a jumprelu, whose number falls slowly
_ROUNDS, _NEAR = 100, 1e-6
_DRAWN = 4096  # rows drawn at once; of a multiple of 16, which is what numbers are drawn in, the rows are the same


def first_weights(
    objective: Objective, x: Float[Tensor, "s d_in"], y: Float[Tensor, "s d_out"], generator: torch.Generator
) -> dict[str, Tensor]:
    """First weights of a recipe, given a sample of inputs and targets.

    Decoder rows are random directions and the encoder is the decoder's transpose, at the one length that reconstructs
    the sample best. b_dec is the sample's geometric median where it is subtracted from the input too (Bricken et al.
    2023; Gao et al. 2024), else its mean. A transcoder's decoder cannot be read off its encoder: each row starts as the
    direction in which the targets are off their mean where its latent fires.

    Of a portion of the latents each rank makes its own; they are what one rank alone would make.
    """
    recipe = objective.recipe
    portion, d_in, transcoder = objective.portion, x.shape[1], recipe.writes is not None
    rows = _drawn(portion.whole, portion.low, portion.high, d_in, generator).to(x)
    rows /= rows.norm(dim=1, keepdim=True)
    weights = {"w_enc": rows, "b_enc": x.new_zeros(len(rows))}
    weights["b_dec"] = geometric_median(y) if objective.centre == "b_dec" else y.mean(0)
    if objective.centre == "b_pre":
        weights["b_pre"] = x.mean(0)
    # What is not centred by a bias of its own starts centred by the encoder's.
    middle = x.mean(0) if objective.centre is None else weights[objective.centre]
    z = (x - middle) @ rows.T
    f, threshold = _start_firing(recipe, z, portion)
    w_dec = rows.clone()
    if transcoder:
        w_dec = f.T @ (y - y.mean(0))
        lost = w_dec.norm(dim=1) == 0
        counts = portion.counts(int(lost.sum()))
        before = sum(counts[: portion.group.rank])
        drawn = _drawn(sum(counts), before, before + counts[portion.group.rank], y.shape[1], generator)
        w_dec[lost] = drawn.to(y)
        w_dec /= w_dec.norm(dim=1, keepdim=True)
    decoded, wanted = f @ w_dec, y - weights["b_dec"]
    portion.group.sum_([decoded])
    size = float((decoded * wanted).sum() / decoded.square().sum().clamp_min(1e-12))
    size = size if size > 0 else 1.0
    rows *= size
    if objective.centre is None:
        weights["b_enc"] = -(rows @ middle)
    weights["w_dec"] = w_dec
    if recipe.architecture == "jumprelu":
        weights["log_threshold"] = torch.full_like(weights["b_enc"], size * threshold).log_()
    if recipe.skip:
        weights["w_skip"] = x.new_zeros(d_in, y.shape[1])
    return {name: weight.contiguous() for name, weight in weights.items()}


def _drawn(count: int, low: int, high: int, d: int, generator: torch.Generator) -> Float[Tensor, "m d"]:
    """From `low` to before `high` of `count` random rows: all of them are drawn, and few are held at once."""
    rows = torch.empty(high - low, d)
    for start in range(0, count, _DRAWN):
        # The last rows are drawn with those before them: fewer than 16 numbers alone would be drawn another way.
        stop = count if count - start < 2 * _DRAWN else start + _DRAWN
        some = torch.randn(stop - start, d, generator=generator)
        first, last = max(low, start), min(high, stop)
        if last > first:
            rows[first - low : last - low] = some[first - start : last - start]
        if stop == count:
            break
    return rows


def _start_firing(recipe: Recipe, z: Float[Tensor, "s n"], portion: Portion) -> tuple[Float[Tensor, "s n"], float]:
    """Activations at the start, and the least of them on any rank."""
    if recipe.architecture == "relu":
        return z.relu(), 0.0
    k = min(FIRST_L0, max(1, recipe.latents // 4)) if recipe.architecture == "jumprelu" else recipe.k
    pairs, values = largest_of_all(z, k * len(z))
    if not portion.is_whole:
        _, _, values = largest_of_ranks(pairs, values, k * len(z), portion.group)
    least = float(values.min()) if len(values) else 1.0
    return z * (z >= least), least


def geometric_median(rows: Float[Tensor, "s d"]) -> Float[Tensor, " d"]:
    """The point with the least sum of distances to the rows (Weiszfeld's iteration)."""
    middle = rows.mean(0)
    for _ in range(_ROUNDS):
        weight = 1 / (rows - middle).norm(dim=1).clamp_min(torch.finfo(rows.dtype).eps)
        nearer = weight @ rows / weight.sum()
        if (nearer - middle).norm() <= _NEAR * nearer.norm():
            return nearer
        middle = nearer
    return middle
