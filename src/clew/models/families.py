"""The anatomy of every supported architecture, declared.

A family says where a Hugging Face causal LM keeps the parts that read and write the residual stream. To add
one, add a `Family` to `FAMILIES`: paths are relative to the base model, or to one layer for the parts of a
layer. The families test then checks it on a random tiny model: logits, accounting, gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import UnknownFamily


@dataclass(frozen=True)
class Family:
    """Where one architecture (a `config.model_type`) keeps its parts.

    Norms: `attn_norm` and `mlp_norm` stand before a block, `attn_post_norm` and `mlp_post_norm` after it, on what
    it writes; None where there is none. `norm_offset` is added to every norm's weight (Gemma stores gain − 1).
    `q_norm` and `k_norm` stand on queries and keys. `query`, `key` and `value` are the same path where one projection
    holds all three, one after the other or, `interleaved`, head by head. `gate` is None for MLPs without one, and
    equals `up` where both are fused with the gate first.
    """

    layers: str = "layers"
    embed: str = "embed_tokens"
    final_norm: str = "norm"
    norm_offset: float = 0.0
    attn_norm: str | None = "input_layernorm"
    attn: str = "self_attn"
    query: str = "self_attn.q_proj"
    key: str = "self_attn.k_proj"
    value: str = "self_attn.v_proj"
    interleaved: bool = False
    q_norm: str | None = None
    k_norm: str | None = None
    attn_out: str = "self_attn.o_proj"
    attn_post_norm: str | None = None
    mlp_norm: str | None = "post_attention_layernorm"
    mlp: str = "mlp"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    act: str = "mlp.act_fn"
    mlp_out: str = "mlp.down_proj"
    mlp_post_norm: str | None = None


LLAMA = Family()

QWEN_3 = replace(LLAMA, q_norm="self_attn.q_norm", k_norm="self_attn.k_norm")

GEMMA = replace(LLAMA, norm_offset=1.0)

GEMMA_2 = replace(
    GEMMA,
    attn_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)

GEMMA_3 = replace(GEMMA_2, q_norm="self_attn.q_norm", k_norm="self_attn.k_norm")

OLMO_2 = replace(
    QWEN_3,
    attn_norm=None,
    attn_post_norm="post_attention_layernorm",
    mlp_norm=None,
    mlp_post_norm="post_feedforward_layernorm",
)

PHI_3 = replace(
    LLAMA,
    query="self_attn.qkv_proj",
    key="self_attn.qkv_proj",
    value="self_attn.qkv_proj",
    gate="mlp.gate_up_proj",
    up="mlp.gate_up_proj",
    act="mlp.activation_fn",
)

GPT_2 = Family(
    layers="h",
    embed="wte",
    final_norm="ln_f",
    attn_norm="ln_1",
    attn="attn",
    query="attn.c_attn",
    key="attn.c_attn",
    value="attn.c_attn",
    attn_out="attn.c_proj",
    mlp_norm="ln_2",
    gate=None,
    up="mlp.c_fc",
    act="mlp.act",
    mlp_out="mlp.c_proj",
)

GPT_NEOX = Family(
    embed="embed_in",
    final_norm="final_layer_norm",
    attn="attention",
    query="attention.query_key_value",
    key="attention.query_key_value",
    value="attention.query_key_value",
    interleaved=True,
    attn_out="attention.dense",
    gate=None,
    up="mlp.dense_h_to_4h",
    act="mlp.act",
    mlp_out="mlp.dense_4h_to_h",
)

FAMILIES: Mapping[str, Family] = {
    "gpt2": GPT_2,
    "gpt_neox": GPT_NEOX,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": QWEN_3,
    "gemma": GEMMA,
    "gemma2": GEMMA_2,
    "gemma3_text": GEMMA_3,
    "olmo2": OLMO_2,
    "phi3": PHI_3,
}


def family_of(model_type: str) -> Family:
    """The family of a `config.model_type`. Raises UnknownFamily, naming this file, when there is none."""
    family = FAMILIES.get(model_type)
    if family is None:
        raise UnknownFamily(
            f"The architecture {model_type!r} has no declared anatomy.",
            f"Known: {', '.join(FAMILIES)}. To add it, declare its Family in src/clew/models/families.py.",
        )
    return family
