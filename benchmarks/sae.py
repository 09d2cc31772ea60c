"""What a training step costs, beside the floor of its own matrix products and beside SAELens' training step.

python -m benchmarks.sae throughput            tokens a second, as JSON, and a table on stderr
python -m benchmarks.sae throughput 4608       one number of latents only

Everything runs in one process, in turns, on the same random batches of SmolLM2's width; medians. The floor is what any
dense step must do: x·W, f·Wᵀ, and three products of the same size for the gradients. SAELens is its own classes with
its own trainer's step (loss, backward, clipping, Adam), once as it comes and once with its sparse activations.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle

import torch
from torch import Tensor

from clew.nodes import parse_site
from clew.sae.recipe import Architecture, Recipe
from clew.sae.trainer import Trainer

WIDTH, BATCH, K = 576, 2048, 32
SIZES = (4608, 18_432)
ROUNDS, WARM = 9, 2
TRAINED_L0 = 64  # latents that fire on a token once an L1 penalty has done its work


@dataclass(frozen=True)
class Throughput:
    """Tokens a second. `fires` is how many latents fire on a token; `saelens` the quicker of its two ways."""

    architecture: str
    latents: int
    fires: float
    clew: float
    floor: float
    saelens: float

    @property
    def gain(self) -> float:
        return self.clew / self.saelens


Step = Callable[[Tensor], object]


def throughput(sizes: tuple[int, ...] = SIZES) -> list[Throughput]:
    """Every row of the table."""
    found: list[Throughput] = []
    for latents in sizes:
        batches = [_batch(seed) for seed in range(4)]
        for architecture in ("relu", "topk"):
            theirs = _saelens(architecture, latents)
            states = (None, TRAINED_L0) if architecture == "relu" else (None,)
            for fires in states:
                ours = _clew(architecture, latents, batches[0], fires)
                l0: list[float] = []
                steps: dict[str, Step] = {
                    "clew": lambda x, ours=ours, l0=l0: l0.append(ours.step(x).l0),
                    "floor": _floor(latents),
                    **theirs,
                }
                speed = {name: BATCH / seconds for name, seconds in _medians(steps, batches).items()}
                best = max(speed[name] for name in theirs)
                found.append(
                    Throughput(architecture, latents, statistics.median(l0), speed["clew"], speed["floor"], best)
                )
    return found


def _medians(steps: dict[str, Step], batches: list[Tensor]) -> dict[str, float]:
    """Seconds of each step, taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    source = cycle(batches)
    for turn in range(WARM + ROUNDS):
        x = next(source)
        for name, step in steps.items():
            start = time.perf_counter()
            step(x)
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _batch(seed: int) -> Tensor:
    return torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(seed))


def _clew(architecture: Architecture, latents: int, sample: Tensor, fires: int | None) -> Trainer:
    """Ours; with `fires`, biases as low as after training, so that no more latents than that fire on a token."""
    recipe = Recipe(parse_site("mlp_out.0"), latents, architecture, k=K, sparsity=0.0, learning_rate=1e-6)
    trainer = Trainer(
        recipe, WIDTH, WIDTH, steps=1_000_000, batch=BATCH, dead_after=10**9, warmup=0.0, decay=0.0, clip=1.0,
        sample=sample,
    )  # fmt: skip
    if fires is not None:
        weights = trainer.weights
        z = (sample - weights["b_dec"]) @ weights["w_enc"].T
        weights["b_enc"] -= z.flatten().topk(fires * len(z), sorted=False).values.min()
    return trainer


def _floor(latents: int) -> Step:
    """The five products of a dense step, into arrays made beforehand."""
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(latents, WIDTH, generator=draw)
    f, df = torch.empty(BATCH, latents), torch.empty(BATCH, latents)
    y, dw = torch.empty(BATCH, WIDTH), torch.empty(latents, WIDTH)

    def step(x: Tensor) -> None:
        torch.mm(x, w.T, out=f)
        torch.mm(f, w, out=y)
        torch.mm(f.T, x, out=dw)
        torch.mm(x, w.T, out=df)
        torch.mm(df.T, x, out=dw)

    return step


def _saelens(architecture: Architecture, latents: int) -> dict[str, Step]:
    """SAELens' training steps, by what they are called."""
    from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    config = SAETrainerConfig(
        total_training_samples=BATCH * 1_000_000,
        train_batch_size_samples=BATCH,
        lr=1e-6,
        lr_end=1e-7,
        logger=LoggingConfig(log_to_wandb=False),
    )

    def nothing() -> Iterator[Tensor]:
        yield from ()

    if architecture == "relu":
        saes = {"saelens": StandardTrainingSAE(StandardTrainingSAEConfig(d_in=WIDTH, d_sae=latents))}
    else:
        saes = {
            name: TopKTrainingSAE(
                # With sparse activations, the default (True) fails in the backward pass on a CPU.
                TopKTrainingSAEConfig(
                    d_in=WIDTH,
                    d_sae=latents,
                    k=K,
                    use_sparse_activations=sparse,
                    rescale_acts_by_decoder_norm=not sparse,
                )
            )
            for name, sparse in (("saelens", False), ("saelens, sparse activations", True))
        }
    trainers = {name: SAETrainer(cfg=config, sae=sae, data_provider=nothing()) for name, sae in saes.items()}
    return {name: lambda x, t=trainer: t.step(x) for name, trainer in trainers.items()}


def main(arguments: list[str]) -> None:
    sizes = tuple(int(size) for size in arguments) or SIZES
    rows = throughput(sizes)
    setting = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "torch": torch.__version__}
    print(json.dumps(setting | {"rows": [asdict(row) for row in rows]}))
    print(f"{'':12} {'latents':>8} {'L0':>8} {'clew':>9} {'floor':>9} {'SAELens':>9} {'gain':>6}", file=sys.stderr)
    for row in rows:
        print(
            f"{row.architecture:12} {row.latents:8,} {row.fires:8,.0f} {row.clew:9,.0f} {row.floor:9,.0f} "
            f"{row.saelens:9,.0f} {row.gain:6.2f}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    if sys.argv[1:2] != ["throughput"]:
        sys.exit(__doc__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SAELens and of torch's sparse tensors, which it uses
        main(sys.argv[2:])
