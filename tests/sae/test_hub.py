"""Autoencoders of the Hugging Face hub, without one: what huggingface_hub would do is done over a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from clew.errors import Offline, UnknownAutoencoder
from clew.nodes import Site
from clew.sae import load, load_all, save
from clew.sae.places import places

from .drawing import Draw, drawn, same
from .foreign import sparsify


class Hub:
    """Stands in for the hub: repositories are folders; what is asked of it is kept."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root / "hub", root / "cache"
        self.reached = True
        self.fetched: list[str] = []

    def model_info(self, _: Any, repository: str, revision: str | None = None) -> Any:
        if not self.reached:
            raise OfflineModeIsEnabled("no network")
        files = [path.relative_to(self.root / repository) for path in (self.root / repository).rglob("*")]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=path.as_posix()) for path in files])

    def snapshot_download(
        self,
        repository: str,
        *,
        revision: str | None = None,
        allow_patterns: list[str] | None = None,
        local_files_only: bool = False,
    ) -> str:
        there = self.cache / repository
        if local_files_only:
            if not there.is_dir():
                raise LocalEntryNotFoundError("not in the cache")
            return str(there)
        for path in (self.root / repository).rglob("*"):
            name = path.relative_to(self.root / repository).as_posix()
            if path.is_file() and (allow_patterns is None or name in allow_patterns):
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                (there / name).write_bytes(path.read_bytes())
                self.fetched.append(name)
        return str(there)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw) -> Hub:
    hub = Hub(tmp_path)
    repository = hub.root / "EleutherAI" / "sae-SmolLM2-135M-64x"
    for layer in (3, 12):
        sparsify(repository / f"layers.{layer}.mlp", draw, {"model": "HuggingFaceTB/SmolLM2-135M"})
    save(drawn("relu", own_bias=True), hub.root / "someone" / "one")
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *given, **more: hub.model_info(*given, **more))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setenv("CLEW_HOME", str(tmp_path / "home"))
    return hub


def test_a_folder_of_a_repository(hub: Hub) -> None:
    autoencoder = load("EleutherAI/sae-SmolLM2-135M-64x/layers.12.mlp")
    assert autoencoder.reads == Site("mlp_out", 12) and autoencoder.origin.model == "HuggingFaceTB/SmolLM2-135M"
    assert set(hub.fetched) == {"layers.12.mlp/cfg.json", "layers.12.mlp/sae.safetensors", "config.json"}


def test_one_of_a_repository_by_its_site_fetches_no_other_weights(hub: Hub) -> None:
    assert load("EleutherAI/sae-SmolLM2-135M-64x", site="mlp_out.3").reads == Site("mlp_out", 3)
    assert "layers.12.mlp/sae.safetensors" not in hub.fetched
    assert len(load_all("EleutherAI/sae-SmolLM2-135M-64x")) == 2


def test_one_of_several_must_be_named_before_anything_is_fetched(hub: Hub) -> None:
    with pytest.raises(UnknownAutoencoder, match=r"2 autoencoders: layers\.3\.mlp, layers\.12\.mlp"):
        load("EleutherAI/sae-SmolLM2-135M-64x")
    assert not hub.fetched


def test_all_of_a_repository_are_found_and_each_can_be_opened(hub: Hub) -> None:
    found = places("EleutherAI/sae-SmolLM2-135M-64x")
    assert not hub.fetched
    assert [place.name for place in found] == [f"EleutherAI/sae-SmolLM2-135M-64x/layers.{i}.mlp" for i in (3, 12)]
    assert [(load(place.reference).reads.layer, place.folder) for place in found] == [(3, None), (12, None)]
    assert [place.reference for place in places("someone/one")] == ["someone/one"]


def test_a_repository_that_is_one_has_its_name(hub: Hub) -> None:
    same(load("someone/one"), replace(drawn("relu", own_bias=True), origin=load("someone/one").origin))
    config = hub.root / "someone" / "one" / "cfg.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"metadata": {"hook_name": "blocks.3.hook_mlp_out"}}))
    assert load("someone/one").name == "one"


def test_what_was_fetched_is_read_without_a_network(hub: Hub) -> None:
    hub.reached = False
    with pytest.raises(Offline, match="someone/one is not here"):
        load("someone/one")
    hub.reached = True
    there = load("someone/one")
    hub.reached = False
    same(there, load("someone/one"))


@pytest.mark.parametrize(
    "reference", ["a/b/../../c", "../a/b", "a/b/c\\d", "a/.../b", "a", "https://example.org/a", "a/b/./c"]
)
def test_references_that_are_no_repository(hub: Hub, reference: str) -> None:
    with pytest.raises(UnknownAutoencoder):
        load(reference)
    assert not hub.fetched


def test_a_revision_that_is_none(hub: Hub) -> None:
    with pytest.raises(UnknownAutoencoder, match="not a revision"):
        load("someone/one", revision="../x")
