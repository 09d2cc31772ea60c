"""Ablation and intervention scoring, against transformers' own model run whole with plain hooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from clew.atlas import Atlas, collect
from clew.atlas.components import Components
from clew.debug import Model
from clew.errors import Cancelled, LLMFailed, UsageError
from clew.explain.evidence import Evidence, Sample
from clew.explain.llm.client import Capabilities
from clew.explain.pipeline import explaining
from clew.explain.recipe import Recipe
from clew.explain.records import Cost, Failure, Method, SampleKind, Score, Split
from clew.explain.roles import Estimate, Simulation
from clew.explain.scorers.ablation import AblationScorer, _divergence
from clew.explain.scorers.intervention import NEW, InterventionScorer
from clew.explain.scorers.steering import TARGET
from clew.explain.spelling import unspelled
from clew.explain.store.explanations import Explanations
from clew.models.tape import Stop
from clew.nodes import Node, parse
from clew.sae.autoencoder import Autoencoder

from ..atlas.dictionaries import literal, random_autoencoder
from .scripted import CHAT, RAW, ScriptedLLM

LENGTH, WINDOW = 24, 16
FAMILIES = ["llama", "gpt2", "gpt_neox", "gemma2", "phi3"]
# What is cut out of which context: kind, split, context, start.
PIECES: list[tuple[SampleKind, Split, int, int]] = [
    ("top", "explain", 0, 3), ("top", "explain", 1, 0),
    ("top", "calibrate", 2, 8), ("random", "calibrate", 3, 0), ("random", "calibrate", 4, 5),
    ("top", "test", 5, 0), ("top", "test", 6, 8), ("random", "test", 7, 2), ("near_miss", "test", 8, 4),
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")

Made = Callable[..., "Case"]


@dataclass(frozen=True)
class Case:
    """A component of a tiny model, what it does on pieces of an atlas's text, and its autoencoder if it is a latent."""

    components: Components
    component: Node
    evidence: Evidence
    autoencoder: Autoencoder | None

    @property
    def hf(self) -> Any:
        return self.components.subject.hf

    def ids(self, sample: Sample) -> Tensor:
        """The context that a sample is cut out of, up to its end."""
        assert self.components.atlas is not None
        whole = self.components.atlas.contexts.tokens(sample.context)[: sample.start + len(sample.ids)]
        return torch.tensor(whole, dtype=torch.long)

    @contextmanager
    def replaced(self, positions: Sequence[int], values: Sequence[float]) -> Iterator[None]:
        """Puts values in the place of activations at some positions, by plain hooks on the modules."""
        with plain_edit(self, lambda x, at: put(x, at, positions, values)):
            yield


def put(x: Tensor, at: range, positions: Sequence[int], values: Sequence[float]) -> Tensor:
    x = x.clone()
    for position, value in zip(positions, values, strict=True):
        if position in at:
            x[0, position - at.start] = value
    return x


@contextmanager
def plain_edit(case: Case, change: Callable[[Tensor, range], Tensor]) -> Iterator[None]:
    """Changes the component's activations [1, rows]; rows are told by how many tokens went by since the block began."""
    layers, node, one = case.components.subject.anatomy.layers, case.component, case.autoencoder
    assert node.layer is not None and node.index is not None
    seen: dict[str, Any] = {"done": 0, "read": None}
    handles = []

    def rows(n: int) -> range:
        begun, seen["done"] = seen["done"], seen["done"] + n
        return range(begun, begun + n)

    def neuron(module: nn.Module, args: Any) -> Any:
        x = args[0].clone()
        x[..., node.index] = change(x[..., node.index], rows(x.shape[1]))
        return (x,)

    def read(module: nn.Module, args: Any) -> None:
        seen["read"] = args[0]

    def write(value: Tensor) -> Tensor:
        assert one is not None
        x = value if seen["read"] is None else seen["read"]
        f = literal(one, x)[..., node.index]
        scale = x.std(-1, keepdim=True) if one.normalisation == "layer_norm" else 1
        return value + (change(f, rows(x.shape[1])) - f)[..., None] * scale * one.w_dec[node.index]

    def leaving(module: nn.Module, args: Any, output: Any) -> Any:
        return (write(output[0]), *output[1:]) if isinstance(output, tuple) else write(output)

    if one is None:
        handles.append(layers[node.layer].mlp_out_module.register_forward_pre_hook(neuron))
    else:
        if one.is_transcoder:
            assert one.reads.name == "mlp_in"
            handles.append(layers[one.reads.layer].mlp.register_forward_pre_hook(read))
        layer = layers[one.writes.layer]
        at: nn.Module = {
            "mlp_out": layer.mlp_post_module or layer.mlp_out_module,
            "attn_out": layer.attn_post_module or layer.attn_out_module,
            "resid": layer.block,
        }[one.writes.name]
        handles.append(at.register_forward_hook(leaving))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.fixture(scope="module")
