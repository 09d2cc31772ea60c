"""Measures everything that is claimed about speed and memory, prints it, and writes docs/benchmarks.md.

python -m benchmarks            all of it, about fifteen minutes
python -m benchmarks --dry      print, write nothing
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import clew
from clew.debug.bench import measure
from clew.settings import EXAMPLE_DISTRACTOR, EXAMPLE_PROMPT, EXAMPLE_TARGET

from .atlas import pages, speed
from .explain import takes, throughput
from .models import DEFAULT, GPT2_SHAPE, load
from .page import answer_to_paint
from .verified import costs, every_head

LENGTHS = (16, 64, 128, 512)
MEMORY_LENGTHS = {128: 0.5, 1024: 2.5}
RATIO_BOUND = 1.6
EXHAUSTIVE_BOUND = 30.0
COLLECTED, COLLECT_BOUND, COLLECT_MEMORY_BOUND = 32_768, 0.7, 1.5
PAGE_BOUNDS = 20.0, 100.0
STEP_BOUNDS = {"relu": 1.3, "topk": 2.2}
EXPLAINED, ANSWER_S, AT_ONCE, BUSY_BOUND = 150, 1.0, 16, 0.9
COLD_BOUND, IMPORT_BOUND, PAINT_BOUND = 6.0, 2.5, 0.150
IMPORT_NOTE = (
    "The imports are torch's and transformers' own: `from transformers import LlamaForCausalLM` alone takes as long,",
    "and Clew adds nothing measurable to it. Where they exceed their bound, that is why.",
)
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> None:
    lines = [
        "# Speed and memory",
        "",
        "Written by `make bench`; every ratio is taken in one process, in turns, on the same weights and tokens.",
        f"This run: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__.split('+')[0]} with {torch.get_num_threads()} threads.",
        "",
        "## Node table against a bare forward and backward pass",
        "",
        "The node table ranks every embedding, head (whole and by source), neuron and bias. The floor is transformers",
        "with its own fastest attention, weights frozen, logits at one position. `clew bench` repeats it on any model.",
        "",
        "| model | tokens | bare (s) | node table (s) | ratio | bound |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in (DEFAULT, GPT2_SHAPE):
        for cost in measure(load(name), LENGTHS):
            lines.append(
                f"| {name} | {cost.tokens} | {cost.bare_s:.3f} | {cost.node_table_s:.3f} | {cost.ratio:.2f} "
                f"| {RATIO_BOUND} |"
            )
            print(lines[-1], flush=True)
    lines += [
        "",
        "## Peak memory above the loaded model",
        "",
        f"{GPT2_SHAPE}, a process of its own: `python -m benchmarks.memory TOKENS`.",
        "",
        "| tokens | peak (GB) | bound (GB) |",
        "| ---: | ---: | ---: |",
    ]
    for tokens, bound in MEMORY_LENGTHS.items():
        lines.append(f"| {tokens} | {_memory(tokens):.2f} | {bound} |")
        print(lines[-1], flush=True)
    model = clew.load("smollm2")
    lines += [
        "",
        "## Verified effects against running the prompt again",
        "",
        "The default model, the example of 14 tokens, 100 heads ablated to zero, the clean run at hand. The floor is",
        "transformers with its own fastest attention, logits at one position and a plain hook: one run a node, and",
        "batched as well as it goes. Medians of seven turns. *Arithmetic* is what the ratio would be if only",
        "multiplications counted: a whole run's rows × layers over those in the nodes' causal cones. Where a bound",
        "lies above it, no exact method that works row by row can meet it.",
        "",
        "| 100 heads | one by one (s) | batched (s) | Clew (s) | ratio to batched | bound | arithmetic "
        "| ratio to one by one | largest difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cost in costs(model):
        lines.append(
            f"| {cost.what} | {cost.single_s:.2f} | {cost.naive_s:.2f} | {cost.clew_s:.2f} | {cost.ratio:.1f} "
            f"| ≥ {cost.bound:g} | {1 / cost.least:.1f} | {cost.single_s / cost.clew_s:.1f} | {cost.off:.0e} |"
        )
        print(lines[-1], flush=True)
    count, seconds = every_head(model)
    lines += ["", f"Every head at every position, {count:,} nodes: {seconds:.1f} s (bound {EXHAUSTIVE_BOUND:g} s)."]
    print(lines[-1], flush=True)
    lines += _atlas()
    lines += _training()
    lines += _explaining()
    cold, imported = _cold()
    lines += [
        "",
        "## From the keyboard to an answer",
        "",
        "The default model, once pulled; the example of 14 tokens. Medians of five.",
        "",
        "| what | seconds | bound |",
        "| --- | ---: | ---: |",
        f"| `clew debug` from a cold start | {cold:.2f} | {COLD_BOUND} |",
        f"| of which imports | {imported:.2f} | {IMPORT_BOUND} |",
        f"| page: server's answer to painted table | {answer_to_paint():.3f} | {PAINT_BOUND} |",
    ]
    print("\n".join(lines[-3:]))
    lines += ["", *IMPORT_NOTE]
    if "--dry" not in sys.argv[1:]:
        PAGE.write_text("\n".join(lines) + "\n")


def _atlas() -> list[str]:
    """The sections on collecting and on reading."""
    cost = speed(COLLECTED)
    bare, collecting = _peak("bare"), _peak("memory", str(COLLECTED))
    read = pages()
    lines = [
        "",
        "## Collecting an atlas",
        "",
        f"All 46,080 neurons and 270 heads of the default model, {cost.tokens:,} tokens in contexts of 128, savings",
        "included. The floor is transformers with its own fastest attention on as many tokens, after every batch in",
        "the same process. Memory is above the loaded model, in processes of their own: `python -m benchmarks.atlas`.",
        "",
        "| what | tokens/s | of the bare pass | bound |",
        "| --- | ---: | ---: | ---: |",
        f"| bare forward pass | {cost.bare:.0f} | | |",
        f"| bare forward pass without logits | {cost.headless:.0f} | {cost.headless / cost.bare:.2f} | |",
        f"| `clew collect` | {cost.collect:.0f} | {cost.collect / cost.bare:.2f} | ≥ {COLLECT_BOUND} |",
        "",
        f"Writing the atlas at the end: {cost.merge_s:.1f} s. Peak memory: {collecting:.2f} GB, a bare forward pass "
        f"{bare:.2f} GB, the difference {collecting - bare:.2f} GB (bound {COLLECT_MEMORY_BOUND} GB).",
        "",
        "## Reading a component's page",
        "",
        f"Everything that the page of one of {read.components:,} neurons shows, 30 examples of 64 tokens each, from an",
        f"atlas of {read.gigabytes:.2f} GB made of random numbers; random neurons, after each file was read once.",
        "",
        "| what | milliseconds | bound |",
        "| --- | ---: | ---: |",
        f"| median | {read.median:.1f} | {PAGE_BOUNDS[0]:g} |",
        f"| 99th percentile | {read.p99:.1f} | {PAGE_BOUNDS[1]:g} |",
        f"| besides, as JSON | {read.json:.1f} | |",
        f"| opening the atlas | {read.open:.1f} | |",
    ]
    print("\n".join(lines), flush=True)
    return lines


def _training() -> list[str]:
    """The section on training autoencoders."""
    command = [sys.executable, "-m", "benchmarks.sae", "throughput"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    lines = [
        "",
        "## Training an autoencoder",
        "",
        "A training step on random batches of 2,048 vectors of width 576, float32, in turns with the floor, the five",
        "matrix products of a dense step of this size, and with SAELens 6.54's training step, the quicker of its two",
        "ways. *Fires* is how many latents do on a token: `relu` begins with half of them and goes on with the few",
        "that its penalty leaves. `python -m benchmarks.sae throughput` repeats it.",
        "",
        "| architecture | latents | fires | tokens/s | of the floor | SAELens | of SAELens | bound |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        clew, floor, theirs = row["clew"], row["floor"], row["saelens"]
        lines.append(
            f"| {row['architecture']} | {row['latents']:,} | {row['fires']:,.0f} | {clew:,.0f} | {clew / floor:.2f} "
            f"| {theirs:,.0f} | {clew / theirs:.2f} | ≥ {STEP_BOUNDS[row['architecture']]} |"
        )
    print("\n".join(lines), flush=True)
    return lines


def _explaining() -> list[str]:
    """The section on words for components."""
    lines = [
        "",
        "## Words for components",
        "",
        "What one component takes at most, when nothing is known from an earlier run: means over 24 neurons of three",
        "layers of the default model (pairs: 9 heads), up to 15 texts of 48 tokens to score by and 10 to calibrate on.",
        "Tokens are counted with its tokenizer and on the high side, as plans count them. OpenAI's published setting",
        "(Bills et al. 2023) scores on ten texts of 64 tokens: 10 requests all at once, 640 token by token.",
        "`python -m benchmarks.explain cost` repeats it.",
        "",
        "| what | requests | tokens sent | tokens received |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [f"| {row.what} | {row.requests:,.1f} | {row.sent:,.0f} | {row.received:,.0f} |" for row in takes()]
    found = throughput(EXPLAINED, ANSWER_S, AT_ONCE)
    lines += [
        "",
        f"{found.components} neurons explained by a chat and scored by simulation (JSON) and detection, all of it",
        f"kept, against a server in a process of its own whose every answer takes {found.delay:g} s:",
        f"{found.requests:,} requests, {found.at_once} allowed at once, {found.seconds:.0f} s, so",
        f"{found.per_thousand / 60:.0f} minutes for 1,000 components. Of the requests allowed {found.busy:.0%} were in",
        f"flight on average, from the first request to the last answer (bound {BUSY_BOUND:.0%}).",
        "`python -m benchmarks.explain pipeline 150 1 16` repeats it.",
    ]
    print("\n".join(lines), flush=True)
    return lines


def _peak(*arguments: str) -> float:
    command = [sys.executable, "-m", "benchmarks.atlas", *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e9


def _memory(tokens: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(tokens)]
    runs = [int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)]
    return max(runs) / 1e9


def _cold() -> tuple[float, float]:
    """Seconds of a whole `clew debug --json`, and of the imports it needs, in fresh processes."""
    command = str(Path(sys.executable).with_name("clew"))
    ask = [command, "debug", EXAMPLE_PROMPT, "--target", EXAMPLE_TARGET, "--distractor", EXAMPLE_DISTRACTOR, "--json"]
    imports = "import clew.debug; from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer"
    return _median(ask), _median([sys.executable, "-c", imports])


def _median(command: list[str]) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        if command[-1] == "--json":
            json.loads(done.stdout)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
