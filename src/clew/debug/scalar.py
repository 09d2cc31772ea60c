"""What is explained: a number read from the residual stream at some depth and positions.

D itself is read before the final norm; a traced node's pre-activation S (debug/trace.py) where the node reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models.anatomy import Anatomy, Depth
from .direction import Reading


class Scalar(Protocol):
    """A number read from the streams at `positions` (ascending) at `depth`."""

    @property
    def depth(self) -> Depth: ...

    @property
    def positions(self) -> Int[Tensor, " k"]: ...

    def value(self, streams: Float[Tensor, "n k d"]) -> Float[Tensor, " n"]:
        """The number on each of n streams; differentiable."""
        ...

    def directions(self, streams: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        """g, the direct effect of a unit written at each position: the gradient with the norm in front held."""
        ...

    def extras(self, streams: Float[Tensor, "k d"]) -> dict[str, float]:
        """What adds to the number besides what is written to the stream, by name."""
        ...


@dataclass(frozen=True)
class Final:
    """D, less the unembedding's bias, which no write moves."""

    anatomy: Anatomy
    reading: Reading
    position: int

    @property
    def depth(self) -> Depth:
        return self.anatomy.end

    @property
    def positions(self) -> Int[Tensor, " 1"]:
        return torch.tensor([self.position], device=self.reading.vector.device)

    def value(self, streams: Float[Tensor, "n 1 d"]) -> Float[Tensor, " n"]:
        hidden = self.anatomy.final_norm_module(streams[:, 0].to(self.anatomy.unembed.weight.dtype))
        if hidden.requires_grad:
            return hidden.float() @ self.reading.vector
        # Differences of it are reported, so what is not differentiated is summed in float64; mps has none.
        return hidden.cpu().double() @ self.reading.vector.cpu().double()

    def directions(self, streams: Float[Tensor, "1 d"]) -> Float[Tensor, "1 d"]:
        norm = self.anatomy.final_norm
        return norm.pull(self.reading.vector) * norm.scale(streams)

    def extras(self, streams: Float[Tensor, "1 d"]) -> dict[str, float]:
        return {}


Combine = Callable[[Float[Tensor, "n f m"]], Float[Tensor, " n"]]


@dataclass(frozen=True)
class Forms:
    """Affine functions of the stream, the norm in front held, and one number made of them.

    Form i reads the stream at positions[at[i]] and gives weight[i]ᵀ x + constant[i], m numbers; `combine` makes one of
    [n, f, m].
    """

    depth: Depth
    positions: Int[Tensor, " k"]
    at: Int[Tensor, " f"]
    weight: Float[Tensor, "f d m"]
    constant: Float[Tensor, "f m"]
    combine: Combine
    linear: bool

    def value(self, streams: Float[Tensor, "n k d"]) -> Float[Tensor, " n"]:
        return self.combine(self._forms(streams.float()))

    def directions(self, streams: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        with torch.enable_grad():
            leaf = streams.detach().float()[None].requires_grad_()
            (grad,) = torch.autograd.grad(self.value(leaf).sum(), leaf)
        return grad[0]

    def extras(self, streams: Float[Tensor, "k d"]) -> dict[str, float]:
        """`constant`: what the forms add themselves, to first order; `remainder`: what is left, if not linear."""
        with torch.enable_grad():
            forms = self._forms(streams.detach().float()[None]).requires_grad_()
            value = self.combine(forms).sum()
            (grad,) = torch.autograd.grad(value, forms)
        found = {"constant": float((grad[0] * self.constant).sum())}
        if self.linear:
            return found
        remainder = float(value.detach().cpu().double() - (grad * forms.detach()).cpu().double().sum())
        return found | {"remainder": remainder}

    def _forms(self, streams: Float[Tensor, "n k d"]) -> Float[Tensor, "n f m"]:
        return torch.einsum("nfd,fdm->nfm", streams[:, self.at], self.weight) + self.constant
