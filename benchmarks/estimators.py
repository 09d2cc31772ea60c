"""Measures every estimator against exhaustive ablation, prints the table and writes docs/estimators.md.

python -m benchmarks.estimators                  all prompts, about ten minutes on two idle cores, a third of it truth
python -m benchmarks.estimators --quick          four prompts without integrated gradients; writes nothing
python -m benchmarks.estimators --truth FOLDER   keep the true effects there, and take them from there if they are kept
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

import clew
from clew.debug.bench import bare
from clew.debug.case import Case
from clew.debug.direction import reading, token_ids
from clew.debug.estimators import ESTIMATORS, MEASURED, SUSPECTS, Estimates, Estimator, act_grad, refined
from clew.debug.scalar import Final
from clew.debug.verify import measure
from clew.edits import Place
from clew.models.subject import SubjectModel
from clew.nodes import Node, parse

PAGE = Path(__file__).parent.parent / "docs" / "estimators.md"
BASELINE, DEFAULT, SLOW = "final norm frozen", "refined", "integrated gradients"
TOP, WITHIN = 20, 100
NEURONS = 500
RECALL_GOAL, PEARSON_GOAL = 0.95, 0.9

METHODS: Mapping[str, str] = {
    "act×grad": "a·∂D/∂a, nothing frozen (attribution patching: Nanda 2023; Kramár et al. 2024, arXiv:2403.00745).",
    "final norm frozen": "The same with the final norm's scale a constant, as OpenAI's Transformer Debugger has it.",
    "GradDrop": "For each layer in turn the gradient is cut in that layer's attention and MLP; the mean size over the "
    "layers, with the sign of act×grad (Kramár et al. 2024).",
    "AtP*": "The attention fix and GradDrop (Kramár et al. 2024). The paper recomputes the softmax for queries and "
    "keys as nodes; heads, neurons and embeddings reach it through the stream, so each is followed exactly through the "
    "rest of its layer and the next, and the gradient stands in from there.",
    "integrated gradients": "The gradient averaged over two Gauss–Legendre points between the prompt and zero, all "
    "nodes of one block scaled together, block by block (Sundararajan et al. 2017, arXiv:1703.01365; Marks et al. "
    "2024, arXiv:2403.19647; Hanna et al. 2024, arXiv:2403.17806).",
    "followed only": f"`refined` without its last step: {SUSPECTS} nodes followed at their own token, none measured.",
    "refined, half": f"`refined` with {SUSPECTS // 2} nodes followed and {MEASURED // 2} measured.",
    "refined": f"act×grad, then the {SUSPECTS} nodes with the largest ‖w‖·‖∂D/∂w‖·(‖w‖/‖x‖)² are followed exactly at "
    "their own token through the whole model (w is the write, x the stream that next reads it), what later tokens read "
    f"of them exactly in each softmax and by gradient from there; the {MEASURED} of them for which that disagrees most "
    "with act×grad are measured.",
}


@dataclass(frozen=True)
class Prompt:
    name: str
    text: str
    target: str
    distractor: str
    bos: bool = False


PROMPTS = (
    Prompt("indirect object 1", "When Mary and John went to the store, John gave a drink to", " Mary", " John"),
    Prompt("indirect object 2", "Then Tom and Anna had lunch, and Anna gave the ball to", " Tom", " Anna"),
    Prompt("fact 1", "The Eiffel Tower is in the city of", " Paris", " London"),
    Prompt("fact 2", "The opposite of the word hot is the word", " cold", " warm"),
    Prompt("code 1", "def add(a, b):\n    return a +", " b", " a"),
    Prompt("code 2", "for i in range(10):\n    print(", "i", "x"),
    Prompt("induction", " cat river seven lamp moon cat river seven lamp", " moon", " river"),
    Prompt("agreement 1", "The keys to the old wooden cabinet in the hall", " are", " is"),
    Prompt("agreement 2", "The young boy near the tall trees always", " looks", " look"),
    Prompt("arithmetic 1", "2+2=4, 3+3=6, 4+4=", "8", "7"),
    Prompt("arithmetic 2", "3+4=7 and 2+2=", "4", "5"),
    Prompt("start token 1", "When Mary and John went to the store, John gave a drink to", " Mary", " John", bos=True),
    Prompt("start token 2", "The capital of Japan is the city of", " Tokyo", " Paris", bos=True),
    Prompt("start token 3", "The cars that are parked near the house", " are", " is", bos=True),
)
# The quick look, and the prompts on which integrated gradients are run, as they cost ten times the default.
QUICK = ("indirect object 1", "code 2", "induction", "start token 2")


@dataclass(frozen=True)
class Score:
    """How an estimate does on one prompt.

    `pearson_unmeasured` leaves out the nodes that the estimator measured itself; `cost` is CPU time in bare forward
    and backward passes.
    """

    pearson: float
    spearman: float
    recall: float
    pearson_with_embeddings: float
    pearson_unmeasured: float
    cost: float


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    folder = Path(sys.argv[sys.argv.index("--truth") + 1]) if "--truth" in sys.argv[1:] else None
    subject = clew.load().subject
    estimators: dict[str, Estimator] = dict(ESTIMATORS)
    estimators["followed only"] = partial(refined, measured=0)
    estimators["refined, half"] = partial(refined, suspects=SUSPECTS // 2, measured=MEASURED // 2)
    names = [name for name in METHODS if not (quick and name == SLOW)]
    prompts = [prompt for prompt in PROMPTS if not quick or prompt.name in QUICK]
    scores: dict[str, dict[str, Score]] = defaultdict(dict)
    facts: dict[str, tuple[int, float]] = {}
    for prompt in prompts:
        case, scalar, value = question(subject, prompt)
        facts[prompt.name] = (len(case.ids), value)
        truth = true_effects(case, scalar, None if folder is None else folder / f"{prompt.name}.json")
        for name in names:
            if name == SLOW and prompt.name not in QUICK:
                continue
            found, cost = timed(case, scalar, estimators[name])
            scores[prompt.name][name] = score(truth, found, cost)
            print(f"{prompt.name:18} {name:22}", *_cells(scores[prompt.name][name]), sep="  ", flush=True)
    lines = page(prompts, names, facts, scores)
    print("\n".join(lines))
    if not quick:
        PAGE.write_text("\n".join(lines) + "\n")


def question(subject: SubjectModel, prompt: Prompt) -> tuple[Case, Final, float]:
    """The prompt as a case, D after its last token, and D's value; the target must be preferred."""
    ids = subject.encode_prompt(prompt.text, prompt.bos)
    look = reading(
        subject.anatomy,
        token_ids(subject, [prompt.target], "target"),
        token_ids(subject, [prompt.distractor], "distractor"),
    )
    with torch.no_grad():
        value = look.value(subject.hf(ids[None]).logits[0, -1])
    assert value > 1, prompt.name
    return Case(subject, ids, len(ids) - 1), Final(subject.anatomy, look, len(ids) - 1), value


