"""What components do on a prompt, read in one forward pass that goes no further than it has to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from ..errors import Cancelled
from ..models.anatomy import Anatomy, Depth, Layer
from ..models.attention import watching
from ..models.forward import forward
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node
from ..records import Token
from .heads import pair_values, write_norms
from .records import Histogram, OnPrompt

if TYPE_CHECKING:
    from .atlas import Atlas

Kind = Literal["attn", "neuron"]
Block = tuple[Kind, int]


@dataclass(frozen=True)
class Heads:
    """What the heads of one layer do on a prompt; `post_scale` is a post-norm's 1/σ, None without one."""

    layer: Layer
    pattern: Float[Tensor, "1 h t t"]
    value: Float[Tensor, "1 kv t dh"]
    mixed: Float[Tensor, "1 t h dh"]
    post_scale: Float[Tensor, "1 t 1"] | None

    def pairs(self) -> Float[Tensor, "h t t"]:
        """The norm of what each token receives from each."""
        return pair_values(self.layer, self.pattern, self.value, self.post_scale)[0]

    def writes(self) -> Float[Tensor, "h t"]:
        """The norm of what each head adds at each token."""
        return write_norms(self.layer, self.mixed, self.post_scale)[0].T


class Observer(Protocol):
    """Is shown what each block does, and keeps of it what it needs."""

    def heads(self, heads: Heads) -> None: ...
    def neurons(self, layer: int, activation: Float[Tensor, "n t"]) -> None: ...


@dataclass(frozen=True)
class Peaks:
    """The activation of every component of one block, float64, and where on the prompt it is."""

    kind: Kind
    layer: int
    activation: Float64[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]


def on_prompt(
    subject: SubjectModel, ids: Int[Tensor, " t"], node: Node, atlas: Atlas | None = None, stop: Stop | None = None
) -> OnPrompt:
    """What a head or neuron does on every token of a prompt. Raises NotFinite or Cancelled."""
    assert node.layer is not None and node.index is not None
    index, block = node.index, _block(node)
    tokens = [Token(position, i, subject.text(i)) for position, i in enumerate(ids.tolist())]
    if node.kind == "neuron":
        row = _Kept.of(subject, ids, block, stop).activation[index]
        values = subject.finite(row).tolist()
        z, below = _usual(atlas, node, values)
        return OnPrompt(str(node), tokens, values, None, None, None, None, z, below)
    heads = _Kept.of(subject, ids, block, stop).seen
    assert heads is not None
    pairs, writes = subject.finite(heads.pairs()[index]), heads.writes()[index].tolist()
    z, below = _usual(atlas, node, writes)
    return OnPrompt(
        id=str(node),
        tokens=tokens,
        activations=pairs.amax(1).tolist(),
        attended=pairs.amax(0).tolist(),
        writes=writes,
        pattern=_triangle(heads.pattern[0, index].float()),
        pairs=_triangle(pairs),
        z=z,
        below=below,
    )


def firings(
    subject: SubjectModel,
    ids: Int[Tensor, " t"],
    blocks: Collection[Block],
    position: int | None = None,
    skip: int = 0,
    stop: Stop | None = None,
) -> list[Peaks]:
    """The activation of every component of some blocks at one position; without one, at each one's own strongest.

    A head's activation is here the norm of its whole write. The first `skip` positions, if there are others, are no
    one's strongest. Raises NotFinite or Cancelled.
    """
    start = skip if len(ids) > skip else 0
    peaks = _Peaks(slice(start, None) if position is None else slice(position, position + 1))
    observe(subject, ids, blocks, peaks, stop)
    for found in peaks.found.values():
        subject.finite(torch.from_numpy(found.activation))
    return [peaks.found[block] for block in blocks]


def observe(
    subject: SubjectModel, ids: Int[Tensor, " t"], blocks: Collection[Block], observer: Observer, stop: Stop | None
) -> None:
    """Run the model up to the last of some blocks and show each to the observer. Raises Cancelled."""
    if not blocks:
        return
    reader = _Reader(subject.anatomy, blocks, observer, stop)
    with subject.lock, torch.no_grad(), reader.hooks(), watching(reader):
        forward(subject.anatomy, ids, Depth(max(layer for _, layer in blocks) + 1))


