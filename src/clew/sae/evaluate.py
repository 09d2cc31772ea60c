"""What an autoencoder is worth, by several measures, none of which tells by itself (docs/judging.md).

Two passes over text that trainings set aside (corpus/parts.py): the first reads the site alone and stops there; the
second, over the first `losses` tokens, runs the whole model with the site as it is and replaced, by the mean too, which
only the first pass could tell.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import settings
from ..corpus.contexts import Contexts, read_contexts
from ..corpus.parts import Part, parted
from ..corpus.texts import Corpus, corpus_of
from ..errors import Cancelled, CorpusTooShort, NotFinite, NothingToLearn, UsageError
from ..models.sites import read_sites
from ..models.subject import HasSubject, SubjectModel
from ..models.tape import Stop
from . import splicing
from .autoencoder import Autoencoder, check_fits
from .geometry import cosine_histogram, max_cosines
from .measures import Firing, Reconstruction, density_histogram
from .probing import labels_of, probing
from .ratings import ratings_of
from .records import EvaluationProgress, EvaluationStage, Probe, Report
from .samples import Excerpts, drawn, samples_of
from .shelf import info_of
from .splicing import ce_recovered, losses, recovered

__all__ = ["ce_recovered", "evaluate", "evaluating"]

_BATCH = 8  # contexts in one forward pass: their logits are held too
_LATENTS = 2**24  # activations of latents held at once: 64 MiB
_PROBED = 10_240  # tokens that probes learn from and are tried on
_PROBED_NUMBERS = 2**25  # and numbers of the site that are kept for them: 128 MiB


def evaluate(
    model: HasSubject,
    autoencoder: Autoencoder,
    corpus: Corpus | str | None = None,
    *,
    progress: Callable[[EvaluationProgress], None] | None = None,
    **options: Any,
) -> Report:
    """Judge an autoencoder: `evaluating`, to its end."""
    done: EvaluationProgress | None = None
    for done in evaluating(model, autoencoder, corpus, **options):
        if progress is not None:
            progress(done)
    assert done is not None and done.report is not None
    return done.report


def evaluating(
    model: HasSubject,
    autoencoder: Autoencoder,
    corpus: Corpus | str | None = None,
    *,
    tokens: int = settings.JUDGED,
    losses: int = settings.JUDGED_LOSSES,
    context: int | None = None,
    bos: bool | None = None,
    skip: int = settings.SKIPPED,
    seed: int = 1,
    samples: int = settings.SAMPLED,
    reference: str | None = None,
    folder: Path | None = None,
    stop: Stop | None = None,
) -> Iterator[EvaluationProgress]:
    """Judge an autoencoder on `tokens` tokens of a corpus, telling how far it is; the last progress has the report.

    `losses` of the tokens are run through the whole model. Contexts are as long as those it was trained on, and begin
    with the start token if those did, unless `context` and `bos` say otherwise; neither that token nor the first `skip`
    are counted. What trainings set aside of the corpus is read, or the whole where that fills not one context. `seed`
    orders it and draws the `samples` latents. `reference` names the autoencoder in the report, `folder` is where its
    ratings lie.
    Raises WrongAutoencoder, BadSite, UsageError, NothingToLearn, NotFinite, Cancelled, NoSpace and what the corpus
    raises.
    """
    subject = model.subject
    check_fits(autoencoder, subject.anatomy, subject.name)
    if context is None:
        context = min(autoencoder.origin.context or settings.CONTEXT, subject.max_length)
    if bos is None:
        bos = bool(autoencoder.origin.bos) and subject.bos_id is not None
    first = max(skip, int(bos))
    if min(tokens, losses) < 1 or skip < 0 or samples < 0:
        raise UsageError("Nothing can be judged on no tokens.", "Leave the numbers out for the defaults.")
    if first + 2 > context:
        raise UsageError(f"Contexts of {context} tokens leave none to judge.", "Lower skip, or lengthen the context.")
    corpus = corpus if corpus is not None and not isinstance(corpus, str) else corpus_of(corpus)
    text = parted(corpus, "aside")
    with tempfile.TemporaryDirectory(prefix="clew-judging-") as texts:
        yield from _Judging(
            subject, autoencoder.to(subject.device), text, Path(texts), tokens, losses, context, bos, first, seed,
            samples, reference or autoencoder.name, folder, stop,
        ).run()  # fmt: skip


class _Judging:
    """One autoencoder being judged."""

    def __init__(
        self,
        subject: SubjectModel,
        autoencoder: Autoencoder,
        corpus: Corpus,
        texts: Path,
        tokens: int,
        losses: int,
        context: int,
        bos: bool,
        first: int,
        seed: int,
        samples: int,
        reference: str,
        folder: Path | None,
        stop: Stop | None,
    ) -> None:
        self._subject, self._autoencoder, self._corpus, self._texts = subject, autoencoder, corpus, texts
        self._tokens, self._wanted, self._length, self._bos, self._first = tokens, losses, context, bos, first
        self._seed, self._reference, self._folder, self._stop = seed, reference, folder, stop
        n = autoencoder.n_latents
        self._reconstruction = Reconstruction(autoencoder.d_out)
        self._firing = Firing(n)
        self._excerpts = Excerpts(drawn(n, samples, seed), context)
        self._loss: dict[str, float] = {}
        self._predicted = 0
        self._found: list[Probe] = []
        self._started = time.perf_counter()

    def run(self) -> Iterator[EvaluationProgress]:
        yield from self._read()
        contexts = Contexts.open(self._texts)
        probed = _Probed(self._subject, self._autoencoder, contexts, self._first)
        yield from self._activations(contexts, probed)
        if self._reconstruction.values.total == 0:
            raise NothingToLearn(
                f"{self._autoencoder.writes} is the same on all {self._firing.tokens:,} tokens read.",
                "No share of a variance of zero can be explained: read more text, or another site.",
            )
        yield from self._losses(contexts)
        yield from self._probes(probed)
        report = self._report(contexts)
        yield EvaluationProgress("probes", 1, 1, 0.0, report)

    def _read(self) -> Iterator[EvaluationProgress]:
        try:
            yield from self._read_text()
        except CorpusTooShort:
            if not isinstance(self._corpus, Part):
                raise
            self._corpus = self._corpus.whole
            yield from self._read_text()

    @property
    def _held_out(self) -> bool | None:
        """Whether none of the text was trained on: of what was trained elsewhere nobody knows."""
        return isinstance(self._corpus, Part) if self._autoencoder.origin.format == "clew" else None

    def _read_text(self) -> Iterator[EvaluationProgress]:
        start = time.perf_counter()
        for done in read_contexts(
            self._texts, self._subject, self._corpus,
            tokens=self._tokens, length=self._length, bos=self._bos, seed=self._seed, shard=256,
        ):  # fmt: skip
            self._check()
            yield _progress("read", done, self._tokens, start)

    def _activations(self, contexts: Contexts, probed: _Probed) -> Iterator[EvaluationProgress]:
        autoencoder, first, subject = self._autoencoder, self._first, self._subject
        start, total = time.perf_counter(), len(contexts) * self._length
        sites = [autoencoder.reads, autoencoder.writes]
        rows = max(1, _LATENTS // autoencoder.n_latents // (self._length - first))
        for at in range(0, len(contexts), _BATCH):
            self._check()
            ids = contexts.batch(at, _BATCH)
            with subject.lock:
                values = read_sites(subject.anatomy, sites, ids.to(subject.device))
            given, meant = (subject.finite(values[site][:, first:].float()) for site in sites)
            probed.see(at, given)
            for row in range(0, len(ids), rows):
                x, y = given[row : row + rows], meant[row : row + rows]
                split = autoencoder.split(x)
                guess = self._finite(autoencoder.decode(split))
                self._reconstruction.see(y.flatten(0, 1), guess.flatten(0, 1))
                self._firing.see(split.latents.flatten(0, 1))
                shown = torch.zeros(len(x), self._length, len(self._excerpts.indexes))
                shown[:, first:] = split.latents[..., self._excerpts.indexes.to(x.device)].cpu().float()
                self._excerpts.see(at + row, shown)
            yield _progress("activations", (at + len(ids)) * self._length, total, start)

    def _losses(self, contexts: Contexts) -> Iterator[EvaluationProgress]:
        n = min(len(contexts), -(-self._wanted // self._length))
        mean = self._reconstruction.values.mean.float()
        start = time.perf_counter()
        for at in range(0, n, _BATCH):
            self._check()
            found = losses(self._subject, self._autoencoder, contexts.batch(at, min(_BATCH, n - at)), self._first, mean)
            for name, values in found.items():
                self._loss[name] = self._loss.get(name, 0.0) + float(values.sum())
            self._predicted += found[splicing.CLEAN].numel()
            yield _progress("losses", min(n, at + _BATCH) * self._length, n * self._length, start)

    def _probes(self, probed: _Probed) -> Iterator[EvaluationProgress]:
        start = time.perf_counter()
        labels = probed.labels()
        for done, probes in enumerate(probing(self._autoencoder, probed.x(), labels, probed.training()), 1):
            self._check()
            self._found += probes
            yield _progress("probes", done, len(labels), start)

    def _report(self, contexts: Contexts) -> Report:
        reconstruction, firing = self._reconstruction, self._firing
        ce = {name: total / self._predicted for name, total in self._loss.items()}
        cosines = max_cosines(self._autoencoder.w_dec)
        ratings = {} if self._folder is None else ratings_of(self._folder)
        return Report(
            autoencoder=info_of(self._autoencoder, self._reference, judged=True),
            corpus=self._corpus.description,
            held_out=self._held_out,
            tokens=firing.tokens,
            l0=firing.l0,
            fvu=reconstruction.fvu,
            explained_variance=reconstruction.explained_variance,
            mse=reconstruction.mse,
            cosine=reconstruction.cosine,
            shrinkage=reconstruction.shrinkage,
            ce_clean=ce[splicing.CLEAN],
            ce_spliced=ce[splicing.SPLICED],
            ce_mean=ce[splicing.MEAN],
            ce_zero=ce[splicing.ZERO],
            ce_recovered=recovered(ce[splicing.CLEAN], ce[splicing.SPLICED], ce[splicing.ZERO]),
            ce_tokens=self._predicted,
            kl=ce[splicing.KL],
            dead=firing.dead,
            dense=firing.dense,
            density=density_histogram(firing.counts, firing.tokens),
            decoder_cosine=cosine_histogram(cosines),
            decoder_cosine_mean=float(cosines.double().mean()),
            description_length=firing.description_length,
            probes=self._found,
            samples=samples_of(self._excerpts, firing, cosines, self._subject, contexts, ratings),
            seconds=time.perf_counter() - self._started,
        )

    def _finite(self, guess: Float[Tensor, "*t d"]) -> Float[Tensor, "*t d"]:
        if not torch.isfinite(guess).all():
            raise NotFinite(
                f"{self._autoencoder.name} gives NaN or infinite numbers on this text.", "Its weights may be damaged."
            )
        return guess

    def _check(self) -> None:
        if self._stop is not None and self._stop():
            raise Cancelled("The judging was cancelled before it was done.")


class _Probed:
    """What probes need of some contexts, spread evenly over all: the site's values, and the tokens.

    Probes learn from the first half of these contexts and are tried on the second.
    """

    def __init__(self, subject: SubjectModel, autoencoder: Autoencoder, contexts: Contexts, first: int) -> None:
        self._subject, self._contexts, self._first = subject, contexts, first
        self._counted = contexts.length - first
        tokens = min(_PROBED, _PROBED_NUMBERS // autoencoder.d_in)
        n = min(len(contexts), max(2, tokens // self._counted))
        self._numbers: list[int] = np.linspace(0, len(contexts) - 1, n).round().astype(int).tolist()
        self._kept: list[Float[Tensor, "p d"]] = []

    def see(self, context: int, values: Float[Tensor, "b p d"]) -> None:
        """The site's values in the contexts from number `context` on."""
        for number in self._numbers:
            if context <= number < context + len(values):
                self._kept.append(values[number - context].clone())

    def x(self) -> Float[Tensor, "m d"]:
        return torch.cat(self._kept)

    def labels(self) -> dict[str, np.ndarray]:
        """The labels of the counted tokens, by name."""
        found: dict[str, list[bool]] = {}
        for number in self._numbers:
            texts = [self._subject.text(int(token)) for token in self._contexts.tokens(number)]
            for name, labels in labels_of(texts).items():
                found.setdefault(name, []).extend(labels[self._first :])
        return {name: np.array(labels) for name, labels in found.items()}

    def training(self) -> np.ndarray:
        """Which of the tokens are learned from."""
        return np.arange(len(self._numbers)).repeat(self._counted) < len(self._numbers) // 2


def _progress(stage: EvaluationStage, done: int, total: int, start: float) -> EvaluationProgress:
    done = min(done, total)
    left = (time.perf_counter() - start) * (total - done) / done if done else None
    return EvaluationProgress(stage, done, total, left, None)
