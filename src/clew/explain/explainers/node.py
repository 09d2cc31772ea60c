"""What one node does in one prompt, in words that cite what was measured (a sentence without a source says nothing).

The node's effects, what it read and what its neighbours do in general are given to the language model as numbered rows;
it must put after each statement the rows that it rests on, as [3]. Words that cite no row, or one that is not there, or
that speak of another node than the rows do, are no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...debug.records import NodeEffect
from ...debug.run import Run
from ...errors import BadEdit, BadNode, UsageError
from ...models.tape import Stop
from ...nodes import Node, parse
from ...records import TokenScore
from ..llm.client import LLM, Answer
from ..records import Failure
from ..roles import Draft, Estimate
from ..spelling import spelled
from .answers import LONGEST, refusal, said
from .questions import Question, estimate

PROMPT = "node-1"  # raised whenever the same node would be asked about in other words
READ = 6  # nodes told that it read from
PUSHED = 6  # output tokens told at either end
AROUND = 48  # tokens of the prompt told before a position that matters

_ATTENDED = 3  # tokens told that a head attends to
_MAX_TOKENS = 240
_SENTENCES = 3  # wanted at most
_CITED = re.compile(r"\[(\d{1,4}(?:\s*[-–,;]\s*\d{1,4})*)\]")
_SENTENCE = re.compile(r".*?[.!?](?:\s+|$)")
_NODE = re.compile(r"\b(?:attn\.\d+\.\d+|neuron\.\d+\.\d+|latent\.\w+\.\d+\.\d+)\b")

_TASK = (
    "You explain what one node of a language model does in one prompt: an attention head, neuron or latent at one "
    "token. Numbered rows tell what was measured. D is how much the model favours one continuation over another; a "
    "positive effect raises D and a negative one lowers it. Where rows speak of S, that is what another node reads, in "
    "place of D. The verified effect is what is lost when the node is switched off, and is to be believed where it "
    "differs from the estimate. Say in one to three short sentences what the node read, what it does with it and how "
    "much that matters. Put after each statement the numbers of the rows it rests on, such as [3] or [2, 5]. Say "
    "nothing that no row says."
)
_SHOT = (
    "Prompt: The cat sat on the\n"
    'Node: attn.4.1@4, at token 4 " the"\n'
    "\n"
    '[1] D = logit(" mat") - logit(" dog") at token 4 " the": +2.10\n'
    '[2] attention from token 4 " the": 0.81 to token 1 " cat", 0.10 to token 0 "The"\n'
    "[3] direct effect on D: +0.02\n"
    "[4] estimated effect on D: +0.50\n"
    "[5] verified effect on D: +0.94\n"
    '[6] it makes more likely: " mat" +0.1, " lap" +0.1\n'
    '[7] it passes on, for D, +0.82 from embed@1, token 1 " cat"\n'
    '[8] it passes on, for D, -0.10 from neuron.3.7@1, token 1 " cat", which in general does this: names of animals',
    'It reads mostly " cat" [2] and passes that word on [7]. Nearly half of what favours " mat" is lost without it '
    "[1, 5], though little of that goes straight to the output [3].",
)


@dataclass(frozen=True)
class Facts:
    """What is known of a node in a prompt. `question` says what was asked of the model, for a person to read; `rows`
    are without their numbers, which count from 1."""

    node: str
    question: str
    prompt: str
    rows: tuple[str, ...]

    @property
    def numbered(self) -> list[str]:
        """The rows as they are cited."""
        return [f"[{number}] {row}" for number, row in enumerate(self.rows, 1)]


def explain_node(
    llm: LLM, run: Run, node: str | Node, known: Mapping[str, str], *, seed: int = 0, stop: Stop | None = None
) -> Draft | Failure:
    """A node of a run in words; `known` has what components do in general, by id.

    `cited` are the rows that the words cite, with their numbers. Raises BadNode, LLMFailed, BudgetSpent, UnknownLLM or
    Cancelled, and NotFinite.
    """
    found = facts(run, node, known, stop)
    answer = llm.ask(_question(found).request(llm.capabilities, 0.0, seed), stop)
    return read(answer, found, llm.reference)


def estimate_node(
    llm: LLM, run: Run, node: str | Node, known: Mapping[str, str], *, stop: Stop | None = None
) -> Estimate:
    """What explaining a node takes at most; it is measured for this, and not measured again. Raises BadNode."""
    return estimate(llm, [_question(facts(run, node, known, stop)).request(llm.capabilities)])


def facts(run: Run, node: str | Node, known: Mapping[str, str], stop: Stop | None = None) -> Facts:
    """What is measured of a node: its effects, verified, what it pushes, what it read, with what is known in general.

    Raises BadNode for one that is not upstream of what is explained, NotFinite or Cancelled.
    """
    checked = run.check(node)
    tokens = [token.text for token in run.tokens]

    def at(position: int) -> str:
        return f'token {position} "{spelled(tokens[position])}"'

    detail = run.node(checked, stop)
    effect = _verified(run, checked, stop) or detail.node
    explained = _explained(run, at)
    rows = [explained, *_activation(run, checked, effect, at)]
    rows.append(f"direct effect on {_name(run)}: {effect.direct_effect:+.3g}")
    rows.append(f"estimated effect on {_name(run)}: {effect.estimated_effect:+.3g}")
    if effect.verified_effect is not None:
        rows.append(f"verified effect on {_name(run)}: {effect.verified_effect:+.3g}")
    rows += [
        f"it makes {more} likely: {_listed(pushed[:PUSHED])}"
        for more, pushed in (("more", detail.up), ("less", detail.down))
        if pushed
    ]
    general = known.get(str(checked.component))
    if general:
        rows.append(f"in general it does this: {general}")
    rows += _reads(run, checked, known, at, stop)
    where = "" if checked.position is None else f", at {at(checked.position)}"
    return Facts(str(checked), explained, f"{_around(run, checked, tokens)}\nNode: {checked}{where}", tuple(rows))


def read(answer: Answer, found: Facts, reference: str) -> Draft | Failure:
    """An answer with the rows that it cites, or why it is none."""
    text = said(answer)
    if isinstance(text, Failure):
        return text
    text = " ".join(text.partition("\n---")[0].split())
    refused = refusal(text)
    if refused is not None:
        return refused
    if answer.finish == "length":
        # A sentence that was cut off may lack its source: what came before it stands.
        text = "".join(_SENTENCE.findall(text)).strip()
        if not text:
            return Failure("truncated", f"The answer was not at its end after {_MAX_TOKENS} tokens.")
    if len(text) > _SENTENCES * LONGEST:
        return Failure("malformed", f"The answer has {len(text):,} characters.")
    numbers = cited(text)
    if not numbers:
        return Failure("malformed", "The answer cites none of what was measured.")
    wrong = [number for number in numbers if not 1 <= number <= len(found.rows)]
    if wrong:
        return Failure("malformed", f"The answer cites row {wrong[0]}; there are {len(found.rows)}.")
    told = "\n".join([found.prompt, *found.rows])
    strange = [name for name in _NODE.findall(text) if not re.search(rf"{re.escape(name)}\b", told)]
    if strange:
        return Failure("malformed", f"The answer speaks of {strange[0]}, of which nothing was measured.")
    return Draft(text, "node", reference, PROMPT, answer.cost, tuple(found.numbered[number - 1] for number in numbers))


def cited(text: str) -> list[int]:
    """The numbers of the rows that a text cites, each once, in order: [3], [2, 5], [4-6]."""
    found: set[int] = set()
    for group in _CITED.findall(text):
        for part in re.split(r"[,;]", group):
            first, *last = (int(number) for number in re.findall(r"\d+", part))
            found.update(range(first, last[-1] + 1) if last and first < last[-1] else [first, *last])
    return sorted(found)


def _question(found: Facts) -> Question:
    shown = "\n".join([found.prompt, "", *found.numbered])
    return Question(_TASK, (_SHOT,), shown, "In this prompt:", _MAX_TOKENS)


def _verified(run: Run, node: Node, stop: Stop | None) -> NodeEffect | None:
    """A node's effects with the verified one; None for a bias, which cannot be switched off at one token."""
    try:
        return run.verify(nodes=[node], stop=stop)[0]
    except (BadNode, BadEdit):
        return None


