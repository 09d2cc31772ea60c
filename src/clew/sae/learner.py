"""One autoencoder of a training: its trainer, how its activations are scaled, and what its log says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import Cancelled
from ..models.tape import Stop
from .activations import Buffer, Rows, Stream
from .autoencoder import Autoencoder
from .group import Group
from .measures import density_histogram
from .recipe import Recipe, TrainingPlan
from .records import TrainPoint
from .trainer import Trainer

_SAMPLE = 8192  # rows that first weights are made from
_RARE = 1e-6  # a share of tokens

_SUMS = ("loss", "reconstruction", "sparsity", "auxiliary", "l0", "error_sum", "variance_sum")


class Learner:
    """Learns a recipe of a plan from rows of a buffer.

    Rows are multiplied by `scales`, a constant for each site by name, and what was learned is told as of the model's
    own values.
    """

    def __init__(
        self, recipe: Recipe, plan: TrainingPlan, scales: Mapping[str, float], sample: Rows, group: Group
    ) -> None:
        self.recipe, self._plan = recipe, plan
        self._scale, self._scale_out = scales[str(recipe.site)], scales[str(recipe.target)]
        given, target = self._scaled(sample)
        self.trainer = Trainer(
            recipe,
            given.shape[1],
            target.shape[1],
            steps=plan.steps,
            batch=plan.batch,
            dead_after=plan.dead_after,
            warmup=plan.warmup,
            decay=plan.decay,
            clip=plan.clip,
            sample=target,
            sample_in=None if recipe.writes is None else given,
            device=given.device,
            group=group,
        )
        self._sums = dict.fromkeys(_SUMS, 0.0)
        self._steps, self._learning_rate, self._resampled = 0, 0.0, 0
        self._window = _Window(recipe.latents, plan.dead_after)

    @classmethod
    def begin(cls, recipe: Recipe, plan: TrainingPlan, scales: Mapping[str, float], buffer: Buffer) -> Learner:
        """One that starts from what the buffer holds. Raises NothingToLearn."""
        return cls(recipe, plan, scales, buffer.first(_SAMPLE), buffer.stream.group)

    @classmethod
    def resume(
        cls,
        recipe: Recipe,
        plan: TrainingPlan,
        scales: Mapping[str, float],
        stream: Stream,
        tensors: dict[str, Tensor],
        numbers: dict[str, Any],
    ) -> Learner:
        """One that goes on from the `state` of another."""
        generator = torch.Generator().manual_seed(0)
        # First weights are made and thrown away at once: what they are made of does not matter.
        rows = {site: torch.randn(2, stream.width(site), generator=generator) for site in stream.sites}
        learner = cls(
            recipe, plan, scales, {site: values.to(stream.device) for site, values in rows.items()}, stream.group
        )
        prefix = f"{recipe.name}/"
        mine = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        learner._window.load(mine.pop("window"), numbers["window"])
        learner.trainer.load(mine)
        learner._sums, learner._steps = dict(numbers["sums"]), numbers["steps"]
        learner._learning_rate, learner._resampled = numbers["learning_rate"], numbers["resampled"]
        return learner

    def step(self, rows: Rows) -> None:
        """Learn from a batch of the plan, of which these rows are here. Raises NothingToLearn or WorkersLost."""
        given, target = self._scaled(rows)
        stats = self.trainer.step(given, None if self.recipe.writes is None else target, self._plan.batch)
        for name in _SUMS:
            self._sums[name] += getattr(stats, name)
        self._steps += 1
        self._learning_rate = stats.learning_rate

    @property
    def wanted(self) -> int:
        """On how many random tokens dead latents are to be given new rows now; 0 when it is not time to."""
        return self.trainer.wants_resampling or 0

    def resample(self, stream: Stream, stop: Stop) -> int:
        """Give dead latents new rows; how many. Raises Cancelled, and is then to be forgotten."""
        count = self.trainer.resample(self._drawn(stream, self.wanted, stop))
        self._resampled += count
        return count

    def point(self, step: int, tokens: int, tokens_per_s: float, seconds_left: float, ce: float | None) -> TrainPoint:
        """The row of the log since the last one."""
        counts, seen = self.trainer.take_counts()
        self._window.add(counts, seen)
        mean = {name: total / max(1, self._steps) for name, total in self._sums.items()}
        error, variance = self._sums["error_sum"], self._sums["variance_sum"]
        point = TrainPoint(
            run=self.recipe.name,
            step=step,
            tokens=tokens,
            loss=mean["loss"],
            reconstruction=mean["reconstruction"],
            sparsity=mean["sparsity"],
            auxiliary=mean["auxiliary"],
            l0=mean["l0"],
            # Batches of one token do not vary: what is wrong of them is all that there is to explain.
            fvu=error / variance if variance else float(error > 0),
            ce_recovered=ce,
            dead=self.trainer.dead,
            nearly_dead=self._window.rare,
            resampled=self._resampled,
            learning_rate=self._learning_rate,
            tokens_per_s=tokens_per_s,
            seconds_left=seconds_left,
            density=density_histogram(counts, seen),
        )
        self._sums, self._steps, self._resampled = dict.fromkeys(_SUMS, 0.0), 0, 0
        return point

    @property
    def is_new(self) -> bool:
        """Whether no step was made since the last row of the log."""
        return self._steps == 0

    def autoencoder(self, model: str) -> Autoencoder:
        """What was learned so far, for activations as the model has them."""
        return self.trainer.autoencoder(
            self._scale,
            self.recipe.name,
            model,
            self._plan.context,
            self._plan.bos,
            None if self.recipe.writes is None else self._scale_out,
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `resume` goes on from."""
        window, seen = self._window.state()
        tensors = {f"{self.recipe.name}/{name}": tensor for name, tensor in self.trainer.state().items()}
        numbers = {
            "sums": self._sums,
            "steps": self._steps,
            "learning_rate": self._learning_rate,
            "resampled": self._resampled,
            "window": seen,
        }
        return tensors | {f"{self.recipe.name}/window": window}, numbers

    def _scaled(self, rows: Rows) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
        given = rows[self.recipe.site].float() * self._scale
        return given, given if self.recipe.writes is None else rows[self.recipe.target].float() * self._scale_out

    def _drawn(self, stream: Stream, tokens: int, stop: Stop) -> Iterator[tuple[Tensor, Tensor]]:
        sites = {self.recipe.site, self.recipe.target}
        for rows in stream.sample(tokens, self.trainer.step_number, sorted(sites)):
            if stop():
                raise Cancelled("The training was stopped while latents were given new rows.")
            yield self._scaled(rows)


class _Window:
    """On how many tokens latents fired lately: in this stretch of `length` tokens, and in the one before."""

    def __init__(self, n: int, length: int) -> None:
        self._length = length
        self._counts = torch.zeros(2, n, dtype=torch.int64)
        self._seen = [0, 0]

    def add(self, counts: Int[Tensor, " n"], seen: int) -> None:
        if self._seen[1] >= self._length:
            self._counts = torch.stack((self._counts[1], torch.zeros_like(self._counts[1])))
            self._seen = [self._seen[1], 0]
        self._counts[1] += counts.cpu()
        self._seen[1] += seen

    @property
    def rare(self) -> int:
        """How many latents fired on no more than one in a million tokens, or on one of fewer."""
        return int((self._counts.sum(0) <= max(1.0, _RARE * sum(self._seen))).sum())

    def state(self) -> tuple[Int[Tensor, "2 n"], list[int]]:
        return self._counts, self._seen

    def load(self, counts: Int[Tensor, "2 n"], seen: list[int]) -> None:
        self._counts, self._seen = counts.clone(), list(seen)
