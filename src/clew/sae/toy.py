"""Autoencoders on data whose features are known: what each architecture finds of them.

Every architecture learns with the same Trainer as on a model's activations, for as many latents as there are features,
and is told how many of them fire where it can be told (k). What it found is judged on fresh samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ..disk import written
from ..errors import UsageError
from ..nodes import Site
from .autoencoder import Autoencoder
from .matching import Matching, matched
from .measures import Firing, Reconstruction
from .pictures import toy_picture
from .recipe import ARCHITECTURES, Recipe
from .records import Architecture, ToyReport, ToyRun
from .superposition import trained
from .synthetic import Synthetic
from .trainer import Trainer

Source = Literal["synthetic", "superposition"]
SOURCES: tuple[Source, ...] = ("synthetic", "superposition")

SITE = Site("resid", 0)  # a recipe needs one; nothing is read from it
BATCH = 512
JUDGED = 20_000  # fresh samples that a trained autoencoder is judged on
LEARNING_RATE = 3e-3
_ASLEEP = -1e3  # a bias, where activations have a mean square of 1
SPARSITY = {"relu": 1.0, "jumprelu": 0.3}  # λ; others are told k


class Truth(Protocol):
    """A source of samples made of known features."""

    @property
    def features(self) -> Float[Tensor, "n d"]: ...

    def sample(self, m: int, draw: torch.Generator) -> tuple[Float[Tensor, "m d"], Float[Tensor, ""]]:
        """m samples, and how many features are on in one on average."""
        ...


@dataclass(frozen=True)
class Lesson:
    """How a trainer is run on a source. Warm-up and decay are shares of the run.

    `asleep` is the share of latents that start with a bias so low that nothing makes them fire: what resampling is for,
    since no gradient wakes them.
    """

    samples: int
    batch: int = BATCH
    warmup: float = 0.05
    decay: float = 0.2
    asleep: float = 0.0
    seed: int = 0


def toy(
    architectures: Sequence[Architecture] = ARCHITECTURES,
    source: Source | Literal["both"] = "both",
    *,
    features: int = 128,
    width: int = 64,
    l0: float = 4.0,
    samples: int = 200_000,
    seed: int = 0,
    picture: Path | None = None,
) -> ToyReport:
    """Trains each architecture on each source and judges it: `toying`, to its end.

    `features` of them in `width` dimensions, `l0` of them on in a sample on average. `picture` is an SVG file to write.
    Raises UsageError or NoSpace.
    """
    found = toying(architectures, source, features=features, width=width, l0=l0, samples=samples, seed=seed)
    return reported(found, picture)


def reported(found: Iterable[tuple[ToyRun, Matching]], picture: Path | None = None) -> ToyReport:
    """What `toying` yields, once all of it is done, with an SVG file of it. Raises NoSpace."""
    runs: list[ToyRun] = []
    cosines: list[list[float]] = []
    for run, matching in found:
        runs.append(run)
        cosines.append(matching.cosines.tolist())
    if picture is not None:
        with written(picture) as partial:
            partial.write_text(toy_picture(runs, cosines), encoding="utf-8")
    return ToyReport(runs, None if picture is None else str(picture))


def toying(
    architectures: Sequence[Architecture] = ARCHITECTURES,
    source: Source | Literal["both"] = "both",
    *,
    features: int = 128,
    width: int = 64,
    l0: float = 4.0,
    samples: int = 200_000,
    seed: int = 0,
) -> Iterator[tuple[ToyRun, Matching]]:
    """Each run as it is done. Raises UsageError."""
    sources = SOURCES if source == "both" else (source,)
    unknown = next((name for name in sources if name not in SOURCES), None)
    if unknown is not None:
        raise UsageError(f"{unknown!r} is not a source.", f"Use one of {', '.join(SOURCES)} or both.")
    if not architectures:
        raise UsageError("There is nothing to train.", f"Name one of {', '.join(ARCHITECTURES)}.")
    if not (2 <= features <= 4096 and 2 <= width <= 4096):
        raise UsageError(f"{features:,} features in {width:,} dimensions are no toy.", "Take 2 to 4,096 of each.")
    if not 0 < l0 <= features / 4:
        raise UsageError(f"{l0:g} of {features:,} features on is not sparse.", "Take up to a quarter of them.")
    if samples < 10 * BATCH:
        raise UsageError(f"{samples:,} samples teach nothing.", f"Take at least {10 * BATCH:,}.")
    recipes = [recipe_of(architecture, features, l0, seed).checked() for architecture in architectures]
    with _one_thread():
        for name in sources:
            truth = truth_of(name, features, width, l0, seed)
            for recipe in recipes:
                start = time.perf_counter()
                autoencoder = learn(recipe, truth, Lesson(samples, seed=seed))
                yield _judged(autoencoder, truth, name, samples, seed, start)


def truth_of(source: Source, features: int, width: int, l0: float, seed: int) -> Truth:
    """The known features, and what draws samples of them."""
    if source == "synthetic":
        return Synthetic.drawn(features, width, l0=l0, seed=seed)
    return trained(features, width, l0=l0, seed=seed)


def recipe_of(architecture: Architecture, features: int, l0: float, seed: int) -> Recipe:
    """What an architecture is trained with here."""
    return Recipe(
        SITE,
        features,
        architecture,
        k=max(1, round(l0)),
        sparsity=SPARSITY.get(architecture),
        learning_rate=LEARNING_RATE,
        seed=seed,
    )


def learn(recipe: Recipe, truth: Truth, lesson: Lesson) -> Autoencoder:
    """An autoencoder trained on samples that never come twice. Raises NothingToLearn."""
    draw = torch.Generator().manual_seed(lesson.seed + 1)
    sample, _ = truth.sample(16 * lesson.batch, draw)
    d = sample.shape[1]
    scale = float((d / sample.square().sum(1).mean()).sqrt())
    steps = lesson.samples // lesson.batch
    trainer = Trainer(
        recipe, d, d,
        steps=steps, batch=lesson.batch, dead_after=max(lesson.batch, lesson.samples // 10), warmup=lesson.warmup,
        decay=lesson.decay, clip=1.0, sample=sample * scale,
    )  # fmt: skip

    trainer.weights["b_enc"][: int(lesson.asleep * recipe.latents)] = _ASLEEP

    def batches(n: int) -> Iterator[Float[Tensor, "b d"]]:
        for _ in range(n):
            yield truth.sample(lesson.batch, draw)[0] * scale

    for x in batches(steps):
        trainer.step(x)
        wanted = trainer.wants_resampling
        if wanted is not None:
            trainer.resample(batches(-(-wanted // lesson.batch)))
    return trainer.autoencoder(scale, recipe.name, None, None, None)


def found(autoencoder: Autoencoder, truth: Truth, seed: int) -> tuple[Matching, Reconstruction, Firing, float]:
    """What an autoencoder found, on fresh samples, and how many features are on in one of them."""
    x, l0 = truth.sample(JUDGED, torch.Generator().manual_seed(seed + 2))
    reconstruction, firing = Reconstruction(x.shape[1]), Firing(autoencoder.n_latents)
    split = autoencoder.split(x)
    reconstruction.see(x, autoencoder.decode(split))
    firing.see(split.latents)
    return matched(truth.features, autoencoder.w_dec, firing.counts > 0), reconstruction, firing, float(l0)


def _judged(
    autoencoder: Autoencoder, truth: Truth, source: str, samples: int, seed: int, start: float
) -> tuple[ToyRun, Matching]:
    matching, reconstruction, firing, l0 = found(autoencoder, truth, seed)
    run = ToyRun(
        architecture=autoencoder.origin.architecture,
        source=source,
        mcc=matching.mcc,
        mmcs=matching.mmcs,
        true_l0=l0,
        l0=firing.l0,
        fvu=reconstruction.fvu,
        dead=firing.dead,
        latents=autoencoder.n_latents,
        features=len(truth.features),
        samples=samples,
        seconds=time.perf_counter() - start,
    )
    return run, matching


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small are multiplied faster by one thread than several can agree on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
