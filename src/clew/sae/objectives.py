"""What each architecture wants of a batch: its loss, and the loss's gradient by every weight, written out by hand.

For tokens x (b × d_in), their targets y (b × d_out; x itself unless a transcoder), and weights as in autoencoder.py
with the encoder kept by rows (n × d_in):

    z = (x − b_pre) W_encᵀ + b_enc     f = act(z)     x̂ = b_dec + f W_dec (+ x W_skip)     e = x̂ − y

    relu, 2023   L = mean_b ‖e‖² + λ mean_b Σ_j f_j               Bricken et al. 2023; W_dec[j] of norm 1, b_pre = b_dec
    relu, 2024   L = mean_b ‖e‖² + λ mean_b Σ_j f_j ‖W_dec[j]‖    Anthropic, April 2024; W_dec free, no b_pre
    topk         L = Σ‖e‖²/Σ‖y − ȳ‖² + α L_aux                    Gao et al. 2024: f the k largest z of each token
    batchtopk    the same                                         Bussmann et al. 2024: f the k·b largest of the batch
    matryoshka   the same, the mean over nested dictionaries      Bussmann et al. 2025: the first m latents alone
    jumprelu     L = mean_b ‖e‖²/d + λ mean_b Σ_j H(z_j − θ_j)    Rajamanoharan et al. 2024: f = z·H(z − θ)

L_aux = Σ‖e + ê‖²/Σ‖y − ȳ‖², with ê what the d/2 largest z of dead latents decode to, asked to make up for the error;
e is held, and the gradient reaches decoder and encoder of the dead latents (Gao et al. 2024, A.2). Everything goes
through (b × n) and (n × d) arrays or through the pairs that fire (sparse.py), never through an autograd graph.

Where several ranks have a share of the tokens each (group.py), b, means and selections are those of the whole batch,
and every loss, count and gradient is this rank's part: their sums over the ranks are what one rank alone would have.

Where several ranks have a portion of the latents each (portion.py), every rank has all tokens, and x̂ is the sum of what
their latents decode to. Losses and gradients by b_dec, b_pre and W_skip are parts again, by a rank's share of the
tokens or by its latents; gradients by what belongs to a latent, and `fired`, are whole where the latent is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .group import ALONE, Group
from .portion import Portion
from .recipe import Recipe
from .sparse import (
    WORTHWHILE,
    Dense,
    Pairs,
    Sparse,
    above,
    among_largest,
    largest_of_all,
    largest_of_each,
    largest_of_ranks,
)

Weights = Mapping[str, Tensor]
"""w_enc (n × d_in), b_enc, w_dec (n × d_out), b_dec; where there are: b_pre, log_threshold, w_skip (d_in × d_out)."""


@dataclass(frozen=True)
class Outcome:
    """What a batch gave. `error` is x̂ − y of the tokens that are this rank's part; `fired` counts tokens; `least` is
    the least activation of the whole batch where all of it was chosen from, else None."""

    loss: Float[Tensor, ""]
    reconstruction: Float[Tensor, ""]
    sparsity: Float[Tensor, ""]
    auxiliary: Float[Tensor, ""]
    error: Float[Tensor, "b d_out"]
    fired: Float[Tensor, " n"]
    gradients: dict[str, Tensor]
    least: Float[Tensor, ""] | None = None


@dataclass(frozen=True)
class Batch:
    """Tokens with their targets; the weight λ of sparsity now; the dead latents, if any are to be revived.

    They are this rank's of `whole` tokens that the group has together, or all there are.
    """

    x: Float[Tensor, "b d_in"]
    y: Float[Tensor, "b d_out"]
    penalty: float = 0.0
    dead: Int[Tensor, " m"] | None = None
    whole: int | None = None
    group: Group = ALONE

    @property
    def size(self) -> int:
        """Tokens of the whole batch."""
        return len(self.x) if self.whole is None else self.whole

    @cached_property
    def variance(self) -> Float[Tensor, ""]:
        """Σ‖y − ȳ‖² over the whole batch; all ranks have to ask."""
        mean = self.y.sum(0)
        self.group.sum_([mean])
        mean /= self.size
        squares = (self.y - mean).square().sum()
        self.group.sum_([squares])
        return squares


class Workspace:
    """Arrays that every step needs anew, made once: fresh ones of this size cost a page fault every 4 kB."""

    def __init__(self) -> None:
        self._arrays: dict[str, Tensor] = {}

    def array(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """An uninitialised array; the one of this name given before is overwritten."""
        size = math.prod(shape)
        have = self._arrays.get(name)
        if have is None or have.numel() < size or have.dtype != like.dtype:
            have = self._arrays[name] = like.new_empty(size)
        return have[:size].view(*shape)


class Objective(ABC):
    """One architecture's, for the latents of a portion. `centre` names the weight that is subtracted from x; `unit`
    says W_dec's rows have norm 1."""

    centre: Literal["b_dec", "b_pre"] | None
    unit: bool = True

    def __init__(self, recipe: Recipe, portion: Portion) -> None:
        self.recipe, self.portion = recipe, portion
        self.centre = "b_dec" if recipe.writes is None else "b_pre"
        self.space = Workspace()

    @abstractmethod
    def outcome(self, weights: Weights, batch: Batch) -> Outcome:
        """Loss and gradients of a batch."""

    def centred(self, weights: Weights, x: Float[Tensor, "b d_in"]) -> Float[Tensor, "b d_in"]:
        return x if self.centre is None else x - weights[self.centre]

    def pre_activations(self, weights: Weights, centred: Float[Tensor, "b d_in"]) -> Float[Tensor, "b n"]:
        """z, in an array that the next call overwrites."""
        n = len(weights["b_enc"])
        return torch.addmm(
            weights["b_enc"], centred, weights["w_enc"].T, out=self.space.array("z", (len(centred), n), centred)
        )

    def reconstructed(self, weights: Weights, batch: Batch, pairs: Pairs, f: Tensor) -> Float[Tensor, "b d_out"]:
        decoded = pairs.decode(f, weights["w_dec"])
        self.portion.group.sum_([decoded])
        return self._offset(weights, batch, decoded)

    def part(self, rows: Tensor) -> Tensor:
        """Of one row a token, those that this rank counts."""
        return rows[self.portion.tokens(len(rows))]

    def _offset(self, weights: Weights, batch: Batch, decoded: Float[Tensor, "b d_out"]) -> Float[Tensor, "b d_out"]:
        """x̂ from what the latents decode to, in place."""
        decoded += weights["b_dec"]
        return decoded.addmm_(batch.x, weights["w_skip"]) if "w_skip" in weights else decoded

    def decoder_gradient(self, weights: Weights, pairs: Pairs, f: Tensor, g: Tensor) -> Float[Tensor, "n d_out"]:
        return pairs.push(f, g, self.space.array("w_dec", weights["w_dec"].shape, g))

    def gradients(
        self, weights: Weights, batch: Batch, centred: Tensor, pairs: Pairs, d_dec: Tensor, dz: Tensor, g: Tensor
    ) -> dict[str, Tensor]:
        """By every weight, from those by W_dec, by z on the pairs, and by the bias, token for token."""
        found = {
            "w_dec": d_dec,
            "w_enc": pairs.push(dz, centred, self.space.array("w_enc", weights["w_enc"].shape, g)),
            "b_enc": pairs.totals(dz),
            "b_dec": self.part(g).sum(0),
        }
        if "w_skip" in weights:
            found["w_skip"] = self.part(batch.x).T @ self.part(g)
        return found

    def through_centre(self, weights: Weights, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """The gradients with what reaches the bias subtracted from x: −W_encᵀ Σ_b dz."""
        if self.centre is not None:
            back = found["b_enc"] @ weights["w_enc"]
            found[self.centre] = found[self.centre] - back if self.centre in found else -back
        return found


class Relu(Objective):
    """Every positive z fires; their sum is kept small."""

    def __init__(self, recipe: Recipe, portion: Portion) -> None:
        super().__init__(recipe, portion)
        if recipe.loss == "2024":
            self.centre, self.unit = None, False

    def outcome(self, weights: Weights, batch: Batch) -> Outcome:
        b, n = batch.size, len(weights["b_enc"])
        centred = self.centred(weights, batch.x)
        fs = self.pre_activations(weights, centred).relu_()
        spare = self.space.array("spare", fs.shape, fs)
        fired = torch.sign(fs, out=spare).sum(0)
        if fired.sum() < WORTHWHILE * fs.numel():
            pairs, f = above(fs, 0.0)
        else:
            pairs, f = Dense(n, spare, fs), fs
        totals = pairs.totals(f)
        error = self.reconstructed(weights, batch, pairs, f).sub_(batch.y)
        g = error * (2 / b)
        lengths = None if self.unit else _lengths(weights["w_dec"])
        price = torch.full_like(totals, batch.penalty / b) if lengths is None else lengths * (batch.penalty / b)
        dz = pairs.pull(g, weights["w_dec"], price)
        d_dec = self.decoder_gradient(weights, pairs, f, g)
        found = self.gradients(weights, batch, centred, pairs, d_dec, dz, g)
        if lengths is not None:
            found["w_dec"].addcmul_(weights["w_dec"], (totals * (batch.penalty / b) / lengths)[:, None])
        error = self.part(error)
        reconstruction, sparsity = error.square().sum() / b, totals @ price
        return Outcome(
            reconstruction + sparsity,
            reconstruction,
            sparsity,
            torch.zeros_like(sparsity),
            error,
            fired,
            self.through_centre(weights, found),
        )

    def losses(self, weights: Weights, batch: Batch) -> Float[Tensor, " b"]:
        """Each token's own loss."""
        fs = self.pre_activations(weights, self.centred(weights, batch.x)).relu_()
        error = self.reconstructed(weights, batch, Dense(fs.shape[1]), fs) - batch.y
        price = torch.ones_like(weights["b_enc"]) if self.unit else _lengths(weights["w_dec"])
        sizes = fs @ price
        self.portion.group.sum_([sizes])
        return error.square().sum(1) + batch.penalty * sizes


class JumpRelu(Objective):
    """Every z above its latent's threshold fires; their number is kept small.

    The thresholds are learnt straight through the jumps: H′ is taken to be a rectangle of width ε around them. ε is
    the recipe's bandwidth, in units of the root mean square norm of x.
    """

    def __init__(self, recipe: Recipe, portion: Portion) -> None:
        super().__init__(recipe, portion)
        self.centre = None

    def outcome(self, weights: Weights, batch: Batch) -> Outcome:
        b, d, n = batch.size, batch.y.shape[1], len(weights["b_enc"])
        width = self.recipe.bandwidth * batch.x.shape[1] ** 0.5
        threshold = weights["log_threshold"].exp()
        z = self.pre_activations(weights, batch.x)
        floor = threshold - width / 2
        pairs: Pairs
        spare = torch.sub(z, floor, out=self.space.array("spare", z.shape, z)).sign_()
        if (spare.sum() / max(1, z.numel()) + 1) / 2 < WORTHWHILE:
            pairs, zs = above(z, floor)
        else:
            pairs, zs = Dense(n, spare), z
        over = zs - pairs.spread(threshold)
        active = (over > 0).to(z.dtype)
        f = zs * active
        fired = pairs.totals(active)
        error = self.reconstructed(weights, batch, pairs, f).sub_(batch.y)
        g = error * (2 / (b * d))
        pulled = pairs.pull(g, weights["w_dec"], None)
        edge = (over.abs_() < width / 2).to(z.dtype).mul_(pulled * pairs.spread(threshold) + batch.penalty / b)
        d_dec = self.decoder_gradient(weights, pairs, f, g)
        found = self.gradients(weights, batch, batch.x, pairs, d_dec, pulled.mul_(active), g)
        found["log_threshold"] = pairs.totals(edge) * (-threshold / width)
        error = self.part(error)
        reconstruction, sparsity = error.square().sum() / (b * d), fired.sum() * (batch.penalty / b)
        return Outcome(
            reconstruction + sparsity, reconstruction, sparsity, torch.zeros_like(sparsity), error, fired, found
        )


class TopK(Objective):
    """The k largest z of each token fire, if positive."""

    def fire(
        self, z: Float[Tensor, "b n"], batch: Batch
    ) -> tuple[Sparse, Float[Tensor, " m"], Float[Tensor, ""] | None]:
        """The pairs chosen with their activations, and the least of all where they were chosen from the whole batch."""
        k, n = self.recipe.k, z.shape[1]
        pairs, f = largest_of_each(z, min(k, n))
        if not self.portion.is_whole:
            keep = among_largest(f.view(len(z), -1), k, self.portion.group).view(-1)
            pairs, f = pairs.only(keep), f[keep]
        return pairs, f.relu_(), None

    def outcome(self, weights: Weights, batch: Batch) -> Outcome:
        centred = self.centred(weights, batch.x)
        z = self.pre_activations(weights, centred)
        pairs, f, least = self.fire(z, batch)
        active = (f > 0).to(f.dtype)
        variance = torch.where(batch.variance > 0, batch.variance, 1.0)  # a batch of one token, or of equal ones
        error, reconstruction, g, df, d_dec = self._reconstruction(weights, batch, pairs, f, variance)
        found = self.gradients(weights, batch, centred, pairs, d_dec, df.mul_(active), g)
        auxiliary = torch.zeros_like(reconstruction)
        # Where latents lie with several ranks, whether any of theirs is dead has to be asked.
        dead = 0 if batch.dead is None else sum(self.portion.counts(len(batch.dead)))
        if batch.dead is not None and dead:
            auxiliary = self._revive(weights, batch.dead, dead, z, centred, error, variance, found)
        return Outcome(
            reconstruction + auxiliary,
            reconstruction,
            torch.zeros_like(reconstruction),
            auxiliary,
            self.part(error),
            pairs.totals(active),
            self.through_centre(weights, found),
            least,
        )

    def _reconstruction(
        self, weights: Weights, batch: Batch, pairs: Sparse, f: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x̂ − y and its loss, with the loss's gradients: by the bias, token for token, by f and by W_dec."""
        error = self.reconstructed(weights, batch, pairs, f).sub_(batch.y)
        g = error * (2 / variance)
        df, d_dec = pairs.pull(g, weights["w_dec"]), self.decoder_gradient(weights, pairs, f, g)
        return error, self.part(error).square().sum() / variance, g, df, d_dec

    def _revive(
        self,
        weights: Weights,
        dead: Int[Tensor, " m"],
        of_all: int,
        z: Float[Tensor, "b n"],
        centred: Float[Tensor, "b d_in"],
        error: Float[Tensor, "b d_out"],
        variance: Tensor,
        found: dict[str, Tensor],
    ) -> Tensor:
        """The auxiliary loss of the dead latents of this rank, which are some `of_all`; its gradients are added to
        those found."""
        limit = max(1, error.shape[1] // 2)
        best = z[:, dead].topk(min(limit, len(dead)), dim=1, sorted=False)
        revived = best.values.relu_()
        if limit < of_all and not self.portion.is_whole:
            revived *= among_largest(revived, limit, self.portion.group)
        values = z.new_zeros(len(z), len(dead)).scatter_(1, best.indices, revived)
        pairs: Pairs
        if revived.shape[1] < WORTHWHILE * len(dead):
            pairs, f = above(values, 0.0)
        else:
            pairs, f = Dense(len(dead), None, values), values
        w_dec = weights["w_dec"][dead]
        missing = pairs.decode(f, w_dec)
        self.portion.group.sum_([missing])
        missing += error
        share = self.recipe.auxiliary / variance
        g = missing * (2 * share)
        dz = pairs.pull(g, w_dec, None)
        found["w_dec"].index_add_(0, dead, pairs.push(f, g))
        found["w_enc"].index_add_(0, dead, pairs.push(dz, centred))
        found["b_enc"].index_add_(0, dead, pairs.totals(dz))
        return self.part(missing).square().sum() * share


class BatchTopK(TopK):
    """The k·b largest z of the batch fire, if positive."""

    def fire(
        self, z: Float[Tensor, "b n"], batch: Batch
    ) -> tuple[Sparse, Float[Tensor, " m"], Float[Tensor, ""] | None]:
        """See `TopK`."""
        count = self.recipe.k * batch.size
        pairs, f = largest_of_all(z, count)
        group = batch.group if self.portion.is_whole else self.portion.group
        if group.size > 1:
            pairs, f, least = largest_of_ranks(pairs, f, count, group)
        else:
            least = f
        return pairs, f, least.min() if len(least) else None


class Matryoshka(BatchTopK):
    """The same; the first latents alone must reconstruct too, for several sizes of "first"."""

    def _reconstruction(
        self, weights: Weights, batch: Batch, pairs: Sparse, f: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        w_dec, low = weights["w_dec"], self.portion.low
        # From each shell those latents that are here, by their numbers here.
        shells = [
            tuple(min(max(edge - low, 0), len(w_dec)) for edge in shell)
            for shell in _shells(self.recipe.nested, self.portion.whole)
        ]
        inner = [(start, stop, *pairs.within(start, stop)) for start, stop in shells]
        decoded = [
            part.decode(f[at], w_dec[start:stop]) if stop > start else torch.zeros_like(batch.y)
            for start, stop, part, at in inner
        ]
        self.portion.group.sum_(decoded)
        error = self._offset(weights, batch, torch.zeros_like(batch.y)).sub_(batch.y)
        errors: list[Tensor] = []
        for written in decoded:
            error = error + written
            errors.append(error)
        share = 1 / (len(shells) * variance)
        # A latent of a shell is in the dictionaries of that shell and of all around it.
        g = torch.zeros_like(error)
        df, d_dec = torch.empty_like(f), torch.empty_like(w_dec)
        for (start, stop, part, at), off in zip(reversed(inner), reversed(errors), strict=True):
            g = g + off * (2 * share)
            if stop > start:
                df[at] = part.pull(g, w_dec[start:stop])
                d_dec[start:stop] = part.push(f[at], g)
        loss = torch.stack([self.part(off).square().sum() for off in errors]).sum() * share
        return error, loss, g, df, d_dec


def _lengths(w_dec: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """‖W_dec[j]‖, never 0: it is divided by."""
    return w_dec.norm(dim=1).clamp_min_(torch.finfo(w_dec.dtype).tiny)


def _shells(nested: tuple[float, ...], n: int) -> Iterator[tuple[int, int]]:
    """The latents that each nested dictionary adds to the one within it: from, to before."""
    low = 0
    for share in sorted(nested):
        high = max(low, round(share * n))
        if high > low:
            yield low, high
        low = high


def objective_of(recipe: Recipe, portion: Portion | None = None) -> Objective:
    """The objective of a recipe: of all latents, if not of a portion."""
    kinds: dict[str, type[Objective]] = {
        "relu": Relu, "topk": TopK, "batchtopk": BatchTopK, "jumprelu": JumpRelu, "matryoshka": Matryoshka,
    }  # fmt: skip
    return kinds[recipe.architecture](recipe, Portion(recipe.latents) if portion is None else portion)
