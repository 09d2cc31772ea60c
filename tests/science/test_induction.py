"""The induction circuit (Olsson et al. 2022), found in models trained to have one, without knowing where it is.

scripts/train_induction.py trains them: a sequence of random words is said twice, so that in the second half the next
word is the one after this word's earlier copy. From one prediction, `find` walks up the circuit with Clew's public
functions alone, as a user would: what makes the prediction, what it looks at, what made it look there.
"""

from __future__ import annotations

import importlib.util
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

import clew
from clew.debug import Model, Run
from clew.nodes import Node, parse

pytestmark = pytest.mark.usefixtures("one_thread")

FOLDER = Path(__file__).parent / "induction"
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_induction.py"
TRAINED = sorted(folder.name for folder in FOLDER.glob("seed*"))
DRAWS = range(5)
WORDS = 64
LAYERS, HEADS = 2, 4


@dataclass(frozen=True)
class Repeated:
    """Random words said twice, cut off in the second half after a word whose successor is known."""

    prompt: str
    answer: str
    earlier: int  # where this word stood first
    last: int

    @classmethod
    def drawn(cls, seed: int) -> Repeated:
        draw = random.Random(seed)
        half = draw.randint(10, 24)
        words = [f"t{i}" for i in draw.sample(range(WORDS), half)]
        earlier = draw.randrange(4, half - 3)
        return cls(" ".join([*words, *words[: earlier + 1]]), f" {words[earlier + 1]}", earlier, half + earlier)


@dataclass(frozen=True)
class Circuit:
    """What `find` comes upon: the pair that reads the answer, S of it through its key, and who wrote that key."""

    reader: Node
    writer: Node
    run: Run
    score: Run
    share: float  # of S, what is gone without the writer


def find(run: Run) -> Circuit:
    """From the prediction to the head that reads the answer, to the head that told it where to look."""
    last = run.direction.position
    heads = [f"attn.{layer}.{head}@{last}" for layer in range(LAYERS) for head in range(HEADS)]
    reader = parse(run.verify(nodes=heads)[0].id)

    pattern = run.pattern(str(reader.component)).rows[last]
    looked_at = max(range(last + 1), key=lambda source: pattern[source])
    pair = Node("attn", reader.layer, reader.index, last, looked_at)

    score = run.trace(pair, through="k")
    writes = [row for row in score.nodes(kinds=["attn", "embed"]) if row.source is None]
    largest = max(writes, key=lambda row: abs(row.direct_effect))
    writer = score.verify(nodes=[largest.id])[0]
    assert writer.verified_effect is not None
    return Circuit(pair, parse(writer.id), run, score, writer.verified_effect / score.value)


@pytest.fixture(scope="module", params=TRAINED)
def model(request: pytest.FixtureRequest) -> Model:
    return clew.load(str(FOLDER / request.param))


@pytest.fixture(scope="module")
def found(model: Model) -> list[tuple[Repeated, Circuit]]:
    """The circuit as found from each of several unrelated sequences."""
    drawn = [Repeated.drawn(seed) for seed in DRAWS]
    return [(words, find(model.debug(words.prompt, words.answer))) for words in drawn]


def test_the_models_learnt_to_copy_and_did_so_at_once() -> None:
    assert len(TRAINED) >= 2
    for name in TRAINED:
        report = json.loads((FOLDER / name / "training.json").read_text(encoding="utf-8"))
        uniform = math.log(WORDS)
        assert report["held_out"]["second_half"] < 0.05
        assert report["held_out"]["first_half"] == pytest.approx(uniform, abs=0.1)
        # The phase change: from knowing next to nothing to knowing nearly all in a fifth of the steps.
        curve = {point["step"]: point["second_half"] for point in report["curve"]}
        ignorant = max(step for step, loss in curve.items() if loss > 0.9 * uniform)
        skilled = min(step for step, loss in curve.items() if loss < 0.1 * uniform)
        assert 0 < skilled - ignorant <= report["steps"] / 5


