"""Our own format: all of it survives, whatever happens while it is written; damaged files are told apart."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from clew.errors import BadAutoencoder, BadSite, NoSpace, UnknownAutoencoder, WrongAutoencoder
from clew.nodes import Site
from clew.sae import Autoencoder, load, load_all, save
from clew.sae.autoencoder import Activation, Normalisation, Origin

from .drawing import D, Draw, drawn, same
from .foreign import saelens, sparsify

# Our own format.


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("normalisation", get_args(Normalisation))
@pytest.mark.parametrize("bias", ["none", "subtracted", "own"])
@pytest.mark.parametrize("kind", ["autoencoder", "transcoder", "skip"])
def test_all_that_an_autoencoder_holds_survives(
    activation: Activation, normalisation: Normalisation, bias: str, kind: str, tmp_path: Path
) -> None:
    autoencoder = replace(
        drawn(
            activation,
            writes=None if kind == "autoencoder" else "mlp_out.3",
            skip=kind == "skip",
            subtracted=bias == "subtracted",
            own_bias=bias == "own",
        ),
        normalisation=normalisation,
    )
    save(autoencoder, tmp_path / "it")
    same(autoencoder, load(tmp_path / "it"))


def test_origins_survive(tmp_path: Path) -> None:
    for number, origin in enumerate(
        (Origin("x"), Origin("a name", "openai", "topk", "gpt2", 64, True, 10**10, "bfloat16", True))
    ):
        save(replace(drawn("relu"), origin=origin), tmp_path / str(number))
        assert load(tmp_path / str(number)).origin == origin


def test_weights_that_are_one_tensor_are_saved_as_two(tmp_path: Path) -> None:
    eye, none = torch.eye(D), torch.zeros(D)
    site = Site("mlp_out", 3)
    autoencoder = Autoencoder(site, site, "gated", eye, none, eye, none, none, b_gate=none, r_mag=none)
    save(autoencoder, tmp_path)
    same(autoencoder, load(tmp_path))
    save(replace(autoencoder, w_dec=eye.T, b_pre=none + 1), tmp_path)
    same(replace(autoencoder, b_pre=none + 1), load(tmp_path))


def test_another_autoencoder_in_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    save(drawn("gated", own_bias=True), tmp_path)
    assert (tmp_path / "clew.safetensors").is_file()
    after = drawn("relu", subtracted=True)
    save(after, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    same(after, load(tmp_path))


def test_a_full_disk_leaves_the_earlier_one_whole(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("64k")
    earlier = drawn("relu", subtracted=True)
    save(earlier, disk / "it")
    (disk / "filler").write_bytes(b"\0" * 30_000)
    with pytest.raises(NoSpace, match="full; all that was complete is kept"):
        save(drawn("gated", seed=1), disk / "it")
    same(earlier, load(disk / "it"))
    assert not list(disk.rglob("*.partial"))


# Damaged files, each told apart.


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    made = tmp_path / "made"
    torch.save({"pre_bias": Planted(made)}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Planted(made), protocol=2))  # as torch.save
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(BadAutoencoder, match="never unpickles") as told:
            load(tmp_path / name, site="mlp_out.1")
        assert name in told.value.message
    assert not made.exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())
    assert made.exists()


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    folder = tmp_path / "whole"
    save(drawn("jumprelu"), folder)
    return folder


def change(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | settings))


def refused(folder: Path, why: str, file: str = "sae_weights.safetensors") -> None:
    with pytest.raises(BadAutoencoder, match=why) as told:
        load(folder)
    assert str(folder / file) in told.value.message
    assert told.value.hint


def test_truncated_weights(whole: Path) -> None:
    path = whole / "sae_weights.safetensors"
    content = path.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(whole, "not a whole safetensors file")


def test_numbers_that_are_none(whole: Path) -> None:
    path = whole / "sae_weights.safetensors"
    tensors = load_file(path)
    for name, value in product(("W_enc", "W_dec", "b_enc", "b_dec", "threshold"), (float("nan"), float("inf"))):
        broken = {key: tensor.clone() for key, tensor in tensors.items()}
        broken[name].view(-1)[3] = value
        save_file(broken, path)
        refused(whole, f"{name} that are NaN or infinite")


def test_missing_and_misshapen_tensors(whole: Path) -> None:
    path = whole / "sae_weights.safetensors"
    tensors = load_file(path)
    for name in tensors:
        save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
        refused(whole, f"no tensor {name}")
        save_file(tensors | {name: tensors[name][..., 1:].contiguous()}, path)
        refused(whole, f"{name} has shape")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"architecture": "temporal"}, "'temporal', which Clew does not know"),
        ({"architecture": "topk", "k": None}, "k is missing"),
        ({"architecture": "topk", "k": 61}, "k is 61, of 60"),
        ({"architecture": "topk", "k": True}, "k is True"),
        ({"d_in": "24"}, "d_in is '24'"),
        ({"d_sae": -60}, "d_sae is -60"),
        ({"normalize_activations": "covariance_whitening"}, "'covariance_whitening' are not supported"),
        ({"activation_fn": "tanh-relu"}, "'tanh-relu' is not supported"),
        ({"metadata": {"clew": {"reads": "mlp_out.3"}}}, "writes is missing"),
        ({"metadata": {"clew": {"reads": "mlp_out.3", "writes": "nowhere.3"}}}, "'nowhere.3' is not a site"),
        ({"metadata": {"clew": {"reads": "mlp_out.3", "writes": "mlp_out.3"}}}, "name is None"),
        ({"metadata": {"hook_name": "blocks.1.attn.hook_q", "hook_head_index": 3}}, "a single head"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], why: str, whole: Path) -> None:
    change(whole, **settings)
    refused(whole, why, "cfg.json")


def test_settings_that_contradict_the_weights(whole: Path) -> None:
    change(whole, d_in=25)
    refused(whole, "has shape")


def test_settings_that_are_no_json(whole: Path) -> None:
    (whole / "cfg.json").write_text("{")
    refused(whole, "not whole JSON", "cfg.json")
    (whole / "cfg.json").write_text("[]")
    refused(whole, "holds no settings", "cfg.json")
    (whole / "cfg.json").unlink()
    refused(whole, "is missing", "cfg.json")


def test_a_hook_without_a_site_is_named_and_may_be_overruled(tmp_path: Path, draw: Draw) -> None:
    saelens(tmp_path, draw, {"metadata": {"hook_name": "blocks.4.hook_resid_mid"}})
    with pytest.raises(BadAutoencoder, match=r"'blocks.4.hook_resid_mid' is not a site: it is the residual"):
        load(tmp_path)
    assert load(tmp_path, site="resid.4").reads == Site("resid", 4)


def test_another_site_than_asked_for(whole: Path) -> None:
    assert load(whole, site="mlp_out.3").reads == Site("mlp_out", 3)
    with pytest.raises(WrongAutoencoder, match=r"reads mlp_out\.3, not mlp_out\.4"):
        load(whole, site="mlp_out.4")
    with pytest.raises(WrongAutoencoder, match=r"writes mlp_out\.3, not resid\.4"):
        load(whole, writes="resid.4")
    with pytest.raises(BadSite):
        load(whole, site="mlp.4")


def test_files_that_are_no_autoencoder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(BadAutoencoder, match="no file of weights"):
        load(tmp_path / "model.safetensors")
    with pytest.raises(UnknownAutoencoder, match="no autoencoder in"):
        load(tmp_path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(BadAutoencoder, match="no tensors by name"):
        load(tmp_path / "list.pt", site="mlp_out.1")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(BadAutoencoder):
        load(tmp_path / "text.pt", site="mlp_out.1")
    for nothing in ("", "\0", "./nowhere", "/no/where", "~nobody/x", "one", "a/b/../c", "x" * 5000, "\ud800", "a//b"):
        with pytest.raises(UnknownAutoencoder):
            load(nothing)


# Several under one name.


@pytest.fixture
def several(tmp_path: Path, draw: Draw) -> Path:
    root = tmp_path / "several"
    for layer in (10, 2):
        save(drawn("relu", reads=f"mlp_out.{layer}"), root / "deep" / "er" / f"layer-{layer}")
    sparsify(root / "layers.5", draw)
    save(drawn("relu", reads="resid.1"), root / "a" / "b" / "c" / "d" / "too-deep")
    save(drawn("relu", reads="resid.1"), root / ".hidden")
    return root


def test_all_of_a_folder_in_order(several: Path) -> None:
    found = [str(autoencoder.reads) for autoencoder in load_all(several)]
    assert found == ["mlp_out.2", "mlp_out.10", "resid.5"]
    assert [str(one.reads) for one in load_all(several, site="resid.5")] == ["resid.5"]
    with pytest.raises(UnknownAutoencoder, match=r"reads resid\.9"):
        load_all(several, site="resid.9")


def test_one_of_several_by_its_site(several: Path) -> None:
    assert load(several, site="mlp_out.10").reads == Site("mlp_out", 10)
    with pytest.raises(UnknownAutoencoder, match="3 autoencoders: deep/er/layer-2, deep/er/layer-10, layers"):
        load(several)
    with pytest.raises(UnknownAutoencoder, match=r"none of which reads mlp_out\.11"):
        load(several, site="mlp_out.11")