def true_effects(case: Case, scalar: Final, kept: Path | None) -> dict[Node, float]:
    """The verified effect of every embedding, every head at every position, and 500 neurons."""
    if kept is not None and kept.exists():
        return {parse(name): effect for name, effect in json.loads(kept.read_text()).items()}
    nodes = population(case, scalar)
    effects = [x for batch in measure(case, scalar, [Place.of(node) for node in nodes]) for x in batch]
    truth = dict(zip(nodes, effects, strict=True))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({str(node): effect for node, effect in truth.items()}))
    return truth


def population(case: Case, scalar: Final) -> list[Node]:
    """The nodes that are ablated: half of the neurons by |act×grad|, the rest by the norm of what they write."""
    anatomy, length = case.subject.anatomy, len(case.ids)
    nodes = [Node("embed", position=p) for p in range(length)]
    nodes += [
        Node("attn", layer, head, p)
        for layer in range(len(anatomy.layers))
        for head in range(anatomy.n_heads)
        for p in range(length)
    ]
    by_effect = act_grad(case, scalar).neurons.abs().flatten()
    by_norm = write_norms(case).flatten()
    chosen = dict.fromkeys(by_effect.topk(NEURONS // 2).indices.tolist())
    for index in by_norm.topk(NEURONS).indices.tolist():
        if len(chosen) == NEURONS:
            break
        chosen[index] = None
    width = anatomy.n_neurons
    for index in sorted(chosen):
        layer, rest = divmod(index, length * width)
        nodes.append(Node("neuron", layer, rest % width, rest // width))
    return nodes


def write_norms(case: Case) -> Float[Tensor, "l t n"]:
    """‖write‖ of every neuron."""
    kept: list[Tensor] = []
    anatomy = case.subject.anatomy
    handles = [
        layer.mlp_out_module.register_forward_pre_hook(lambda module, args: kept.append(args[0][0]))
        for layer in anatomy.layers
    ]
    with torch.no_grad():
        anatomy.base(input_ids=case.ids[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack([act.abs() * layer.neuron_norm for act, layer in zip(kept, anatomy.layers, strict=True)])


def timed(case: Case, scalar: Final, estimator: Estimator) -> tuple[Estimates, float]:
    """The estimates, and their CPU time over that of a bare pass; the mean of one before it and one after."""
    passes = []

    def floor() -> None:
        start = time.process_time()
        bare(case.subject, case.ids, scalar.reading)
        passes.append(time.process_time() - start)

    floor()
    start = time.process_time()
    found = estimator(case, scalar)
    spent = time.process_time() - start
    floor()
    return found, spent / statistics.mean(passes)


def score(truth: Mapping[Node, float], found: Estimates, cost: float) -> Score:
    """Heads and neurons make the score; embeddings, which no gradient gets right, one number of their own."""
    everything = torch.tensor([list(truth.values()), [found.of(node) for node in truth]], dtype=torch.float64)
    blocks = torch.tensor([node.kind != "embed" for node in truth])
    guessed = torch.tensor([node not in found.measured for node in truth])
    true, estimated = everything[:, blocks]
    top = set(true.abs().topk(TOP).indices.tolist())
    within = set(estimated.abs().topk(WITHIN).indices.tolist())
    return Score(
        pearson=correlation(true, estimated),
        spearman=correlation(ranks(true), ranks(estimated)),
        recall=len(top & within) / TOP,
        pearson_with_embeddings=correlation(*everything),
        pearson_unmeasured=correlation(*everything[:, blocks & guessed]),
        cost=cost,
    )


def correlation(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1])


def ranks(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    found = torch.empty_like(x)
    found[x.argsort()] = torch.arange(len(x), dtype=x.dtype)
    return found


def page(
    prompts: Sequence[Prompt],
    names: Sequence[str],
    facts: Mapping[str, tuple[int, float]],
    scores: Mapping[str, Mapping[str, Score]],
) -> list[str]:
    lines = [
        "# How good the estimates are",
        "",
        "Written by `python -m benchmarks.estimators`. An estimate guesses what ablating a node would cost; here each",
        "way of guessing is held against the truth, D(as is) − D(ablated to zero), measured for every head at every",
        f"position and {NEURONS} neurons of each prompt: {NEURONS // 2} by |act×grad|, the rest by the norm of what",
        f"they write. Recall is the share of the true top {TOP} (by size) within the estimate's top {WITHIN}.",
        "Embeddings are left out but for one column: there is one a token, and no gradient gets them right. Cost is",
        "CPU time as a multiple of a bare forward and backward pass on the same prompt,",
        f"with {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}.",
        "",
        "## In short",
        "",
        "| estimator | Pearson: median | least | Spearman: median | least | recall: median | least "
        "| Pearson with embeddings: median | cost: median | most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        rows = [scores[prompt.name][name] for prompt in prompts if name in scores[prompt.name]]
        note = "" if len(rows) == len(prompts) else f" ({len(rows)} prompts)"
        lines.append(
            f"| {'**' + name + '**' if name == DEFAULT else name}{note} | "
            + " | ".join(
                f"{statistics.median(values):.2f} | {min(values):.2f}"
                for values in ([r.pearson for r in rows], [r.spearman for r in rows], [r.recall for r in rows])
            )
            + f" | {statistics.median(r.pearson_with_embeddings for r in rows):.2f}"
            + f" | {statistics.median(r.cost for r in rows):.1f} | {max(r.cost for r in rows):.1f} |"
        )
    lines += ["", *verdict(prompts, scores), "", "## The ways of guessing", ""]
    lines += [f"- **{name}**: {METHODS[name]}" for name in names]
    lines += [
        "",
        "## Prompts",
        "",
        "| prompt | text | start token | target | distractor | tokens | D |",
        "| --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for prompt in prompts:
        length, value = facts[prompt.name]
        text, target, distractor = (json.dumps(x) for x in (prompt.text, prompt.target, prompt.distractor))
        start = "yes" if prompt.bos else "no"
        lines.append(f"| {prompt.name} | `{text}` | {start} | `{target}` | `{distractor}` | {length} | {value:.2f} |")
    lines += ["", "## Prompt by prompt", "", "Pearson, Spearman, recall."]
    for start in range(0, len(names), 4):
        part = names[start : start + 4]
        lines += ["", "| prompt | " + " | ".join(part) + " |", "| --- |" + " --- |" * len(part)]
        for prompt in prompts:
            rows = [scores[prompt.name].get(name) for name in part]
            cells = ["not run" if row is None else " ".join(_cells(row)[:3]) for row in rows]
            lines.append(f"| {prompt.name} | " + " | ".join(cells) + " |")
    return lines


def verdict(prompts: Sequence[Prompt], scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """Whether the goals are met, by how much, and what the default is."""
    best = {prompt.name: scores[prompt.name][DEFAULT] for prompt in prompts}
    missed = [f"{name} ({row.recall:.2f})" for name, row in best.items() if row.recall < RECALL_GOAL]
    pearson = statistics.median(row.pearson for row in best.values())
    guesses = statistics.median(row.pearson_unmeasured for row in best.values())
    worst = min(best, key=lambda name: best[name].pearson)
    reached = f"misses recall on {', '.join(missed)}" if missed else "meets the first"
    base = statistics.median(scores[prompt.name][BASELINE].pearson for prompt in prompts)
    return [
        f"The goals: recall of at least {RECALL_GOAL} on every prompt and a median Pearson of at least "
        f"{PEARSON_GOAL}. `{DEFAULT}` {reached}; its median Pearson is {pearson:.2f} "
        f"({'met' if pearson >= PEARSON_GOAL else 'missed'}), that of act×grad with the final norm frozen {base:.2f}. "
        f"Its worst is {best[worst].pearson:.2f}, on {worst}.",
        "",
        f"The default for choosing what to verify is `{DEFAULT}`. It is not a better gradient: where a write is large",
        "beside the stream, no gradient at the prompt says what removing it does, and the cure is to run the model.",
        f"Its {MEASURED} measured nodes are no guesses, and count in its favour here as they do for a user; over the",
        f"nodes it did not measure, its median Pearson is {guesses:.2f}. Its two numbers, {SUSPECTS} followed and",
        f"{MEASURED} measured, were chosen on the first ten prompts; the last four were not looked at before.",
        "",
        "`followed only` is what to take where nothing may be measured: half the cost, recall nearly as good, but a",
        "few nodes it gets badly wrong weigh on its Pearson.",
        "",
        "Of the others, GradDrop mends cancellation between layers and the attention fix one softmax, while the errors",
        "here come from many norms and non-linearities in turn; integrated gradients scale a whole block at once,",
        "which is another experiment than ablating one node of it.",
    ]


def _cells(row: Score) -> tuple[str, ...]:
    return (f"{row.pearson:.2f}", f"{row.spearman:.2f}", f"{row.recall:.2f}", f"{row.cost:.1f}×")


if __name__ == "__main__":
    main()
