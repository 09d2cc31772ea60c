"""The shelf: what is added to it, what trainings leave on it, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from clew.errors import BadAutoencoder, Busy, UnknownAutoencoder, UsageError
from clew.nodes import Site
from clew.records import Records
from clew.sae import load, save, shelf
from clew.sae.records import AutoencoderInfo

from .drawing import Draw, N, drawn, same
from .foreign import sparsify


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("CLEW_HOME", str(home))
    return home


@pytest.fixture
def theirs(tmp_path: Path, draw: Draw) -> Path:
    folder = tmp_path / "run" / "layers.5.mlp"
    sparsify(folder, draw, {"model": "HuggingFaceTB/SmolLM2-135M"})
    return folder


EXPECTED = AutoencoderInfo(
    name="layers.5.mlp",
    reference="layers.5.mlp",
    model="HuggingFaceTB/SmolLM2-135M",
    reads="mlp_out.5",
    writes="mlp_out.5",
    architecture="topk",
    activation="topk",
    latents=N,
    k=5,
    format="sparsify",
    tokens=None,
    dtype="float32",
    judged=False,
)


def test_added_listed_loaded_removed(theirs: Path, home: Path) -> None:
    assert shelf.listed() == Records()
    assert shelf.add(theirs) == EXPECTED
    assert shelf.listed() == [EXPECTED]
    assert sorted(path.name for path in (home / "saes" / "layers.5.mlp").iterdir()) == [
        "cfg.json", "sae_weights.safetensors",
    ]  # fmt: skip
    same(load(theirs), load("layers.5.mlp"))
    shelf.remove("layers.5.mlp")
    assert shelf.listed() == [] and not list((home / "saes").iterdir())
    with pytest.raises(UnknownAutoencoder):
        shelf.remove("layers.5.mlp")


def test_under_another_name_and_only_once(theirs: Path, home: Path) -> None:
    info = shelf.add(theirs, "mine_2.0-b", model="not asked")
    assert info.reference == "mine_2.0-b" and info.name == "layers.5.mlp"
    with pytest.raises(UsageError, match=r"mine_2\.0-b already"):
        shelf.add(theirs, "mine_2.0-b")
    assert [info.reference for info in shelf.listed()] == ["mine_2.0-b"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a b", "ä", "a\n", "\0", "x" * 201])
def test_names_that_cannot_be(name: str, theirs: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        shelf.add(theirs, name)
    with pytest.raises(UnknownAutoencoder):
        shelf.remove(name)
    assert not home.exists()


def test_a_failed_addition_leaves_nothing(theirs: Path, home: Path) -> None:
    (theirs / "sae.safetensors").write_bytes(b"short")
    with pytest.raises(BadAutoencoder):
        shelf.add(theirs)
    assert not home.exists() or not list((home / "saes").iterdir())


def test_those_in_a_training(home: Path) -> None:
    training = home / "saes" / "mine"
    for name, layer in (("mlp_out.10-topk-4608-k32", 10), ("mlp_out.2-topk-4608-k32", 2)):
        save(drawn("topk", reads=f"mlp_out.{layer}"), training / name)
    (training / "checkpoint").mkdir()
    (training / "checkpoint" / "state.safetensors").write_bytes(b"")
    (training / "training.json").write_text("{}")
    (training / "mlp_out.2-topk-4608-k32" / "report.json").write_text("{}")
    found = shelf.listed()
    assert [(info.reference, info.judged) for info in found] == [
        ("mine/mlp_out.2-topk-4608-k32", True),
        ("mine/mlp_out.10-topk-4608-k32", False),
    ]
    assert found[0].tokens == 12_345 and found[0].dtype == "bfloat16" and found[0].architecture == "batchtopk"
    assert load("mine/mlp_out.10-topk-4608-k32").reads == Site("mlp_out", 10)
    assert load("mine", site="mlp_out.2").reads == Site("mlp_out", 2)
    with pytest.raises(UnknownAutoencoder, match="neither"):
        shelf.remove("mine/checkpoint")
    lock = FileLock(training / "training.lock")
    for name in ("mine", "mine/mlp_out.2-topk-4608-k32"):
        with lock, pytest.raises(Busy):
            shelf.remove(name)
    shelf.remove("mine/mlp_out.2-topk-4608-k32")
    assert [info.reference for info in shelf.listed()] == ["mine/mlp_out.10-topk-4608-k32"]
    shelf.remove("mine")
    assert not training.exists()


def test_a_listing_says_what_loading_finds(home: Path) -> None:
    for number, autoencoder in enumerate(
        (drawn("gated"), drawn("topk", writes="mlp_out.3", own_bias=True), drawn("jumprelu", writes="resid.4"))
    ):
        save(autoencoder, home / "saes" / str(number))
    assert shelf.listed() == [shelf.info_of(load(str(number)), str(number)) for number in range(3)]


def test_what_is_neither_autoencoder_nor_training_stays(home: Path) -> None:
    (home / "saes" / "notes").mkdir(parents=True)
    (home / "saes" / "notes" / "keep.txt").write_text("mine")
    with pytest.raises(UnknownAutoencoder, match="neither an autoencoder nor a training"):
        shelf.remove("notes")
    assert (home / "saes" / "notes" / "keep.txt").exists()


def test_a_training_that_failed_before_it_began_is_removed_unless_one_begins_there(home: Path) -> None:
    folder = home / "saes" / "failed"
    folder.mkdir(parents=True)
    (folder / "output.txt").write_text("clew: why")
    with FileLock(folder / "training.lock"), pytest.raises(Busy):
        shelf.remove("failed")
    assert (folder / "output.txt").exists()
    shelf.remove("failed")
    assert not folder.exists()


def test_one_that_is_damaged_hides_no_other(theirs: Path, home: Path) -> None:
    shelf.add(theirs)
    shelf.add(theirs, "other")
    (home / "saes" / "other" / "cfg.json").write_text("{")
    assert shelf.listed() == [EXPECTED]
    with pytest.raises(BadAutoencoder, match="not whole JSON"):
        load("other")
    shelf.remove("other")


def test_a_folder_of_the_same_name_comes_first(
    theirs: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add(theirs, "one")
    monkeypatch.chdir(tmp_path)
    save(drawn("relu", reads="resid.1"), "one")
    assert load("one").reads == Site("resid", 1)
