"""What a collection costs beside the bare model, and how long a component's page takes to read from a large atlas.

python -m benchmarks.atlas collect TOKENS   speed beside the bare forward pass, in one process, in turns
python -m benchmarks.atlas memory TOKENS    peak memory of a collection above the loaded model, in bytes
python -m benchmarks.atlas bare             the same of a bare forward pass
python -m benchmarks.atlas growth TOKENS LAYERS  seconds and memory of one long collection, as it goes
python -m benchmarks.atlas pages            reading pages from an atlas of 307,200 components
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM

import clew
from clew.atlas import Atlas, collecting
from clew.atlas.plan import VERSION
from clew.atlas.store import (
    CONTEXTS,
    EXAMPLE_SCHEMA,
    KINDS,
    write_components,
    write_examples,
    write_manifest,
    write_vocabulary,
)
from clew.atlas.tally import BINS
from clew.corpus.contexts import write_joined
from clew.nodes import Node
from clew.settings import BATCH, CONTEXT, SHARD_TOKENS

from .memory import peak_above

LAYERS, NEURONS = 48, 6400  # GPT-2 XL: the 307,200 neurons of Bills et al. 2023
EXAMPLES, WINDOW = 30, 64
PAGES = 400


@dataclass(frozen=True)
class Speed:
    """Tokens per second of a collection from first batch to last saving, and of bare forward passes between them."""

    tokens: int
    collect: float
    bare: float
    headless: float
    merge_s: float


@dataclass(frozen=True)
class Pages:
    """Milliseconds of reading one component's data as the page asks for it, and of turning it into JSON."""

    components: int
    gigabytes: float
    median: float
    p99: float
    json: float
    open: float


def bare_model(model: clew.Model) -> Callable[[bool], None]:
    """transformers' own model with its fastest attention; runs one batch, with logits or without."""
    hf = AutoModelForCausalLM.from_pretrained(model.path, attn_implementation="sdpa").eval()
    ids = torch.randint(model.info().vocab_size, (BATCH, CONTEXT), generator=torch.Generator().manual_seed(0))

    def run(logits: bool) -> None:
        with torch.inference_mode():
            hf(ids, use_cache=False) if logits else hf.base_model(ids, use_cache=False)

    return run


def speed(tokens: int) -> Speed:
    """Collect, and after every batch run the bare model on as many tokens."""
    model = clew.load()
    bare = bare_model(model)
    for logits in (True, False):
        bare(logits)
    ours = merge = 0.0
    floors: dict[bool, list[float]] = {True: [], False: []}
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        steps = collecting(model, out=Path(folder) / "atlas", tokens=tokens)
        while True:
            begun = time.perf_counter()
            progress = next(steps, None)
            taken = time.perf_counter() - begun
            if progress is None:
                break
            if progress.stage == "merge":
                merge += taken
            if progress.stage != "collect":
                continue
            ours, done = ours + taken, progress.done
            for logits, times in floors.items():
                begun = time.perf_counter()
                bare(logits)
                times.append(time.perf_counter() - begun)
    size = BATCH * CONTEXT
    return Speed(done, done / ours, size / statistics.mean(floors[True]), size / statistics.mean(floors[False]), merge)


def memory(tokens: int) -> int:
    """Peak bytes of a whole collection above the loaded model."""
    model = clew.load()
    with tempfile.TemporaryDirectory() as folder:
        return peak_above(lambda: list(collecting(model, out=Path(folder) / "atlas", tokens=tokens)))


def bare_memory() -> int:
    """Peak bytes of a bare forward pass above the loaded model."""
    model = clew.load()
    ids = torch.randint(model.info().vocab_size, (BATCH, CONTEXT))
    with torch.inference_mode():
        return peak_above(lambda: model.subject.hf(ids, use_cache=False))


def growth(tokens: int, layers: int) -> None:
    """Collect the first layers; print at every saving tokens, seconds, processor seconds and bytes above the model."""
    model = clew.load()
    process = psutil.Process()
    before, begun, spent = process.memory_info().rss, time.perf_counter(), time.process_time()
    shard = SHARD_TOKENS // CONTEXT * CONTEXT
    sites = [f"{kind}.0-{layers - 1}" for kind in ("attn", "neuron")]
    with tempfile.TemporaryDirectory() as folder:
        for progress in collecting(model, out=Path(folder) / "atlas", tokens=tokens, sites=sites):
            if progress.stage == "collect" and (progress.done % shard == 0 or progress.done == progress.total):
                seconds, cpu = time.perf_counter() - begun, time.process_time() - spent
                print(f"{progress.done} {seconds:.1f} {cpu:.1f} {process.memory_info().rss - before}", flush=True)
        print(f"merged {time.perf_counter() - begun:.1f} {time.process_time() - spent:.1f}")


