"""A GGUF file turned, once, into a folder of safetensors, config and fast tokenizer.

transformers dequantises the tensors (exactly: the float32 values the quantised file stands for) and undoes llama.cpp's
layout; what it leaves out of the tokenizer is put back here.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadModel

if TYPE_CHECKING:
    from transformers import TokenizersBackend

_CONTROL = 3  # llama.cpp's token type of tokens that are never split or merged


def convert(source: Path, folder: Path) -> None:
    """Write the model in `source` to `folder`. Raises BadModel when it cannot be read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    silence = io.StringIO()  # the dequantiser draws a bar of its own
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    try:
        fields = _fields(source)
        with contextlib.redirect_stderr(silence):
            model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadModel(f"{source} cannot be read as a GGUF model: {reason}", "Download it again.") from error
    _mend(tokenizer, fields)
    # The weights are plain float32 now; transformers still takes them for quantised and would refuse to save them.
    vars(model)["hf_quantizer"] = None
    delattr(model.config, "quantization_config")
    model.config._name_or_path = ""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _fields(source: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    reader = GGUFReader(source)
    names = ("tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
    return {name: reader.fields[name].contents() for name in names if name in reader.fields}


def _mend(tokenizer: TokenizersBackend, fields: dict[str, Any]) -> None:
    """Register every control token, and the digit splitting of SmolLM's pre-tokenizer."""
    from tokenizers import pre_tokenizers
    from transformers import AddedToken

    types = fields.get("tokenizer.ggml.token_type", [])
    texts = fields.get("tokenizer.ggml.tokens", [])
    control: list[str | AddedToken] = [
        AddedToken(text, special=True, normalized=False)
        for text, kind in zip(texts, types, strict=False)
        if kind == _CONTROL
    ]
    tokenizer.add_tokens(control, special_tokens=True)
    if fields.get("tokenizer.ggml.pre") == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
