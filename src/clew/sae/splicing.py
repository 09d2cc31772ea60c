"""What a model loses when a site is replaced: by a reconstruction, by a mean, by nothing.

The site is replaced at every position of a context from `first` on; what comes before stays as it is. Losses are of the
tokens predicted at those positions, the last one excepted, whose next token is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import WrongAutoencoder
from ..models.forward import forward_batch
from ..models.sites import See, tap
from ..models.subject import SubjectModel
from .autoencoder import Autoencoder, check_fits

CLEAN, SPLICED, MEAN, ZERO, KL = "clean", "spliced", "mean", "zero", "kl"

_AT_ONCE = 2**25  # logits held at once: 128 MiB in float32


@torch.no_grad()
def losses(
    subject: SubjectModel,
    autoencoder: Autoencoder,
    ids: Int[Tensor, "b t"],
    first: int,
    mean: Float[Tensor, " d_out"] | None = None,
) -> dict[str, Float[Tensor, "b p"]]:
    """Next-token losses in nats at positions first…t−2 of some contexts, in float64 on the CPU: `clean`, `spliced` and
    `zero`, `mean` if one is given, and `kl`, KL(clean ‖ spliced) of the next token's distribution.

    Takes the subject's lock. Raises NotFinite.
    """
    fills: dict[str, Float[Tensor, " d_out"]] = {ZERO: torch.zeros(autoencoder.d_out)}
    if mean is not None:
        fills[MEAN] = mean
    with subject.lock:
        ids = ids.to(subject.device)
        streams = {CLEAN: forward_batch(subject.anatomy, ids), SPLICED: _spliced(subject, autoencoder, ids, first)}
        for name, fill in fills.items():
            with tap(subject.anatomy, autoencoder.writes, _filling(fill, first)):
                streams[name] = forward_batch(subject.anatomy, ids)
        return _losses(subject, {name: stream[:, first:-1] for name, stream in streams.items()}, ids[:, first + 1 :])


def recovered(clean: float, spliced: float, zero: float) -> float | None:
    """The share of the loss that zero-ablation costs which a reconstruction saves; None when it costs nothing."""
    return (zero - spliced) / (zero - clean) if zero > clean else None


def ce_recovered(
    subject: SubjectModel, autoencoder: Autoencoder, ids: Int[Tensor, "b t"], first: int = 1
) -> float | None:
    """(CE_zero − CE_spliced) / (CE_zero − CE_clean) over some contexts: 1 when nothing is lost, 0 when all is.

    None when putting zero in the site's place costs nothing. Takes the subject's lock. Raises WrongAutoencoder, BadSite
    or NotFinite.
    """
    check_fits(autoencoder, subject.anatomy, subject.name)
    found = losses(subject, autoencoder.to(subject.device), ids, first)
    return recovered(float(found[CLEAN].mean()), float(found[SPLICED].mean()), float(found[ZERO].mean()))


def _spliced(
    subject: SubjectModel, autoencoder: Autoencoder, ids: Int[Tensor, "b t"], first: int
) -> Float[Tensor, "b t d"]:
    """The final residual stream with the reconstruction in the site's place."""
    given: list[Tensor] = []

    def read(x: Tensor) -> None:
        given.append(x)

    def write(y: Tensor) -> Tensor:
        if autoencoder.is_transcoder and not given:
            raise WrongAutoencoder(
                f"{autoencoder.writes} is computed before {autoencoder.reads}, which {autoencoder.name} reads.",
                "A transcoder writes what comes later.",
            )
        x = given[0] if given else y
        return torch.cat((y[:, :first], autoencoder(x[:, first:]).to(y.dtype)), 1)

    with ExitStack() as stack:
        if autoencoder.is_transcoder:
            stack.enter_context(tap(subject.anatomy, autoencoder.reads, read))
        stack.enter_context(tap(subject.anatomy, autoencoder.writes, write))
        return forward_batch(subject.anatomy, ids)


def _filling(fill: Float[Tensor, " d"], first: int) -> See:
    def see(y: Tensor) -> Tensor:
        y = y.clone()
        y[:, first:] = fill.to(y)
        return y

    return see


def _losses(
    subject: SubjectModel, streams: Mapping[str, Float[Tensor, "b p d"]], following: Int[Tensor, "b p"]
) -> dict[str, Float[Tensor, "b p"]]:
    anatomy, shape = subject.anatomy, following.shape
    rows = max(1, _AT_ONCE // anatomy.unembed.weight.shape[0])
    found: dict[str, list[Tensor]] = {name: [] for name in (*streams, KL)}
    following = following.reshape(-1)
    flat = {name: stream.reshape(-1, stream.shape[-1]) for name, stream in streams.items()}
    for start in range(0, len(following), rows):
        at = slice(start, start + rows)
        clean = torch.empty(0)
        for name in (CLEAN, *(name for name in streams if name != CLEAN)):
            logits = anatomy.cap(anatomy.unembed(anatomy.final_norm_module(flat[name][at])))
            logs = subject.finite(logits.float()).log_softmax(-1)
            found[name].append(-logs.gather(1, following[at, None])[:, 0].cpu().double())
            if name == CLEAN:
                clean = logs
            elif name == SPLICED:
                found[KL].append((clean.exp() * (clean - logs)).sum(-1).cpu().double())
    return {name: torch.cat(parts).reshape(shape) for name, parts in found.items()}
