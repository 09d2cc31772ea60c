"""What working on a cluster costs beside working alone, and what large models would take on paper.

python -m benchmarks.cluster overhead TOKENS   seconds of a collection alone, by one worker, by two; start-up apart
python -m benchmarks.cluster tasks N           milliseconds a task costs to give out, on 1 and on 8 simulated machines
python -m benchmarks.cluster shards N          the same of real shards of a tiny model, beside the time they take alone
python -m benchmarks.cluster paper             a 1B-token atlas and 8B activations of three models, from measured bytes
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import clew
from clew.atlas import collecting
from clew.atlas.blocks import HeadBlock, Keep, NeuronBlock
from clew.cluster import RayPool
from clew.pool import Desk, Finished, Here, Pool, nobody, whole
from clew.settings import (
    BAND_EXAMPLES,
    BANDS,
    BOTTOM_EXAMPLES,
    CONTEXT,
    RANDOM_EXAMPLES,
    SHARD_TOKENS,
    SKIPPED,
    TOP_EXAMPLES,
    WINDOW,
)


@dataclass(frozen=True)
class Run:
    """Seconds from the first shard's beginning to the last one's end, and before that; tokens a second meanwhile."""

    workers: int
    on_ray: bool
    start_s: float
    collect_s: float
    tokens_per_s: float
    whole_s: float


def overhead(tokens: int) -> list[Run]:
    """A collection of the default model in four shards, alone, and by one and by two workers who share the CPUs."""
    model = clew.load("smollm2")
    runs = [_timed(model, tokens, Here(), False)]
    for workers in (1, 2):
        started = time.perf_counter()
        with RayPool("local", workers=workers, work="a benchmark") as pool:
            runs.append(_timed(model, tokens, pool, True, time.perf_counter() - started))
    return runs


def _timed(model: clew.Model, tokens: int, pool: Pool, on_ray: bool, opening: float = 0.0) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        began = last = begun = None
        first, started = 0, time.perf_counter()
        for step in collecting(model, out=Path(folder) / "atlas", tokens=tokens, shard_tokens=tokens // 4, pool=pool):
            now = time.perf_counter()
            if step.stage == "collect":
                begun = now if begun is None else begun
                if step.done and began is None:
                    began, first = now, step.done  # a batch is over: from here on it runs
                last = now if step.done else last
        assert began is not None and last is not None and begun is not None
        seconds = last - began
        rate = (tokens - first) / seconds
        run = Run(pool.size, on_ray, opening + began - begun, seconds, rate, time.perf_counter() - started)
        print(json.dumps(asdict(run)), file=sys.stderr, flush=True)  # it takes minutes
        return run


class Nothing:
    """Does nothing, and says so."""

    def do(self, task: int, desk: Desk, stop: Any) -> Iterator[int]:
        yield task


def tasks(n: int) -> dict[str, float]:
    """Milliseconds a task that is nothing takes, given to one worker and to eight on machines of their own."""
    found = {}
    for machines in (1, 8):
        with _simulated(machines) as address, RayPool(address, workers=machines, work="a benchmark") as pool:
            events = pool.work(Nothing, list(range(n)), desk=nobody, left=whole)
            ended = [time.perf_counter() for event in events if isinstance(event, Finished)]
            # The first ones are over before the last worker has started.
            half = ended[len(ended) // 2 :]
            found[f"{machines} machines"] = 1000 * (half[-1] - half[0]) / (len(half) - 1)
    return found


def shards(n: int) -> dict[str, float]:
    """Milliseconds a shard of a tiny model takes alone, and beyond that on eight machines that share these CPUs."""
    from tests.tiny import tiny_model_folder

    with tempfile.TemporaryDirectory() as folder:
        model = clew.load(str(tiny_model_folder(Path(folder) / "model")))
        options: dict[str, Any] = {
            "tokens": n * 32 * 24, "context": 24, "window": 16, "batch": 32, "shard_tokens": 32 * 24,
        }  # fmt: skip
        alone = _collected(model, Path(folder) / "alone", Here(), options)
        with _simulated(8) as address, RayPool(address, workers=8, work="a benchmark") as pool:
            spread = _collected(model, Path(folder) / "spread", pool, options)
    return {"alone": 1000 * alone, "8 machines": 1000 * spread}


def _collected(model: clew.Model, out: Path, pool: Pool, options: dict[str, Any]) -> float:
    """Seconds a shard, over the second half of them."""
    told = [(time.perf_counter(), step) for step in collecting(model, out=out, pool=pool, **options)]
    steps = [(at, step.done) for at, step in told if step.stage == "collect"]
    half = [(at, done) for at, done in steps if done >= steps[-1][1] // 2]
    return (half[-1][0] - half[0][0]) / ((half[-1][1] - half[0][1]) / options["shard_tokens"])


@contextmanager
def _simulated(machines: int) -> Iterator[str]:
    """The address of a cluster of so many machines with one CPU each, all of them processes on this one."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(machines):
            cluster.add_node(num_cpus=1)
        assert cluster.address is not None
        yield cluster.address
    finally:
        cluster.shutdown()