@pytest.mark.parametrize("name", TRAINED)
def test_the_report_and_the_files_are_what_the_script_makes(name: str) -> None:
    spec = importlib.util.spec_from_file_location("train_induction", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    trained = LlamaForCausalLM.from_pretrained(FOLDER / name)
    fresh = script.untrained()
    assert {n: p.shape for n, p in trained.named_parameters()} == {n: p.shape for n, p in fresh.named_parameters()}
    assert clew.load(str(FOLDER / name)).tokenizer.get_vocab() == script.tokenizer().get_vocab()

    draw = torch.Generator().manual_seed(10_000)  # other sequences than any seed of the training drew
    first, second = script.losses(trained, [script.sequence(draw) for _ in range(200)])
    report = json.loads((FOLDER / name / "training.json").read_text(encoding="utf-8"))
    assert report["seed"] == int(name.removeprefix("seed"))
    assert first == pytest.approx(report["held_out"]["first_half"], abs=0.05)
    assert second == pytest.approx(report["held_out"]["second_half"], abs=0.02)


def test_the_models_copy(found: list[tuple[Repeated, Circuit]]) -> None:
    for words, circuit in found:
        first = circuit.run.candidates(1)[0]
        assert (first.text, first.rank) == (words.answer, 0)
        assert first.probability > 0.8


def test_attention_does_all_the_work(found: list[tuple[Repeated, Circuit]]) -> None:
    for _, circuit in found:
        assert circuit.run.accounting().terms["neuron"] == 0


def test_the_same_two_heads_are_found_every_time(found: list[tuple[Repeated, Circuit]]) -> None:
    assert len({circuit.reader.component for _, circuit in found}) == 1
    assert len({circuit.writer.component for _, circuit in found}) == 1
    _, circuit = found[0]
    assert (circuit.reader.layer, circuit.writer.layer, circuit.writer.kind) == (1, 0, "attn")


def test_the_models_differ_in_where_it_is() -> None:
    """So no test here can pass by looking at a head it was told about."""
    words = Repeated.drawn(0)
    circuits = [find(clew.load(str(FOLDER / name)).debug(words.prompt, words.answer)) for name in TRAINED]
    assert len({(circuit.reader.index, circuit.writer.index) for circuit in circuits}) == len(TRAINED)


def test_the_reader_looks_at_the_word_after_the_earlier_copy(found: list[tuple[Repeated, Circuit]]) -> None:
    for words, circuit in found:
        assert circuit.reader.source == words.earlier + 1
        assert (circuit.run.node(circuit.reader).node.activation or 0) > 0.6
        others = [head for head in range(HEADS) if head != circuit.reader.index]
        for head in others:
            assert circuit.run.pattern(f"attn.1.{head}").rows[words.last][words.earlier + 1] < 0.2


def test_the_answer_is_the_readers_doing(found: list[tuple[Repeated, Circuit]]) -> None:
    """Without it, or without the one pair, the prediction is gone; without any other head of its layer it stands."""
    for words, circuit in found:
        heads = [f"attn.1.{head}@{words.last}" for head in range(HEADS)]
        rows = {row.id: row.verified_effect or 0.0 for row in circuit.run.verify(nodes=[*heads, circuit.reader])}
        value = circuit.run.value
        whole = f"{circuit.reader.component}@{words.last}"
        assert rows.pop(str(circuit.reader)) > 0.5 * value
        assert rows.pop(whole) > 0.5 * value
        assert max(map(abs, rows.values())) < 0.1 * value
        assert circuit.run.ablate(str(circuit.reader)).candidates(1)[0].text != words.answer
        for head in rows:
            assert circuit.run.ablate(head).candidates(1)[0].text == words.answer


def test_the_writer_reads_the_word_before(found: list[tuple[Repeated, Circuit]]) -> None:
    """It sits where the reader looks, and reads the earlier copy of the word at hand: one token back, everywhere."""
    for words, circuit in found:
        assert circuit.writer.position == words.earlier + 1
        rows = circuit.run.pattern(str(circuit.writer.component)).rows
        back = [row[-2] for row in rows[1:]]
        assert rows[words.earlier + 1][words.earlier] == max(rows[words.earlier + 1])
        assert sum(back) / len(back) > 0.5
        for head in range(HEADS):
            if head != circuit.writer.index:
                other = circuit.run.pattern(f"attn.0.{head}").rows
                assert sum(row[-2] for row in other[1:]) / len(back) < 0.2


def test_the_edge_between_them_is_real(found: list[tuple[Repeated, Circuit]]) -> None:
    """The score goes when the writer does, most of it with the one pair that reads the earlier copy; no other head's
    writes at that token come near, and the embedding there adds little of its own."""
    for words, circuit in found:
        assert 0.6 < circuit.share < 1.4
        at = words.earlier + 1
        key = f"{circuit.writer}<-{words.earlier}"
        others = [f"attn.0.{head}@{at}" for head in range(HEADS) if head != circuit.writer.index]
        rows = {row.id: row.verified_effect or 0.0 for row in circuit.score.verify(nodes=[key, *others])}
        value = circuit.score.value
        assert value > 0
        assert rows.pop(key) > 0.6 * value
        assert max(map(abs, rows.values())) < 0.15 * value
        assert abs(circuit.score.node(f"embed@{at}").node.direct_effect) < 0.3 * value


def test_without_the_writer_the_reader_looks_elsewhere(found: list[tuple[Repeated, Circuit]]) -> None:
    for words, circuit in found:
        after = circuit.run.ablate(str(circuit.writer))
        weight = after.pattern(str(circuit.reader.component)).rows[words.last][words.earlier + 1]
        assert weight < 0.3
        assert after.value < 0.3 * circuit.run.value


def test_the_query_does_not_need_it(found: list[tuple[Repeated, Circuit]]) -> None:
    """What the reader asks for is the word it stands on: the embedding there, not what the writer's component wrote."""
    for words, circuit in found:
        query = circuit.run.trace(circuit.reader, through="q")
        assert query.value == pytest.approx(circuit.score.value, abs=1e-4)
        writer, embedding = f"{circuit.writer.component}@{words.last}", f"embed@{words.last}"
        heads = [f"attn.0.{head}@{words.last}" for head in range(HEADS)]
        rows = query.verify(nodes=[*heads, embedding])
        assert rows[0].id == embedding
        effects = {row.id: row.verified_effect or 0.0 for row in rows}
        assert effects[embedding] > 0.6 * query.value
        assert abs(effects[writer]) < 0.3 * query.value
        # The K edge is somewhere else: nothing where the reader looks bears on what it asks for.
        assert query.node(str(circuit.writer)).node.direct_effect == 0


def test_both_traces_add_up(found: list[tuple[Repeated, Circuit]]) -> None:
    for _, circuit in found:
        for through in ("q", "k", "both", "v"):
            accounting = circuit.run.trace(circuit.reader, through=through).accounting()
            assert abs(accounting.difference) < 1e-4 * max(1, abs(accounting.value))
