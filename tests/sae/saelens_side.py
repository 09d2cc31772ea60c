"""SAELens' half of test_saelens.py, run by itself: importing the package warns, and our tests allow no warnings.

    python saelens_side.py FOLDER

reads FOLDER/inputs.safetensors and FOLDER/ours/NAME, writes what SAELens makes of them to FOLDER/ours.safetensors as
NAME/latents and NAME/output, and the names under FOLDER/ours_alone that it refuses to FOLDER/refused; saves its own to
FOLDER/theirs/NAME and what they give to FOLDER/theirs.safetensors; and runs TransformerLens on the models under
FOLDER/models, for the values of the hooks in FOLDER/hooks.json, to FOLDER/hooks.safetensors as MODEL/HOOK.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import sae_lens
import torch
from sae_lens.saes.sae import SAEMetadata
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

D, N, K, HEADS = 24, 60, 5, 4
NORMALISED = ("none", "layer_norm", "constant_norm_rescale")


def given(sae: Any, inputs: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    x = inputs["x"]
    if sae.cfg.reshape_activations == "hook_z":
        x = x.unflatten(-1, (HEADS, -1))
    latents = sae.encode(x)
    output = sae(x)
    if sae.cfg.reshape_activations == "hook_z":
        output = output.flatten(-2)
    return {f"{name}/latents": latents.detach().contiguous(), f"{name}/output": output.detach().contiguous()}


def randomised(sae: Any, seed: int) -> Any:
    """Weights as training might leave them: no norm is 1, no bias 0."""
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in sae.named_parameters():
        scale = {"W_enc": 0.4, "W_dec": 0.3, "W_skip": 0.2}.get(name, 0.3)
        parameter.data = scale * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        if name == "threshold":
            parameter.data = parameter.data.abs()
        if name in ("W_enc", "W_dec"):
            n = 0 if name == "W_dec" else 1
            sizes = torch.linspace(0.5, 2, parameter.shape[n])
            parameter.data *= sizes[:, None] if n == 0 else sizes
    return sae


def theirs(folder: Path, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def metadata(**more: Any) -> Any:
        return SAEMetadata(
            **{
                "model_name": "gpt2-small",
                "hook_name": "blocks.3.hook_mlp_out",
                "context_size": 64,
                "prepend_bos": True,
            }
            | more
        )

    sizes: dict[str, Any] = {"d_in": D, "d_sae": N}
    makers = {
        "standard": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, {}),
        "jumprelu": (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig, {}),
        "gated": (sae_lens.GatedSAE, sae_lens.GatedSAEConfig, {}),
        "topk": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig, {"k": K}),
        "topk-rescaled": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig, {"k": K, "rescale_acts_by_decoder_norm": True}),
    }
    for seed, (name, (maker, config, more)) in enumerate(makers.items()):
        for normalised in NORMALISED:
            for subtracted in (True, False):
                sae = maker(
                    config(
                        **sizes,
                        **more,
                        metadata=metadata(),
                        normalize_activations=normalised,
                        apply_b_dec_to_input=subtracted,
                    )
                )
                key = f"{name}-{normalised}-{subtracted}"
                randomised(sae, seed).save_model(folder / key)
                found |= given(sae, inputs, key)
    z = sae_lens.StandardSAE(
        sae_lens.StandardSAEConfig(
            **sizes, reshape_activations="hook_z", metadata=metadata(hook_name="blocks.2.attn.hook_z")
        )
    )
    randomised(z, 20).save_model(folder / "hook_z")
    found |= given(z, inputs, "hook_z")
    half = sae_lens.StandardSAE(sae_lens.StandardSAEConfig(**sizes, dtype="bfloat16", metadata=metadata()))
    randomised(half, 21).save_model(folder / "bfloat16")
    found |= given(half.to(dtype=torch.float32), inputs, "bfloat16")

    transcoders = {
        "transcoder": (sae_lens.Transcoder, sae_lens.TranscoderConfig),
        "skip_transcoder": (sae_lens.SkipTranscoder, sae_lens.SkipTranscoderConfig),
        "jumprelu_transcoder": (sae_lens.JumpReLUTranscoder, sae_lens.JumpReLUTranscoderConfig),
        "jumprelu_skip_transcoder": (sae_lens.JumpReLUSkipTranscoder, sae_lens.JumpReLUSkipTranscoderConfig),
    }
    for seed, (name, (maker, config)) in enumerate(transcoders.items(), 30):
        about = metadata(hook_name="blocks.3.mlp.hook_in", hook_name_out="blocks.3.hook_mlp_out")
        sae = maker(config(**sizes, d_out=D, apply_b_dec_to_input=False, metadata=about))
        randomised(sae, seed).save_model(folder / name)
        found |= given(sae, inputs, name)

    batch: dict[str, Any] = {
        "batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, {}),
        "matryoshka": (
            sae_lens.MatryoshkaBatchTopKTrainingSAE,
            sae_lens.MatryoshkaBatchTopKTrainingSAEConfig,
            {"matryoshka_widths": [20, N]},
        ),
    }
    for seed, (name, (maker, config, more)) in enumerate(batch.items(), 40):
        for rescaled in (True, False):
            for factor in (None, 1.7):
                key = f"{name}-{rescaled}-{factor is not None}"
                sae = maker(
                    config(
                        **sizes,
                        **more,
                        k=K,
                        rescale_acts_by_decoder_norm=rescaled,
                        normalize_activations="none" if factor is None else "expected_average_only_in",
                        metadata=metadata(),
                    )
                )
                randomised(sae, seed).topk_threshold = torch.tensor(0.6, dtype=torch.double)
                sae.save_model(folder / f"{key}-checkpoint")
                if factor is not None:
                    scaler = folder / f"{key}-checkpoint" / "activation_scaler.json"
                    scaler.write_text(json.dumps({"scaling_factor": factor}))
                    sae.fold_activation_norm_scaling_factor(factor)
                sae.save_inference_model(folder / key)
                served = sae_lens.SAE.load_from_disk(folder / key)
                found |= given(served, inputs, key)
                found |= given(served, inputs, f"{key}-checkpoint")
    return found


def hooks(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    names = json.loads((folder / "hooks.json").read_text())
    for path in sorted((folder / "models").iterdir()):
        hf = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
        if hf.config.model_type in ("gpt2", "gpt_neox"):
            delattr(hf.config, "num_key_value_heads")  # the tiny models' settings name it, and these models have none
        tokenizer = AutoTokenizer.from_pretrained(path)
        bridge = TransformerBridge.boot_transformers(str(path), hf_model=hf, tokenizer=tokenizer)
        with torch.no_grad():
            _, cache = bridge.run_with_cache(load_file(folder / "inputs.safetensors")["ids"])
        for name in names:
            value = cache[name]
            value = value.flatten(-2) if value.dim() == 4 else value  # heads
            found[f"{path.name}/{name}"] = value.clone()
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    inputs = load_file(folder / "inputs.safetensors")
    found: dict[str, Tensor] = {}
    for path in sorted((folder / "ours").iterdir()):
        found |= given(sae_lens.SAE.load_from_disk(path), inputs, path.name)
    save_file(found, folder / "ours.safetensors")
    refused: list[str] = []
    for path in sorted((folder / "ours_alone").iterdir()):
        try:
            sae_lens.SAE.load_from_disk(path)
        except KeyError:  # of the architectures it knows
            refused.append(path.name)
    (folder / "refused").write_text(" ".join(refused))
    save_file(theirs(folder / "theirs", inputs), folder / "theirs.safetensors")
    save_file(hooks(folder), folder / "hooks.safetensors")


main()
