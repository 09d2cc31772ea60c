"""What is asked of a collection, settled before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from .. import settings
from ..corpus.texts import Corpus, corpus_of
from ..errors import UsageError
from ..models.subject import HasSubject, SubjectModel
from .attached import Given, attached, own
from .blocks import Keep
from .observation import Autoencoders
from .plan import MAX_CONTEXT, VERSION, Plan, autoencoder_of, made_with, model_of, site_of, sites_of


class Options(TypedDict, total=False):
    """What can be asked of a collection, with the defaults of `assignment`.

    `autoencoders` are those whose latents are collected too, `context` is in tokens, `window` of these are shown per
    example, `skip` are read but not counted; `top`, `bottom`, `band` and `random` examples are kept of each component;
    `batch` contexts make a forward pass, and `shard_tokens` lie between two savings.
    """

    tokens: int
    sites: Sequence[str] | None
    autoencoders: Sequence[Given] | None
    context: int | None
    window: int
    bos: bool
    seed: int
    skip: int
    top: int
    bottom: int
    band: int
    random: int
    batch: int
    shard_tokens: int


@dataclass(frozen=True)
class Assignment:
    """The model, the text, the autoencoders by block, and the plan for them."""

    subject: SubjectModel
    corpus: Corpus
    autoencoders: Autoencoders
    plan: Plan


def assignment(
    model: HasSubject,
    corpus: Corpus | str | None = None,
    *,
    tokens: int = settings.COLLECTED,
    sites: Sequence[str] | None = None,
    autoencoders: Sequence[Given] | None = None,
    context: int | None = None,
    window: int = settings.WINDOW,
    bos: bool = False,
    seed: int = 0,
    skip: int = settings.SKIPPED,
    top: int = settings.TOP_EXAMPLES,
    bottom: int = settings.BOTTOM_EXAMPLES,
    band: int = settings.BAND_EXAMPLES,
    random: int = settings.RANDOM_EXAMPLES,
    batch: int = settings.BATCH,
    shard_tokens: int = settings.SHARD_TOKENS,
) -> Assignment:
    """What the options of a collection (collect.py) come to.

    Raises UsageError, what the corpus raises and what opening autoencoders does.
    """
    subject = model.subject
    length = min(settings.CONTEXT, subject.max_length) if context is None else context
    found = corpus if corpus is not None and not isinstance(corpus, str) else corpus_of(corpus)
    latents = attached(subject, own(model, autoencoders))
    keep = Keep(
        top=top, bottom=bottom if subject.anatomy.layers[0].gate is not None else 0, band=band,
        bands=settings.BANDS, random=random, window=min(window, length), skip=skip,
    )  # fmt: skip
    _check(subject, tokens, length, bos, batch, keep)
    by_name = {site_of(block): autoencoder for block, autoencoder in latents.items()}
    chosen = sites_of(sites, len(subject.anatomy.layers), by_name)
    plan = Plan(
        version=VERSION,
        model=model_of(subject),
        dtype=str(subject.hf.dtype).removeprefix("torch."),
        sites=chosen,
        autoencoders=tuple(autoencoder_of(by_name[site]) for site in chosen if site in by_name),
        corpus={"description": found.description, "identity": found.identity},
        tokens=tokens,
        length=length,
        bos=bos,
        seed=seed,
        keep=keep,
        batch=batch,
        shard=max(1, shard_tokens // length // batch) * batch,
        made_with=made_with(),
    )
    return Assignment(subject, found, latents, plan)


def _check(subject: SubjectModel, tokens: int, length: int, bos: bool, batch: int, keep: Keep) -> None:
    """Raises UsageError for numbers that cannot be."""
    longest = min(subject.max_length, MAX_CONTEXT)
    if not 2 <= length <= longest:
        raise UsageError(f"A context of {length} tokens cannot be read.", f"{subject.name} takes 2 to {longest}.")
    if tokens < 1 or batch < 1 or keep.window < 1:
        raise UsageError("Tokens, batch and window are at least 1.", "Leave them out for the defaults.")
    if not 0 <= keep.skip < length - keep.window // 2:
        raise UsageError(f"{keep.skip} tokens of a context cannot be skipped.", "Skip 0 or 1.")
    if min(keep.top, keep.bottom, keep.band, keep.random) < 0:
        raise UsageError("A number of examples cannot be negative.", "0 keeps none.")
    if bos and subject.bos_id is None:
        raise UsageError(f"{subject.name} has no start token.", "Collect without it.")
