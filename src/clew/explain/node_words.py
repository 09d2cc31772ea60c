"""Words for nodes in their prompts, kept beside those that say what their components do in general."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..atlas.plan import KINDS
from ..debug.run import Run
from ..errors import BadNode, LLMFailed
from ..models.tape import Stop
from ..nodes import Node, parse
from .explainers.node import estimate_node, explain_node
from .llm.client import LLM
from .records import Explanation, Failure, Problem
from .roles import Estimate
from .store.explanations import Explanations
from .subjects import Subjects


class NodeWords:
    """Has nodes of runs put in words by language models, with what is known of the components around them."""

    def __init__(self, kept: Explanations, subjects: Subjects) -> None:
        self._kept, self._subjects = kept, subjects
        self._known = _Known(kept, subjects)

    def estimate(self, llm: LLM, run: Run, node: Node, stop: Stop | None = None) -> Estimate:
        """What `explain` takes at most; the node is measured for that. Raises BadNode and what measuring it does."""
        return estimate_node(llm, run, node, self._known, stop=stop)

    def explain(self, llm: LLM, run: Run, node: Node, *, seed: int = 0, stop: Stop | None = None) -> Explanation:
        """A node of a run in words that cite what was measured; they are kept, and so is why there are none.

        Raises LLMFailed where the answer is none, BudgetSpent, UnknownLLM, BadNode, BadDatabase, NoSpace, Cancelled and
        what measuring the node does.
        """
        subject, component = self._subjects.of(node), str(node.component)
        draft = explain_node(llm, run, node, self._known, seed=seed, stop=stop)
        if isinstance(draft, Failure):
            self._kept.problem(subject, Problem(component, "node", draft), llm.reference)
            raise LLMFailed(draft.message, "Ask again with another seed, or another language model.", draft.kind)
        return self._kept.add(
            Explanation(
                subject=subject, component=component, text=draft.text, llm=draft.llm, variant=draft.variant,
                prompt=draft.prompt, atlas=None, seed=seed, chosen=True, cost=draft.cost, node=str(node),
                question=question_of(run), cited=draft.cited,
            )
        )  # fmt: skip


def node_of(text: str) -> Node:
    """A node that can be put in words. Raises BadNode."""
    node = parse(text)
    if node.kind not in KINDS or node.position is None:
        raise BadNode(f"{node} is put in no words.", "Name a head, neuron or latent at one token.")
    return node


def question_of(run: Run) -> str:
    """What a run was asked, for a person to read: the prompt, what is explained, and the edits and trace if any."""
    sides = (
        ", ".join(repr(token.text) for token in side) for side in (run.direction.targets, run.direction.distractors)
    )
    targets, distractors = sides
    wanted = f"{targets} rather than {distractors or 'the others'}, after token {run.direction.position}"
    more = [f"with {edit}" for edit in run.edits] + [f"through {step.node}:{step.through}" for step in run.steps]
    return "\n".join([run.prompt, wanted, *more])


class _Known(Mapping[str, str]):
    """The best words of each component that has some, by its id; each is looked up when it is asked for."""

    def __init__(self, kept: Explanations, subjects: Subjects) -> None:
        self._kept, self._subjects = kept, subjects
        self._found: dict[str, str] = {}

    def __getitem__(self, component: str) -> str:
        if component not in self._found:
            best = self._kept.best(self._subjects.of(parse(component)), [component])
            self._found[component] = best[component].text
        return self._found[component]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
