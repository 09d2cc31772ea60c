"""Latents in an atlas: collected, shown and searched at the terminal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import clew as library
from clew.sae import save

from ..atlas.dictionaries import random_autoencoder
from .conftest import PROMPT, SMALL, Run, files


@pytest.fixture(scope="module")
def latents(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with two autoencoders of the tiny model."""
    folder = tmp_path_factory.mktemp("saes")
    anatomy = library.load(tiny).subject.anatomy
    for site in ("mlp_out.1", "resid.0"):
        save(random_autoencoder(anatomy, site, n=20), folder / site)
    return str(folder)


def test_latents_are_collected_shown_and_searched(
    clew: Run, tiny: str, texts: str, atlas: str, latents: str, tmp_path: Path
) -> None:
    """They are added to an atlas that is there; nothing in it is collected again, or changed."""
    grown = str(tmp_path / "tiny")
    shutil.copytree(atlas, grown)
    collecting = ("collect", tiny, "--corpus", texts, "--tokens", "1500", "--out", grown, *SMALL)
    added = clew(*collecting, "--sae", latents, "--sites", "latent", "--json")
    assert added.exit_code == 0, added.stderr
    document = json.loads(added.stdout)
    assert document["components"] == 3 * 44 + 40
    assert [one["writes"] for one in document["autoencoders"]] == ["resid.0", "mlp_out.1"]
    assert document["sites"][-2:] == ["latent.resid.0", "latent.mlp_out.1"]
    before, after = files(atlas), files(grown)
    before.pop(Path("atlas.json"))
    assert after.items() >= before.items()
    assert "clew show latent.mlp_out.1.0" in clew(*collecting, "--sae", latents).stdout

    at = ("-m", tiny, "--atlas", grown)
    components = library.components(library.load(tiny), grown, [latents])
    name = "latent.resid.0.7"
    found = json.loads(clew("show", name, *at, "--sae", latents, "--prompt", PROMPT, "--json").stdout)
    assert found["component"] == components.component(name).to_dict()
    assert found["weights"] == components.weights(name).to_dict()
    assert found["prompt"] == components.on_prompt(name, PROMPT).to_dict()
    shown = clew("show", name, *at, "--sae", latents, "--prompt", PROMPT, width=100).stdout
    assert re.match(rf"{name}  latent 7 of resid\.0-relu-0 at resid\.0, ", shown)
    for title in ("On the prompt", "Strongest", "At random", "By its weights", "tokens that excite it"):
        assert f"\n{title}" in shown
    other = clew("show", "latent.mlp_out.1.7", *at, "--sae", latents, width=100).stdout
    assert "It reads mlp_out.1, and no token's embedding gets there by itself." in other
    assert "tokens that excite it" not in other
    bare = clew("show", name, *at, width=100)
    assert bare.exit_code == 0
    assert "which is not attached: give it with --sae." in " ".join(bare.stdout.split())
    assert "Strongest" in bare.stdout and "tokens it pushes up" not in bare.stdout

    for by in (("--prompt", PROMPT), ("--pushes", " Mary"), ("--token", " Mary")):
        options = (*by, *at, "--sae", latents, "--kind", "latent", "--limit", "1000", "--json")
        rows = json.loads(clew("search", *options).stdout)["rows"]
        assert rows and all(row["id"].startswith("latent.") for row in rows)
        assert len(rows) == 40 or by[0] == "--token"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "latent.resid.0.7"), "none is attached"),
        (("show", "latent.resid.0.7", "--sae", "./nowhere"), "nowhere"),
        (("search", "--prompt", PROMPT, "--kind", "latent"), "no autoencoder is attached"),
        (("collect", "--sites", "latent"), "Name one with --sae"),
    ],
    ids=str,
)
def test_latents_without_their_autoencoder_are_explained(
    clew: Run, tiny: str, atlas: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    command, *rest = arguments
    where = (tiny, "--out", str(tmp_path / "out")) if command == "collect" else ("-m", tiny, "--atlas", atlas)
    result = clew(command, *rest, *where)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
