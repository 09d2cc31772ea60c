"""A question asked of a model, and everything that can be read from its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..edits import Edit, parse_edit
from ..errors import BadEdit, BadNode, UsageError
from ..models.subject import SubjectModel
from ..models.tape import Stop
from ..nodes import Node, parse
from ..records import Batch, Records, Token, VocabToken
from ..settings import CANDIDATES, GENERATED, MAX_STEPS, TOP, VERIFIED
from .agreement import agreement
from .align import Alignment, align, checked
from .answer import Answer, answer
from .candidates import candidates
from .case import Case, Second, check_edits
from .compare import compare, counterpart_step
from .detail import detail
from .direction import Reading
from .editing import Editable
from .generate import generate
from .lens import lens
from .pattern import pattern
from .ranking import Selection
from .records import (
    Accounting,
    Agreement,
    Candidate,
    Comparison,
    Direction,
    GeneratedToken,
    LayerEffect,
    LayerPosition,
    Lens,
    NodeDetail,
    NodeEffect,
    Pattern,
    SweepCell,
    Timing,
    TokenEffect,
    TraceStep,
)
from .scalar import Final, Scalar
from .sweep import SWEPT, places, sweep
from .trace import Step, parse_step, step_of, traced
from .upstream import checked_node
from .verification import Verification, by_verified
from .verify import Ablation


class Run(Editable):
    """One prompt taken apart. Made by `Model.debug`; every method returns records (debug/records.py).

    A run is a question and never changes: `edit`, `ablate`, `patch` and their like give another run with one more edit
    on its stack, `trace` one that explains what a node reads. Neither computes anything until it is asked. Nothing the
    size of all activations is kept between tables.
    """

    def __init__(
        self,
        case: Case,
        reading: Reading,
        selection: Selection,
        steps: tuple[Step, ...] = (),
        parent: Run | None = None,
        unedited: Run | None = None,
    ) -> None:
        self._case = case
        self._reading = reading
        self._selection = selection
        self._steps = steps
        self._parent = parent
        self._unedited = unedited
        self._lazy_answer: Answer | None = None
        self._lazy_scalar: Scalar | None = None
        self._verification = Verification(case, self._rows, self._sparse, self.reaches)

    def __repr__(self) -> str:
        targets = " ".join(repr(self._subject.text(i)) for i in self._reading.targets)
        distractors = " ".join(repr(self._subject.text(i)) for i in self._reading.distractors)
        text = f"{targets} against {distractors or 'the mean logit'} at {self._case.position}"
        text += f", {', '.join(self.edits)}" if self.edits else ""
        text += "".join(f" › {step}" for step in self._steps)
        return f"Run({text}: {'S' if self._steps else 'D'} = {self.value:+.3g})"

    @property
    def tokens(self) -> Records[Token]:
        """The prompt as the model sees it."""
        return Records(Token(p, i, self._subject.text(i)) for p, i in enumerate(self._case.ids.tolist()))

    @property
    def prompt(self) -> str:
        """The prompt as text, with its start token where the model sees one."""
        return self._subject.decode(self._case.ids.tolist())

    @property
    def edits(self) -> list[str]:
        """The stack of edits, in the order in which they are made."""
        return [str(edit) for edit in self._case.edits]

    @property
    def autoencoders(self) -> list[str]:
        """The autoencoders whose latents stand in place of heads, neurons or the stream, by name."""
        return [made.autoencoder.name for made in self._case.dictionaries.values()]

    @property
    def steps(self) -> Records[TraceStep]:
        """The trace so far, each step with its value; empty when D itself is explained."""
        before = Records[TraceStep]() if self._parent is None else self._parent.steps
        if self._steps:
            step = self._steps[-1]
            before.append(TraceStep(str(step.node), step.through, self.value))
        return before

    @property
    def value(self) -> float:
        """What is explained: D, or the S of the last step of a trace."""
        return self._answer().value

    @property
    def direction(self) -> Direction:
        """D, also in a trace."""
        targets, distractors = (
            [self._vocab(i) for i in side] for side in (self._reading.targets, self._reading.distractors)
        )
        return Direction(self._case.position, targets, distractors, self._root.value)

    @property
    def timing(self) -> Timing:
        """Seconds spent on loading the model, on the first pass, on its table and on verifying."""
        found = self._answer()
        return Timing(self._subject.load_s, found.pass_s, found.table_s, self._verification.seconds)

    def candidates(self, k: int = CANDIDATES, also: Sequence[int] = ()) -> Records[Candidate]:
        """The k likeliest next tokens, then any target, distractor or token of `also` not among them.

        Logits are after any soft-cap.
        """
        logits = self._root._answer().logits
        assert logits is not None
        always = (*self._reading.targets, *self._reading.distractors, *also)
        return candidates(self._subject, logits, k, always)

    def accounting(self) -> Accounting:
        """Direct effects by kind against what is explained itself, read from the model."""
        terms = self._answer().effects.terms()
        total = sum(terms.values())
        return Accounting(terms, total, self.value, total - self.value)

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
        return self._verification.filled(self._pass(selection, stop).nodes)

    def edit(
        self,
        *edits: str | Edit,
        second: Run | None = None,
        alignment: Sequence[int | None] | None = None,
    ) -> Run:
        """This run with more edits on its stack, such as "zero:attn.23.3@13" (clew.edits has the grammar).

        `patch` takes its values from the prompt of `second`, token by token as `alignment` pairs them (default: by
        their tokens). Raises BadEdit or UsageError.
        """
        if self._steps:
            raise UsageError("A trace is of one forward pass, and an edit makes another.", "Edit first, then trace.")
        more = tuple(parse_edit(edit) if isinstance(edit, str) else edit for edit in edits)
        pair = self._case.second if second is None else self._second(second, alignment)
        mine = self._case.second
        if pair is not mine and mine is not None and any(edit.op == "patch" for edit in self._case.edits):
            same = mine.ids.tolist() == pair.ids.tolist() and mine.alignment == pair.alignment if pair else False
            if not same:
                raise BadEdit(
                    "A stack of edits patches from one second prompt only.", "Put these edits on another stack."
                )
        stack = (*self._case.edits, *more)
        check_edits(self._case, stack, pair)
        case = replace(self._case, edits=stack, second=pair)
        return Run(case, self._reading, self._selection, unedited=self.unedited)

    @property
    def unedited(self) -> Run:
        """The same question as the model is."""
        return self if self._unedited is None else self._unedited

    def compare(
        self,
        other: Run | None = None,
        alignment: Sequence[int | None] | None = None,
        stop: Stop | None = None,
        **filters: Any,
    ) -> Comparison:
        """This run beside another: candidates, value and node table with differences.

        Without `other`, the model as it is on the left and this run's edits on the right; with it this run on the left
        and the other one, traced alike, on the right.
        `filters` are those of `nodes`. Raises what `nodes` raises.
        """
        if other is not None:
            self._same_tokens(other)
            beside = self.alongside(other, alignment)
            return compare(self, beside, self.alignment(other, alignment), filters, stop)
        plain = self.unedited
        for step in self._steps:
            plain = plain.trace(step.node, step.through)
        return compare(plain, self, list(range(len(self._case.ids))), filters, stop)

    def alongside(self, other: Run, alignment: Sequence[int | None] | None = None) -> Run:
        """Another prompt's run, traced as this one is, at the aligned positions; itself where it is traced already.

        Raises BadNode where a traced token has no counterpart, UsageError where only the other run is a trace.
        """
        if len(self._steps) == len(other._steps):
            return other
        if other._steps:
            raise UsageError("The other run explains another number than this one.", "Trace both, or this one alone.")
        pairs = self.alignment(other, alignment)
        for step in self._steps:
            other = other.trace(counterpart_step(str(step), pairs))
        return other

    def alignment(self, other: Run, alignment: Sequence[int | None] | None = None) -> Alignment:
        """The counterpart of each token in another run's prompt: as given, or by their tokens. Raises UsageError."""
        mine, theirs = self._case.ids.tolist(), other._case.ids.tolist()
        return align(mine, theirs) if alignment is None else checked(alignment, len(mine), len(theirs))

    def trace(self, node: str | Node, through: str | None = None) -> Run:
        """A run that explains what a node reads: its pre-activation S in place of D (debug/trace.py).

        `through` is q, k, both or v for a pair, v for a whole head, both, gate or up for a gated neuron and in for
        another; by default its whole pre-activation. "NODE:THROUGH" says both at once. v is taken of what this run
        explains. A latent's is its encoder's. Raises BadNode.
        """
        if len(self._steps) >= MAX_STEPS:
            raise UsageError(f"A trace has at most {MAX_STEPS} steps.", "Start another from a node on the way.")
        anatomy = self._subject.anatomy
        if isinstance(node, str):
            step = parse_step(anatomy, node) if through is None else step_of(anatomy, parse(node), through)
        else:
            step = step_of(anatomy, node, through)
        # Anything the model ran can be traced, whatever is explained now; only v depends on what is.
        checked_node(self._case, None if step.through != "v" else self._scalar(), step.node)
        return Run(self._case, self._reading, self._selection, (*self._steps, step), self, self._unedited)

    def verify(
        self,
        top: int | None = None,
        nodes: Sequence[str | Node] | None = None,
        ablation: Ablation = "zero",
        renormalise: bool = False,
        other: Run | None = None,
        alignment: Sequence[int | None] | None = None,
        stop: Stop | None = None,
    ) -> Records[NodeEffect]:
        """Verified effects, D(as is) − D(node ablated), of `nodes` or of the `top` most promising ones (default 100).

        Most promising are the heads, neurons and embeddings with the largest effect by the best estimate there is
        (debug/estimators.py: `refined`), and latents and errors by act×grad; a pair is part of its head, and verified
        when named. `ablation` sets what a node holds to `zero`, to its `mean` over the prompt's other positions, or to
        what it is at the aligned position of the prompt of `other` (`resample`). A pair's attention weight is zeroed,
        with `renormalise` so that the rest of its row sums to 1 again. Largest |verified effect| first. Zero ablations
        are remembered: `nodes` and `to_dict` show them from then on. In a trace D is its S. Raises BadNode, UsageError
        or Cancelled.
        """
        batches = self.verifying(top, nodes, ablation, renormalise, other, alignment, stop)
        return by_verified(row for batch in batches for row in batch)

    def verified(self) -> Records[NodeEffect]:
        """Every node whose zero ablation has been measured, largest |verified effect| first."""
        return self._verification.rows()

    def agreement(self) -> Agreement:
        """How far estimated and verified effects agree over the nodes of `verified`."""
        return agreement(self._verification.rows())

    def verifying(
        self,
        top: int | None = None,
        nodes: Sequence[str | Node] | None = None,
        ablation: Ablation = "zero",
        renormalise: bool = False,
        other: Run | None = None,
        alignment: Sequence[int | None] | None = None,
        stop: Stop | None = None,
    ) -> Iterator[Batch[NodeEffect]]:
        """`verify`, batch by batch: what was measured before, then the rest as it is measured.

        Both most promising first, or in the order of `nodes`.
        """
        if top is not None and nodes is not None:
            raise UsageError("Both `top` and `nodes` say what to verify.", "Give one of them.")
        second = None if other is None else self._second(other, alignment)
        wanted = None if nodes is None else [parse(node) if isinstance(node, str) else node for node in nodes]
        first = VERIFIED if top is None else top
        return self._verification.measure(self._scalar(stop), first, wanted, ablation, renormalise, second, stop)

    def sweep(
        self,
        second: Run,
        kinds: Sequence[str] = SWEPT,
        alignment: Sequence[int | None] | None = None,
        stop: Stop | None = None,
    ) -> Records[SweepCell]:
        """Every place of these kinds patched from the second prompt, one at a time: heads, the stream and MLPs.

        In a trace it is S that moves towards its value on the second prompt, traced alike.
        Raises BadNode, UsageError or Cancelled.
        """
        return Records(cell for batch in self.sweeping(second, kinds, alignment, stop) for cell in batch)

    def sweeping(
        self,
        second: Run,
        kinds: Sequence[str] = SWEPT,
        alignment: Sequence[int | None] | None = None,
        stop: Stop | None = None,
    ) -> Iterator[Batch[SweepCell]]:
        """`sweep`, batch by batch as the cells are measured."""
        pair = self._second(second, alignment)
        self._same_tokens(second)
        target = self.alongside(second, alignment).value
        wanted = places(self._case, self._scalar(), kinds, pair)
        for cells in sweep(self._case, self._scalar(), wanted, pair, self.value, target, stop):
            yield Batch(cells, len(wanted))

    def generate(self, n: int = GENERATED, temperature: float = 0.0, seed: int = 0) -> Records[GeneratedToken]:
        """What the model goes on with after the prompt, under the edits: greedy, or sampled with a seed."""
        return Records(self.generating(n, temperature, seed))

    def generating(
        self, n: int = GENERATED, temperature: float = 0.0, seed: int = 0, stop: Stop | None = None
    ) -> Iterator[GeneratedToken]:
        """`generate`, token by token."""
        return generate(self._case, n, temperature, seed, stop)

    def pattern(self, head: str) -> Pattern:
        """A head's attention at every token, such as that of "attn.23.3". Raises BadNode."""
        return pattern(self._case, head)

    def by_token(self) -> Records[TokenEffect]:
        """Estimated effects summed at each token."""
        return Records(self._answer().effects.by_token())

    def by_layer(self) -> Records[LayerEffect]:
        """The waterfall: its direct effects add up to what is explained."""
        return Records(self._answer().effects.by_layer())

    def by_layer_position(self) -> LayerPosition:
        """Direct and estimated effects by layer and token."""
        return self._answer().effects.by_layer_position()

    def lens(self, stop: Stop | None = None) -> Lens:
        """The logit lens at every layer and token; runs one more forward pass. In a trace it still reads D."""
        return lens(self._case, self._reading, stop)

    def node(self, node: str | Node, stop: Stop | None = None) -> NodeDetail:
        """One node in detail. Raises BadNode for ids that this model or prompt does not have."""
        wanted = parse(node) if isinstance(node, str) else node
        row = self._rows([wanted], stop)[0]
        scale = self._root._answer().final_scale
        assert scale is not None
        return detail(self._case, wanted, row, scale)

    def find(self, nodes: Sequence[str | Node], stop: Stop | None = None) -> Records[NodeEffect]:
        """The rows of these nodes, whatever their rank. Raises BadNode for ids that are not upstream."""
        return Records(self._rows(nodes, stop))

    def check(self, node: str | Node) -> Node:
        """The node, if it is upstream of what is explained. Raises BadNode otherwise."""
        parsed = parse(node) if isinstance(node, str) else node
        return checked_node(self._case, self._scalar(), parsed)

    def reaches(self, node: Node) -> bool:
        """Whether a node is one that is explained with."""
        try:
            self.check(node)
        except BadNode:
            return False
        return True

    def to_dict(self, candidates: int = CANDIDATES) -> dict[str, Any]:
        """The document of `clew debug --json`: the nodes of the first pass, and any other that was verified.

        Under edits, and in a trace, it also says which.
        """
        anatomy = self._subject.anatomy
        nodes = self._verification.filled(self._answer().nodes)
        listed = {row.id for row in nodes}
        nodes += [row for row in self._verification.rows() if row.id not in listed]
        document = {
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
        if self.autoencoders:
            document["autoencoders"] = self.autoencoders
        if self.edits:
            document["edits"] = self.edits
        if self._steps:
            document["trace"] = self.steps.to_dict()
        return document

    def ready(self, stop: Stop | None = None) -> Run:
        """This run, its first pass done. Raises NotFinite or Cancelled."""
        self._answer(stop)
        return self

    @property
    def _subject(self) -> SubjectModel:
        return self._case.subject

    @property
    def _root(self) -> Run:
        """The run of the same edits that explains D."""
        return self if self._parent is None else self._parent._root

    def _answer(self, stop: Stop | None = None) -> Answer:
        if self._lazy_answer is None:
            self._lazy_answer = answer(self._case, self._scalar(stop), self._selection, stop)
        return self._lazy_answer

    def _scalar(self, stop: Stop | None = None) -> Scalar:
        if self._lazy_scalar is None:
            if self._parent is None:
                self._lazy_scalar = Final(self._subject.anatomy, self._reading, self._case.position)
            else:
                self._lazy_scalar = traced(self._case, self._steps[-1], self._parent._scalar(stop), stop)
        return self._lazy_scalar

    def _pass(self, selection: Selection, stop: Stop | None) -> Answer:
        if selection == self._selection:
            return self._answer(stop)
        return answer(self._case, self._scalar(stop), selection, stop)

    def _rows(self, nodes: Sequence[str | Node], stop: Stop | None) -> list[NodeEffect]:
        """The rows of these nodes, duplicates dropped. Raises BadNode for what this model or prompt does not have."""
        wanted = dict.fromkeys(self.check(node) for node in nodes)
        found = {row.id: row for row in self._verification.filled(self._answer(stop).nodes)}
        missing = frozenset(node for node in wanted if str(node) not in found)
        if missing:
            only = Selection(top=0, kinds=tuple({node.kind for node in missing}), wanted=missing)
            found.update((row.id, row) for row in self._pass(only, stop).nodes)
        return [found[str(node)] for node in wanted]

    def _sparse(self, top: int, stop: Stop | None) -> list[NodeEffect]:
        """Latents and errors with the largest estimated effects."""
        return self._pass(Selection(top=top, kinds=("latent", "error")), stop).nodes

    def _second(self, other: Run, alignment: Sequence[int | None] | None) -> Second:
        if other._subject is not self._subject:
            raise UsageError("Values cannot be patched from another model.", "Use a second prompt of the same one.")
        if other._case.edits or other._steps:
            raise UsageError(
                "Values are taken from a second prompt as the model runs it.", "Give its run without edits."
            )
        return Second.of(other._case.ids, self.alignment(other, alignment))

    def _same_tokens(self, other: Run) -> None:
        """Raises UsageError where another run's D is of other tokens, so that the two cannot be subtracted."""
        mine, theirs = ((set(run._reading.targets), set(run._reading.distractors)) for run in (self, other))
        if mine != theirs:
            raise UsageError("The two runs explain other tokens.", "Give both the same targets and distractors.")

    def _vocab(self, token: int) -> VocabToken:
        return VocabToken(token, self._subject.text(token))
