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

from ..models.anatomy import Anatomy, Depth, Layer
from ..nodes import Site
from .direction import Reading


class Scalar(Protocol):
    """A number read from the streams at `positions` (ascending) at `depth`."""

    @property
    def depth(self) -> Depth: ...

    @property
    def positions(self) -> Int[Tensor, " k"]: ...

    @property
    def own(self) -> Site | None:
        """Where the stream is read as it is, and not through the latents of the autoencoder there: its own site."""
        ...

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
    def own(self) -> Site | None:
        return None

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
    own: Site | None = None

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


Change = Callable[[Float[Tensor, "n w"], Int[Tensor, " n"]], Float[Tensor, "n w"]]


@dataclass(frozen=True)
class ThroughMlp:
    """w·x + constant, where x is what a layer's MLP makes of the stream at one position: the scales of the norm in
    front, and of a post-norm, held; the neurons as they are.

    `weight` reads activations, or with `projected` what the MLP adds to the stream. `edits` are made to activations.
    """

    layer: Layer
    position: int
    weight: Float[Tensor, " w"]
    constant: float
    projected: bool
    scale: Float[Tensor, " 1"]
    post_scale: Float[Tensor, " 1"] | None
    edits: Change | None = None

    @property
    def own(self) -> Site | None:
        return None

    @property
    def depth(self) -> Depth:
        return self.layer.reads_mlp

    @property
    def positions(self) -> Int[Tensor, " 1"]:
        return torch.tensor([self.position], device=self.weight.device)

    def value(self, streams: Float[Tensor, "n 1 d"]) -> Float[Tensor, " n"]:
        layer, x, norm = self.layer, streams[:, 0].float(), self.layer.mlp_norm
        if norm is not None:
            x = norm.gain * norm.centre(x) * self.scale
            x = x if norm.bias is None else x + norm.bias
        reads = {}
        for name, (weight, bias) in layer.neuron_inputs.items():
            z = x @ weight.float().T
            reads[name] = z if bias is None else z + bias
        act = layer.act(reads["in"]) if layer.gate is None else layer.act(reads["gate"]) * reads["up"]
        if self.edits is not None:
            act = self.edits(act, self.positions.expand(len(act)))
        if self.projected:
            act = act @ layer.mlp_out.by_input.float()
            act = act if layer.mlp_out.bias is None else act + layer.mlp_out.bias
            if layer.mlp_post_norm is not None and self.post_scale is not None:
                act = layer.mlp_post_norm.gain * layer.mlp_post_norm.centre(act) * self.post_scale
        return act @ self.weight + self.constant

    def directions(self, streams: Float[Tensor, "1 d"]) -> Float[Tensor, "1 d"]:
        with torch.enable_grad():
            leaf = streams.detach().float()[None].requires_grad_()
            (grad,) = torch.autograd.grad(self.value(leaf).sum(), leaf)
        return grad[0]

    def extras(self, streams: Float[Tensor, "1 d"]) -> dict[str, float]:
        """`remainder`: all that is not linear in the stream, constants included."""
        whole = self.value(streams[None].float()).double()[0]
        return {"remainder": float(whole - (self.directions(streams) * streams.float()).double().sum())}
