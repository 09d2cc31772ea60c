"""Two transformers small enough to work out on paper, every weight of them written down here.

`copier` is a Llama: two layers, RMSNorm, gated neurons with relu. `counter` is a GPT-2: one layer, LayerNorm, biases
everywhere, plain relu neurons. worked.py and the tests do the arithmetic, without torch.

Rotary positions would put cosines into every score. A base of 1e30 turns the second pair of a head's four dimensions
by 1e-15 a token, so queries and keys that live there do not turn at all. Norms have an epsilon of 1e-12, enough to
make an ablated embedding's norm zero rather than 0/0 and too little to show in float32.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

EPSILON = 1e-12
A, B, YES, NO = range(4)  # the vocabulary: " a", " b", " yes", " no"


def copier(folder: Path) -> Path:
    """Saves the Llama into `folder`. What each part does to "a b" is in worked.py."""
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=4,
        intermediate_size=2,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=4,
        hidden_act="relu",
        max_position_embeddings=8,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": 1e30},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    weights = _blank(model)
    with torch.no_grad():
        weights["model.embed_tokens"][A, 0] = 2
        weights["model.embed_tokens"][B, 1] = 2
        weights["model.norm"].copy_(_row(1, 2, 1, 1))
        weights["lm_head"][YES] = _row(1 / 8, 1 / 4, 1 / 4, 0)
        weights["lm_head"][NO, 3] = 1 / 8

        # attn.0.0: b looks for a; copies a's mark from dimension 0 to 2 and b's from 1 to 3. attn.0.1 does nothing.
        copy = "model.layers.0.self_attn."
        weights[copy + "q_proj"][1, 1] = math.log(3) / 2
        weights[copy + "k_proj"][1, 0] = 1
        weights[copy + "v_proj"][0, 0] = 1
        weights[copy + "v_proj"][1, 1] = 1
        weights[copy + "o_proj"][2, 0] = 2
        weights[copy + "o_proj"][3, 1] = 12

        # neuron.0.0 fires on b after a; the gate of neuron.0.1 is never open.
        fire = "model.layers.0.mlp."
        weights[fire + "gate_proj"][0] = _row(0, 7 / 16, 7 / 24, 0)
        weights[fire + "up_proj"][0] = _row(0, 7 / 8, 0, 7 / 24)
        weights[fire + "down_proj"][0, 0] = 21 / 2
        weights[fire + "gate_proj"][1, 2] = -1
        weights[fire + "up_proj"][1, 1] = 1
        weights[fire + "down_proj"][3, 1] = 5

        # attn.1.0: queries from dimensions 1 and 2, keys from 0 and 2, moves dimension 0 to 1.
        weights["model.layers.1.input_layernorm"].copy_(_row(1, 1, 2, 1))
        move = "model.layers.1.self_attn."
        weights[move + "q_proj"][1] = _row(0, 35 / 32, 35 / 96, 0)
        weights[move + "k_proj"][1] = _row(1 / 2, 0, 1 / 4, 0)
        weights[move + "v_proj"][0, 0] = 1
        weights[move + "o_proj"][1, 0] = 2
    return _save(model, folder)


def counter(folder: Path) -> Path:
    """Saves the GPT-2 into `folder`."""
    config = GPT2Config(
        vocab_size=5,
        n_embd=4,
        n_layer=1,
        n_head=1,
        n_inner=1,
        n_positions=8,
        activation_function="relu",
        layer_norm_epsilon=EPSILON,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = GPT2LMHeadModel(config)
    weights = _blank(model)
    with torch.no_grad():
        weights["transformer.wte"][A] = _row(1, -1, 1, -1)
        weights["transformer.wte"][B] = _row(1, 1, -3 / 2, -1 / 2)
        weights["transformer.wpe"][1] = _row(0, 0, 1 / 2, -1 / 2)
        weights["transformer.ln_f"].copy_(_row(1, 2, 1, 1))
        weights["transformer.ln_f.bias"][0] = 1 / 4
        weights["lm_head"][YES] = _row(1 / 4, 1 / 4, 0, 0)
        weights["lm_head"][NO, 3] = 1 / 4

        # attn.0.0 looks at all tokens evenly. GPT-2 stores projections as [in, out], and q, k and v side by side.
        look = "transformer.h.0.attn."
        weights[look + "c_attn"][:, 8] = _row(1, 1 / 2, 0, 0)
        weights[look + "c_proj"][0, 0] = 1
        weights[look + "c_proj.bias"].copy_(_row(0, 0, 1, -2))

        weights["transformer.h.0.ln_2"].copy_(_row(2, 1, 1, 1))
        weights["transformer.h.0.ln_2.bias"][1] = 1 / 2
        count = "transformer.h.0.mlp."
        weights[count + "c_fc"][:, 0] = _row(1 / 4, 1 / 2, 0, -1 / 4)
        weights[count + "c_fc.bias"][0] = 1 / 8
        weights[count + "c_proj"][0, 1] = 2
        weights[count + "c_proj.bias"][2] = 1 / 2
    return _save(model, folder)


def _blank(model: LlamaForCausalLM | GPT2LMHeadModel) -> dict[str, nn.Parameter]:
    """All weights zero, all norms' gains one; by name, `.weight` left out."""
    weights = {name.removesuffix(".weight"): weight for name, weight in model.named_parameters()}
    with torch.no_grad():
        for name, weight in weights.items():
            gain = ("norm" in name or "ln_" in name) and not name.endswith("bias")
            weight.fill_(1 if gain else 0)
    return weights


def _save(model: LlamaForCausalLM | GPT2LMHeadModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    vocab = {"\u2581a": A, "\u2581b": B, "\u2581yes": YES, "\u2581no": NO, "<unk>": 4}
    words = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    words.decoder = decoders.Metaspace(prepend_scheme="always")
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)
    return folder


def _row(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)
