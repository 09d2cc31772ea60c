"""`clew show`: a component as a document and for a person."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

import clew as library
from clew import settings
from clew.nodes import parse

from .conftest import PROMPT, SMALL, Run


@pytest.mark.parametrize("component", ["neuron.1.7", "attn.2.3"])
def test_show_is_the_document_of_the_python_api(clew: Run, tiny: str, atlas: str, component: str) -> None:
    result = clew("show", component, "-m", tiny, "--atlas", atlas, "--prompt", PROMPT, "--bos", "--json")
    found = json.loads(result.stdout)
    components = library.components(library.load(tiny), atlas)
    assert components.atlas is not None
    assert found == {
        "component": components.component(component).to_dict(),
        "weights": components.weights(component).to_dict(),
        "cofiring": components.cofiring(component).to_dict(),
        "prompt": components.on_prompt(component, PROMPT, True).to_dict(),
        "atlas": components.atlas.info().to_dict(),
    }
    assert found["component"]["stats"]["tokens"] == 47 * 31
    assert len(found["component"]["top"]) == settings.TOP_EXAMPLES


def test_show_without_an_atlas_has_weights_and_prompt(
    clew: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    found = json.loads(clew("show", "attn.2.3", "-m", tiny, "--prompt", PROMPT, "--json").stdout)
    assert (found["atlas"], found["component"]["stats"], found["cofiring"]) == (None, None, [])
    assert found["prompt"]["tokens"][1]["text"] == " Mary"
    assert found["weights"]["up"] is None
    assert len(found["weights"]["excited_by"]) == settings.PUSHED
    shown = clew("show", "neuron.2.3", "-m", tiny).stdout
    assert "clew collect" in shown
    assert "Strongest" not in shown


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("component", ["neuron.1.7", "attn.2.3"])
def test_show_for_a_person(clew: Run, tiny: str, atlas: str, component: str, width: int) -> None:
    result = clew("show", component, "-m", tiny, "--atlas", atlas, "--prompt", PROMPT, "--examples", "2", width=width)
    assert result.exit_code == 0, result.stderr
    shown = result.stdout
    known = library.Atlas.open(atlas).component(parse(component))
    assert known.stats is not None
    for title in ("On the prompt", "Strongest", "At random", "By its weights", "Fires on the same tokens"):
        assert f"\n{title}\n" in shown
    assert ("Most negative" in shown) == (component.startswith("neuron"))
    assert ("induction token" in shown) == (component.startswith("attn"))
    assert "▲ the prompt" in shown
    assert "«the peak»" in shown
    assert len(re.findall(r"^ *[+−][\d.]+ ", shown.partition("\nStrongest\n")[2].partition("\n\n")[0], re.M)) == 2
    # The names of model and corpus are paths here; everything else keeps to the width.
    assert max(cell_len(line) for line in shown.splitlines()[2:]) <= width
    assert "--examples 0" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("neuron.9.0",), "there are 3 layers"),
        (("attn.1",), "attn.1"),
        (("neuron.1.2@3",), "neuron.1.2"),
        (("embed@0",), "not a component"),
        (("neuron.1.2", "--bos"), "--prompt"),
        (("neuron.1.2", "--prompt", ""), "prompt"),
        (("neuron.1.2", "--atlas", "./nowhere"), "There is no atlas"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_explained(clew: Run, tiny: str, arguments: tuple[str, ...], says: str) -> None:
    result = clew("show", *arguments, "-m", tiny)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_show_of_a_layer_that_the_atlas_has_not(clew: Run, tiny: str, texts: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    asked = ("collect", tiny, "--corpus", texts, "--tokens", "300", "--sites", "neuron.1", *SMALL)
    assert clew(*asked, "--out", out).exit_code == 0
    result = clew("show", "attn.0.1", "-m", tiny, "--atlas", out, "--prompt", PROMPT)
    assert result.exit_code == 0, result.stderr
    assert "The atlas has none of attn.0" in result.stdout
    assert "Strongest" not in result.stdout
    found = json.loads(clew("show", "attn.0.1", "-m", tiny, "--atlas", out, "--prompt", PROMPT, "--json").stdout)
    assert (found["component"]["stats"], found["prompt"]["z"], found["cofiring"]) == (None, None, [])
