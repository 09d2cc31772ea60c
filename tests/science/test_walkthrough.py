"""docs/walkthrough-ioi.md, measured again: every table, every number in the text, every command and line of Python."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clew.cli import app
from clew.debug import Model, Run
from clew.settings import EXAMPLE_DISTRACTOR, EXAMPLE_PROMPT, EXAMPLE_TARGET

TEXT = (Path(__file__).parents[2] / "docs" / "walkthrough-ioi.md").read_text(encoding="utf-8")
SECOND = "When Mary and John went to the store, Mary gave a drink to"
LAST = 13
FOUR = ["attn.8.1@9", "attn.15.7@9", "attn.17.0@9", "attn.17.4@9"]

# Two decimals are printed, so half of the last one, and what float32 and another processor's order of sums may add.
TOLERANCE = 0.006

Row = list[str]


def table(*header: str) -> list[Row]:
    """The rows of the table, or of all tables, with this header."""
    lines = iter(TEXT.splitlines())
    found = []
    for line in lines:
        if _cells(line) == list(header):
            next(lines)  # the rule
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append(_cells(row))
            found.append(rows)
    assert found, header
    return [row for rows in found for row in rows]


def _cells(line: str) -> Row:
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def near(text: str) -> Any:
    return pytest.approx(number(text), abs=TOLERANCE, rel=0)


def said(pattern: str) -> list[str]:
    """The numbers that the text gives where it matches; white space may be a line break."""
    match = re.search(pattern.replace(" ", r"\s+"), TEXT)
    assert match, pattern
    return list(match.groups())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def run(smollm2: Model) -> Run:
    return smollm2.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR)


@pytest.fixture(scope="module")
def second(smollm2: Model) -> Run:
    return smollm2.debug(SECOND, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR)


def check(run: Run, rows: Sequence[Row]) -> None:
    """Rows of node, direct and verified effect."""
    found = {row.id: row for row in run.verify(nodes=[node for node, *_ in rows])}
    for node, direct, verified in rows:
        assert (found[node].direct_effect, found[node].verified_effect) == (near(direct), near(verified)), node


def probability(run: Run, token: str) -> float:
    return next(row.probability for row in run.candidates(5) if row.text == token)


def test_the_question(run: Run) -> None:
    found = dict(table("quantity", "value"))
    accounting = run.accounting()
    terms = accounting.terms
    assert len(found) == 5
    assert found["what does not add up"] == "0.00"
    assert run.value == near(found["D"])
    assert [terms["embed"], terms["attn"], terms["neuron"]] == [
        near(found[name]) for name in ("embedding", "attention", "neurons")
    ]
    assert abs(accounting.difference) < 1e-4
    assert probability(run, " Mary") == pytest.approx(number(said(r"a probability of (\d\.\d+)\. ")[0]), abs=0.001)
    tokens = [token.text for token in run.tokens]
    assert [tokens[i] for i in (1, 3, 9, 13)] == [" Mary", " John", " John", " to"]
    assert len(tokens) == LAST + 1


def test_the_largest_heads_are_the_largest_of_all(run: Run) -> None:
    rows = table("head", "direct", "verified")
    found = run.verify(nodes=[f"attn.{layer}.{head}@{LAST}" for layer in range(30) for head in range(9)])
    assert len(found) == int(said(r"switched off one at a time: (\d+) runs")[0])
    assert [row.id for row in found[: len(rows)]] == [node for node, *_ in rows]
    check(run, rows)


def test_early_nodes_are_among_the_first_hundred(run: Run) -> None:
    rows = table("node", "direct", "verified")
    assert {node for node, *_ in rows} <= {row.id for row in run.verify(top=100)}
    check(run, rows)


def test_what_the_heads_look_at_and_push(run: Run) -> None:
    for head, source, weight, pushed in table("head", "looks at", "weight", "pushes most"):
        row = run.pattern(head).rows[LAST]
        assert max(range(LAST + 1), key=lambda at: row[at]) == int(source), head
        assert row[int(source)] == near(weight)
        detail = run.node(f"{head}@{LAST}")
        if pushed == "no name":
            texts = {score.text.strip() for score in (*detail.up, *detail.down)}
            assert not texts & {"Mary", "John"}
        else:
            side, token = re.fullmatch(r"(up|down) `(.+)`", pushed).groups()  # type: ignore[union-attr]
            assert (detail.up if side == "up" else detail.down)[0].text == token


def test_the_pairs_that_read_mary(run: Run) -> None:
    rows = table("pair", "weight", "direct", "verified")
    check(run, [[node, direct, verified] for node, _, direct, verified in rows])
    for node, weight, *_ in rows:
        assert run.node(node).node.activation == near(weight)


def test_what_feeds_the_largest_head(run: Run) -> None:
    pair = f"attn.23.3@{LAST}<-9"
    rows = table("node", "direct on S", "verified on S")
    ends = [i for i, row in enumerate(rows) if row[0].startswith("embed")]
    tables = {"k": rows[: ends[1]], "q": rows[ends[1] : ends[2]], "v": rows[ends[2] :]}
    for through, part in tables.items():
        check(run.trace(pair, through=through), part)

    key, value = run.trace(pair, through="k"), run.trace(pair, through="v")
    score, attention, neurons = said(
        r"The score is S = (\S+)\. .*? key\*\*, (\S+) of it .*? and (\S+) from neurons there"
    )
    assert [key.value, key.accounting().terms["attn"], key.accounting().terms["neuron"]] == [
        near(score), near(attention), near(neurons),
    ]  # fmt: skip
    moved, by_neurons, by_heads = said(r"S = (\S+)\. Of that (\S+) was written by neurons at 9 and (\S+) by heads")
    assert [value.value, value.accounting().terms["neuron"], value.accounting().terms["attn"]] == [
        near(moved), near(by_neurons), near(by_heads),
    ]  # fmt: skip


@pytest.mark.parametrize(("through", "position"), [("k", 9), ("q", LAST)])
def test_the_heads_listed_are_the_largest_of_theirs(run: Run, through: str, position: int) -> None:
    listed = [node for node, *_ in table("node", "direct on S", "verified on S") if node.endswith(f"@{position}")]
    listed = [node for node in listed if node.startswith("attn")]
    trace = run.trace(f"attn.23.3@{LAST}<-9", through=through)
    found = trace.verify(nodes=[f"attn.{layer}.{head}@{position}" for layer in range(23) for head in range(9)])
    assert len(found) == int(said(r"Of all (\d+) heads")[0])
    assert {row.id for row in found[: len(listed)]} == set(listed)


def test_the_heads_that_see_the_repetition(run: Run) -> None:
    rows = table("head at 9", "looks at", "weight")
    assert [f"{head}@9" for head, *_ in rows] == FOUR
    for head, source, weight in rows:
        row = run.pattern(head).rows[9]
        assert max(range(10), key=lambda at: row[at]) == int(source)
        assert row[int(source)] == near(weight)


def test_attention_without_them(run: Run) -> None:
    costs = {}
    for ablated, weight, value in table("ablated", f"weight of attn.23.3@{LAST}<-9", "D"):
        nodes = {"nothing": [], "all four": FOUR}.get(ablated, [ablated])
        edited = run.ablate(nodes) if nodes else run
        assert edited.pattern("attn.23.3").rows[LAST][9] == near(weight), ablated
        assert edited.value == near(value), ablated
        costs[ablated] = run.value - edited.value
    together, alone = said(r"they cost (\S+) of D, more than the sum of what each costs alone \((\S+)\)")
    assert costs["all four"] == near(together)
    assert sum(costs[node] for node in FOUR) == pytest.approx(number(alone), abs=4 * TOLERANCE)


def test_cutting_the_edge(run: Run) -> None:
    for edit, value in table("edit", "D"):
        assert (run if edit == "none" else run.edit(edit)).value == near(value), edit
    zeroed, cut = said(r"still wins with a probability of (\S+) \((\S+) under `cut`\)")
    pair = f"attn.23.3@{LAST}<-9"
    assert probability(run.ablate(pair), " Mary") == pytest.approx(number(zeroed), abs=0.001)
    assert probability(run.cut(pair), " Mary") == pytest.approx(number(cut), abs=0.001)


def test_patching_the_stream(run: Run, second: Run) -> None:
    assert second.value == near(said(r"named twice, and D is (\S+)\. ")[0])
    cells = {cell.place: cell.restored for cell in run.sweep(second, kinds=["resid"])}
    rows = table("stream", "at 9", f"at {LAST}")
    for place, there, here in rows:
        assert cells[f"{place}@9"] == near(there), place
        assert cells[f"{place}@{LAST}"] == near(here), place
    by_layer = [[cells[f"resid.{layer}@{LAST}"] or 0.0 for layer in pair] for pair in ((22, 23), (19, 20))]
    _, by_23 = said(r"as much as the layer does, (\S+) and (\S+) \|")
    assert by_layer[0][1] - by_layer[0][0] == pytest.approx(number(by_23), abs=2 * TOLERANCE)
    _, by_20 = said(r"patched alone it makes (\S+) of the (\S+);")
    assert by_layer[1][1] - by_layer[1][0] == pytest.approx(number(by_20), abs=2 * TOLERANCE)


def test_patching_the_heads(run: Run, second: Run) -> None:
    for place, value, share in table("patched", "D", "share"):
        patched = run.patch(place, second)
        assert patched.value == near(value), place
        assert (patched.value - run.value) / (second.value - run.value) == near(share), place
    patched = run.patch(f"attn.23.3@{LAST}", second)
    john, mary = said(r"the likeliest token\*\* \((\S+) against (\S+) for")
    assert patched.candidates(1)[0].text == " John"
    assert probability(patched, " John") == pytest.approx(number(john), abs=0.001)
    assert probability(patched, " Mary") == pytest.approx(number(mary), abs=0.001)
    weight = said(r"looks at 9 as well, with a weight of (\d\.\d+)")[0]
    assert second.pattern("attn.23.3").rows[LAST][9] == near(weight)


def test_every_command_works() -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 5
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "clew"
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output


def test_the_python_works() -> None:
    scope: dict[str, Any] = {}
    exec("\n".join(blocks("python")), scope)
    assert scope["edited"].value == near(table("ablated", f"weight of attn.23.3@{LAST}<-9", "D")[-1][2])
    assert scope["cells"]
