"""Trains the two-layer attention-only models that tests/science/test_induction.py takes apart.

    .venv/bin/python scripts/train_induction.py --seed 0        # writes tests/science/induction/seed0/
    .venv/bin/python scripts/train_induction.py --seed 3

The task is that of Olsson et al. (2022), "In-context Learning and Induction Heads": a sequence of random words, all
different, said twice. The first half cannot be guessed; in the second the next word is the one that came after this
word's earlier copy. Lengths vary from batch to batch, so no fixed distance gives the answer away.

The model is a Llama with two layers of four heads, and MLPs whose output weights are zero and frozen, so attention
does all the work; 74,000 weights in float32. Heads that learn side by side share one job between them. So one head of
each layer, drawn by the seed, learns alone for the first half of the steps (the output weights of the others are zero
till then), and the rest join it afterwards: the job then has one owner, and which head that is the test has to find.

It takes a few minutes on one CPU core; the busy machine that trained the committed weights took 15 for seed 0 and 9 for
seed 3. They reach 0.017 and 0.021 nats a word where the answer can be copied, on held-out sequences; chance is ln 64 =
4.159. training.json beside them, which this script writes, has the losses along the way as well: the drop within a few
hundred steps is the phase change of the paper.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

OUT = Path(__file__).parents[1] / "tests" / "science" / "induction"

WORDS = 64
SHORTEST, LONGEST = 8, 28  # words in one half
LAYERS, HEADS, HEAD_DIM, WIDTH = 2, 4, 32, 64
BATCH = 64
STEPS = 2000
WARM_UP = 100
LEARNING_RATE = 3e-3
DECAY = 0.1
LOG_EVERY = 50
HELD_OUT = 512  # sequences that the final losses are measured on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the folder to write (default: seedN beside the test)")
    given = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    draw = torch.Generator().manual_seed(given.seed)
    model = untrained()
    start = time.perf_counter()
    curve = train(model, draw)
    took = time.perf_counter() - start

    first, second = losses(model, [sequence(draw) for _ in range(HELD_OUT)])
    out: Path = given.out or OUT / f"seed{given.seed}"
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer().save_pretrained(out)
    report = {
        "seed": given.seed,
        "steps": STEPS,
        "batch": BATCH,
        "seconds": round(took),
        "held_out": {"first_half": round(first, 4), "second_half": round(second, 4)},
        "uniform": round(math.log(WORDS), 4),
        "curve": curve,
    }
    (out / "training.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"second half {second:.4f} nats, first half {first:.4f}, uniform {math.log(WORDS):.4f}; {took:.0f} s")


def untrained() -> LlamaForCausalLM:
    """Random weights, and MLPs of one neuron that writes nothing and never will."""
    config = LlamaConfig(
        vocab_size=WORDS + 1,
        hidden_size=WIDTH,
        intermediate_size=1,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if ".mlp." in name:
            weight.requires_grad_(False)
            if "down_proj" in name:
                nn.init.zeros_(weight)
    return model


def tokenizer() -> PreTrainedTokenizerFast:
    """Words t0 to t63, one token each, the space before a word belonging to it."""
    vocab = {"<unk>": WORDS, **{f"\u2581t{i}": i for i in range(WORDS)}}
    words = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    words.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")


def sequence(draw: torch.Generator, half: int | None = None) -> Tensor:
    """Different random words, twice: [2·half], half drawn evenly from its range unless given."""
    length = int(torch.randint(SHORTEST, LONGEST + 1, (), generator=draw)) if half is None else half
    return torch.randperm(WORDS, generator=draw)[:length].repeat(2)


def train(model: LlamaForCausalLM, draw: torch.Generator) -> list[dict[str, float]]:
    """Adam with a linear warm-up and a cosine to zero; the losses along the way, in nats a word."""
    owners = [int(torch.randint(HEADS, (), generator=draw)) for _ in range(LAYERS)]
    alone = _alone(model, owners)
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(trained, LEARNING_RATE, betas=(0.9, 0.98), weight_decay=DECAY)
    curve = []
    for step in range(STEPS):
        if step == STEPS // 2:
            for hook in alone:
                hook.remove()
        rate = min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        for group in adam.param_groups:
            group["lr"] = LEARNING_RATE * rate
        half = int(torch.randint(SHORTEST, LONGEST + 1, (), generator=draw))
        by_word = loss(model, torch.stack([sequence(draw, half) for _ in range(BATCH)]))
        by_word.mean().backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        adam.zero_grad()
        if step % LOG_EVERY == 0 or step == STEPS - 1:
            first, second = (part.mean().item() for part in (by_word[:, : half - 1], by_word[:, half:]))
            curve.append({"step": step, "first_half": round(first, 4), "second_half": round(second, 4)})
            print(f"{step:5d}  first half {first:.3f}  second half {second:.3f}", flush=True)
    return curve


def _alone(model: LlamaForCausalLM, owners: Sequence[int]) -> list[RemovableHandle]:
    """Zeroes the output weights of every head but its layer's owner, and holds them there until the hooks are removed.

    A head that writes nothing learns nothing.
    """
    hooks = []
    weights = [weight for name, weight in model.named_parameters() if name.endswith("self_attn.o_proj.weight")]
    for weight, owner in zip(weights, owners, strict=True):
        share = torch.zeros_like(weight)  # [d_model, heads · d_head]
        share[:, owner * HEAD_DIM : (owner + 1) * HEAD_DIM] = 1
        with torch.no_grad():
            weight.mul_(share)
        hooks.append(weight.register_hook(share.mul))
    return hooks


def loss(model: LlamaForCausalLM, batch: Tensor) -> Tensor:
    """Nats at each word but the first, [n, 2·half − 1]; from index `half` on the answer can be copied."""
    logits = model(batch).logits[:, :-1]
    by_word = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
    return by_word.view(len(batch), -1)


@torch.no_grad()
def losses(model: LlamaForCausalLM, sequences: Sequence[Tensor]) -> tuple[float, float]:
    """Mean nats a word over the first half, and over the predictable part of the second."""
    first, second = [], []
    for words in sequences:
        half = len(words) // 2
        by_word = loss(model, words[None])[0]
        first.append(by_word[: half - 1])
        second.append(by_word[half:])
    return torch.cat(first).mean().item(), torch.cat(second).mean().item()


if __name__ == "__main__":
    main()