def pages() -> Pages:
    """Read pages of random components from a made-up atlas of GPT-2 XL's size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        begun = time.perf_counter()
        atlas = Atlas.open(folder)
        opened = time.perf_counter() - begun
        draw = np.random.default_rng(1)
        for layer in range(LAYERS):  # each file's bytes are checked once, when it is first read
            atlas.component(Node("neuron", layer, 0))
        read, encoded = [], []
        for layer, index in zip(draw.integers(LAYERS, size=PAGES), draw.integers(NEURONS, size=PAGES), strict=True):
            begun = time.perf_counter()
            component = atlas.component(Node("neuron", int(layer), int(index)))
            between = time.perf_counter()
            json.dumps(component.to_dict())
            encoded.append(time.perf_counter() - between)
            read.append(between - begun)
    total = np.array(read) * 1e3
    return Pages(
        LAYERS * NEURONS, size / 1e9, float(np.median(total)), float(np.quantile(total, 0.99)),
        statistics.median(encoded) * 1e3, opened * 1e3,
    )  # fmt: skip


def _make(folder: Path) -> None:
    """An atlas in which everything is random, but as large and as sorted as a real one."""
    draw = np.random.default_rng(0)
    vocabulary, contexts = 50_257, 20_000
    write_vocabulary(folder, [f" token{i}" for i in range(vocabulary)])
    ids = draw.integers(vocabulary, size=(contexts, WINDOW), dtype=np.int32)
    write_joined(folder / CONTEXTS, ids, [f"document {i}" for i in range(contexts)], [])
    for layer in range(LAYERS):
        site = f"neuron.{layer}"
        write_examples(folder, site, _examples(draw, contexts, vocabulary))
        write_components(folder, site, _components(draw))
    write_manifest(
        folder,
        {
            "version": VERSION,
            "model": {
                "name": "made up", "revision": None, "family": "gpt2", "n_layers": LAYERS, "n_heads": 25,
                "n_neurons": NEURONS, "d_model": 1600, "fingerprint": None,
            },
            "corpus": "random numbers", "tokens": contexts * WINDOW, "contexts": contexts, "context_length": WINDOW,
            "window": WINDOW, "skip": 0, "seed": 0, "bos": False, "imported": None,
            "sites": {f"neuron.{layer}": NEURONS for layer in range(LAYERS)},
        },
    )  # fmt: skip


def _examples(draw: np.random.Generator, contexts: int, vocabulary: int) -> pa.Table:
    n = NEURONS * EXAMPLES
    context = draw.integers(contexts, size=n, dtype=np.int32)
    position = draw.integers(WINDOW, size=n).astype(np.int16)
    kind = np.tile(np.repeat(np.arange(4, dtype=np.int8), [15, 0, 10, 5]), NEURONS)
    band = np.where(kind == KINDS.index("band"), np.tile(np.arange(EXAMPLES) % 4, NEURONS), -1).astype(np.int8)
    values = draw.random((n, WINDOW), dtype=np.float32).astype(np.float16)
    return pa.table(
        {
            "component": np.repeat(np.arange(NEURONS, dtype=np.int32), EXAMPLES),
            "kind": pa.DictionaryArray.from_arrays(kind, pa.array(KINDS)),
            "band": pa.array(band, mask=band < 0),
            "rank": np.tile(np.arange(EXAMPLES, dtype=np.int16), NEURONS),
            "context": context,
            "start": np.zeros(n, np.int16),
            "position": position,
            "source": pa.nulls(n, pa.int16()),
            "activation": draw.random(n, dtype=np.float32),
            "token": draw.integers(vocabulary, size=n, dtype=np.int32),
            "site": (context.astype(np.int64) << 16) | position.astype(np.int64),
            "scale": draw.random(n, dtype=np.float32),
            "values": pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * WINDOW, pa.array(values.reshape(-1))),
        },
        schema=EXAMPLE_SCHEMA,
    )


def _components(draw: np.random.Generator) -> pa.Table:
    n = NEURONS
    histogram = pa.array(draw.integers(1000, size=n * BINS))
    band = {"low": 1.0, "high": 2.0, "quantile_low": 0.9, "quantile_high": 1.0, "contexts": 10}
    numbers = ("density", "strong", "mean", "variance", "skewness", "kurtosis", "minimum", "maximum")
    return pa.table(
        {
            "component": np.arange(n, dtype=np.int32),
            "tokens": np.full(n, 1_000_000),
            **{name: draw.random(n) for name in numbers},
            "histogram": pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * BINS, histogram),
            "bands": pa.array([[band] * 4] * n),
            "types": pa.nulls(n, pa.list_(pa.float64())),
            "mean_mixed": pa.nulls(n, pa.list_(pa.float32())),
        }
    )


def main(what: str, tokens: int = 0, layers: int = 30) -> None:
    if what == "collect":
        print(speed(tokens))
    elif what == "growth":
        growth(tokens, layers)
    elif what == "pages":
        print(pages())
    else:
        print(memory(tokens) if what == "memory" else bare_memory())


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
