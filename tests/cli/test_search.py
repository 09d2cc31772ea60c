"""`clew search`: components by a prompt, by a token, by what they push."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

import clew as library

from .conftest import PROMPT, Run


def test_a_search_is_what_python_finds(clew: Run, tiny: str, atlas: str) -> None:
    components = library.components(library.load(tiny), atlas)
    among: dict[str, Any] = {"kinds": ["neuron"], "layers": [1, 2], "max_density": 0.9, "limit": 7, "offset": 3}
    options = ["--kind", "neuron", "--layer", "1", "--layer", "2", "--max-density", "0.9", "--limit", "7"]
    options += ["--offset", "3", "-m", tiny, "--atlas", atlas, "--json"]
    found = json.loads(clew("search", "--prompt", PROMPT, "--at", "3", "--sort", "ratio", *options).stdout)
    wanted = components.search_prompt(PROMPT, 3, sort="ratio", **among)
    assert found["tokens"][3]["text"] == " John"
    assert (found["rows"], found["total"]) == (wanted.to_dict(), wanted.total)
    assert len(found["rows"]) == 7

    found = json.loads(clew("search", "--token", " Mary", "--ascending", *options).stdout)
    on_token = components.search_token(" Mary", ascending=True, **among)
    assert found == {"total": on_token.total, "rows": on_token.to_dict()}
    assert found["rows"]

    found = json.loads(clew("search", "--pushes", " Mary", *options).stdout)
    pushing = components.search_pushed(" Mary", **among)
    assert found == {"total": pushing.total, "rows": pushing.to_dict()}


@pytest.mark.parametrize(
    "by", [("--prompt", PROMPT), ("--token", " Mary"), ("--pushes", " Mary")], ids=lambda by: by[0]
)
@pytest.mark.parametrize("width", [60, 120])
def test_a_search_for_a_person(clew: Run, tiny: str, atlas: str, by: tuple[str, str], width: int) -> None:
    shown = clew("search", *by, "-m", tiny, "--atlas", atlas, "--limit", "3", width=width).stdout
    lines = shown.splitlines()
    assert [re.match(r"(attn|neuron)\.\d+\.\d+ ", line) is not None for line in lines[:5]] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert re.match(r"\d+ more: --offset 3", lines[4])
    assert max(map(cell_len, lines)) <= width


def test_without_an_atlas_a_prompt_is_searched_by_activation(
    clew: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    rows = json.loads(clew("search", "--prompt", PROMPT, "-m", tiny, "--json").stdout)["rows"]
    activations = [row["activation"] for row in rows]
    assert activations == sorted(activations, reverse=True)
    assert {row["z"] for row in rows} == {None}
    refused = clew("search", "--token", " Mary", "-m", tiny)
    assert refused.exit_code == 2
    assert "clew collect" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "exactly one"),
        (("--prompt", PROMPT, "--token", " Mary"), "exactly one"),
        (("--token", " Mary", "--at", "1"), "--prompt"),
        (("--pushes", " Mary", "--bos"), "--prompt"),
        (("--prompt", PROMPT, "--sort", "size"), "Sort by z"),
        (("--prompt", PROMPT, "--at", "99"), "Positions run from 0 to"),
        (("--pushes", "several of them"), "several of them"),
        (("--prompt", PROMPT, "--kind", "latent"), "latent"),
        (("--prompt", PROMPT, "--max-density", "2"), "--max-density"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_explained(
    clew: Run, tiny: str, atlas: str, arguments: tuple[str, ...], says: str
) -> None:
    result = clew("search", *arguments, "-m", tiny, "--atlas", atlas)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