def made(tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A case of a family: a neuron, or a latent of a random autoencoder; the atlas is collected once a family."""
    atlases: dict[str, Atlas] = {}

    def make(family: str = "llama", component: str = "neuron.1.7", reads: str | None = None, **kind: Any) -> Case:
        model, node = tiny(family), parse(component)
        if family not in atlases:
            atlases[family] = collect(
                model, corpus, out=tmp_path_factory.mktemp("atlases") / family, tokens=10 * LENGTH, context=LENGTH,
                window=WINDOW, sites=["neuron"],
            )  # fmt: skip
        one = None
        if node.kind == "latent":
            site = f"{node.part}.{node.layer}"
            one = random_autoencoder(model.subject.anatomy, reads or site, None if reads is None else site, **kind)
        components = Components(model, atlases[family], [] if one is None else [one])
        case = Case(components, node, Evidence(node, 1.0, ()), one)
        samples = tuple(_sample(case, *piece) for piece in PIECES)
        maximum = max(float(sample.activations.max()) for sample in samples if sample.split == "explain")
        return replace(case, evidence=Evidence(node, max(maximum, 0.1), samples))

    return make


def _sample(case: Case, kind: SampleKind, split: Split, context: int, start: int) -> Sample:
    assert case.components.atlas is not None
    ids = tuple(int(i) for i in case.components.atlas.contexts.tokens(context)[start : start + WINDOW])
    first = 1 if start == 0 else 0
    sample = Sample(
        kind, split, context, start, tuple(case.components.subject.text(i) for i in ids), ids, np.zeros(WINDOW), first
    )
    kept: list[Tensor] = []

    def keep(x: Tensor, at: range) -> Tensor:
        kept.append(x[0])
        return x

    with torch.no_grad(), plain_edit(case, keep):
        case.hf(case.ids(sample)[None])
    return replace(sample, activations=kept[0][start:].double().numpy())


@dataclass
class Simulates:
    """Gives what a function makes of each text; counts what it was asked."""

    function: Callable[[Sample], Float64[np.ndarray, " t"] | Failure]
    asked: list[Sample] = field(default_factory=list)
    reference: str = "test"
    method: Method = "all_at_once"
    prompt: str = "test-1"

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        self.asked += samples
        told = [self.function(sample) for sample in samples]
        return [one if isinstance(one, Failure) else Simulation(one) for one in told], Cost(requests=len(samples))

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        return Estimate(len(samples), 10 * len(samples), 5 * len(samples))


def ablation(case: Case, function: Callable[[Sample], Any], seed: int = 0, stop: Stop | None = None) -> Score:
    return AblationScorer(Simulates(function), case.components).score("words", case.evidence, "test", seed, stop)


def noisy(case: Case) -> Callable[[Sample], Float64[np.ndarray, " t"]]:
    """On the scale of simulations, neither right nor useless."""
    level = float(np.concatenate([sample.activations for sample in case.evidence.samples]).std())

    def expected(sample: Sample) -> Float64[np.ndarray, " t"]:
        noise = np.random.default_rng(sample.context).normal(size=len(sample.ids))
        return 5 + 2 * (sample.activations / level + noise)

    return expected


def by_rerun(case: Case, function: Callable[[Sample], Any]) -> dict[str, float]:
    """The score and both divergences, from whole runs of the model, one text at a time."""

    def counted(sample: Sample, values: Any) -> Any:
        return values[sample.first :]

    calibrating, tested = case.evidence.of("calibrate"), case.evidence.of("test")
    x = np.concatenate([counted(sample, function(sample)) for sample in calibrating])
    y = np.concatenate([counted(sample, sample.activations) for sample in calibrating])
    slope, offset = np.polyfit(x, y, 1)
    simulated, mean = [], []
    for sample in tested:
        at = range(sample.start + sample.first, sample.start + len(sample.ids))
        values = slope * counted(sample, function(sample)) + offset
        clean = _distribution(case, sample)
        for put, found in ((values, simulated), (np.full(len(at), y.mean()), mean)):
            with case.replaced(at, put.tolist()):
                changed = _distribution(case, sample)
            found.append(np.mean([jensenshannon(changed[p], clean[p]) ** 2 for p in at]))
    return {
        "value": float(1 - np.mean(simulated) / np.mean(mean)),
        "jsd_simulated": float(np.mean(simulated)),
        "jsd_mean": float(np.mean(mean)),
    }


@torch.no_grad()
def _distribution(case: Case, sample: Sample) -> Any:
    return case.hf(case.ids(sample)[None]).logits[0].double().softmax(-1).numpy()


def check_ablation(case: Case) -> None:
    right = ablation(case, lambda sample: 3 * sample.activations + 1)
    assert right.value == pytest.approx(1, abs=1e-6)
    same = ablation(case, lambda sample: np.full(len(sample.ids), 4.0))
    assert same.value == pytest.approx(0, abs=1e-9)
    function = noisy(case)
    score, expected = ablation(case, function), by_rerun(case, function)
    assert score.value == pytest.approx(expected["value"], abs=1e-4)
    assert score.measures["jsd_simulated"] == pytest.approx(expected["jsd_simulated"], rel=1e-3)
    assert score.measures["jsd_mean"] == pytest.approx(expected["jsd_mean"], rel=1e-3)
    assert 0.01 < abs(expected["value"]) < 0.99, "a test that any number would pass"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_neurons_ablation_score_equals_whole_runs(made: Made, family: str) -> None:
    check_ablation(made(family))


@pytest.mark.parametrize(
    ("family", "component", "kind"),
    [
        ("llama", "latent.mlp_out.1.5", {}),
        ("llama", "latent.resid.2.5", {"activation": "jumprelu"}),
        ("llama", "latent.mlp_out.0.5", {"reads": "mlp_in.0"}),
        ("llama", "latent.mlp_out.2.5", {"reads": "mlp_in.0"}),
        ("llama", "latent.resid.0.5", {"normalisation": "layer_norm"}),
        ("gpt_neox", "latent.attn_out.1.5", {}),
        ("gemma2", "latent.mlp_out.1.5", {}),
    ],
)
def test_a_latents_ablation_score_equals_whole_runs(
    made: Made, family: str, component: str, kind: dict[str, Any]
) -> None:
    check_ablation(made(family, component, **kind))


def test_the_activations_themselves_and_their_mean_bound_the_scale(made: Made) -> None:
    case = made()
    baselines = {one.name: one.value for one in ablation(case, noisy(case)).baselines}
    assert baselines["mean"] == 0
    assert baselines["table"] is not None and baselines["shuffled"] is not None
    wrong = ablation(case, lambda sample: sample.activations[::-1])
    assert wrong.value is not None and wrong.value < 0.5


def test_only_what_was_not_scored_by_is_fitted_to(made: Made) -> None:
    case = made()
    # Of the tested texts the simulation is right but for a sign that only their own activations would tell.
    score = ablation(case, lambda sample: sample.activations * (-1 if sample.split == "test" else 1))
    assert score.value is not None and score.value < 0


def test_an_interval_holds_the_score_and_is_the_same_each_time(made: Made) -> None:
    case = made()
    score, again = ablation(case, noisy(case), seed=5), ablation(case, noisy(case), seed=5)
    assert score == again
    assert score.value is not None and score.low is not None and score.high is not None
    assert score.low < score.value < score.high
    assert score.texts == {"top": 2, "random": 1, "near_miss": 1}
    assert score.tokens == 4 * WINDOW - 1
    assert (score.llm, score.method, score.prompt) == ("test", "all_at_once", "test-1")
    assert score.cost == Cost(requests=7)


def test_strips_show_what_took_the_activations_place(made: Made) -> None:
    case = made()
    score = ablation(case, lambda sample: 3 * sample.activations + 1)
    for strip, sample in zip(score.strips, case.evidence.of("test"), strict=True):
        scaled = 10 * np.maximum(sample.activations, 0)[sample.first :] / case.evidence.maximum
        assert (strip.context, strip.start) == (sample.context, sample.start + sample.first)
        assert tuple(strip.tokens) == sample.tokens[sample.first :]
        assert strip.simulated is not None
        assert strip.real == pytest.approx(scaled.tolist())
        assert strip.simulated == pytest.approx(scaled.tolist(), abs=1e-5)


def test_texts_that_failed_are_counted_and_are_in_no_number(made: Made) -> None:
    case = made()
    function = noisy(case)
    broken = Failure("malformed", "no list")

    def failing(sample: Sample) -> Any:
        return broken if sample.context in (3, 6) else function(sample)

    kept = tuple(sample for sample in case.evidence.samples if sample.context not in (3, 6))
    alone = ablation(replace(case, evidence=replace(case.evidence, samples=kept)), function)
    score = ablation(case, failing)
    assert score.failures == [broken]
    assert (score.measures["calibrated_on"], score.measures["calibration_failures"]) == (2, 1)
    assert score.texts == {"top": 1, "random": 1, "near_miss": 1}
    assert (score.value, score.low, score.high) == (alone.value, alone.low, alone.high)
    assert [strip.failure for strip in score.strips] == [None, broken, None, None]
    assert score.strips[1].simulated is None


@pytest.mark.parametrize("step", [1e-4, 1e-2, 1.0, 100.0])
def test_divergences_are_right_whatever_their_size(made: Made, step: float) -> None:
    subject = made().components.subject
    draw = torch.Generator().manual_seed(0)
    clean = torch.randn(6, subject.anatomy.d_model, generator=draw)
    other = clean + step * torch.randn(clean.shape, generator=draw)
    found, noise = _divergence(subject, clean, {"other": other}, None)
    weight = subject.anatomy.unembed.weight.double()
    p, q = ((rows.double() @ weight.T).softmax(-1).numpy() for rows in (clean, other))
    expected = [jensenshannon(one, two) ** 2 for one, two in zip(p, q, strict=True)]
    assert found["other"] == pytest.approx(expected, rel=2e-2 if step < 1e-3 else 1e-4)
    largest = float((clean @ subject.anatomy.unembed.weight.T).abs().max())
    assert noise == pytest.approx((2.0**-23 * largest) ** 2 / 8)
    assert noise < found["other"].min() / 100


@pytest.mark.parametrize("split", ["test", "calibrate"])
def test_without_answers_there_is_no_score(made: Made, split: Split) -> None:
    case = made()
    broken = Failure("timeout", "nothing came")
    score = ablation(case, lambda sample: broken if sample.split == split else sample.activations)
    assert (score.value, score.low, score.high) == (None, None, None)
    assert all(one.value is None for one in score.baselines)
    assert len(score.failures) == (4 if split == "test" else 0)
    assert score.measures["calibration_failures"] == (0 if split == "test" else 3)
    assert [strip.failure for strip in score.strips] == score.failures


def test_a_component_that_writes_nothing_has_no_ablation_score(made: Made) -> None:
    case = made(component="neuron.2.3")
    weight = case.components.subject.anatomy.layers[2].mlp_out.by_input
    held = weight[3].clone()
    try:
        weight[3] = 0
        score = ablation(case, noisy(case))
    finally:
        weight[3] = held
    assert score.value is None and score.low is None
    assert score.measures["jsd_mean"] == pytest.approx(0, abs=1e-15)
    assert ablation(case, noisy(case)).value is not None


def test_heads_latents_without_their_autoencoder_and_foreign_tokens_are_refused(made: Made) -> None:
    case = made()
    latent = made(component="latent.mlp_out.1.5")
    scorer = AblationScorer(Simulates(noisy(case)), case.components)
    assert scorer.refuses(case.component) is None
    assert "head" in (scorer.refuses(parse("attn.1.2")) or "")
    assert "not attached" in (scorer.refuses(latent.component) or "")
    assert AblationScorer(Simulates(noisy(case)), latent.components).refuses(latent.component) is None


def test_an_estimate_covers_the_calibration(made: Made) -> None:
    case = made()
    scorer = AblationScorer(Simulates(noisy(case)), case.components)
    assert scorer.estimate("words", case.evidence, "test") == Estimate(7, 70, 35)


def test_ablating_stops_when_it_is_told_to(made: Made) -> None:
    case = made()
    with pytest.raises(Cancelled):
        ablation(case, noisy(case), stop=lambda: True)


def judge(function: Callable[[str], str | LLMFailed], capabilities: Capabilities = CHAT) -> ScriptedLLM:
    """A language model that answers by a function of the question."""
    return ScriptedLLM(lambda request: function(request.text), capabilities)


_CONTINUATIONS = re.compile(r"Beginning: [^\n]*\n1: ([^\n]*)\n2: ([^\n]*)\n\nThere is more")


def shown(question: str) -> tuple[str, str]:
    """The two continuations of the case in hand, the last that is shown."""
    first, second = _CONTINUATIONS.findall(question)[-1]
    return unspelled(first), unspelled(second)


def greedy(case: Case, sample: Sample, value: float | None) -> str:
    """The continuation of a text's first half by whole runs, the activation set from its last token on."""
    ids = torch.tensor(sample.ids[: WINDOW // 2])
    first = len(ids) - 1

    def change(x: Tensor, at: range) -> Tensor:
        return torch.where(torch.tensor([p >= first for p in at]), torch.tensor(value), x)

    for _ in range(NEW):
        with torch.no_grad(), plain_edit(case, change if value is not None else lambda x, at: x):
            logits = case.hf(ids[None]).logits[0, -1]
        ids = torch.cat((ids, logits.argmax()[None]))
    new = ids[first + 1 :].tolist()
    end = case.components.subject.tokenizer.eos_token_id
    return case.components.subject.decode(new[: new.index(end)] if end in new else new)


def intervention(case: Case, llm: ScriptedLLM, seed: int = 0, stop: Stop | None = None) -> Score:
    return InterventionScorer(llm, case.components).score("words", case.evidence, "test", seed, stop)


def divergence(case: Case, value: float) -> float:
    """The mean KL(steered ‖ as is) of the first new token."""
    found = []
    for sample in case.evidence.of("test"):
        ids = torch.tensor(sample.ids[: WINDOW // 2])
        logs = []
        for steered in (False, True):
            positions = [len(ids) - 1] if steered else []
            with torch.no_grad(), case.replaced(positions, [value] * len(positions)):
                logs.append(case.hf(ids[None]).logits[0, -1].double().log_softmax(-1))
        clean, changed = logs
        found.append(float((changed.exp() * (changed - clean)).sum()))
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("family", "component"),
    [*((family, "neuron.1.7") for family in FAMILIES), ("llama", "latent.mlp_out.1.5"), ("gemma2", "latent.resid.1.5")],
)
def test_steered_texts_and_their_strength_equal_whole_runs(made: Made, family: str, component: str) -> None:
    case = made(family, component)
    llm = judge(lambda question: "1")
    score = intervention(case, llm)
    k, kl = score.measures["k"], score.measures["kl"]
    assert k is not None and kl is not None
    # Gemma 2 caps its logits and norms what its MLP gives: one neuron may not move them so far.
    assert kl == pytest.approx(TARGET, rel=0.05) or (family == "gemma2" and k == 1024 and 0.1 < kl < TARGET)
    assert divergence(case, k * case.evidence.maximum) == pytest.approx(kl, rel=1e-3)
    pairs = [set(shown(request.text)) for request in llm.asked]
    for sample in case.evidence.of("test"):
        plain, steered = greedy(case, sample, None), greedy(case, sample, k * case.evidence.maximum)
        assert plain == steered or {plain, steered} in pairs


def judged(case: Case, right: bool) -> Callable[[str], str]:
    """Chooses the steered continuation, or the other."""
    plain = {greedy(case, sample, None) for sample in case.evidence.of("test")}
    return lambda question: "12"[(shown(question)[0] in plain) == right]


def test_who_knows_which_text_is_steered_is_right_each_time(made: Made) -> None:
    case = made()
    right, wrong = (intervention(case, judge(judged(case, answer))) for answer in (True, False))
    assert right.measures["unchanged"] == 0
    assert (right.value, right.low, right.high) == (1, 1, 1)
    assert wrong.value == 0
    assert {one.name: one.value for one in right.baselines} == {"table": None, "mean": 0.5, "shuffled": 1}


@pytest.mark.parametrize("seed", range(4))
def test_preferring_a_place_is_chance(made: Made, seed: int) -> None:
    case = made()
    for answer in ("1", "Continuation 2."):
        llm = judge(lambda question, answer=answer: answer)
        score = intervention(case, llm, seed)
        assert score.value == 0.5
        assert score.texts == {"top": 2, "random": 1, "near_miss": 1}
        assert score.tokens == 4 * NEW


def test_answers_that_say_nothing_are_failures(made: Made) -> None:
    case = made()
    right = judged(case, True)
    answers: list[str | LLMFailed] = ["both 1 and 2", LLMFailed("no answer", kind="timeout"), "12", ""]
    score = intervention(case, judge(lambda question: answers.pop() if answers else right(question)))
    assert (score.value, score.low) == (None, None)
    assert sorted(failure.kind for failure in score.failures) == ["malformed", "malformed", "malformed", "timeout"]
    assert score.texts == {}
    # Those of the baseline came.
    assert score.baselines[2].value == 1

    answers[:] = ["neither"]
    score = intervention(case, judge(lambda question: answers.pop() if answers else right(question)))
    assert score.value == 1 and len(score.failures) == 1 and sum(score.texts.values()) == 3


def test_a_component_that_writes_nothing_changes_no_text_and_is_not_asked_of(made: Made) -> None:
    case = made(component="neuron.2.3")
    llm = judge(judged(case, True))
    weight = case.components.subject.anatomy.layers[2].mlp_out.by_input
    held = weight[3].clone()
    try:
        weight[3] = 0
        score = intervention(case, llm)
    finally:
        weight[3] = held
    assert score.value is None
    assert score.measures["unchanged"] == 4 and score.measures["kl"] == 0 and score.measures["k"] == 1024
    assert len(llm.asked) <= 4, "those of the baseline alone"


def test_a_model_without_chat_is_asked_for_a_continuation(made: Made) -> None:
    case = made()
    llm = judge(judged(case, True), RAW)
    assert intervention(case, llm).value == 1
    assert all(request.prompt is not None and not request.messages for request in llm.asked)


def test_steering_stops_when_it_is_told_to(made: Made) -> None:
    case = made()
    with pytest.raises(Cancelled):
        intervention(case, judge(lambda question: "1"), stop=lambda: True)


def test_an_estimate_covers_the_baseline(made: Made) -> None:
    case = made()
    llm = judge(lambda question: "1")
    takes = InterventionScorer(llm, case.components).estimate("words", case.evidence, "test")
    intervention(case, llm)
    assert takes.requests == len(llm.asked) == 8
    assert takes.prompt_tokens > sum(llm.count(request.text) for request in llm.asked) * 0.9


def test_heads_are_not_steered(made: Made) -> None:
    scorer = InterventionScorer(judge(lambda question: "1"), made().components)
    assert "head" in (scorer.refuses(parse("attn.1.2")) or "")
    assert scorer.refuses(parse("neuron.1.2")) is None


def test_a_run_without_a_language_model_scores_by_ablation_and_not_by_intervention(made: Made, tmp_path: Path) -> None:
    case = made()
    kept = Explanations(f"sqlite:///{tmp_path / 'clew.db'}")
    *_, last = explaining(case.components, ["neuron.1.3-6"], Recipe(scorers=("ablation",)), explanations=kept)
    assert (last.done, last.failed) == (4, 0)
    for number in range(3, 7):
        (found,) = kept.named("llama", f"neuron.1.{number}")
        (score,) = found.scores
        assert score.scorer == "ablation" and score.value is not None and score.value < 1
    with pytest.raises(UsageError, match="intervention"):
        list(explaining(case.components, ["neuron.1.3"], Recipe(scorers=("intervention",)), explanations=kept))
    kept.close()
