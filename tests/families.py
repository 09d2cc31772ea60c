"""A random tiny model of every supported family, with every awkward trait of the family switched on.

Grouped queries, attention biases, soft-caps, sliding windows shorter than the prompt, odd sizes, untied embeddings:
what a real checkpoint may have, a tiny one has. Weights are large enough that no effect is lost in rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from clew.models import attention
from clew.models.anatomy import anatomy_of
from clew.models.families import family_of
from clew.models.subject import SubjectModel

VOCAB = 97
PROMPT = [5, 17, 3, 60, 17, 3, 88, 41, 5, 9, 23, 60]

_BASE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GEMMA = {"head_dim": 8, "hidden_activation": "gelu_pytorch_tanh"}
_LOCAL = {"sliding_window": 4, "query_pre_attn_scalar": 16}

CONFIGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"n_embd": 24, "n_head": 4, "n_layer": 3, "n_inner": 40, "n_positions": 64}),
    "gpt2-scaled": ("GPT2Config", {"n_embd": 24, "n_head": 4, "n_layer": 3, "n_positions": 64,
                                   "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}),
    "gpt_neox": ("GPTNeoXConfig", {"use_parallel_residual": True, "rotary_pct": 0.5}),
    "gpt_neox-serial": ("GPTNeoXConfig", {"use_parallel_residual": False, "rotary_pct": 0.25}),
    "llama": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama-biased": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "head_dim": 10}),
    "mistral": ("MistralConfig", {"sliding_window": 4}),
    "qwen2": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "gemma": ("GemmaConfig", {**_GEMMA, "num_key_value_heads": 1}),
    "gemma2": ("Gemma2Config", {**_GEMMA, **_LOCAL, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}),
    "gemma3_text": ("Gemma3TextConfig", {**_GEMMA, **_LOCAL, "sliding_window_pattern": 2}),
    "olmo2": ("Olmo2Config", {}),
    "phi3": ("Phi3Config", {"sliding_window": 5}),
}  # fmt: skip


def tiny_hf(name: str, seed: int = 0, implementation: str = attention.IMPLEMENTATION) -> PreTrainedModel:
    """A random model of a family (or variant), float32, frozen, eval mode."""
    torch.manual_seed(seed)
    config_class, changes = CONFIGS[name]
    config = getattr(transformers, config_class)(**{**_BASE, **changes})
    model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if "norm" in parameter_name or "ln_" in parameter_name:
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(0.35 * noise)
    return model.eval().requires_grad_(False)


def subject_of(model: PreTrainedModel, tokenizer: Any = None) -> SubjectModel:
    """The SubjectModel around a model in memory."""
    family = family_of(model.config.model_type)
    return SubjectModel(
        name="tiny",
        path=Path("tiny"),
        family=model.config.model_type,
        hf=model,
        tokenizer=tokenizer,
        anatomy=anatomy_of(model, family),
        load_s=0.0,
        lock=Lock(),
    )


def ids(prompt: list[int] | None = None) -> torch.Tensor:
    return torch.tensor(PROMPT if prompt is None else prompt)
