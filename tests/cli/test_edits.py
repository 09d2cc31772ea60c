"""`clew debug` with edits, a second prompt, a sweep and a continuation: the same numbers as in Python."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import pytest

import clew as library
from clew.debug import Model
from clew.debug import Run as Answers
from clew.debug.records import SweepCell

from .conftest import PROMPT, Run

SECOND = "Then Mary and John went to the park, and Mary gave a drink to"
ASKED = ("debug", PROMPT, "-t", " Mary", "-d", " John")


@pytest.fixture(scope="module")
def model(tiny: str) -> Model:
    return library.load(tiny)


def document(clew: Run, *arguments: str) -> dict[str, Any]:
    result = clew(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def plain(record: Any) -> Any:
    """What JSON makes of it."""
    return json.loads(json.dumps(record))


def test_without_new_options_the_document_is_the_old_one(clew: Run, tiny: str) -> None:
    found = document(clew, *ASKED, "-m", tiny)
    assert set(found) == {"model", "tokens", "direction", "candidates", "accounting", "nodes", "timing"}


@pytest.mark.parametrize(
    ("given", "edit"),
    [
        (("--ablate", "attn.1.2@13"), "zero:attn.1.2@13"),
        (("--ablate", "attn.1.2@13=zero"), "zero:attn.1.2@13"),
        (("--ablate", "attn.1.2@13=mean"), "mean:attn.1.2@13"),
        (("--ablate", "neuron.1.2@13=-2.5"), "set:neuron.1.2@13=-2.5"),
        (("--ablate", "attn.1.2@13<-3"), "zero:attn.1.2@13<-3"),
        (("--edit", "cut:attn.1.2@13<-3"), "cut:attn.1.2@13<-3"),
        (("--edit", "scale:resid.1=0.5"), "scale:resid.1=0.5"),
        (("--edit", "steer:attn.2.0@4=3"), "steer:attn.2.0@4=3"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_the_edited_answer_is_that_of_python(
    clew: Run, tiny: str, model: Model, given: tuple[str, ...], edit: str
) -> None:
    found = document(clew, *ASKED, *given, "-m", tiny, "--top", "5")
    run = model.debug(PROMPT, " Mary", " John", top=5).edit(edit)
    wanted = plain({**run.to_dict(), "comparison": run.compare(top=5).to_dict()})
    assert found.pop("timing").keys() == wanted.pop("timing").keys()
    assert found == wanted
    assert found["edits"] == [edit]
    assert found["comparison"]["left_value"] == pytest.approx(model.debug(PROMPT, " Mary", " John").value)


def test_edits_are_made_in_the_order_of_the_command_line(clew: Run, tiny: str) -> None:
    set_first = ("--ablate", "neuron.1.3@5=2", "--edit", "scale:neuron.1.3@5=3", "--ablate", "attn.0.1@2")
    scale_first = ("--ablate", "attn.0.1@2", "--edit", "scale:neuron.1.3@5=3", "--ablate", "neuron.1.3@5=2")
    one, other = (document(clew, *ASKED, *given, "-m", tiny) for given in (set_first, scale_first))
    assert one["edits"] == ["set:neuron.1.3@5=2", "scale:neuron.1.3@5=3", "zero:attn.0.1@2"]
    assert other["edits"] == ["zero:attn.0.1@2", "scale:neuron.1.3@5=3", "set:neuron.1.3@5=2"]
    assert one["direction"]["value"] != pytest.approx(other["direction"]["value"], abs=1e-4)


def test_a_patch_takes_its_values_from_the_second_prompt(clew: Run, tiny: str, model: Model) -> None:
    given = ("--ablate", "attn.0.0@3", "--patch", "resid.1@13", "--edit", "patch:attn.1.*", "--patch-from", SECOND)
    found = document(clew, *ASKED, *given, "-m", tiny)
    second = model.debug(SECOND, " Mary", " John")
    run = model.debug(PROMPT, " Mary", " John").ablate("attn.0.0@3").patch(["resid.1@13", "attn.1.*"], second)
    assert found["edits"] == ["zero:attn.0.0@3", "patch:resid.1@13", "patch:attn.1.*"] == run.edits
    assert found["direction"]["value"] == pytest.approx(run.value, abs=1e-6)
    assert found["comparison"] == plain(run.compare().to_dict())
    assert [token["text"] for token in found["second"]["tokens"]] == [token.text for token in second.tokens]


def test_two_prompts_are_compared(clew: Run, tiny: str, model: Model) -> None:
    found = document(clew, "debug", PROMPT, "-d", " John", "--patch-from", SECOND, "-m", tiny, "--kind", "attn")
    run = model.debug(PROMPT, None, " John", kinds=["attn"])
    # Both explain the first prompt's top prediction.
    second = model.debug(SECOND, [token.text for token in run.direction.targets], " John")
    assert found["comparison"] == plain(run.compare(second, kinds=["attn"]).to_dict())
    assert found["second"]["direction"] == plain(second.direction.to_dict())
    assert "edits" not in found


def test_the_second_prompt_is_explained_where_the_first_one_is(clew: Run, tiny: str) -> None:
    longer = "Then " + PROMPT
    given = ("--patch-from", longer, "-m", tiny)
    first = document(clew, *ASKED, "--at", "9", *given)
    second = first["second"]
    assert first["tokens"][9]["text"] == " John" == second["tokens"][second["direction"]["position"]]["text"]
    assert second["direction"]["position"] > 9
    asked = document(clew, *ASKED, "--at", "9", "--patch-at", "3", *given)
    assert asked["second"]["direction"]["position"] == 3


def test_prompts_that_share_no_token_pair_their_last_ones(clew: Run, tiny: str) -> None:
    found = document(clew, *ASKED, "--patch-from", "zq", "-m", tiny)
    assert found["comparison"]["alignment"] == [None] * 12 + [0, 1]
    shown = " ".join(clew(*ASKED, "--patch-from", "zq", "-m", tiny).stdout.split())
    assert (
        "2 of 14 tokens have a counterpart; different: ␣drink₁₂ ↔ z₀, ␣to₁₃ ↔ q₁; only in the first: When₀, ␣Mary₁"
        in shown
    )


def test_sweep(clew: Run, tiny: str, model: Model) -> None:
    found = document(clew, *ASKED, "--patch-from", SECOND, "--sweep", "-m", tiny)
    run, second = (model.debug(prompt, " Mary", " John") for prompt in (PROMPT, SECOND))
    assert found["sweep"] == plain(run.sweep(second).to_dict())
    table = clew(*ASKED, "--patch-from", SECOND, "--sweep", "-m", tiny, "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert list(rows[0]) == [field.name for field in dataclasses.fields(SweepCell)]
    assert [row["place"] for row in rows] == [cell["place"] for cell in found["sweep"]]


def test_a_sweep_of_the_edited_model(clew: Run, tiny: str, model: Model) -> None:
    found = document(clew, *ASKED, "--ablate", "attn.1.2@13", "--patch-from", SECOND, "--sweep", "-m", tiny)
    run, second = (model.debug(prompt, " Mary", " John") for prompt in (PROMPT, SECOND))
    edited = run.ablate("attn.1.2@13")
    assert found["sweep"] == plain(edited.sweep(second).to_dict())
    assert found["comparison"] == plain(edited.compare().to_dict())


def test_many_tokens_without_a_counterpart_are_counted(clew: Run, tiny: str) -> None:
    shown = clew(*ASKED, "--patch-from", PROMPT + " went" * 20, "-m", tiny).stdout
    assert "only in the second:" in shown
    assert ", 4 more." in " ".join(shown.split())


def test_verified_effects_under_edits(clew: Run, tiny: str, model: Model) -> None:
    given = ("--ablate", "attn.1.2@13", "--verify", "6")
    found = document(clew, *ASKED, *given, "-m", tiny)
    run = model.debug(PROMPT, " Mary", " John").ablate("attn.1.2@13")
    wanted = {row.id: row.verified_effect for row in run.verify(top=6)}
    measured = {row["id"]: row["verified_effect"] for row in found["nodes"] if row["verified_effect"] is not None}
    assert measured == pytest.approx(wanted, abs=1e-6)
    assert found["agreement"] == plain(run.agreement().to_dict())
    shown = clew(*ASKED, *given, "-m", tiny).stdout
    assert "Verified under the edits" in shown
    assert "over 6 nodes: Pearson" in shown


@pytest.mark.parametrize(
    ("given", "says"),
    [(("--verify", "6"), "Verifying… 6 of 6"), (("--sweep", "--patch-from", SECOND), "Sweeping… 252 of 252")],
    ids=["verify", "sweep"],
)
def test_what_takes_long_is_counted_in_a_terminal(
    clew: Run, tiny: str, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], says: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = clew(*ASKED, *given, "-m", tiny, "--json")
    assert says in result.stderr
    assert json.loads(result.stdout)["direction"]["position"] == 13


@pytest.mark.parametrize("method", ["verifying", "sweeping"])
def test_ctrl_c_in_a_measurement_is_130(clew: Run, tiny: str, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Answers, method, interrupted)
    given = ("--verify", "5") if method == "verifying" else ("--sweep", "--patch-from", SECOND)
    result = clew(*ASKED, *given, "-m", tiny, "--json")
    assert (result.exit_code, result.stdout) == (130, "")


def test_the_continuation_before_and_after(clew: Run, tiny: str, model: Model) -> None:
    given = ("--ablate", "neuron.2.*", "--generate", "5", "--temperature", "0.9", "--seed", "3")
    found = document(clew, *ASKED, *given, "-m", tiny)["continuation"]
    run = model.debug(PROMPT, " Mary", " John")
    sides = {"before": run, "after": run.ablate("neuron.2.*")}
    for side, asked in sides.items():
        tokens = asked.generate(5, 0.9, 3)
        assert found[side]["tokens"] == plain(tokens.to_dict())
        assert found[side]["text"] == model.subject.decode([token.id for token in tokens])
    assert found["before"] != found["after"]
    shown = clew(*ASKED, *given, "-m", tiny).stdout
    before, after = shown.partition("Goes on before the edits")[2].split("Goes on after the edits")
    printed = (found["before"]["text"], found["after"]["text"])
    assert [part.strip() for part in (before, after)] == [_escaped(text).strip() for text in printed]


def test_a_continuation_without_edits_has_one_side(clew: Run, tiny: str) -> None:
    found = document(clew, *ASKED, "--generate", "3", "-m", tiny)["continuation"]
    assert len(found["before"]["tokens"]) == 3
    assert found["after"] is None
    assert "Goes on\n" in clew(*ASKED, "--generate", "3", "-m", tiny).stdout


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_edits_for_a_person(clew: Run, tiny: str, width: int) -> None:
    result = clew(*ASKED, "--ablate", "attn.1.2@13", "-m", tiny, "--rows", "4", width=width)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = " ".join(result.stdout.split())
    assert "with zero:attn.1.2@13" in shown
    assert "before" in shown
    assert "after" in shown
    assert "→" in shown
    assert "more nodes: --rows 0" in shown
    assert "--generate 24" in shown
    # The model's name is a path here; everything else keeps to the width.
    assert max(len(line) for line in result.stdout.splitlines()[1:]) <= width


@pytest.mark.parametrize("width", [30, 40, 130])
def test_two_prompts_and_a_sweep_for_a_person(clew: Run, tiny: str, width: int) -> None:
    result = clew(*ASKED, "--patch-from", SECOND, "--sweep", "-m", tiny, "--rows", "3", width=width)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = " ".join(result.stdout.split())
    assert "tokens have a counterpart" in shown
    assert "When₀ ↔ Then₀" in shown
    assert "restored" in shown
    assert ("strongest head" in shown) == (width >= 40)
    assert ("columns wide" in shown) == (width < 40)
    assert max(len(line) for line in result.stdout.splitlines()[1:]) <= width


def test_two_prompts_that_agree_have_nothing_to_restore(clew: Run, tiny: str) -> None:
    shown = clew(*ASKED, "--patch-from", PROMPT, "--sweep", "-m", tiny).stdout
    assert "no difference to restore" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--ablate", "head.1"), "'head.1' is not a place"),
        (("--ablate", "bias.mlp.1"), "'bias.mlp.1' is not a place"),
        (("--ablate", "attn.1.2@3=much"), "zero, mean or a number"),
        (("--ablate", "attn.1.2@3="), "zero, mean or a number"),
        (("--ablate", "attn.1.2@3=nan"), "no number"),
        (("--ablate", "resid.1@3=2"), "no one number"),
        (("--ablate", "attn.9.0@3"), "there are 3 layers"),
        (("--ablate", "attn.1.2@14"), "there are 14 tokens"),
        (("--edit", "halve:attn.1.2@3"), "is not an edit"),
        (("--edit", "attn.1.2@3"), "is not an edit"),
        (("--edit", "scale:attn.1.2@3"), "scale needs a value"),
        (("--edit", "zero:attn.1.2@3=2"), "zero takes no value"),
        (("--edit", "zero:bias.attn.1"), "is not a place"),
        (("--edit", "cut:attn.1.2@3"), "entry of an attention pattern"),
        (("--edit", "zero:attn.1.2@3<-7"), "later token"),
        (("--edit", "patch:attn.1.2@3"), "--patch-from"),
        (("--patch", "attn.1.2@3"), "--patch-from"),
        (("--patch", "attn.1.2@3<-1", "--patch-from", SECOND), "there is no patch of them"),
        (("--patch", "resid.1@0", "--patch-from", PROMPT.removeprefix("When")), "has no counterpart"),
        (("--patch-at", "3"), "--patch-from"),
        (("--patch-from", ""), "second prompt has no token"),
        (("--patch-from", SECOND, "--patch-at", "99"), "Position 99"),
        (("--at", "0", "--patch-from", PROMPT.removeprefix("When")), "--patch-at"),
        (("--ablate", "attn.1.2@3", "--patch-from", SECOND), "takes anything from the second prompt"),
        (("--sweep",), "--patch-from"),
        (("--sweep", "--patch-from", PROMPT * 20), "reads at most"),
        (("--seed", "3"), "--generate"),
        (("--generate", "0"), "not a number of tokens"),
        (("--generate", "3", "--temperature", "-1"), "not a temperature"),
        (("--generate", "3", "--csv"), "no table"),
    ],
    ids=lambda value: (value if isinstance(value, str) else " ".join(value))[:60],
)
def test_a_wrong_edit_is_exit_2_and_a_sentence(clew: Run, tiny: str, arguments: tuple[str, ...], says: str) -> None:
    result = clew(*ASKED, *arguments, "-m", tiny)
    assert result.exit_code == 2, result.stdout
    assert result.stdout == ""
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_both_prompts_cannot_be_read_from_standard_input(clew: Run, tiny: str) -> None:
    result = clew("debug", "-", "--patch-from", "-", "-m", tiny, input=PROMPT)
    assert result.exit_code == 2
    assert "standard input" in result.stderr
    one = document(clew, *ASKED, "--patch-from", SECOND, "-m", tiny)
    other = json.loads(clew(*ASKED, "--patch-from", "-", "-m", tiny, "--json", input=SECOND + "\n").stdout)
    assert other["second"] == one["second"]


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
