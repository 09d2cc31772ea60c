"""A question asked of a model, and everything that can be read from its answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from jaxtyping import Int
from torch import Tensor

from ..errors import BadNode
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node, parse
from ..settings import CANDIDATES, TOP
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
        """Seconds spent on loading the model, on the first pass and on its table."""
        return Timing(self._subject.load_s, self._answer.pass_s, self._answer.table_s, None)

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
        return self._pass(selection, stop).nodes

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
        found = [row for row in self._answer.nodes if row.id == str(wanted)]
        if not found:
            only = Selection(top=0, kinds=(wanted.kind,), wanted=frozenset([wanted]))
            rows = self._pass(only, stop).nodes
            found = [row for row in rows if row.id == str(wanted)]
        return detail(self._subject, self._ids, wanted, found[0], self._answer.final_scale, self._position)

    def to_dict(self, candidates: int = CANDIDATES) -> dict[str, Any]:
        """The document of `clew debug --json`, with the nodes of the first pass."""
        anatomy = self._subject.anatomy
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
            "nodes": self._answer.nodes.to_dict(),
            "timing": self.timing.to_dict(),
        }

    def _pass(self, selection: Selection, stop: Stop | None) -> Answer:
        if selection == self._selection:
            return self._answer
        return answer(self._subject, self._ids, self._position, self._reading, selection, stop)

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