# Published: NVIDIA's data sheet of the H100 SXM, dense bfloat16 and memory. Assumed: the share of it that large batches
# reach, and what a shared file system takes from one machine, in bytes a second.
FLOPS, MEMORY, USED, DISK = 989e12, 80e9, 0.4, 2e9
# Measured here: what collecting leaves of a bare forward pass's speed, and tokens a second that one core tokenises.
COLLECTING, READING = 0.70, 260_000
GPUS = 8
MOVED = 1 + 9 / 8 + 1 / 8  # times a shard's bytes: written, and with eight others read and written as one


@dataclass(frozen=True)
class Shape:
    """A model's sizes, as published in its config."""

    name: str
    parameters: float
    layers: int
    heads: int
    head_width: int
    neurons: int
    d_model: int
    latents: int


SHAPES = (
    Shape("GPT-2 (124M)", 124e6, 12, 12, 64, 3072, 768, 32_768),
    Shape("Llama-3-8B", 8.03e9, 32, 32, 128, 14336, 4096, 131_072),
    Shape("Llama-3-70B", 70.6e9, 80, 64, 128, 28672, 8192, 262_144),
)


def state_bytes(shape: Shape) -> tuple[float, float]:
    """What a shard holds of one neuron and of one head, in bytes: that of real blocks with the default settings."""
    keep = Keep(TOP_EXAMPLES, BOTTOM_EXAMPLES, BAND_EXAMPLES, BANDS, RANDOM_EXAMPLES, WINDOW, SKIPPED)
    cpu, n = torch.device("cpu"), 64

    def size(block: NeuronBlock | HeadBlock) -> float:
        return sum(tensor.numel() * tensor.element_size() for tensor in block.state().values()) / n

    return size(NeuronBlock(n, keep, CONTEXT, cpu)), size(HeadBlock(n, shape.head_width, keep, CONTEXT, cpu))


def paper() -> list[dict[str, Any]]:
    """On one machine of eight H100s."""
    found = []
    for shape in SHAPES:
        neuron, head = state_bytes(shape)
        shard = shape.layers * (shape.neurons * neuron + shape.heads * head)
        weights = 2 * shape.parameters
        split = next(count for count in (1, 2, 4, 8) if weights + shard <= 0.9 * MEMORY * count)
        flops = 2 * shape.parameters  # of a token's forward pass
        # Of the GPUs that the layers are dealt to one computes at a time.
        collecting_s = 1e9 * flops / (GPUS / split * FLOPS * USED * COLLECTING)
        saving_s = MOVED * shard / DISK
        found.append(
            {
                "model": shape.name,
                "components": shape.layers * (shape.neurons + shape.heads),
                "state_gb": shard / 1e9,
                "gpus_per_worker": split,
                "forward_s": 1e9 * flops / (GPUS * FLOPS * USED),
                "collect_s": collecting_s,
                "read_one_core_s": 1e9 / READING,
                "saves_default_s": 1e9 / SHARD_TOKENS * saving_s,
                # As many tokens to a shard that its saving takes a tenth of its collecting.
                "shard_tokens": 10 * saving_s / (collecting_s / 1e9),
                **_training(shape, split),
            }
        )
    return found


def _training(shape: Shape, split: int) -> dict[str, float]:
    """8B activations from the middle layer, and a dense step: 12·d·n operations an activation, forward and backward."""
    forward = 8e9 * shape.parameters  # half of the layers, two operations a parameter
    step = 8e9 * 12 * shape.d_model * shape.latents
    weights = 2 * shape.d_model * shape.latents * 4
    return {
        "train_forward_s": forward / (GPUS / split * FLOPS * USED),
        "train_step_s": step / (GPUS * FLOPS * USED),
        "learner_gb": 4 * weights / 1e9,  # weights, gradients, two moments, float32
        "stored_tb": 8e9 * shape.d_model * 2 / 1e12,  # what keeping the activations in bfloat16 would take
    }


def main() -> None:
    what, *rest = sys.argv[1:]
    match what:
        case "overhead":
            runs = overhead(int(rest[0]))
            alone = statistics.mean(run.tokens_per_s for run in runs if not run.on_ray)
            for run in runs:
                print(json.dumps({**asdict(run), "of_alone": run.tokens_per_s / alone}))
        case "tasks":
            print(json.dumps(tasks(int(rest[0]))))
        case "shards":
            print(json.dumps(shards(int(rest[0]))))
        case "paper":
            for row in paper():
                print(json.dumps(row))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
