"""What autoencoders trained here are worth beside SAELens' own, at equal tokens, equal L0 and on the same activations.

python -m benchmarks.sae_quality                       2 million tokens of mlp_out.10, 4,608 latents, k = 32
python -m benchmarks.sae_quality TOKENS SITE LATENTS ARCHITECTURE…   such as 200000 mlp_out.4 2304 topk

The activations of SmolLM2 on the text that ships with Python are read once, kept, shuffled once, and given to both in
the same batches, scaled so that a mean square norm is the width. SAELens trains with its own trainer and defaults, at
its default learning rate and at ours; the better of the two, by FVU, is compared. FVU and dead latents, those that fire
on none, are of 65,536 activations that neither was trained on, CE recovered of contexts they come from. JSON on stdout,
a table on stderr, curves in docs/images/sae-quality.svg.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

import clew
from clew.corpus import Contexts, corpus_of, read_contexts
from clew.models.sites import read_sites
from clew.nodes import Site, parse_site
from clew.sae import Autoencoder, load
from clew.sae.evaluate import ce_recovered
from clew.sae.recipe import Architecture, Recipe
from clew.sae.trainer import Trainer, default_learning_rate

BATCH, K, CONTEXT, HELD, LOSSES = 2048, 32, 128, 65_536, 64
ARCHITECTURES: tuple[Architecture, ...] = ("topk", "batchtopk")
CURVE = Path(__file__).parent.parent / "docs" / "images" / "sae-quality.svg"


@dataclass
class Quality:
    """One autoencoder: FVU of held-out activations by tokens trained on, and at the end everything."""

    architecture: str
    library: str
    learning_rate: float
    curve: list[tuple[int, float]] = field(default_factory=list)
    l0: float = 0.0
    fvu: float = 1.0
    dead: int = 0
    ce_recovered: float | None = None


@dataclass(frozen=True)
class Activations:
    """In the order in which they are trained on; `ids` are the contexts of the held-out ones."""

    trained: Tensor
    held: Tensor
    ids: Tensor
    scale: float


def activations(model: clew.Model, site: Site, tokens: int) -> Activations:
    """Read once; the first token of a context is left out."""
    subject = model.subject
    wanted = (tokens + HELD) * CONTEXT // (CONTEXT - 1) + CONTEXT
    with tempfile.TemporaryDirectory() as folder:
        for _ in read_contexts(
            Path(folder),
            subject,
            corpus_of(),
            tokens=wanted,
            length=CONTEXT,
            bos=False,
            seed=0,
            shard=1024,
        ):
            pass
        contexts = Contexts.open(Path(folder))
        ids = contexts.batch(0, len(contexts))
    found, done = torch.empty(tokens + HELD, 0), 0
    for part in ids.split(32):
        rows = read_sites(subject.anatomy, [site], part)[site][:, 1:].reshape(-1, subject.anatomy.d_model)
        if not done:
            found = torch.empty(tokens + HELD, rows.shape[1])
        rows = rows[: len(found) - done]
        found[done : done + len(rows)] = rows
        done += len(rows)
        if done == len(found):
            break
    assert done == len(found), "the text is shorter than that"
    scale = float((found.shape[1] / found[:tokens].double().square().sum(1).mean()).sqrt())
    order = torch.randperm(tokens, generator=torch.Generator().manual_seed(0))
    return Activations(found[:tokens][order] * scale, found[tokens:] * scale, ids[-LOSSES:], scale)


def ours(architecture: Architecture, site: Site, latents: int, data: Activations) -> Iterator[tuple[int, Autoencoder]]:
    width, steps = data.trained.shape[1], len(data.trained) // BATCH
    trainer = Trainer(
        Recipe(site, latents, architecture, k=K), width, width, steps=steps, batch=BATCH,
        dead_after=len(data.trained) // 4, warmup=0.05, decay=0.2, clip=1.0, sample=data.trained[:4096],
    )  # fmt: skip
    for step, x in enumerate(data.trained.split(BATCH)[:steps], 1):
        trainer.step(x)
        if step % (steps // 10) == 0:
            yield step * BATCH, trainer.autoencoder(1.0, "clew", "smollm2", CONTEXT, False)


def theirs(
    architecture: Architecture, rate: float, site: Site, latents: int, data: Activations
) -> Iterator[tuple[int, Autoencoder]]:
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    width, steps = data.trained.shape[1], len(data.trained) // BATCH
    kinds = {
        "topk": lambda: TopKTrainingSAE(
            TopKTrainingSAEConfig(d_in=width, d_sae=latents, k=K, use_sparse_activations=False)
        ),
        "batchtopk": lambda: BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=width, d_sae=latents, k=K)),
    }
    torch.manual_seed(0)
    sae = kinds[architecture]()
    config = SAETrainerConfig(
        total_training_samples=len(data.trained), train_batch_size_samples=BATCH, lr=rate, lr_end=rate / 10,
        lr_warm_up_steps=steps // 20, lr_decay_steps=steps // 5,
    )  # fmt: skip
    trainer = SAETrainer(cfg=config, sae=sae, data_provider=iter(()))
    for step, x in enumerate(data.trained.split(BATCH)[:steps], 1):
        trainer.step(x)
        if step % (steps // 10) == 0:
            with tempfile.TemporaryDirectory() as folder:
                sae.save_inference_model(folder)
                yield step * BATCH, load(folder, site=site)


@torch.no_grad()
def judged(autoencoder: Autoencoder, held: Tensor) -> tuple[float, float, int]:
    """FVU, L0 and latents that fire on none."""
    error, l0, fired = 0.0, 0, torch.zeros(autoencoder.n_latents, dtype=torch.bool)
    for x in held.split(BATCH):
        split = autoencoder.split(x)
        error += float((x - autoencoder.decode(split)).double().square().sum())
        l0 += int((split.latents > 0).sum())
        fired |= (split.latents > 0).any(0)
    variance = float((held - held.mean(0)).double().square().sum())
    return error / variance, l0 / len(held), int((~fired).sum())


def unscaled(autoencoder: Autoencoder, s: float) -> Autoencoder:
    """The same for activations that are not scaled."""
    pre = autoencoder.b_pre
    return replace(
        autoencoder, w_enc=autoencoder.w_enc * s, w_dec=autoencoder.w_dec / s, b_dec=autoencoder.b_dec / s,
        b_pre=None if pre is None else pre / s,
    )  # fmt: skip


def measured(row: Quality, stages: Iterator[tuple[int, Autoencoder]], data: Activations, model: clew.Model) -> Quality:
    last: Autoencoder | None = None
    for tokens, last in stages:
        row.fvu, row.l0, row.dead = judged(last, data.held)
        row.curve.append((tokens, row.fvu))
        print(f"{row.library} {row.architecture} {row.learning_rate:g}: {tokens:,} FVU {row.fvu:.4f}", file=sys.stderr)
    assert last is not None
    row.ce_recovered = ce_recovered(model.subject, unscaled(last, data.scale), data.ids)
    return row


def quality(tokens: int, site: Site, latents: int, architectures: Sequence[Architecture]) -> list[Quality]:
    """Ours and theirs, architecture by architecture."""
    model = clew.load("smollm2")
    data = activations(model, site, tokens)
    rows: list[Quality] = []
    for architecture in architectures:
        rate = default_learning_rate(Recipe(site, latents, architecture, k=K), tokens // BATCH)
        rows.append(measured(Quality(architecture, "clew", rate), ours(architecture, site, latents, data), data, model))
        tried: list[Quality] = []
        for lr in (3e-4, rate):
            stages = theirs(architecture, lr, site, latents, data)
            tried.append(measured(Quality(architecture, "SAELens", lr), stages, data, model))
        rows.append(min(tried, key=lambda row: row.fvu))
    return rows


def draw(rows: list[Quality], site: Site, latents: int) -> None:
    """FVU by tokens."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for row in rows:
        tokens, fvu = zip(*row.curve, strict=True)
        axes.plot(tokens, fvu, "-" if row.library == "clew" else "--", label=f"{row.library}, {row.architecture}")
    axes.set(xlabel="tokens trained on", ylabel="FVU, held out", title=f"{site}, {latents:,} latents, k = {K}")
    axes.legend(frameon=False)
    CURVE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(CURVE)


def main(arguments: list[str]) -> None:
    read: list[Callable[[str], object]] = [int, parse_site, int]
    given = [f(text) for f, text in zip(read, arguments, strict=False)]
    tokens, site, latents = [*given, *[2_000_000, parse_site("mlp_out.10"), 4608][len(given) :]]
    assert isinstance(tokens, int) and isinstance(site, Site) and isinstance(latents, int)
    named: list[Architecture] = [kind for kind in ARCHITECTURES if kind in arguments[3:]]
    rows = quality(tokens, site, latents, named or ARCHITECTURES)
    draw(rows, site, latents)
    setting = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "tokens": tokens, "site": str(site)}
    print(json.dumps(setting | {"latents": latents, "rows": [asdict(row) for row in rows]}))
    for row in rows:
        lost = "–" if row.ce_recovered is None else f"{row.ce_recovered:.4f}"
        print(
            f"{row.architecture:10} {row.library:8} lr {row.learning_rate:.1e}  L0 {row.l0:5.1f}  FVU {row.fvu:.4f}  "
            f"CE recovered {lost}  dead {row.dead:,}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SAELens'
        main(sys.argv[1:])
