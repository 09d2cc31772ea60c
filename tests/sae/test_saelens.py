"""What we save opens in the real SAELens and gives the same numbers, and what it saves opens here.

A hook that we name has, in the real TransformerLens, the value of the site.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import clew
from clew.models.sites import read_sites
from clew.nodes import READ_SITES, Site
from clew.sae import Autoencoder, load, save
from clew.sae.autoencoder import Activation, Normalisation, Origin
from clew.sae.formats.names import hook_of, site_of

from ..tiny import tiny_model_folder
from .drawing import D, drawn

ACTIVATIONS = get_args(Activation)
TRANSCODERS: tuple[tuple[Activation, bool], ...] = (("relu", False), ("jumprelu", True))
OURS = {
    **{
        f"{activation}-{normalisation}-{subtracted}": replace(
            drawn(activation, subtracted=subtracted), normalisation=normalisation
        )
        for activation in ACTIVATIONS
        for normalisation in get_args(Normalisation)
        for subtracted in (True, False)
    },
    **{f"{activation}-own-bias": drawn(activation, own_bias=True) for activation in ACTIVATIONS},
    **{
        f"{activation}-transcoder-{skip}": drawn(activation, writes="mlp_out.3", skip=skip, own_bias=own)
        for activation, own in TRANSCODERS
        for skip in (True, False)
    },
    **{site: drawn("relu", reads=site) for site in ("attn_act.2", "attn_out.0", "resid.5", "mlp_act.1")},
}  # fmt: skip
OURS_ALONE = {
    "topk": drawn("topk", writes="mlp_out.3"),
    "gated": drawn("gated", writes="mlp_out.3", skip=True),
    "layer_norm": replace(drawn("relu", writes="mlp_out.3"), normalisation="layer_norm"),
}
FAMILIES = ["llama", "gpt2", "gpt_neox", "gemma2", "olmo2"]
HOOKS = {hook_of(Site(name, layer)): Site(name, layer) for name in READ_SITES for layer in range(3)}
HOOKS |= {f"blocks.{layer}.hook_resid_pre": Site("resid", layer - 1) for layer in (1, 2)}
IDS = torch.arange(3, 15)[None]
BATCHED = [
    f"{name}-{rescaled}-{scaled}{end}"
    for name in ("batchtopk", "matryoshka")
    for rescaled in (True, False)
    for scaled in (True, False)
    for end in ("", "-checkpoint")
]
THEIRS = [
    *(
        f"{kind}-{normalisation}-{subtracted}"
        for kind in ("standard", "jumprelu", "gated", "topk", "topk-rescaled")
        for normalisation in get_args(Normalisation)
        for subtracted in (True, False)
    ),
    *("hook_z", "bfloat16", "transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"),
    *BATCHED,
]


@dataclass(frozen=True)
class Sides:
    """A folder with what either side saved, and what SAELens made of both."""

    folder: Path
    x: Tensor
    ours: dict[str, Tensor]
    theirs: dict[str, Tensor]
    hooks: dict[str, Tensor]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Sides:
    folder = tmp_path_factory.mktemp("saelens")
    x = 2 * torch.randn(3, 7, D, generator=torch.Generator().manual_seed(5)) + 0.3
    save_file({"x": x, "ids": IDS}, folder / "inputs.safetensors")
    (folder / "hooks.json").write_text(json.dumps([*HOOKS, "blocks.1.ln2.hook_normalized"]))
    for family in FAMILIES:
        tiny_model_folder(folder / "models" / family, family)
    for name, autoencoder in OURS.items():
        save(autoencoder, folder / "ours" / name)
    for name, autoencoder in OURS_ALONE.items():
        save(autoencoder, folder / "ours_alone" / name)
    script = Path(__file__).with_name("saelens_side.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    made = [load_file(folder / f"{name}.safetensors") for name in ("ours", "theirs", "hooks")]
    return Sides(folder, x, *made)


def agree(autoencoder: Autoencoder, x: Tensor, made: dict[str, Tensor], name: str) -> None:
    latents, output = made[f"{name}/latents"], made[f"{name}/output"]
    fired = (latents != 0).float().mean()
    assert 0.01 < fired < 0.9, "the comparison would say little"
    torch.testing.assert_close(autoencoder.encode(x), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(autoencoder(x), output, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OURS)
def test_ours_in_saelens(sides: Sides, name: str) -> None:
    agree(OURS[name], sides.x, sides.ours, name)


def test_what_saelens_cannot_compute_it_refuses(sides: Sides) -> None:
    """The side that SAELens is on fails when it opens one of these; both sides name them."""
    assert (sides.folder / "refused").read_text().split() == sorted(OURS_ALONE)


@pytest.mark.parametrize("name", THEIRS)
def test_theirs_here(sides: Sides, name: str) -> None:
    autoencoder = load(sides.folder / "theirs" / name)
    agree(autoencoder, sides.x, sides.theirs, name)
    transcoder = "transcoder" in name
    site = "attn_act.2" if name == "hook_z" else "mlp_out.3"
    assert str(autoencoder.writes) == site
    assert str(autoencoder.reads) == ("mlp_in.3" if transcoder else site)
    architecture = name.partition("-")[0].replace("standard", "relu")
    assert autoencoder.origin == Origin(
        name=name,
        format="saelens",
        architecture="relu" if name in ("hook_z", "bfloat16") else architecture,
        model="gpt2-small",
        context=64,
        bos=True,
        dtype="bfloat16" if name == "bfloat16" else "float32",
    )


@pytest.mark.parametrize("name", THEIRS)
def test_theirs_saved_by_us_is_the_same(sides: Sides, name: str, tmp_path: Path) -> None:
    autoencoder = load(sides.folder / "theirs" / name)
    save(autoencoder, tmp_path)
    again = load(tmp_path)
    assert torch.equal(autoencoder(sides.x), again(sides.x))
    assert again.origin == autoencoder.origin


def test_every_file_they_saved_was_read(sides: Sides) -> None:
    assert sorted(path.name for path in (sides.folder / "theirs").iterdir()) == sorted(THEIRS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hook_of_transformer_lens_has_the_value_of_its_site(sides: Sides, family: str) -> None:
    subject = clew.load(str(sides.folder / "models" / family)).subject
    for hook, site in HOOKS.items():
        assert site_of(hook, family) == site
        ours = read_sites(subject.anatomy, [site], IDS)[site]
        torch.testing.assert_close(ours, sides.hooks[f"{family}/{hook}"], rtol=1e-4, atol=1e-4)
    # Why ln2.hook_normalized is refused: between it and what the MLP reads is a weight (in OLMo 2, the whole MLP).
    read = read_sites(subject.anatomy, [Site("mlp_in", 1)], IDS)[Site("mlp_in", 1)]
    assert (read - sides.hooks[f"{family}/blocks.1.ln2.hook_normalized"]).abs().max() > 0.1
