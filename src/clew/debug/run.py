"""A question asked of a model, and everything that can be read from its answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from jaxtyping import Int
from torch import Tensor

from ..errors import BadNode, UsageError
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node, parse
from ..settings import CANDIDATES, MAX_NODES, TOP, VERIFIED
from .answer import Answer, answer
from .detail import detail
from .direction import Reading
from .lens import lens
from .ranking import Selection
from .records import (
    Accounting,
    Candidate,
    Direction,
    LayerEffect,
    LayerPosition,
    Lens,
    NodeDetail,
    NodeEffect,
    Records,
    Timing,
    Token,
    TokenEffect,
    VocabToken,
)
from .verify import KINDS, Ablation, measure


class Run:
    """One prompt taken apart. Made by `Model.debug`; every method returns records (debug/records.py).

    The first pass has been run. Tables with other filters run another one; nothing the size of all activations is
    kept between them.
    """

    def __init__(
        self,
        subject: SubjectModel,
        ids: Int[Tensor, " t"],
        position: int,
        reading: Reading,
        selection: Selection,
        stop: Stop | None = None,
    ) -> None:
        self._subject = subject
        self._ids = ids
        self._position = position
        self._reading = reading
        self._selection = selection
        self._answer = answer(subject, ids, position, reading, selection, stop)
        self._verified: dict[str, NodeEffect] = {}
        self._verify_s: float | None = None
        self.direction = Direction(
            position,
            [self._vocab(i) for i in reading.targets],
            [self._vocab(i) for i in reading.distractors],
            reading.value(self._answer.logits),
        )

    def __repr__(self) -> str:
        names = [
            " ".join(repr(token.text) for token in side)
            for side in (self.direction.targets, self.direction.distractors)
        ]
        against = names[1] or "the mean logit"
        return f"Run({names[0]} against {against} at {self._position}: D = {self.direction.value:+.3g})"

    @property
    def tokens(self) -> Records[Token]:
        """The prompt as the model sees it."""
        return Records(Token(p, i, self._subject.text(i)) for p, i in enumerate(self._ids.tolist()))

    @property
    def timing(self) -> Timing:
        """Seconds spent on loading the model, on the first pass, on its table and on verifying."""
        return Timing(self._subject.load_s, self._answer.pass_s, self._answer.table_s, self._verify_s)

    def candidates(self, k: int = CANDIDATES) -> Records[Candidate]:
        """The k likeliest next tokens, then any target or distractor not among them; logits after any soft-cap."""
        logits = self._subject.anatomy.cap(self._answer.logits)
        logprobs = logits.log_softmax(-1)
        ids = logits.topk(min(k, len(logits))).indices.tolist()
        ids += [i for i in (*self._reading.targets, *self._reading.distractors) if i not in ids]
        ranks = (logits[None] > logits[ids][:, None]).sum(1).tolist()
        return Records(
            Candidate(i, self._subject.text(i), float(logits[i]), float(logprobs[i]), float(logprobs[i].exp()), rank)
            for i, rank in sorted(zip(ids, ranks, strict=True), key=lambda pair: pair[1])
        )

    def accounting(self) -> Accounting:
        """Direct effects by kind against D itself, read from the logits."""
        terms = self._answer.effects.terms()
        total = sum(terms.values())
        return Accounting(terms, total, self.direction.value, total - self.direction.value)

    def nodes(
        self,
        top: int = TOP,
        threshold: float | None = None,
        kinds: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        sources: Sequence[int] | None = None,
        stop: Stop | None = None,
    ) -> Records[NodeEffect]:
        """The node table: the union of the `top` nodes at either end of each metric, largest |direct effect| first.

        With `threshold`, instead every node with a direct or estimated effect of at least that size. Filters keep the
        nodes whose kind, layer, position or source is listed. Raises UsageError, TooManyNodes or Cancelled.
        """
        selection = Selection.of(top, threshold, kinds, layers, positions, sources)
        return self._with_verified(self._pass(selection, stop).nodes)

    def verify(
        self,
        top: int | None = None,
        nodes: Sequence[str | Node] | None = None,
        ablation: Ablation = "zero",
        renormalise: bool = False,
        other: Run | None = None,
        stop: Stop | None = None,
    ) -> Records[NodeEffect]:
        """Verified effects, D(as is) − D(node ablated), of `nodes` or of the `top` most promising ones (default 100).

        Most promising are the nodes with the largest direct or estimated effect of either sign. `ablation` sets what a
        node holds to `zero`, to its `mean` over the prompt's other positions, or to what it is at the same position of
        the prompt of `other` (`resample`). A pair's attention weight is zeroed, with `renormalise` so that the rest of
        its row sums to 1 again. Largest |verified effect| first. Zero ablations are remembered: `nodes` and `to_dict`
        show them from then on. Raises BadNode, UsageError or Cancelled.
        """
        batches = self.verifying(top, nodes, ablation, renormalise, other, stop)
        return _by_verified(row for batch in batches for row in batch)

    def verified(self) -> Records[NodeEffect]:
        """Every node whose zero ablation has been measured, largest |verified effect| first."""
        return _by_verified(self._verified.values())

    def verifying(
        self,
        top: int | None = None,
        nodes: Sequence[str | Node] | None = None,
        ablation: Ablation = "zero",
        renormalise: bool = False,
        other: Run | None = None,
        stop: Stop | None = None,
    ) -> Iterator[Records[NodeEffect]]:
        """`verify`, batch by batch as they are measured: most promising first, or in the order of `nodes`."""
        if top is not None and nodes is not None:
            raise UsageError("Both `top` and `nodes` say what to verify.", "Give one of them.")
        rows = self._promising(VERIFIED if top is None else top, stop) if nodes is None else self._rows(nodes, stop)
        table = {parse(row.id): row for row in rows}
        remembered = ablation == "zero" and not renormalise
        start = time.perf_counter()
        for found in measure(
            self._subject,
            self._ids,
            self._position,
            self._reading,
            list(table),
            ablation,
            renormalise,
            None if other is None else other._ids,
            stop,
        ):
            batch = Records(replace(table[node], verified_effect=effect) for node, effect in found.items())
            if remembered:
                self._verified.update((row.id, row) for row in batch)
            self._verify_s = time.perf_counter() - start
            yield batch

    def by_token(self) -> Records[TokenEffect]:
        """Estimated effects summed at each token."""
        return Records(self._answer.effects.by_token())

    def by_layer(self) -> Records[LayerEffect]:
        """The waterfall: its direct effects add up to D."""
        return Records(self._answer.effects.by_layer())

    def by_layer_position(self) -> LayerPosition:
        """Direct and estimated effects by layer and token."""
        return self._answer.effects.by_layer_position()

    def lens(self, stop: Stop | None = None) -> Lens:
        """The logit lens at every layer and token; runs one more forward pass."""
        return lens(self._subject, self._ids, self._reading, stop)

    def node(self, node: str | Node, stop: Stop | None = None) -> NodeDetail:
        """One node in detail. Raises BadNode for ids that this model or prompt does not have."""
        wanted = self._checked(parse(node) if isinstance(node, str) else node)
        row = self._rows([wanted], stop)[0]
        return detail(self._subject, self._ids, wanted, row, self._answer.final_scale, self._position)

    def to_dict(self, candidates: int = CANDIDATES) -> dict[str, Any]:
        """The document of `clew debug --json`: the nodes of the first pass, and any other that was verified."""
        anatomy = self._subject.anatomy
        nodes = self._with_verified(self._answer.nodes)
        listed = {row.id for row in nodes}
        nodes += [row for name, row in self._verified.items() if name not in listed]
        return {
            "model": {
                "name": self._subject.name,
                "family": self._subject.family,
                "n_layers": len(anatomy.layers),
                "n_heads": anatomy.n_heads,
                "n_neurons": anatomy.n_neurons,
                "d_model": anatomy.d_model,
            },
            "tokens": self.tokens.to_dict(),
            "direction": self.direction.to_dict(),
            "candidates": self.candidates(candidates).to_dict(),
            "accounting": self.accounting().to_dict(),
            "nodes": nodes.to_dict(),
            "timing": self.timing.to_dict(),
        }

    def _pass(self, selection: Selection, stop: Stop | None) -> Answer:
        if selection == self._selection:
            return self._answer
        return answer(self._subject, self._ids, self._position, self._reading, selection, stop)

    def _with_verified(self, rows: Sequence[NodeEffect]) -> Records[NodeEffect]:
        """The rows, with the verified effects measured so far."""
        return Records(self._verified.get(row.id, row) for row in rows)

    def _promising(self, top: int, stop: Stop | None) -> list[NodeEffect]:
        """The `top` nodes that can be ablated and have the largest direct or estimated effect."""
        if not 1 <= top <= MAX_NODES:
            raise UsageError(f"{top:,} is not a number of nodes to verify.", f"Take 1 to {MAX_NODES:,}.")
        table = self._pass(Selection.of(top, None, KINDS, None, None, None), stop).nodes
        return sorted(table, key=lambda row: -max(abs(row.direct_effect), abs(row.estimated_effect)))[:top]

    def _rows(self, nodes: Sequence[str | Node], stop: Stop | None) -> list[NodeEffect]:
        """The rows of these nodes, duplicates dropped. Raises BadNode for what this model or prompt does not have."""
        wanted = dict.fromkeys(self._checked(parse(node) if isinstance(node, str) else node) for node in nodes)
        found = {row.id: row for row in self._with_verified(self._answer.nodes)}
        missing = frozenset(node for node in wanted if str(node) not in found)
        if missing:
            only = Selection(top=0, kinds=tuple({node.kind for node in missing}), wanted=missing)
            found.update((row.id, row) for row in self._pass(only, stop).nodes)
        return [found[str(node)] for node in wanted]

    def _vocab(self, token: int) -> VocabToken:
        return VocabToken(token, self._subject.text(token))

    @cached_property
    def _sizes(self) -> dict[str, tuple[str, int]]:
        anatomy = self._subject.anatomy
        return {
            "layer": ("layers", len(anatomy.layers)),
            "position": ("tokens up to the one explained", self._position + 1),
            "attn": ("heads", anatomy.n_heads),
            "neuron": ("neurons a layer", anatomy.n_neurons),
        }

    def _checked(self, node: Node) -> Node:
        """Raises BadNode when the node is not one of this model and prompt."""
        limits = [("layer", node.layer), ("position", node.position), (node.kind, node.index)]
        for name, value in limits:
            if value is not None and name in self._sizes and value >= self._sizes[name][1]:
                what, size = self._sizes[name]
                raise BadNode(
                    f"{node} does not exist: there are {size} {what}.",
                    f"Counting starts at 0, so the last is {size - 1}.",
                )
        if node.kind in ("latent", "error"):
            raise BadNode(f"{node} belongs to a sparse autoencoder, and none is loaded.", "Use heads and neurons.")
        if node.kind == "direct":
            raise BadNode("direct is D itself, not a node that writes.", "Name a head, neuron, embedding or bias.")
        if node.kind in ("attn", "neuron") and node.position is None:
            raise BadNode(f"{node} is a component; a node runs at a position.", f"Write {node}@{self._position}.")
        if node.kind == "bias" and not self._has_bias(node):
            raise BadNode(f"This model has no {node}.", "Not every family has biases.")
        return node

    def _has_bias(self, node: Node) -> bool:
        anatomy = self._subject.anatomy
        if node.layer is None:
            return (anatomy.final_norm.bias if node.part == "final_norm" else anatomy.unembed.bias) is not None
        layer = anatomy.layers[node.layer]
        return (layer.attn_out if node.part == "attn" else layer.mlp_out).bias is not None


def _by_verified(rows: Iterable[NodeEffect]) -> Records[NodeEffect]:
    return Records(sorted(rows, key=lambda row: -abs(row.verified_effect or 0.0)))
