"""Revising an explanation by experiment (Bills et al. 2023, "Revising explanations").

The language model proposes texts that would tell whether it is right, the subject model is run on them, and the
explanation is written again in view of what happened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from ... import settings
from ...atlas.components import Components
from ...errors import BadText, EmptyPrompt, LLMFailed, PromptTooLong, UsageError
from ...models.tape import Stop
from ...nodes import Node
from ..evidence import Evidence
from ..llm.client import LLM
from ..records import Failure, Variant
from ..roles import Draft, Estimate, Explainer
from ..spelling import spelled
from .answers import said, words_of
from .examples import text_of
from .explainer import MAX_TOKENS, WARM, Form, Kind, LLMExplainer, form_of
from .pairs import marked
from .questions import Question, estimate

PROMPT = "revision-1"  # raised whenever the same explanation would be tested or revised in other words
PROPOSED = 4  # texts of each sort that are asked for
FIRES = 3  # of 10: where a text was meant to tell, what counts as firing

REVISED = f"+{PROMPT}"  # what the version of a revised draft's prompt ends with
_TEXT_TOKENS = 60  # a proposed text, at most
_LONGEST = 300  # characters of one; a longer one is not what was asked for
_TOLD = 3  # tokens of a text that are told with their activation
_AROUND = 40  # tokens that are said around a text when it is told what happened in it
_LINE = re.compile(r"\W{0,4}(?:\d{1,2}\W{1,2})?(fires|silent)\W{0,2}:\W{0,2}\s(.+)", re.IGNORECASE)

_FORM = (
    f"Write {PROPOSED} short texts in which that should happen if the explanation is right, and {PROPOSED} that look "
    "alike in which it should not. Choose them to show where the explanation is too narrow or too wide. Write one text "
    "a line, of at most 20 words, each line beginning with FIRES: or SILENT:."
)
_TASKS: dict[Kind, str] = {
    "fires": f"You test explanations of what a component of a language model fires on. {_FORM}",
    "reads": f"You test explanations of which tokens an attention head reads from which. {_FORM}",
}
_PROPOSALS: dict[Kind, tuple[str, str]] = {
    "fires": (
        "Explanation: means of transport",
        "FIRES: The bus to the coast was late again.\n"
        "FIRES: She steered the canoe between the rocks.\n"
        "SILENT: The road to the coast was closed again.\n"
        "SILENT: She walked between the rocks.",
    ),
    "reads": (
        "Explanation: verbs attend to the first noun of the text",
        "FIRES: Bakers rise early.\n"
        "FIRES: The cousins of my neighbour sing on Sundays.\n"
        "SILENT: Early, in the dark, on Sundays.\n"
        "SILENT: After the rain my neighbour sings.",
    ),
}
_ALSO = (
    "You also see an explanation that was found before, and what happened in texts that were written to test it. Write "
    "the explanation anew, so that it is right about the examples and about the tests: wider, narrower, or another one."
)
_TESTED: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "fires": (
        "means of transport",
        (
            "should fire, does not: The bus to the coast was late again.",
            'should fire, fires 9 on " canoe": She steered the canoe between the rocks.',
            "should not fire, does not: The road to the coast was closed again.",
        ),
    ),
    "reads": (
        "verbs attend to the first noun of the text",
        (
            "should happen, strength 9: **Bakers** [[rise]] early.",
            "should not happen, strength 8: After the rain my **neighbour** [[sings]].",
        ),
    ),
}


@dataclass(frozen=True)
class Proposal:
    """A text that would test an explanation, and whether the component should fire in it."""

    text: str
    fires: bool


@dataclass(frozen=True)
class Trial:
    """What a component did on a text: its tokens, an activation for each and, of a head, the pairs [P, S]. The first
    `first` tokens do not count."""

    tokens: tuple[str, ...]
    activations: Float64[np.ndarray, " t"]
    first: int = 0
    pairs: Float64[np.ndarray, "t t"] | None = None


Try = Callable[[Sequence[str]], list[Trial | None]]
"""Runs the subject model on texts; None for one that it cannot read. Raises UsageError, NotFinite or Cancelled."""


def revise(
    explainer: Explainer,
    draft: Draft,
    evidence: Evidence,
    components: Components,
    *,
    seed: int = 0,
    stop: Stop | None = None,
) -> Draft | Failure:
    """A draft revised by what its component does on texts that the explainer's language model proposes to test it.

    `cited` are the texts with what happened in them; where all went as the draft says, its words stay. The cost is that
    of the revision alone, and its prompt the draft's with that of the revision after a +. Raises UsageError for an
    explainer without a language model; BudgetSpent, UnknownLLM, NotFinite or Cancelled.
    """
    llm = _llm(explainer)
    try:
        return revised(llm, draft, evidence, trying(components, evidence.component, stop), seed, stop)
    except LLMFailed as failed:
        return Failure(failed.kind, failed.message)


def revised(
    llm: LLM, draft: Draft, evidence: Evidence, run: Try, seed: int = 0, stop: Stop | None = None
) -> Draft | Failure:
    """The same with the subject model as a function of texts. Raises LLMFailed too."""
    form = form_of(evidence, draft.variant)
    answer = llm.ask(_proposing(form.kind, draft.text).request(llm.capabilities, WARM, seed), stop)
    text, cost = said(answer), answer.cost
    if isinstance(text, Failure):
        return text
    proposals = read_proposals(text, whole=answer.finish != "length")
    if not proposals:
        return Failure("malformed", "The answer proposes no text to test the explanation.")
    try:
        trials = run([one.text for one in proposals])
    except UsageError as error:  # a latent whose autoencoder is not at hand
        return Failure("unsupported", error.message)
    tried = [(one, trial) for one, trial in zip(proposals, trials, strict=True) if trial is not None]
    if not tried:
        return Failure("malformed", "The subject model can read none of the texts that were proposed.")
    rows = tuple(_row(one, trial, evidence) for one, trial in tried)
    result = replace(
        draft, llm=llm.reference, prompt=f"{draft.prompt.removesuffix(REVISED)}{REVISED}", cost=cost, cited=rows
    )
    if all((_levels(trial, evidence).max() >= FIRES) == one.fires for one, trial in tried):
        return result
    shown = form.show(evidence)
    question = _revising(form, shown, draft.text, rows)
    answer = llm.ask(question.request(llm.capabilities, 0.0, seed), stop)
    cost += answer.cost
    # To say the same again is an answer here.
    words = words_of(answer, replace(question, shown="\n".join([shown, *rows])))
    return words if isinstance(words, Failure) else replace(result, text=words, cost=cost)


def estimate_revision(explainer: Explainer, evidence: Evidence, variant: Variant) -> Estimate:
    """What a revision takes at most, whatever is proposed. Raises UsageError as `revise` does."""
    llm, form = _llm(explainer), form_of(evidence, variant)
    shown = form.show(evidence)
    if not shown:
        return Estimate()
    proposing = _proposing(form.kind, "").request(llm.capabilities)
    revising = _revising(form, shown, "", ()).request(llm.capabilities)
    # The draft is in both, and what was proposed in the second.
    more = 2 * MAX_TOKENS + proposing.max_tokens + 2 * PROPOSED * _AROUND
    return estimate(llm, [proposing, revising]) + Estimate(prompt_tokens=more)


def trying(components: Components, component: Node, stop: Stop | None = None) -> Try:
    """Runs the model of `components` on texts as it was run on the atlas's: behind a start token where those have one.
    Else behind a line break, since models put huge activations on whatever comes first."""
    info = None if components.atlas is None else components.atlas.info()
    bos = info is not None and info.bos
    skip = settings.SKIPPED if info is None else info.skip

    def one(text: str) -> Trial | None:
        try:
            seen = components.on_prompt(component, text if bos else f"\n{text}", bos, stop=stop)
        except (BadText, EmptyPrompt, PromptTooLong):
            return None
        tokens = [token.text for token in seen.tokens]
        start = 1
        while not bos and start < len(tokens) and not "".join(tokens[: start + 1]).strip():
            start += 1
        first = max(skip - start, 0)
        if start + first >= len(tokens):
            return None
        pairs = None
        if seen.pairs is not None:
            pairs = np.zeros((len(tokens), len(tokens)))
            for at, row in enumerate(seen.pairs):
                pairs[at, : at + 1] = row
            pairs = pairs[start:, start:]
        activations = np.array(seen.activations[start:], np.float64) if pairs is None else pairs.max(1)
        return Trial(tuple(tokens[start:]), activations, first, pairs)

    return lambda texts: [one(text) for text in texts]


def read_proposals(text: str, whole: bool = True) -> list[Proposal]:
    """The texts on lines FIRES: and SILENT:, each once and at most as many of each as were asked for. Without `whole`
    the last line was cut off."""
    lines = text.partition("\n---")[0].splitlines()
    found: dict[str, Proposal] = {}
    for line in lines if whole else lines[:-1]:
        match = _LINE.fullmatch(line.strip())
        if match is None or len(match[2]) > _LONGEST:
            continue
        fires, words = match[1].casefold() == "fires", match[2].strip(' "“”')
        if words and sum(one.fires is fires for one in found.values()) < PROPOSED:
            found.setdefault(words, Proposal(words, fires))
    return list(found.values())


def _llm(explainer: Explainer) -> LLM:
    if not isinstance(explainer, LLMExplainer):
        raise UsageError("Without a language model nothing is revised.", "Leave out revisions, or name one.")
    return explainer.llm


def _proposing(kind: Kind, words: str) -> Question:
    """Texts that would test an explanation."""
    shown = f"Explanation: {words}"
    return Question(_TASKS[kind], (_PROPOSALS[kind],), shown, "Texts:", 2 * PROPOSED * _TEXT_TOKENS)


def _revising(form: Form, shown: str, words: str, rows: Sequence[str]) -> Question:
    """An explanation in view of the tests of another."""
    before, tests = _TESTED[form.kind]
    shot = form.shots[0]
    question = form.question(_tested(shown, words, rows))
    return replace(
        question,
        task=f"{question.task} {_ALSO}",
        shots=((_tested(form.show(shot.evidence), before, tests), shot.words),),
    )


def _tested(shown: str, words: str, rows: Sequence[str]) -> str:
    return "\n".join([shown, "", f"Explanation found before: {words}", "", "Tests of it:", *rows])


def _row(proposal: Proposal, trial: Trial, evidence: Evidence) -> str:
    """A text, what should happen in it, and what does."""
    levels = _levels(trial, evidence)
    if trial.pairs is not None:
        reader = trial.first + int(levels.argmax())
        text = marked(trial.tokens, reader, int(trial.pairs[reader].argmax()))
        should = "should happen" if proposal.fires else "should not happen"
        return f"{should}, strength {levels.max()}: {text}"
    strongest = sorted((at for at in range(len(levels)) if levels[at]), key=lambda at: -levels[at])[:_TOLD]
    told = ", ".join(f'{levels[at]} on "{spelled(trial.tokens[trial.first + at])}"' for at in strongest)
    should = "should fire" if proposal.fires else "should not fire"
    return f"{should}, {f'fires {told}' if told else 'does not'}: {text_of(trial.tokens)}"


def _levels(trial: Trial, evidence: Evidence) -> np.ndarray:
    """Activations of the tokens that count, as whole numbers from 0 to 10."""
    scaled = settings.SCALE * np.maximum(trial.activations[trial.first :], 0) / evidence.maximum
    return np.minimum(settings.SCALE, np.floor(scaled)).astype(np.int64)
