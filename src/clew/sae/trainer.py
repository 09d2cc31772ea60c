"""Learning one autoencoder from batches of activations, wherever they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import NothingToLearn
from .autoencoder import Autoencoder, Origin
from .group import ALONE, Group
from .objectives import Batch, Outcome, Relu, objective_of
from .portion import Portion
from .portioned import Portioned
from .recipe import Recipe
from .resampling import draw, replace_rows, schedule
from .weights import first_weights

PENALTY_WARMUP = 0.05  # of the run, over which λ rises (Anthropic 2024; Rajamanoharan et al. 2024); not in 2023
_THRESHOLD_RATE = 0.01  # of batchtopk's running mean, which looks back no further than a tenth of the run
_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_THRESHOLD_PACE = 5  # times the learning rate: log θ, alone in holding the number that fire, has far to go
_TOPK_EPSILON = 6.25e-10  # Gao et al. 2024: their loss, and with it the gradients, are small
_OF_LATENTS = ("w_enc", "b_enc", "w_dec", "log_threshold")  # weights of which each latent has its own
_CUTOFF_HINT = "Check the model's activations at this site; a lower learning rate may help if they are finite."


@dataclass(frozen=True)
class StepStats:
    """One step's numbers.

    `loss` is the sum of its weighted parts. `l0` is the mean number of latents that fire on a token. `error_sum` is
    Σ‖y − x̂‖² and `variance_sum` is Σ‖y − ȳ‖² over the batch, in normalised units: sums, so that an FVU over several
    steps is a ratio of sums.
    """

    loss: float
    reconstruction: float
    sparsity: float
    auxiliary: float
    l0: float
    error_sum: float
    variance_sum: float
    learning_rate: float


class Trainer:
    """Learns one recipe from activations that were multiplied by a constant so that the mean of ‖x‖² is d.

    `sample` holds a few thousand of the targets, and `sample_in` of the inputs if those differ: first biases and sizes
    are taken from them. A trainer on every rank of a group is given its share of each batch, and all of them learn the
    same: what they are made with has to be the same everywhere. With `shard_latents` each holds a portion of the
    latents instead, and is given all of each batch. Raises NothingToLearn when samples are not finite or all the same.
    """

    def __init__(
        self,
        recipe: Recipe,
        d_in: int,
        d_out: int,
        *,
        steps: int,
        batch: int,
        dead_after: int,
        warmup: float,
        decay: float,
        clip: float,
        sample: Float[Tensor, "s d_out"],
        sample_in: Float[Tensor, "s d_in"] | None = None,
        device: torch.device | str = "cpu",
        group: Group = ALONE,
        shard_latents: bool = False,
    ) -> None:
        self._group = group
        self.portion = Portion(recipe.latents, group if shard_latents else ALONE)
        self.recipe, self.d_in, self.d_out = recipe, d_in, d_out
        self.steps, self.dead_after, self.clip = steps, dead_after, clip
        self._warmup, self._decay = warmup, decay
        self.objective = objective_of(recipe, self.portion)
        self.device = torch.device(device)
        target = sample.to(self.device, torch.float32)
        given = target if sample_in is None else sample_in.to(self.device, torch.float32)
        for rows in (given, target):
            _check_sample(recipe, rows)
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self.weights = first_weights(self.objective, given, target, self._generator)
        group.spread_([weight for name, weight in self.weights.items() if not self._is_apart(name)])
        self._adam = torch.optim.Adam(
            [
                {"params": [weight], "pace": _THRESHOLD_PACE if name == "log_threshold" else 1}
                for name, weight in self.weights.items()
            ],
            lr=0.0,
            betas=_BETAS,
            eps=_TOPK_EPSILON if recipe.architecture in ("topk", "batchtopk", "matryoshka") else _EPSILON,
            fused=True,
        )
        self._schedule = schedule(steps, batch)
        self.step_number = 0
        self.tokens = 0
        self._resampled_at = 0
        n = self.portion.size
        self.fired = torch.zeros(n, dtype=torch.int64, device=self.device)
        self._counted = 0
        self._last_fired = torch.zeros(n, dtype=torch.int64, device=self.device)
        self._threshold = torch.zeros((), device=self.device)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        peak = self.recipe.learning_rate
        if peak is None:
            peak = default_learning_rate(self.recipe, self.steps)
        done = self.step_number
        up = min(1.0, (done + 1) / max(1.0, self._warmup * self.steps))
        down = min(1.0, (self.steps - done) / max(1.0, self._decay * self.steps))
        return peak * max(0.0, min(up, down))

    @property
    def penalty(self) -> float:
        """λ of the next step."""
        whole = self.recipe.sparsity
        if whole is None:
            whole = default_sparsity(self.recipe)
        if self.recipe.architecture == "relu" and self.recipe.loss == "2023":
            return whole
        return whole * min(1.0, (self.step_number + 1) / max(1.0, PENALTY_WARMUP * self.steps))

    @torch.no_grad()
    def step(
        self, x: Float[Tensor, "b d_in"], y: Float[Tensor, "b d_out"] | None = None, whole: int | None = None
    ) -> StepStats:
        """Learn from a batch; `y` is what a transcoder is to write, `whole` how many tokens all ranks have together, if
        tokens are what they share.

        Raises NothingToLearn, with nothing changed, or WorkersLost.
        """
        x = x.to(self.device, torch.float32)
        y = x if y is None else y.to(self.device, torch.float32)
        dead = self._dead_latents() if self.recipe.architecture in ("topk", "batchtopk", "matryoshka") else None
        batch = Batch(x, y, self.penalty, dead, whole, self._group if self.portion.is_whole else ALONE)
        outcome = self.objective.outcome(self.weights, batch)
        parts = _parts(outcome, batch)
        size = self._sum(outcome, parts)
        gradients = outcome.gradients
        stats = self._stats(torch.cat((parts, batch.variance[None])), float(size))
        self._descend(gradients, float(size))
        self._count(outcome, batch.size)
        return stats

    def _is_apart(self, name: str) -> bool:
        """Whether each rank has another part of a weight."""
        return not self.portion.is_whole and name in _OF_LATENTS

    def _sum(self, outcome: Outcome, parts: Float[Tensor, " 6"]) -> Float[Tensor, ""]:
        """Make parts whole, in place: of gradients, counts and numbers. Returns the gradient's norm."""
        gradients = outcome.gradients
        if self.portion.is_whole:
            self._group.sum_([*gradients.values(), outcome.fired, parts])
            self._tangent(gradients)
            return torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
        self._tangent(gradients)
        apart = [gradient.norm() for name, gradient in gradients.items() if self._is_apart(name)]
        alike = [gradient for name, gradient in gradients.items() if not self._is_apart(name)]
        square = torch.stack(apart).square().sum()
        self._group.sum_([*alike, parts, square])
        return torch.stack([square.sqrt(), *(gradient.norm() for gradient in alike)]).norm()

    def _tangent(self, gradients: dict[str, Tensor]) -> None:
        """Take off the gradients, in place, what would only change the length of a decoder row of norm 1."""
        if self.objective.unit:
            rows, w_dec = gradients["w_dec"], self.weights["w_dec"]
            rows.addcmul_((rows * w_dec).sum(1, keepdim=True), w_dec, value=-1)

    def _stats(self, numbers: Float[Tensor, " 7"], size: float) -> StepStats:
        loss, reconstruction, sparsity, auxiliary, l0, error, variance = numbers.tolist()
        if not (math.isfinite(loss) and math.isfinite(size)):
            raise NothingToLearn(
                f"The loss of {self.recipe.name} is not finite at step {self.step_number + 1:,}.", _CUTOFF_HINT
            )
        return StepStats(loss, reconstruction, sparsity, auxiliary, l0, error, variance, self.learning_rate)

    def _descend(self, gradients: dict[str, Tensor], size: float) -> None:
        if size > self.clip:
            torch._foreach_mul_(list(gradients.values()), self.clip / size)
        for name, weight in self.weights.items():
            weight.grad = gradients[name]
        rate = self.learning_rate
        for group in self._adam.param_groups:
            group["lr"] = rate * group["pace"]
        self._adam.step()
        for weight in self.weights.values():
            weight.grad = None
        if self.objective.unit:
            self.weights["w_dec"].div_(self.weights["w_dec"].norm(dim=1, keepdim=True))

    def _count(self, outcome: Outcome, tokens: int) -> None:
        if outcome.least is not None:
            # The first value counts in full: a mean that started at 0 would let far too much fire in a short run.
            rate = max(_THRESHOLD_RATE, 10 / self.steps, 1 / (self.step_number + 1))
            self._threshold.lerp_(outcome.least, min(1.0, rate))
        self.step_number += 1
        self.tokens += tokens
        self.fired += outcome.fired.to(torch.int64)
        self._counted += tokens
        self._last_fired[outcome.fired > 0] = self.tokens

    @property
    def dead(self) -> int:
        """How many latents fired on none of the last `dead_after` tokens: of those on this rank."""
        return len(self._dead_latents())

    def _dead_latents(self) -> Int[Tensor, " m"]:
        return (self.tokens - self._last_fired >= self.dead_after).nonzero()[:, 0]

    def take_counts(self) -> tuple[Int[Tensor, " n"], int]:
        """On how many tokens each latent of this rank fired since this was last asked, and how many there were."""
        counts, tokens = self.fired.clone(), self._counted
        self.fired.zero_()
        self._counted = 0
        return counts, tokens

    @property
    def wants_resampling(self) -> int | None:
        """How many random inputs `resample` wants now, or None when it is not due. To be asked after each step, by all
        ranks."""
        due = (
            self.recipe.architecture == "relu"
            and self.recipe.resample
            and self._schedule.due(self.step_number)
            and self._resampled_at != self.step_number
        )
        return self._schedule.inputs if due and sum(self.portion.counts(len(self._unfired()))) else None

    def _unfired(self) -> Int[Tensor, " m"]:
        """Latents that fired on nothing in the window before a resampling."""
        window = self._schedule.window * self.tokens // max(1, self.step_number)
        return (self.tokens - self._last_fired >= window).nonzero()[:, 0]

    @torch.no_grad()
    def resample(self, batches: Iterable[Tensor | tuple[Tensor, Tensor]]) -> int:
        """Replace dead latents by random inputs on which the loss is large (resampling.py); how many there were.

        Of a transcoder, each batch is a pair of inputs and targets. One batch is held at a time. The ranks of a group
        take turns with the batches: each has the same number, empty ones at the end.
        """
        objective, dead = self.objective, self._unfired()
        counts, rank = self.portion.counts(len(dead)), self.portion.group.rank
        self._resampled_at = self.step_number
        if not isinstance(objective, Relu) or not sum(counts):
            return 0

        def pairs() -> Iterable[tuple[Tensor, Tensor]]:
            for batch in batches:
                x, y = batch if isinstance(batch, tuple) else (batch, batch)
                yield x.to(self.device, torch.float32), y.to(self.device, torch.float32)

        def weigh(pair: tuple[Tensor, Tensor]) -> Tensor:
            # Where latents lie with several ranks, all of them are needed for each one's tokens.
            rows = zip(*map(self.portion.group.gather, pair), strict=True)
            losses = [objective.losses(self.weights, Batch(x, y, self.penalty)) for x, y in rows]
            return losses[rank].to(torch.float64).square()

        drawn = draw(pairs(), weigh, sum(counts), self._generator, self._group)
        if drawn is None:
            return 0
        mine = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
        changed = replace_rows(self.weights, dead, (drawn[0][mine], drawn[1][mine]), self.portion.group)
        for name, rows in changed.items():
            moments = self._adam.state[self.weights[name]]
            for moment in ("exp_avg", "exp_avg_sq"):
                moments[moment][rows] = 0.0
        self._last_fired[dead] = self.tokens
        return sum(counts)

    def state(self) -> dict[str, Tensor]:
        """All that training goes on from, to be given to `load` of a trainer made with the same arguments. These are no
        copies: who wants to keep them over the next step makes one."""
        state = {f"weights.{name}": weight for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            for part, moment in self._adam.state[weight].items():
                state[f"adam.{name}.{part}"] = moment
        counters = (self.step_number, self.tokens, self._counted, self._resampled_at)
        return state | {
            "counters": torch.tensor(counters, dtype=torch.int64),
            "fired": self.fired,
            "last_fired": self._last_fired,
            "threshold": self._threshold,
            "generator": self._generator.get_state(),
        }

    def is_shared(self, name: str) -> bool:
        """Whether what `state` has by this name is but this rank's rows of it: those of its latents."""
        if self.portion.is_whole:
            return False
        kind, _, rest = name.partition(".")
        weight, _, part = rest.partition(".")
        return kind in ("fired", "last_fired") or (weight in _OF_LATENTS and part != "step")

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave, or another trainer's with other latents: of what is shared, this one's rows."""
        for name, weight in self.weights.items():
            weight.copy_(state[f"weights.{name}"])
            prefix = f"adam.{name}."
            moments = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
            self._adam.state[weight] = {part: moment.to(self.device, copy=True) for part, moment in moments.items()}
        self.step_number, self.tokens, self._counted, self._resampled_at = state["counters"].tolist()
        self.fired.copy_(state["fired"])
        self._last_fired.copy_(state["last_fired"])
        self._threshold.copy_(state["threshold"])
        self._generator.set_state(state["generator"].cpu())

    @torch.no_grad()
    def autoencoder(
        self,
        scale: float,
        name: str,
        model: str | None,
        context: int | None,
        bos: bool | None,
        scale_out: float | None = None,
    ) -> Autoencoder:
        """What was learnt, for activations as the model computes them.

        It was learnt on `scale` times these (targets: `scale_out` times). Its latents come out in the units of the
        targets, with decoder rows of norm 1. Of several ranks that hold a portion each, it is a Portioned one.
        """
        out = scale if scale_out is None else scale_out
        weights, recipe = self.weights, self.recipe
        w_dec = weights["w_dec"]
        length = w_dec.norm(dim=1).clamp_min(torch.finfo(w_dec.dtype).tiny)
        unit = 1 / out if self.objective.unit else length / out
        centre = None if self.objective.centre is None else weights[self.objective.centre] / scale
        threshold: Tensor | None = None
        if "log_threshold" in weights:
            threshold = weights["log_threshold"].exp() * unit
        elif recipe.architecture in ("batchtopk", "matryoshka"):
            threshold = torch.full_like(weights["b_enc"], float(self._threshold)) * unit
        skip = weights.get("w_skip")
        kind = Autoencoder if self.portion.is_whole else partial(Portioned, portion=self.portion)
        return kind(
            recipe.site,
            recipe.target,
            {"relu": "relu", "topk": "topk"}.get(recipe.architecture, "jumprelu"),  # pyright: ignore[reportArgumentType]
            (weights["w_enc"].T * (scale * unit)).contiguous(),
            weights["b_enc"] * unit,
            w_dec.clone() if self.objective.unit else w_dec / length[:, None],
            weights["b_dec"] / out,
            centre,
            recipe.k if recipe.architecture == "topk" else None,
            threshold,
            w_skip=None if skip is None else skip * (scale / out),
            origin=Origin(name, "clew", recipe.architecture, model=model, context=context, bos=bos, tokens=self.tokens),
        )


def _parts(outcome: Outcome, batch: Batch) -> Float[Tensor, " 6"]:
    """What a batch gave, as far as it is a sum over tokens: the loss and its parts, L0, Σ‖e‖²."""
    return torch.stack([
        outcome.loss,
        outcome.reconstruction,
        outcome.sparsity,
        outcome.auxiliary,
        outcome.fired.sum() / batch.size,
        outcome.error.square().sum(),
    ])  # fmt: skip


def default_learning_rate(recipe: Recipe, steps: int) -> float:
    """Adam's peak learning rate where a recipe names none.

    That of Gao et al. 2024 for runs of 10,000 steps and more; the fewer the steps, the larger, as 1/√steps, and at most
    0.003 (docs/training.md says how that was chosen).
    """
    whole = 2e-4 * (2**14 / recipe.latents) ** 0.5
    return min(3e-3, whole * max(1.0, (10_000 / steps) ** 0.5))


def default_sparsity(recipe: Recipe) -> float:
    """λ where a recipe names none (docs/training.md says how it was chosen)."""
    return {"relu": 3.0, "jumprelu": 3e-3}.get(recipe.architecture, 0.0)


def _check_sample(recipe: Recipe, rows: Float[Tensor, "s d"]) -> None:
    if not rows.isfinite().all():
        raise NothingToLearn(f"Activations at {recipe.site} are not finite.", "Check the model's weights and dtype.")
    if not (rows - rows[0]).any():
        raise NothingToLearn(f"Activations at {recipe.site} are all the same.", "Choose another site or corpus.")
