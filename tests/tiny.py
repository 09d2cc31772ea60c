"""A tiny random model in a folder, with a tokenizer of its own: what a face needs to be tried from end to end.

The tokenizer is byte-level, so it takes any text, and is trained on sentences in which the names of the example are
whole words: " Mary" and " John" are one token each.
"""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from .families import CONFIGS

SENTENCES = [
    "When Mary and John went to the store, John gave a drink to Mary.",
    "Then Mary and John went to the park, and Mary gave a book to John.",
]
MAX_LENGTH = 64


def tiny_model_folder(folder: Path, family: str = "llama", seed: int = 0) -> Path:
    """Saves a random model of `family` (a key of tests.families.CONFIGS) with its tokenizer, and gives the folder."""
    config_class, changes = CONFIGS[family]
    words = tokenizer()
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_LENGTH,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(getattr(transformers, config_class)(**{**sizes, **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            # Large enough weights that no effect drowns in rounding.
            parameter.add_(0.3 * noise) if "norm" in name or "ln_" in name else parameter.copy_(0.35 * noise)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of a few hundred tokens, with a start token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<|start|>", eos_token="<|end|>")