class _Reader:
    """Holds a layer's attention until the post-norm behind it, if there is one, has been given its input."""

    def __init__(self, anatomy: Anatomy, blocks: Collection[Block], observer: Observer, stop: Stop | None) -> None:
        self._layers = anatomy.layers
        self._blocks, self._observer, self._stop = blocks, observer, stop
        self._held: tuple[Tensor, Tensor, Tensor] | None = None

    @contextmanager
    def hooks(self) -> Iterator[None]:
        with ExitStack() as stack:
            for kind, index in self._blocks:
                layer = self._layers[index]
                module = layer.mlp_out_module if kind == "neuron" else layer.attn_post_module
                hook = self._neurons if kind == "neuron" else self._post
                if module is not None:
                    stack.callback(module.register_forward_pre_hook(partial(hook, layer)).remove)
            yield

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
    ) -> None:
        """AttentionWatcher."""
        if self._stop is not None and self._stop():
            raise Cancelled("The question was cancelled before it was answered.")
        if ("attn", layer) in self._blocks:
            if self._layers[layer].attn_post_module is None:
                self._observer.heads(Heads(self._layers[layer], pattern, value, mixed, None))
            else:
                self._held = pattern, value, mixed

    def _post(self, layer: Layer, module: nn.Module, args: tuple[Any, ...]) -> None:
        assert self._held is not None and layer.attn_post_norm is not None
        held, self._held = self._held, None
        self._observer.heads(Heads(layer, *held, layer.attn_post_norm.scale(args[0])))

    def _neurons(self, layer: Layer, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._observer.neurons(layer.index, args[0][0].float().T)


class _Kept:
    """Keeps one block as it is."""

    def __init__(self) -> None:
        self.seen: Heads | None = None
        self.activation: Float[Tensor, "n t"] = torch.empty(0, 0)

    @classmethod
    def of(cls, subject: SubjectModel, ids: Int[Tensor, " t"], block: Block, stop: Stop | None) -> _Kept:
        kept = cls()
        observe(subject, ids, [block], kept, stop)
        return kept

    def heads(self, heads: Heads) -> None:
        self.seen = heads

    def neurons(self, layer: int, activation: Float[Tensor, "n t"]) -> None:
        self.activation = activation


class _Peaks:
    """Keeps of each block the largest activation of every component among some positions."""

    def __init__(self, among: slice) -> None:
        self._among = among
        self.found: dict[Block, Peaks] = {}

    def heads(self, heads: Heads) -> None:
        self._keep("attn", heads.layer.index, heads.writes())

    def neurons(self, layer: int, activation: Float[Tensor, "n t"]) -> None:
        self._keep("neuron", layer, activation)

    def _keep(self, kind: Kind, layer: int, activation: Float[Tensor, "n t"]) -> None:
        best = activation[:, self._among].max(1)
        at = best.indices.cpu().numpy() + (self._among.start or 0)
        self.found[kind, layer] = Peaks(kind, layer, best.values.cpu().double().numpy(), at)


def _block(node: Node) -> Block:
    assert node.layer is not None and node.kind in ("attn", "neuron")
    return node.kind, node.layer


def _usual(atlas: Atlas | None, node: Node, values: Sequence[float]) -> tuple[list[float] | None, list[float] | None]:
    """Standard deviations above the mean, and the share of the corpus's tokens below, where the atlas can tell."""
    kind, layer = _block(node)
    summary = None if atlas is None else atlas.summary(kind, layer)
    if atlas is None or summary is None:
        return None, None
    mean, deviation = summary.mean[node.index], summary.deviation[node.index]
    z = ((np.asarray(values) - mean) / deviation).tolist() if deviation > 0 else None
    histogram = atlas.histogram(node)
    return z, None if histogram is None else share_below(histogram, values)


def share_below(histogram: Histogram, values: Sequence[float]) -> list[float]:
    """The share of tokens whose activation is smaller, as if those of a bin were spread evenly over it."""
    counted = np.concatenate([[0], np.cumsum(histogram.counts)])
    return np.interp(values, histogram.edges, counted / counted[-1]).tolist()


def _triangle(rows: Float[Tensor, "t t"]) -> list[list[float]]:
    return [row[: position + 1] for position, row in enumerate(rows.tolist())]