def _name(run: Run) -> str:
    return "S" if run.steps else "D"


def _explained(run: Run, at: Callable[[int], str]) -> str:
    """What effects are on, with its value."""
    if run.steps:
        step = run.steps[-1]
        return f"S = what {step.node} reads (through {step.through}): {step.value:+.3g}"
    direction = run.direction
    sides = []
    for side in (direction.targets, direction.distractors):
        logits = ", ".join(f'"{spelled(token.text)}"' for token in side)
        sides.append(f"{'mean ' if len(side) != 1 else ''}logit({logits or 'all tokens'})")
    return f"D = {' - '.join(sides)} at {at(direction.position)}: {direction.value:+.3g}"


def _activation(run: Run, node: Node, effect: NodeEffect, at: Callable[[int], str]) -> list[str]:
    """How strongly it fires, or where a head looks."""
    if node.kind != "attn":
        return [] if effect.activation is None else [f"activation: {effect.activation:+.3g}"]
    assert node.position is not None
    if node.source is not None:
        return [f"attention: {effect.activation or 0:.2f} from {at(node.position)} to {at(node.source)}"]
    row = run.pattern(str(node.component)).rows[node.position]
    most = sorted(range(len(row)), key=lambda source: -row[source])[:_ATTENDED]
    told = ", ".join(f"{row[source]:.2f} to {at(source)}" for source in most)
    return [f"attention from {at(node.position)}: {told}"]


