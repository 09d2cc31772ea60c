"""`clew debug`: for a program, for a person, and for someone who asks wrongly."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re

import pytest

import clew as library
from clew.debug.records import NodeEffect

from .conftest import PROMPT, Run


def test_the_example_on_the_default_model(clew: Run) -> None:
    result = clew("debug", PROMPT, "--target", " Mary", "--distractor", " John", "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)

    assert answer["model"] == {
        "name": "smollm2", "family": "llama", "n_layers": 30, "n_heads": 9, "n_neurons": 1536, "d_model": 576,
    }  # fmt: skip
    assert [token["text"] for token in answer["tokens"][:3]] == ["When", " Mary", " and"]
    assert set(answer["tokens"][0]) == {"position", "id", "text"}
    direction = answer["direction"]
    assert direction["value"] == pytest.approx(6.12, abs=0.02)
    assert direction["position"] == 13
    assert [token["text"] for token in direction["targets"]] == [" Mary"]
    assert [token["text"] for token in direction["distractors"]] == [" John"]

    first = answer["candidates"][0]
    assert set(first) == {"id", "text", "logit", "logprob", "probability", "rank"}
    assert (first["text"], first["rank"]) == (" Mary", 0)
    assert first["probability"] == pytest.approx(0.92, abs=0.01)
    assert {" Mary", " John"} <= {candidate["text"] for candidate in answer["candidates"]}

    accounting = answer["accounting"]
    assert set(accounting) == {"terms", "sum", "value", "difference"}
    assert set(accounting["terms"]) == {"embed", "attn", "neuron", "latent", "error", "bias"}
    assert abs(accounting["difference"]) < 1e-3
    assert sum(accounting["terms"].values()) == pytest.approx(direction["value"], abs=1e-3)

    assert set(answer["nodes"][0]) == {field.name for field in dataclasses.fields(NodeEffect)}
    heads = [node for node in answer["nodes"] if node["kind"] == "attn" and node["source"] is None]
    largest = sorted(heads, key=lambda node: abs(node["direct_effect"]), reverse=True)[:5]
    assert "attn.23.3@13" in {node["id"] for node in largest}
    assert all(node["write_norm"] >= 0 for node in answer["nodes"])
    assert all(node["verified_effect"] is None for node in answer["nodes"])
    assert set(answer["timing"]) == {"load_s", "pass_s", "table_s", "verify_s"}


def test_json_is_the_document_of_the_python_api(clew: Run, tiny: str) -> None:
    result = clew("debug", PROMPT, "-t", " Mary", "-d", " John", "-m", tiny, "--top", "3", "--bos", "--json")
    found = json.loads(result.stdout)
    wanted = library.load(tiny).debug(PROMPT, " Mary", " John", bos=True, top=3).to_dict()
    for document in (found, wanted):
        document.pop("timing")
    assert found == wanted


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_for_a_person(clew: Run, tiny: str, width: int) -> None:
    result = clew("debug", PROMPT, "-t", " Mary", "-d", " John", "-m", tiny, "--rows", "4", width=width)
    assert result.exit_code == 0
    shown = result.stdout
    assert "D = logit(␣Mary) − logit(␣John)" in shown.replace("\n", " ")
    assert "␣to₁₃" in shown
    assert "target" in shown
    assert "distractor" in shown
    assert "attn " in shown
    assert "off by" in shown
    assert "more nodes: --rows 0" in " ".join(shown.split())
    table = shown[shown.index("\nnode") :].split("\n\n")[0].strip().splitlines()
    assert len(table) == 1 + 4
    # The model's name is a path here; everything else keeps to the width.
    assert max(len(line) for line in shown.splitlines()[1:]) <= width
    assert result.stderr == ""


def test_what_is_compared_is_said(clew: Run, tiny: str) -> None:
    assert "− mean logit" in clew("debug", PROMPT, "-m", tiny).stdout
    several = clew("debug", PROMPT, "-t", " Mary", "-t", " John", "-d", " to", "-m", tiny).stdout
    assert "mean logit(␣Mary, ␣John) − logit(␣to)" in several
    assert "after ␣Mary₁" in clew("debug", PROMPT, "--at", "1", "-m", tiny).stdout


def test_a_long_prompt_is_shown_by_its_ends(clew: Run) -> None:
    shown = clew("debug", "one two three four five six seven eight " * 40, "--rows", "2").stdout
    assert re.search(r"… \d+ more …", " ".join(shown.split()))
    assert "␣eight₃₁₉" in shown
    assert "one₀" in shown


def test_filters_and_rows(clew: Run, tiny: str) -> None:
    arguments = ("debug", PROMPT, "-m", tiny, "--kind", "attn", "--layer", "1", "--position", "13", "--source", "3")
    nodes = json.loads(clew(*arguments, "--json").stdout)["nodes"]
    assert {(node["kind"], node["layer"], node["position"], node["source"]) for node in nodes} == {("attn", 1, 13, 3)}
    assert "No node passes" in clew("debug", PROMPT, "-m", tiny, "--layer", "99").stdout
    everything = clew("debug", PROMPT, "-m", tiny, "--threshold", "0.5", "--rows", "0").stdout
    assert "--rows 0" not in everything


def test_csv(clew: Run, tiny: str) -> None:
    result = clew("debug", PROMPT, "-m", tiny, "--top", "2", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0]) == [field.name for field in dataclasses.fields(NodeEffect)]
    document = json.loads(clew("debug", PROMPT, "-m", tiny, "--top", "2", "--json").stdout)
    assert [row["id"] for row in rows] == [node["id"] for node in document["nodes"]]


def test_the_prompt_can_come_from_standard_input(clew: Run, tiny: str) -> None:
    for given in (f"{PROMPT}\n", f"{PROMPT}\r\n", PROMPT):
        answer = json.loads(clew("debug", "-", "-m", tiny, "--json", input=given.encode()).stdout)
        assert "".join(token["text"] for token in answer["tokens"]) == PROMPT


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "prompt"),
        (("",), "empty"),
        ((PROMPT, "--target", "Mary and"), "not one token"),
        ((PROMPT, "--target", "x" * 10_000), "10,000"),
        ((PROMPT, "-t", " Mary", "-d", " Mary"), "same tokens"),
        ((PROMPT, "--at", "14"), "Position 14"),
        ((PROMPT, "--at", "-1"), "Position -1"),
        ((PROMPT, "--at", "x"), "integer"),
        ((PROMPT, "--kind", "head"), "'head' is not a kind"),
        ((PROMPT, "--top", "-1"), "top must not be negative"),
        ((PROMPT, "--threshold", "nan"), "threshold"),
        ((PROMPT, "--json", "--csv"), "cannot both"),
        ((PROMPT * 20,), "reads at most"),
        (("a\ud800",), "surrogate"),
        ((PROMPT, "--dtype", "int4"), "int4"),
        ((PROMPT, "--device", "tpu9"), "tpu9"),
        ((PROMPT, "--frobnicate"), "frobnicate"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_a_wrong_question_is_exit_2_and_a_sentence(clew: Run, tiny: str, arguments: tuple[str, ...], says: str) -> None:
    result = clew("debug", *arguments, "-m", tiny)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_standard_input_must_be_text(clew: Run, tiny: str) -> None:
    result = clew("debug", "-", "-m", tiny, input=b"\xff\xfe")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "not UTF-8" in result.stderr


def test_an_unknown_model_is_explained(clew: Run) -> None:
    result = clew("debug", PROMPT, "-m", "./nowhere")
    assert result.exit_code == 2
    assert "There is no model './nowhere'." in result.stderr


def test_verified_effects_are_in_the_document(clew: Run, tiny: str) -> None:
    result = clew("debug", PROMPT, "-t", " Mary", "-d", " John", "-m", tiny, "--verify", "7", "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    found = {node["id"]: node["verified_effect"] for node in answer["nodes"] if node["verified_effect"] is not None}
    run = library.load(tiny).debug(PROMPT, " Mary", " John")
    assert found == pytest.approx({row.id: row.verified_effect for row in run.verify(top=7)}, abs=1e-5)
    assert len(found) == 7
    assert answer["timing"]["verify_s"] > 0


def test_verified_nodes_are_listed_by_what_was_measured(clew: Run, tiny: str) -> None:
    result = clew("debug", PROMPT, "-t", " Mary", "-d", " John", "-m", tiny, "--verify", "5", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    sizes = [abs(float(row["verified_effect"])) for row in rows]
    assert len(sizes) == 5
    assert sizes == sorted(sizes, reverse=True)
    shown = clew("debug", PROMPT, "-t", " Mary", "-d", " John", "-m", tiny, "--verify", "5").stdout
    assert "verified" in shown
    assert all(row["id"] in shown for row in rows)
    assert "--verify 100" in clew("debug", PROMPT, "-m", tiny).stdout


def test_nothing_to_verify_is_wrong_usage(clew: Run, tiny: str) -> None:
    assert clew("debug", PROMPT, "-m", tiny, "--verify", "0").exit_code == 2
    assert clew("debug", PROMPT, "-m", tiny, "--verify", "99999999").exit_code == 2
