"""Where references lead on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from clew.errors import UnknownAutoencoder
from clew.sae import load, save
from clew.sae.places import Place, places

from .drawing import Draw, drawn, same
from .foreign import sparsify


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("CLEW_HOME", str(home))
    return home


def test_names_of_the_shelf_are_those_listed(home: Path) -> None:
    for name in ("mine", "two/a", "two/b"):
        save(drawn("relu", own_bias=True), home / "saes" / name)
    for reference in ("two", str(home / "saes" / "two")):
        assert places(reference) == [
            Place(f"two/{name}", str(home / "saes" / "two" / name), home / "saes" / "two" / name) for name in "ab"
        ]
    assert [place.name for place in (*places("mine"), *places("two/b"))] == ["mine", "two/b"]


def test_elsewhere_a_name_begins_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(drawn("relu", own_bias=True), tmp_path / "there" / "deep" / "one")
    monkeypatch.chdir(tmp_path)
    one = tmp_path / "there" / "deep" / "one"
    assert places("there") == places(str(tmp_path / "there")) == [Place("there/deep/one", str(one), one)]
    assert [place.name for place in places("./there/deep/one")] == ["one"]


def test_a_file_stays_that_file_whatever_lies_beside_it(tmp_path: Path, draw: Draw) -> None:
    folder = tmp_path / "layers.5.mlp"
    sparsify(folder, draw, {})
    save(drawn("relu", own_bias=True), folder / "deeper")
    weights = folder / "sae.safetensors"
    (place,) = places(str(weights))
    assert place == Place("layers.5.mlp", str(weights), folder)
    same(load(place.reference), load(weights))
    with pytest.raises(UnknownAutoencoder, match="2 autoencoders"):
        load(folder)


def test_what_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for reference in ("", "nowhere", "./nowhere", str(tmp_path / "empty"), "x" * 5000):
        with pytest.raises(UnknownAutoencoder):
            places(reference)
