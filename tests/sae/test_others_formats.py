"""What others save, over the very tensors of their files.

sparsify, dictionary_learning and OpenAI's code are not installed: what they compute is written out here from their
published definitions. (The real SAELens is asked in test_saelens.py.)
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clew.errors import BadAutoencoder, WrongAutoencoder
from clew.nodes import Site
from clew.sae import Autoencoder, load, save
from clew.sae.autoencoder import Origin

from .drawing import D, Draw, N, gives, same
from .foreign import saelens, sparsify


def topk(z: Tensor, k: int) -> Tensor:
    best = z.topk(k, dim=-1)
    return torch.zeros_like(z).scatter_(-1, best.indices, best.values.relu())


# Older and unusual files of SAELens.


def test_settings_from_before_version_6(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    w = saelens(
        tmp_path / "jb",
        draw,
        {
            "model_name": "gpt2-small",
            "hook_point": "blocks.{layer}.hook_resid_pre",
            "hook_point_layer": 8,
            "hook_point_head_index": None,
            "context_size": 128,
            "prepend_bos": True,
            "normalize_activations": False,
            "dtype": "torch.float32",
            "training_tokens": 300_000_000,
        },
        scaling_factor=torch.ones(N),
    )
    autoencoder = load(tmp_path / "jb")
    latents = torch.relu((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
    gives(autoencoder, x, latents, latents @ w["W_dec"] + w["b_dec"])
    assert autoencoder.reads == autoencoder.writes == Site("resid", 7)
    assert autoencoder.origin == Origin("jb", "saelens", "relu", "gpt2-small", 128, True, 300_000_000)

    config = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}, "hook_name": "blocks.2.hook_mlp_out"}
    w = saelens(tmp_path / "k", draw, config | {"apply_b_dec_to_input": False, "sae_lens_version": "5.1.0"})
    latents = topk(x @ w["W_enc"] + w["b_enc"], 6)
    gives(load(tmp_path / "k"), x, latents, latents @ w["W_dec"] + w["b_dec"])

    config = {"architecture": "jumprelu", "hook_name": "blocks.2.hook_mlp_out", "apply_b_dec_to_input": False}
    w = saelens(tmp_path / "log", draw, config, log_threshold=draw(N))
    z = x @ w["W_enc"] + w["b_enc"]
    latents = z.relu() * (z > w["log_threshold"].exp())
    gives(load(tmp_path / "log"), x, latents, latents @ w["W_dec"] + w["b_dec"])


def test_activations_that_were_scaled_by_a_number_nobody_wrote_down(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    config = {"hook_name": "blocks.2.hook_mlp_out", "normalize_activations": "expected_average_only_in"}
    w = saelens(tmp_path, draw, config)
    with pytest.raises(BadAutoencoder, match="does not say what they were scaled by"):
        load(tmp_path)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0.7}')
    latents = torch.relu((0.7 * x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
    gives(load(tmp_path), x, latents, (latents @ w["W_dec"] + w["b_dec"]) / 0.7)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0}')
    with pytest.raises(BadAutoencoder, match="scaling_factor is 0"):
        load(tmp_path)


def test_a_latent_that_writes_nothing_stays_silent(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    w_dec = draw(N, D)
    w_dec[7] = 0
    config = {"architecture": "topk", "k": 6, "rescale_acts_by_decoder_norm": True}
    saelens(tmp_path, draw, config | {"metadata": {"hook_name": "blocks.2.hook_mlp_out"}}, W_dec=w_dec)
    autoencoder = load(tmp_path)
    assert not autoencoder.encode(x)[..., 7].any()
    assert autoencoder(x).isfinite().all()


# sparsify.


@pytest.mark.parametrize("transcode", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_sparsify(transcode: bool, skip: bool, tmp_path: Path, draw: Draw, x: Tensor) -> None:
    folder = tmp_path / "run" / "layers.5.mlp"
    run = {"model": "HuggingFaceTB/SmolLM2-135M", "ctx_len": 2048}
    w = sparsify(folder, draw, run, transcode=transcode, skip_connection=skip, activation="topk")
    # SparseCoder.encode and forward of sparsify
    given = x if transcode else x - w["b_dec"]
    latents = topk(torch.relu(given @ w["encoder.weight"].T + w["encoder.bias"]), 5)
    output = latents @ w["W_dec"] + w["b_dec"] + (x @ w["W_skip"].mT if skip else 0)
    autoencoder = load(folder)
    gives(autoencoder, x, latents, output)
    save(autoencoder, tmp_path / "saved")
    same(autoencoder, load(tmp_path / "saved"))
    assert autoencoder.activation == "topk" and autoencoder.k == 5
    assert autoencoder.reads == Site("mlp_in" if transcode else "mlp_out", 5)
    assert autoencoder.writes == Site("mlp_out", 5)
    architecture = "transcoder" if transcode else "topk"
    assert autoencoder.origin == Origin(
        "layers.5.mlp", "sparsify", architecture, "HuggingFaceTB/SmolLM2-135M", 2048, dtype="float32"
    )


def test_sparsify_in_half_precision_by_expansion_and_by_seed(tmp_path: Path, draw: Draw) -> None:
    folder = tmp_path / "layers.3" / "seed1"
    w = sparsify(folder, draw, num_latents=0, expansion_factor=2)
    half = {name: tensor[: 2 * D].bfloat16() if len(tensor) == N else tensor.bfloat16() for name, tensor in w.items()}
    save_file(half, folder / "sae.safetensors")
    autoencoder = load(folder)
    assert autoencoder.n_latents == 2 * D and autoencoder.reads == Site("resid", 3)
    assert autoencoder.origin.dtype == "bfloat16" and autoencoder.w_dec.dtype == torch.float32
    assert torch.equal(autoencoder.w_dec, half["W_dec"].float())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"activation": "groupmax"}, "'groupmax' is not supported"),
        ({"signed": True}, "signed is on"),
        ({"k": N + 1}, "k is 61, of 60 latents"),
        ({"k": 0}, "k is 0"),
        ({"d_in": 7}, "where"),
    ],
)
def test_sparsify_refused(config: dict[str, Any], why: str, tmp_path: Path, draw: Draw) -> None:
    sparsify(tmp_path / "layers.1.mlp", draw, **config)
    with pytest.raises(BadAutoencoder, match=why):
        load(tmp_path / "layers.1.mlp")


# dictionary_learning.


def dictionary(
    folder: Path, kind: str, tensors: dict[str, Tensor], submodule: str | None = "resid_post_layer_8", **more: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "ae.pt")
    trainer = {
        "dict_class": kind,
        "activation_dim": D,
        "dict_size": N,
        "layer": 8,
        "lm_name": "EleutherAI/pythia-70m-deduped",
        "submodule_name": submodule,
    }
    config = {"trainer": trainer | more, "buffer": {"ctx_len": 128, "d_submodule": D, "io": "out"}}
    (folder / "config.json").write_text(json.dumps(config))


def linear(draw: Draw) -> dict[str, Tensor]:
    return {"encoder.weight": draw(N, D), "encoder.bias": draw(N), "decoder.weight": draw(D, N)}


def read_as(folder: Path, x: Tensor, architecture: str, latents: Tensor, output: Tensor) -> Autoencoder:
    autoencoder = load(folder)
    gives(autoencoder, x, latents, output)
    assert autoencoder.reads == autoencoder.writes == Site("resid", 8)
    assert autoencoder.origin == Origin(
        folder.name, "dictionary_learning", architecture, "EleutherAI/pythia-70m-deduped", 128
    )
    return autoencoder


def test_dictionary_learning_relu(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    w = linear(draw) | {"bias": draw(D)}
    dictionary(tmp_path / "a", "AutoEncoder", w)
    f = torch.relu((x - w["bias"]) @ w["encoder.weight"].T + w["encoder.bias"])
    read_as(tmp_path / "a", x, "relu", f, f @ w["decoder.weight"].T + w["bias"])

    w = linear(draw) | {"decoder.bias": draw(D)}
    dictionary(tmp_path / "b", "AutoEncoderNew", w)
    f = torch.relu(x @ w["encoder.weight"].T + w["encoder.bias"])
    read_as(tmp_path / "b", x, "relu", f, f @ w["decoder.weight"].T + w["decoder.bias"])


def test_dictionary_learning_topk_stays_topk(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    w = linear(draw) | {"b_dec": draw(D), "k": torch.tensor(7, dtype=torch.int), "threshold": torch.tensor(0.5)}
    dictionary(tmp_path / "a", "AutoEncoderTopK", w)
    f = topk(torch.relu((x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]), 7)
    autoencoder = read_as(tmp_path / "a", x, "topk", f, f @ w["decoder.weight"].T + w["b_dec"])
    assert autoencoder.k == 7 and autoencoder.threshold is None
    del w["k"]
    dictionary(tmp_path / "older", "AutoEncoderTopK", w, k=7)
    same(autoencoder, replace(load(tmp_path / "older"), origin=autoencoder.origin))


def test_dictionary_learning_batchtopk_is_served_by_its_threshold(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    w = linear(draw) | {"b_dec": draw(D), "k": torch.tensor(7), "threshold": torch.tensor(0.8)}
    dictionary(tmp_path / "a", "BatchTopKSAE", w)
    f = torch.relu((x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"])
    f = f * (f > 0.8)
    autoencoder = read_as(tmp_path / "a", x, "batchtopk", f, f @ w["decoder.weight"].T + w["b_dec"])
    assert autoencoder.activation == "jumprelu"

    w = {"W_enc": draw(D, N), "b_enc": draw(N), "W_dec": draw(N, D), "b_dec": draw(D)}
    w |= {"threshold": torch.tensor(0.8), "k": torch.tensor(7), "group_sizes": torch.tensor([20, 40])}
    dictionary(tmp_path / "b", "MatryoshkaBatchTopKSAE", w)
    f = torch.relu((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
    f = f * (f > 0.8)
    read_as(tmp_path / "b", x, "matryoshka", f, f @ w["W_dec"] + w["b_dec"])


def test_dictionary_learning_jumprelu_and_gated_multiply_by_norms(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    w = {"W_enc": draw(D, N), "b_enc": draw(N), "W_dec": draw(N, D), "b_dec": draw(D), "threshold": draw(N).abs()}
    dictionary(tmp_path / "a", "JumpReluAutoEncoder", w)
    z = x @ w["W_enc"] + w["b_enc"]
    norm = w["W_dec"].norm(dim=1)
    f = torch.relu(z * (z > w["threshold"])) * norm
    read_as(tmp_path / "a", x, "jumprelu", f, (f / norm) @ w["W_dec"] + w["b_dec"])

    w = {"encoder.weight": draw(N, D), "decoder.weight": draw(D, N), "decoder_bias": draw(D)}
    w |= {"r_mag": draw(N), "gate_bias": draw(N), "mag_bias": draw(N)}
    dictionary(tmp_path / "b", "GatedAutoEncoder", w)
    inner = (x - w["decoder_bias"]) @ w["encoder.weight"].T
    gate = (inner + w["gate_bias"] > 0).float()
    norm = w["decoder.weight"].norm(dim=0)
    f = gate * torch.relu(w["r_mag"].exp() * inner + w["mag_bias"]) * norm
    read_as(tmp_path / "b", x, "gated", f, (f / norm) @ w["decoder.weight"].T + w["decoder_bias"])


@pytest.mark.parametrize(
    ("submodule", "site"),
    [
        ("resid_post_layer_8", "resid.8"),
        ("mlp_out_layer3", "mlp_out.3"),
        ("attn_out_layer_0", "attn_out.0"),
        ("resid_post", "resid.8"),
        ("gpt_neox.layers.2.mlp", "mlp_out.2"),
    ],
)
def test_dictionary_learning_submodules(submodule: str, site: str, tmp_path: Path, draw: Draw) -> None:
    dictionary(tmp_path, "AutoEncoder", linear(draw) | {"bias": draw(D)}, submodule)
    assert str(load(tmp_path).reads) == site


def test_a_place_that_files_do_not_say_is_asked_for(tmp_path: Path, draw: Draw) -> None:
    dictionary(tmp_path, "AutoEncoder", linear(draw) | {"bias": draw(D)}, None)
    with pytest.raises(BadAutoencoder, match="do not say which site"):
        load(tmp_path)
    autoencoder = load(tmp_path, site="mlp_out.2", model="other")
    assert autoencoder.reads == autoencoder.writes == Site("mlp_out", 2)
    assert autoencoder.origin.model == "EleutherAI/pythia-70m-deduped"
    with pytest.raises(WrongAutoencoder, match="no transcoder"):
        load(tmp_path, site="mlp_out.2", writes="resid.2")
    with pytest.raises(BadAutoencoder, match="read only"):
        load(tmp_path, site="mlp_in.2")


def test_dictionary_learning_refused(tmp_path: Path, draw: Draw) -> None:
    dictionary(tmp_path, "CrossCoder", linear(draw))
    with pytest.raises(BadAutoencoder, match="CrossCoder"):
        load(tmp_path)
    dictionary(tmp_path, "AutoEncoder", linear(draw) | {"bias": draw(D)}, dict_size=61)
    with pytest.raises(BadAutoencoder, match="dict_size is 61, and the weights have 60"):
        load(tmp_path)
    dictionary(tmp_path, "BatchTopKSAE", linear(draw) | {"b_dec": draw(D)})
    with pytest.raises(BadAutoencoder, match="no tensor threshold"):
        load(tmp_path)


# OpenAI.


def openai(draw: Draw) -> dict[str, Any]:
    """A state_dict as published: half of the latents dead, by its counters."""
    return {
        "pre_bias": draw(D),
        "latent_bias": draw(N),
        "encoder.weight": draw(N, D),
        "decoder.weight": draw(D, N),
        "stats_last_nonzero": torch.full((N,), 10**9),
        "latents_activation_frequency": torch.cat((torch.zeros(N // 2), torch.ones(N - N // 2))),
        "latents_mean_square": torch.zeros(N),
    }


@pytest.mark.parametrize(
    ("location", "site"),
    [("mlp_post_act", "mlp_act.5"), ("resid_delta_mlp_v4", "mlp_out.5"), ("resid_delta_attn_v4", "attn_out.5")],
)
def test_openai_relu(location: str, site: str, tmp_path: Path, draw: Draw, x: Tensor) -> None:
    path = tmp_path / "gpt2-small" / location / "autoencoders" / "5.pt"
    path.parent.mkdir(parents=True)
    w = openai(draw)
    torch.save(w, path)
    latents = torch.relu((x - w["pre_bias"]) @ w["encoder.weight"].T + w["latent_bias"])
    for reference in (path, path.parent, tmp_path / "gpt2-small"):
        autoencoder = load(reference)
        gives(autoencoder, x, latents, latents @ w["decoder.weight"].T + w["pre_bias"])
        assert str(autoencoder.reads) == site
        assert autoencoder.origin == Origin(f"{location}.5", "openai", "relu", "gpt2")


def test_openai_topk_stays_topk_and_layer_normed(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    path = tmp_path / "resid_post_mlp_v5_32k" / "autoencoders" / "8.pt"
    path.parent.mkdir(parents=True)
    w = openai(draw)
    torch.save(w | {"activation": "TopK", "activation_state_dict": {"k": 6, "postact_fn": "ReLU"}}, path)
    # LN of sparse_autoencoder/model.py
    mu = x.mean(-1, keepdim=True)
    std = (x - mu).std(-1, keepdim=True)
    normed = (x - mu) / (std + 1e-5)
    latents = topk((normed - w["pre_bias"]) @ w["encoder.weight"].T + w["latent_bias"], 6)
    autoencoder = load(path)
    gives(autoencoder, x, latents, (latents @ w["decoder.weight"].T + w["pre_bias"]) * std + mu)
    assert autoencoder.n_latents == N and autoencoder.k == 6
    assert autoencoder.reads == Site("resid", 8)


def test_openai_tied(tmp_path: Path, draw: Draw, x: Tensor) -> None:
    w = openai(draw)
    w["decoder.linear.weight"] = w["encoder.weight"]
    del w["decoder.weight"]
    torch.save(w, tmp_path / "it.pt")
    with pytest.raises(BadAutoencoder, match="do not say which site"):
        load(tmp_path / "it.pt")
    autoencoder = load(tmp_path / "it.pt", site="mlp_out.1", model="gpt2")
    latents = torch.relu((x - w["pre_bias"]) @ w["encoder.weight"].T + w["latent_bias"])
    gives(autoencoder, x, latents, latents @ w["encoder.weight"] + w["pre_bias"])
    assert autoencoder.origin == Origin("it", "openai", model="gpt2", tied=True)
    save(autoencoder, tmp_path / "saved")
    same(autoencoder, load(tmp_path / "saved"))


def test_openai_refused(tmp_path: Path, draw: Draw) -> None:
    path = tmp_path / "resid_post_attn" / "autoencoders" / "3.pt"
    path.parent.mkdir(parents=True)
    torch.save(openai(draw), path)
    with pytest.raises(BadAutoencoder, match="between attention and MLP"):
        load(path)
    for state, why in (
        ({"activation": "Identity"}, "'Identity'"),
        ({"activation": "TopK"}, "k is None"),
        ({"activation": "TopK", "activation_state_dict": {"k": 61}}, "k is 61, of 60"),
        ({"activation": "TopK", "activation_state_dict": {"k": 6, "postact_fn": "Identity"}}, "followed by 'Identity'"),
    ):
        torch.save(openai(draw) | state, path)
        with pytest.raises(BadAutoencoder, match=why):
            load(path, site="resid.3")
