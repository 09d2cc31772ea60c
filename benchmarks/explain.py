"""What words for components cost, how busy a language model is kept while they are found, and what a small one reaches.

python -m benchmarks.explain cost                        tokens a component of every explainer, simulator and scorer
python -m benchmarks.explain pipeline COUNT DELAY ONCE   seconds for COUNT components when every answer takes DELAY
                                                         seconds and ONCE requests are allowed at once
python -m benchmarks.explain planted STEP                what the default model reaches on every STEPth of the
                                                         components whose meaning is known
"""

from __future__ import annotations

import json
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import clew
from clew.atlas import Components, collect
from clew.errors import LLMFailed
from clew.explain.evidence import Evidence
from clew.explain.explainers import LLMExplainer
from clew.explain.llm import open_llm
from clew.explain.llm.client import Answer, Capabilities, Request
from clew.explain.pipeline import explaining
from clew.explain.recipe import METHODS, VARIANTS, Recipe
from clew.explain.records import Cost
from clew.explain.roles import Estimate
from clew.explain.samples import gather
from clew.explain.scorers import scorer
from clew.explain.scorers.simulation import SimulationScorer
from clew.explain.simulators import simulator
from clew.explain.store.explanations import Explanations
from clew.models.subject import SubjectModel
from clew.models.tape import Stop
from clew.nodes import Node
from clew.settings import DEFAULT_MODEL
from tests.explain.llm.server import Asked, Handler, Powers, Scripted, is_probe, serving
from tests.explain.planted import PLANTED, Garden
from tests.tiny import SENTENCES, tokenizer

WORDS = 'nouns for places where things are kept or sold, such as " store", mostly after "the" or "a"'
LAYERS, EACH = (5, 15, 25), 8
NEURONS = 1024  # of a layer of the model whose components are explained against the server


@dataclass(frozen=True)
class Takes:
    """What one component takes at most: requests, tokens sent and tokens received, a mean over components."""

    what: str
    requests: float
    sent: float
    received: float

    @classmethod
    def mean(cls, what: str, estimates: Sequence[Estimate]) -> Takes:
        return cls(
            what,
            statistics.mean(one.requests for one in estimates),
            statistics.mean(one.prompt_tokens for one in estimates),
            statistics.mean(one.completion_tokens for one in estimates),
        )


class Counting:
    """A language model that is asked nothing: it counts with the default model's tokenizer."""

    reference = "counting"
    spent = Cost()

    def __init__(self, subject: SubjectModel, logprobs: int) -> None:
        self._subject = subject
        self.capabilities = Capabilities(True, True, logprobs, logprobs, True, False)

    def ask(self, request: Request, stop: Stop | None = None) -> Answer:
        raise NotImplementedError

    def ask_all(self, requests: Sequence[Request], stop: Stop | None = None) -> list[Answer | LLMFailed]:
        raise NotImplementedError

    def count(self, text: str) -> int:
        return len(self._subject.encode(text))

    def close(self) -> None:
        """Holds nothing."""


def takes() -> list[Takes]:
    """Neurons of three layers of the default model, and heads where pairs are scored; words of a usual length."""
    model = clew.load()
    with tempfile.TemporaryDirectory() as folder:
        sites = [f"{kind}.{layer}" for kind in ("neuron", "attn") for layer in LAYERS]
        components = Components(model, collect(model, out=Path(folder) / "atlas", tokens=16_384, sites=sites))
        step = components.subject.anatomy.n_neurons // EACH
        neurons = _evidence(components, [Node("neuron", layer, i * step) for layer in LAYERS for i in range(EACH)])
        heads = _evidence(components, [Node("attn", layer, head) for layer in LAYERS for head in range(3)])
        chances, plain = (Counting(model.subject, logprobs) for logprobs in (40, 0))
        simulators = {method: simulator(chances, method) for method in METHODS}
        found = [
            Takes.mean(f"explain by {variant}", [LLMExplainer(chances).estimate(one, variant, 1) for one in neurons])
            for variant in VARIANTS
        ]

        def scored(what: str, some: Sequence[Evidence], **parts: object) -> None:
            made = scorer(components=components, **parts)  # pyright: ignore[reportArgumentType]
            found.append(Takes.mean(what, [made.estimate(WORDS, one, "test") for one in some]))

        for method, simulates in simulators.items():
            scored(f"simulation or ablation, {method}", neurons, name="simulation", llm=chances, simulator=simulates)
        for name in ("detection", "fuzzing"):
            for llm, how in ((chances, "one text a question"), (plain, "five texts a question")):
                scored(f"{name}, {how}", neurons, name=name, llm=llm, simulator=simulators["json"])
        for name, some in (("pairs", heads), ("intervention", neurons)):
            scored(name, some, name=name, llm=chances, simulator=simulators["json"])
    return found


def _evidence(components: Components, nodes: Sequence[Node]) -> list[Evidence]:
    return [evidence for _, evidence in gather(components, nodes) if isinstance(evidence, Evidence)]


@dataclass(frozen=True)
class Throughput:
    """Components explained and scored against a server whose every answer takes `delay` seconds. `busy` is the mean
    number of requests in flight over those allowed, from the first request to the last answer."""

    components: int
    requests: int
    delay: float
    at_once: int
    seconds: float
    busy: float

    @property
    def per_thousand(self) -> float:
        return 1000 * self.seconds / self.components


