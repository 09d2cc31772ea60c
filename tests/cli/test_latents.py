"""`clew debug --sae` and `clew trace --sae`: latents on the command line."""

from __future__ import annotations

import json

import pytest
import torch

from clew.nodes import parse_site
from clew.sae import Autoencoder, save
from clew.sae.autoencoder import Origin

from .conftest import PROMPT, Run

ASKED = ("-t", " Mary", "-d", " John")


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> str:
    draw = torch.Generator().manual_seed(0)
    site = parse_site("mlp_out.1")
    made = Autoencoder(
        site, site, "topk",
        torch.randn(24, 60, generator=draw) / 5, torch.randn(60, generator=draw) / 5,
        torch.randn(60, 24, generator=draw) / 2, torch.zeros(24), k=8, origin=Origin("sixty"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("saes") / "sixty"
    save(made, folder)
    return str(folder)


def test_latents_and_errors_are_in_the_document(clew: Run, tiny: str, sae: str) -> None:
    result = clew("debug", PROMPT, *ASKED, "--model", tiny, "--sae", sae, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["autoencoders"] == ["sixty"]
    kinds = {node["kind"] for node in document["nodes"]}
    assert {"latent", "error"} <= kinds
    assert not [node for node in document["nodes"] if node["kind"] == "neuron" and node["layer"] == 1]
    assert abs(document["accounting"]["difference"]) <= 1e-4


def test_a_latent_is_ablated_verified_and_traced_for_a_person(clew: Run, tiny: str, sae: str) -> None:
    found = clew("debug", PROMPT, *ASKED, "--model", tiny, "--sae", sae, "--kind", "latent", "--json")
    node = json.loads(found.stdout)["nodes"][0]["id"]
    traced = clew("trace", PROMPT, node, *ASKED, "--model", tiny, "--sae", sae)
    assert traced.exit_code == 0, traced.stderr
    assert "what the encoder gives latent" in " ".join(traced.stdout.split())
    edited = clew("debug", PROMPT, *ASKED, "--model", tiny, "--sae", sae, "--ablate", node, "--verify", "5")
    assert edited.exit_code == 0, edited.stderr


def test_without_its_autoencoder_a_latent_is_refused(clew: Run, tiny: str, sae: str) -> None:
    result = clew("debug", PROMPT, *ASKED, "--model", tiny, "--ablate", "latent.mlp_out.1.3@2")
    assert result.exit_code == 2
    assert "--sae" in result.stderr
    gone = clew("debug", PROMPT, *ASKED, "--model", "./nowhere", "--sae", sae + "-not-there")
    assert gone.exit_code == 2
