"""One autoencoder of a training: its trainer, how its activations are scaled, and what its log says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import Cancelled
from ..models.tape import Stop
from .activations import Buffer, Rows, Stream
from .autoencoder import Autoencoder
from .checkpoint import Stored
from .measures import density_histogram
from .portion import Shared
from .recipe import Recipe, TrainingPlan
from .records import Histogram, TrainPoint
from .trainer import Trainer

_SAMPLE = 8192  # rows that first weights are made from
_RARE = 1e-6  # a share of tokens

_SUMS = ("loss", "reconstruction", "sparsity", "auxiliary", "l0", "error_sum", "variance_sum")


class Learner:
    """Learns a recipe of a plan from rows of a buffer.

    Rows are multiplied by `scales`, a constant for each site by name, and what was learned is told as of the model's
    own values. Of a group, each rank has a share of the tokens of a step, or with `shard_latents` a portion of the
    latents and all tokens.
    """

    def __init__(
        self,
        recipe: Recipe,
        plan: TrainingPlan,
        scales: Mapping[str, float],
        sample: Rows,
        stream: Stream,
        shard_latents: bool,
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
            group=stream.group,
            shard_latents=shard_latents,
        )
        self._sums = dict.fromkeys(_SUMS, 0.0)
        self._steps, self._learning_rate, self._resampled = 0, 0.0, 0
        self._window = _Window(self.trainer.portion.size, plan.dead_after)

    @classmethod
    def begin(
        cls, recipe: Recipe, plan: TrainingPlan, scales: Mapping[str, float], buffer: Buffer, shard_latents: bool
    ) -> Learner:
        """One that starts from what the buffer holds. Raises NothingToLearn."""
        return cls(recipe, plan, scales, buffer.first(_SAMPLE), buffer.stream, shard_latents)

    @classmethod
    def resume(
        cls,
        recipe: Recipe,
        plan: TrainingPlan,
        scales: Mapping[str, float],
        stream: Stream,
        tensors: Stored,
        numbers: dict[str, Any],
        shard_latents: bool,
    ) -> Learner:
        """One that goes on from the `state` of another, which may have had its latents on other ranks."""
        generator = torch.Generator().manual_seed(0)
        # First weights are made and thrown away at once: what they are made of does not matter.
        rows = {site: torch.randn(2, stream.width(site), generator=generator) for site in stream.sites}
        sample = {site: values.to(stream.device) for site, values in rows.items()}
        learner = cls(recipe, plan, scales, sample, stream, shard_latents)
        trainer, portion = learner.trainer, learner.trainer.portion
        learner._window.load(tensors.part(f"{recipe.name}/window", portion, 1), numbers["window"])
        prefix, mine = f"{recipe.name}/", {}
        for name in tensors:
            key = name.removeprefix(prefix)
            if name.startswith(prefix) and key != "window":
                mine[key] = tensors.part(name, portion) if trainer.is_shared(key) else tensors[name]
        trainer.load(mine)
        learner._sums, learner._steps = dict(numbers["sums"]), numbers["steps"]
        learner._learning_rate, learner._resampled = numbers["learning_rate"], numbers["resampled"]
        return learner

    def step(self, rows: Rows) -> None:
        """Learn from a batch of the plan, of which these rows are here (all of them, where latents are what is shared
        out). Raises NothingToLearn or WorkersLost."""
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

    def tally(self) -> Tally:
        """What the latents of all ranks did since the last row of the log. All ranks have to ask."""
        counts, seen = self.trainer.take_counts()
        self._window.add(counts, seen)
        density = density_histogram(counts, seen)
        numbers = torch.tensor([self.trainer.dead, self._window.rare, density.below, *density.counts])
        self.trainer.portion.group.sum_([numbers])
        dead, rare, below, *found = numbers.tolist()
        return Tally(dead, rare, Histogram(density.edges, found, below))

    def point(
        self, step: int, tokens: int, tokens_per_s: float, seconds_left: float, tally: Tally, ce: float | None
    ) -> TrainPoint:
        """The row of the log since the last one."""
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
            dead=tally.dead,
            nearly_dead=tally.rare,
            resampled=self._resampled,
            learning_rate=self._learning_rate,
            tokens_per_s=tokens_per_s,
            seconds_left=seconds_left,
            density=tally.density,
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

    def state(self) -> tuple[dict[str, Tensor | Shared], dict[str, Any]]:
        """All that `resume` goes on from, as it is: no copies."""
        (window, seen), trainer = self._window.state(), self.trainer
        tensors = {
            f"{self.recipe.name}/{name}": trainer.portion.shared(tensor) if trainer.is_shared(name) else tensor
            for name, tensor in trainer.state().items()
        }
        numbers = {
            "sums": self._sums,
            "steps": self._steps,
            "learning_rate": self._learning_rate,
            "resampled": self._resampled,
            "window": seen,
        }
        return tensors | {f"{self.recipe.name}/window": self.trainer.portion.shared(window, 1)}, numbers

    def _scaled(self, rows: Rows) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
        given = rows[self.recipe.site].float() * self._scale
        return given, given if self.recipe.writes is None else rows[self.recipe.target].float() * self._scale_out

    def _drawn(self, stream: Stream, tokens: int, stop: Stop) -> Iterator[tuple[Tensor, Tensor]]:
        sites = {self.recipe.site, self.recipe.target}
        for rows in stream.sample(tokens, self.trainer.step_number, sorted(sites)):
            if stop():
                raise Cancelled("The training was stopped while latents were given new rows.")
            yield self._scaled(rows)


@dataclass(frozen=True)
class Tally:
    """How many latents are dead, and nearly dead, and how often latents fired since the last row of the log."""

    dead: int
    rare: int
    density: Histogram


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
