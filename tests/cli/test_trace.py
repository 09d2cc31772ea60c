"""`clew trace`: the same numbers as in Python, for a program and for a person."""

from __future__ import annotations

import csv
import io
import json
import shlex
from typing import Any

import pytest

import clew as library
from clew.debug import Model

from .conftest import PROMPT, Run

ASKED = ("-t", " Mary", "-d", " John")


@pytest.fixture(scope="module")
def model(tiny: str) -> Model:
    return library.load(tiny)


def document(clew: Run, *arguments: str) -> dict[str, Any]:
    result = clew("trace", PROMPT, *arguments, *ASKED, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def plain(record: Any) -> Any:
    """What JSON makes of it."""
    return json.loads(json.dumps(record))


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        (("attn.2.1@13",), [("attn.2.1@13", "v")]),
        (("attn.2.1@13<-3",), [("attn.2.1@13<-3", "both")]),
        (("attn.2.1@13<-3", "--through", "q"), [("attn.2.1@13<-3", "q")]),
        (("attn.2.1@13<-3:k",), [("attn.2.1@13<-3", "k")]),
        (("neuron.2.7@13", "--through", "gate"), [("neuron.2.7@13", "gate")]),
        (
            ("neuron.2.7@13", "--then", "attn.2.1@13<-3:v", "--then", "attn.1.0@3<-2:k", "--then", "neuron.0.4@2:up"),
            [("neuron.2.7@13", "both"), ("attn.2.1@13<-3", "v"), ("attn.1.0@3<-2", "k"), ("neuron.0.4@2", "up")],
        ),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_the_trace_is_that_of_python(
    clew: Run, tiny: str, model: Model, given: tuple[str, ...], steps: list[tuple[str, str]]
) -> None:
    found = document(clew, *given, "-m", tiny, "--top", "4")
    run = model.debug(PROMPT, " Mary", " John", top=4)
    for node, through in steps:
        run = run.trace(node, through)
    wanted = plain(run.to_dict())
    for one in (found, wanted):
        one.pop("timing")
    assert found == wanted
    assert [(step["node"], step["through"]) for step in found["trace"]] == steps
    assert abs(found["accounting"]["difference"]) <= 1e-4 * max(1, abs(found["accounting"]["value"]))
    assert "constant" in found["accounting"]["terms"]


def test_verified_and_edited(clew: Run, tiny: str, model: Model) -> None:
    given = ("neuron.2.7@13", "--through", "gate", "--verify", "5", "--ablate", "attn.0.1@13")
    found = document(clew, *given, "-m", tiny)
    run = model.debug(PROMPT, " Mary", " John").ablate("attn.0.1@13").trace("neuron.2.7@13", "gate")
    wanted = {row.id: row.verified_effect for row in run.verify(top=5)}
    measured = {row["id"]: row["verified_effect"] for row in found["nodes"] if row["verified_effect"] is not None}
    assert measured == pytest.approx(wanted, abs=1e-6)
    assert found["agreement"] == plain(run.agreement().to_dict())
    assert found["edits"] == ["zero:attn.0.1@13"]
    assert found["comparison"]["right_value"] == pytest.approx(run.value, abs=1e-6)
    assert found["comparison"]["left_value"] != pytest.approx(run.value, abs=1e-4)


def test_an_edited_trace_for_a_person(clew: Run, tiny: str) -> None:
    given = ("neuron.2.7@13:gate", "--ablate", "attn.0.1@13", *ASKED, "-m", tiny, "--rows", "3")
    shown = clew("trace", PROMPT, *given).stdout
    assert "with zero:attn.0.1@13" in shown
    assert ", difference " in shown
    assert "est. difference" in shown
    assert "Verified" not in shown
    assert "Verified under the edits" in clew("trace", PROMPT, *given, "--verify", "3").stdout


def test_under_a_patch(clew: Run, tiny: str, model: Model) -> None:
    second = PROMPT.replace("John gave", "Mary gave")
    given = ("attn.2.1@13<-3", "--patch", "resid.0@9", "--patch-from", second)
    run = model.debug(PROMPT, " Mary", " John").patch("resid.0@9", model.debug(second)).trace("attn.2.1@13<-3")
    assert document(clew, *given, "-m", tiny)["trace"] == plain(run.steps.to_dict())


def test_csv_and_filters(clew: Run, tiny: str) -> None:
    asked = ("trace", PROMPT, "attn.2.1@13", "-m", tiny, "--kind", "neuron", "--layer", "1")
    rows = list(csv.DictReader(io.StringIO(clew(*asked, "--csv").stdout)))
    nodes = json.loads(clew(*asked, "--json").stdout)["nodes"]
    assert [row["id"] for row in rows] == [node["id"] for node in nodes]
    assert {(row["kind"], row["layer"]) for row in rows} == {("neuron", "1")}


@pytest.mark.parametrize("width", [40, 80, 120])
def test_for_a_person(clew: Run, tiny: str, width: int) -> None:
    given = ("attn.2.1@13<-3:q", "--then", "neuron.1.7@13:gate", *ASKED, "--rows", "3", "-m", tiny)
    result = clew("trace", PROMPT, *given, width=width)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = " ".join(result.stdout.split())
    assert "› attn.2.1@13<-3:q" in shown
    assert "› neuron.1.7@13:gate" in shown
    assert "the input of the gate of neuron 7 of layer 1 at ␣to₁₃" in shown
    assert "constant" in shown
    assert "off by" in shown


def test_the_step_it_offers_can_be_taken(clew: Run, tiny: str) -> None:
    given = ("attn.2.1@13<-3", "--through", "k", *ASKED, "-m", tiny)
    shown = clew("trace", PROMPT, *given).stdout
    command = shown.partition("A step further: clew ")[2].splitlines()[0]
    words = shlex.split(command)
    assert words[-2] == "--then"
    further = clew(*words)
    assert further.exit_code == 0, further.stderr
    assert f"› {words[-1]}:" in further.stdout


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ("attn.2.1@13<-3", "the score with which head 1 of layer 2 at ␣to₁₃ attends to ␣John₃, through query and"),
        ("attn.2.1@13<-3:k", "through the key; the query is held"),
        ("attn.2.1@13", "what head 1 of layer 2 at ␣to₁₃ brings to D from all it reads"),
        ("attn.2.1@13<-3:v", "brings to D from ␣John₃, through its values; its pattern is held"),
        ("neuron.2.7@13:up", "the up branch of neuron 7 of layer 2"),
        ("neuron.2.7@13", "the activation of neuron 7 of layer 2 at ␣to₁₃, gate times up"),
    ],
)
def test_what_s_is_in_words(clew: Run, tiny: str, node: str, says: str) -> None:
    assert says in clew("trace", PROMPT, node, "-m", tiny, width=200).stdout.partition("S = ")[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "node"),
        (("attn.1.2@3<-1", "--through", "gate"), "Trace it through both, q, k, v."),
        (("attn.1.2@3", "--through", "q"), "attn.1.2@3<-0"),
        (("neuron.1.2@3", "--through", "in"), "Trace it through both, gate, up."),
        (("neuron.1.2@3:up", "--through", "up"), "Leave out --through"),
        (("embed@3",), "nothing upstream"),
        (("bias.mlp.1",), "nothing upstream"),
        (("attn.1.2",), "is a component"),
        (("nonsense",), "nonsense"),
        (("attn.1.2@14",), "there are 14 tokens"),
        (("attn.7.2@3",), "there are 3 layers"),
        (("attn.1.2@3<-1", "--then", "attn.2.0@1:v"), "not upstream"),
        (("attn.1.2@3", "--at", "1"), "tokens up to the one explained"),
        (("attn.1.2@3", "--edit", "zero:bias.mlp.1"), "is not a place"),
        (("attn.1.2@3", "--patch", "resid.0@1"), "--patch-from"),
        (("attn.1.2@3", "--patch-from", "When John"), "nothing is patched"),
        (("attn.1.2@3", "--json", "--csv"), "cannot both"),
        (("attn.1.2@3", "--verify", "0"), "--verify"),
    ],
    ids=lambda value: (value if isinstance(value, str) else " ".join(value))[:60],
)
def test_a_wrong_trace_is_exit_2_and_a_sentence(clew: Run, tiny: str, arguments: tuple[str, ...], says: str) -> None:
    result = clew("trace", PROMPT, *arguments, "-m", tiny)
    assert result.exit_code == 2, result.stdout
    assert result.stdout == ""
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