def throughput(count: int, delay: float, at_once: int) -> Throughput:
    """Explain `count` neurons of a tiny model by a chat and score them by simulation (JSON) and detection.

    The server is a process of its own, so that what it does costs this one nothing.
    """
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, delay), daemon=True)
    server.start()
    url = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        components = _tiny(Path(folder))
        kept = Explanations(f"sqlite:///{folder}/clew.db")
        recipe = Recipe(llm=f"scripted@{url}", scorers=("simulation", "detection"), concurrency=at_once)
        steps = explaining(components, [f"neuron.0.0-{count - 1}"], recipe, explanations=kept)
        scores = [score for step in steps if step.latest is not None for score in step.latest.scores]
        kept.close()
    ours.send("done")
    requests, busy_s, seconds = ours.recv()
    server.join()
    if len(scores) < 2 * count or any(score.failures for score in scores):
        raise SystemExit("Some components failed, so this would measure something else.")
    return Throughput(count, requests, delay, at_once, seconds, busy_s / seconds / at_once)


def _tiny(folder: Path) -> Components:
    """The neurons of a small random model over a small text."""
    words = tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=24, intermediate_size=NEURONS, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=128, pad_token_id=1, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.35 * torch.randn_like(parameter))
    model.save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    text = " ".join(Random(0).choices(" ".join(SENTENCES).split(), k=20_000))
    (folder / "text.txt").write_text(text)
    loaded = clew.load(str(folder / "model"))
    return Components(
        loaded, collect(loaded, str(folder / "text.txt"), out=folder / "atlas", tokens=24_576, sites=["neuron"])
    )


def _serve(pipe: Connection, delay: float) -> None:
    """Sends its address, and when asked the number of requests, the sum of their seconds, and the time they span."""
    spans: list[tuple[float, float]] = []

    def answer(handler: Handler, asked: Asked) -> None:
        if is_probe(asked):
            handler.answer(asked)
            return
        message = {"role": "assistant", "content": _said(asked.text)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 700, "completion_tokens": 30, "total_tokens": 730}
        body = {"id": "1", "object": "x", "created": 1, "model": "scripted", "choices": [choice], "usage": usage}
        handler.send(200, json.dumps(body).encode())
        spans.append((asked.at, time.monotonic()))

    script = Scripted(Powers(completions=False, logprobs=0, echo=False), delay, always=answer, strikes_probes=True)
    with serving(script):
        pipe.send(script.url)
        pipe.recv()
    begun, ended = min(begin for begin, _ in spans), max(end for _, end in spans)
    pipe.send((len(spans), sum(end - begin for begin, end in spans), ended - begun))


def _said(question: str) -> str:
    """Words that no other component has, activations of tokens, or a list of answers."""
    number = zlib.crc32(question.encode())
    tokens = re.search(r"^Tokens: (\[.*\])$", question, re.MULTILINE)
    if tokens is not None:
        draw = Random(number)
        rows = [{"token": token, "activation": draw.choice((0, 0, 0, 5, 9))} for token in json.loads(tokens[1])]
        return json.dumps({"activations": rows})
    texts = len(re.findall(r"^Text \d+: ", question, re.MULTILINE))
    if "Explanation:" in question and texts:
        return json.dumps({"answers": [number >> at & 1 for at in range(texts)]})
    return f'Names of people and what they give, such as "Mary", number {number}'


@dataclass(frozen=True)
class Reached:
    """Correlations of what a simulator says from right, nearly right and wrong words with planted activations."""

    components: int
    right: float
    near: float
    wrong: float
    table: float
    over_near: float
    over_wrong: float
    failures: int
    seconds: float


def planted(step: int = 1) -> Reached:
    """By the default model in this process, all at once: every `step`th planted component, on the validation split,
    where nothing is calibrated."""
    begun = time.perf_counter()
    model = clew.load()
    garden = Garden.of(model.subject)
    judge = SimulationScorer(simulator(open_llm(f"local:{DEFAULT_MODEL}", subject=model.subject)))
    rows: list[tuple[float, ...]] = []
    failures = 0
    for one, evidence in list(zip(PLANTED, garden.evidence, strict=True))[::step]:
        scores = [judge.score(said.words, evidence, "validate", 0) for said in (one.right, one.near, one.wrong)]
        failures += sum(len(score.failures) for score in scores)
        values = [score.value or 0.0 for score in scores]
        rows.append((*values, scores[0].baselines[0].value or 0.0))
        print(f"{one.name:<32} " + " ".join(f"{value:6.2f}" for value in rows[-1]), file=sys.stderr, flush=True)
    right, near, wrong, table = (statistics.mean(row[at] for row in rows) for at in range(4))
    return Reached(
        len(rows), right, near, wrong, table,
        statistics.mean(row[0] > row[1] for row in rows), statistics.mean(row[0] > row[2] for row in rows),
        failures, time.perf_counter() - begun,
    )  # fmt: skip


def main(what: str, *numbers: str) -> None:
    run: dict[str, Callable[[], object]] = {
        "cost": takes,
        "pipeline": lambda: throughput(int(numbers[0]), float(numbers[1]), int(numbers[2])),
        "planted": lambda: planted(*map(int, numbers[:1])),
    }
    found = run[what]()
    for row in found if isinstance(found, list) else [found]:
        print(row)


if __name__ == "__main__":
    main(*sys.argv[1:])