def _reads(run: Run, node: Node, known: Mapping[str, str], at: Callable[[int], str], stop: Stop | None) -> list[str]:
    """The nodes that a node read most from, with what they do in general."""
    ways: Sequence[tuple[str, str | None]] = (("reads", None),)
    if node.kind == "attn":
        carried = f"passes on, for {_name(run)},"
        ways = ((carried, "v"),) if node.source is None else (("attends there because of", "both"), (carried, "v"))
    rows = []
    for verb, through in ways:
        try:
            traced = run.trace(node, through)
            found = traced.nodes(top=READ, stop=stop)
        except UsageError:  # an embedding reads nothing, nor can a trace be longer than it is allowed to be
            continue
        # Of a head the whole, or its parts by the token they read: both would say the same twice.
        parts = [row for row in found if row.kind != "bias" and (row.kind != "attn" or row.source is not None)]
        for row in parts[: READ // len(ways)]:
            read = parse(row.id)
            where = "" if row.position is None else f", {at(row.position)}"
            words = known.get(str(read.component))
            general = f", which in general does this: {words}" if words else ""
            rows.append(f"it {verb} {row.direct_effect:+.3g} from {read}{where}{general}")
    return rows


def _around(run: Run, node: Node, tokens: Sequence[str]) -> str:
    """The prompt, or of a long one what comes before the positions that matter."""
    matter = [position for position in (node.source, node.position, run.direction.position) if position is not None]
    shown = sorted({at for position in matter for at in range(max(0, position - AROUND), position + 1)})
    parts = []
    for before, at in zip([-1, *shown], shown, strict=False):
        parts.append(f"{' … ' * (at > before + 1)}{spelled(tokens[at])}")
    return f"Prompt: {''.join(parts).strip()}"


def _listed(tokens: Sequence[TokenScore]) -> str:
    return ", ".join(f'"{spelled(token.text)}" {token.score:+.2g}' for token in tokens)
