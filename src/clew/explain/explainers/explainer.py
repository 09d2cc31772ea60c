"""Words for a component from a language model that is shown its examples (Bills et al. 2023, "Explain")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from ... import settings
from ...errors import LLMFailed, NothingToExplain, UsageError
from ...models.tape import Stop
from ..evidence import Evidence
from ..llm.client import LLM
from ..records import Failure, Variant
from ..roles import Draft, Estimate
from . import examples, lists, pairs
from .answers import words_of
from .questions import Question, estimate
from .shots import PAIR_SHOTS, SHOTS, Shot

MAX_TOKENS = 120  # of an answer: a sentence, and some room for what stands around it
WARM = 0.7  # the temperature of every candidate but the first

Kind = Literal["fires", "reads"]
"""What is asked about: what tokens a neuron or latent fires on, or which a head reads from which."""

_FIRES = (
    "You study one component of a language model, such as a neuron. It fires on some tokens of a text and not on "
    "others; how strongly is told from 0, not at all, to 10, and as - where it was not measured."
)
_READS = (
    "You study one attention head of a language model. At each token it reads from earlier tokens; how much it moves "
    "from one to the other is told from 0 to 10. In a text, the pair it moves most between is marked: [[the token that "
    "reads]] and **the token that is read**."
)
_FIRES_ANSWER = (
    "Say in one short sentence what it fires on: what those tokens are, or what stands before them. Put particular "
    "tokens in quotes. Do not speak of activations, of numbers of texts or of the component itself."
)
_READS_ANSWER = (
    "Say in one short sentence which tokens read from which, and what ties them. Put particular tokens in quotes. Do "
    "not speak of strengths, of numbers of texts or of the head itself."
)


@dataclass(frozen=True)
class Form:
    """How a variant asks about a kind of component: what its examples are shown as, what the model is told that it
    sees, and the shots. `show` gives an empty text where there is nothing to show. `nothing` says so."""

    show: Callable[[Evidence], str]
    seen: str
    kind: Kind
    shots: tuple[Shot, ...]
    nothing: str = "There are no examples of the kind that is to be shown."

    @property
    def task(self) -> str:
        """What the model is told first."""
        about, wanted = (_FIRES, _FIRES_ANSWER) if self.kind == "fires" else (_READS, _READS_ANSWER)
        return f"{about} {self.seen} {wanted}"

    def question(self, shown: str) -> Question:
        """What is asked of what is shown."""
        asked = "It fires on:" if self.kind == "fires" else "The head:"
        return Question(self.task, _answered(self), shown, asked, MAX_TOKENS)


_NO_CONTRAST = "There are no texts to hold against its examples."

_FORMS: Mapping[tuple[Variant, Kind], Form] = {
    ("examples", "fires"): Form(
        examples.examples, "You see texts in which it fires, a token a line with its activation.", "fires", SHOTS
    ),
    ("tokens", "fires"): Form(
        lists.tokens, "You see the tokens it fired on most, not the texts they are from.", "fires", SHOTS
    ),
    ("contrast", "fires"): Form(
        examples.contrast,
        "You see texts in which it fires, a token a line with its activation, and texts that look alike in which it "
        "does not. What you say must be true of the first and not of the second.",
        "fires",
        SHOTS,
        _NO_CONTRAST,
    ),
    ("examples", "reads"): Form(pairs.examples, "You see texts in which it moves much.", "reads", PAIR_SHOTS),
    ("tokens", "reads"): Form(
        lists.pairs, "You see the tokens between which it moved most, not the texts they are from.", "reads", PAIR_SHOTS
    ),
    ("contrast", "reads"): Form(
        pairs.contrast,
        "You see texts in which it moves much, and texts in which even its strongest pair is weak. What you say must "
        "be true of the first and not of the second.",
        "reads",
        PAIR_SHOTS,
        _NO_CONTRAST,
    ),
}  # fmt: skip

PROMPTS: Mapping[Variant, str] = {"examples": "examples-1", "tokens": "tokens-1", "contrast": "contrast-1"}
"""The version of each variant's prompt: raised whenever the same evidence would be asked about in other words."""


def form_of(evidence: Evidence, variant: Variant) -> Form:
    """How a variant asks about a component. Raises UsageError for a variant that no examples are shown in."""
    kind: Kind = "reads" if evidence.component.kind == "attn" else "fires"
    if (variant, kind) not in _FORMS:
        raise UsageError(f"{variant!r} is no way to find words from examples.", f"Name one of {', '.join(PROMPTS)}.")
    return _FORMS[variant, kind]


class LLMExplainer:
    """Shows a language model a component's examples of the explain split, and nothing of any other split."""

    def __init__(self, llm: LLM) -> None:
        self.llm = llm

    @property
    def reference(self) -> str:
        """The language model's."""
        return self.llm.reference

    def prompt_of(self, variant: Variant) -> str:
        """The version of its prompt for a variant; empty for one that it does not have."""
        return PROMPTS.get(variant, "")

    def explain(
        self, evidence: Evidence, variant: Variant, candidates: int, seed: int, stop: Stop | None = None
    ) -> list[Draft | Failure]:
        """As many candidates as are wanted, all asked at once: the likeliest, and others at temperature 0.7.

        One that failed, or whose answer is no sentence about the component, is a Failure in its place. Raises
        NothingToExplain without examples; BudgetSpent, UnknownLLM, Cancelled, UsageError for another variant.
        """
        question = self._question(evidence, variant)
        if question is None:
            return [Failure("nothing", form_of(evidence, variant).nothing)]
        requests = [
            question.request(self.llm.capabilities, WARM if number else 0.0, seed * settings.MAX_CANDIDATES + number)
            for number in range(candidates)
        ]
        found: list[Draft | Failure] = []
        for answer in self.llm.ask_all(requests, stop):
            if isinstance(answer, LLMFailed):
                found.append(Failure(answer.kind, answer.message))
                continue
            words = words_of(answer, question)
            if isinstance(words, str):
                words = Draft(words, variant, self.reference, self.prompt_of(variant), answer.cost)
            found.append(words)
        return found

    def estimate(self, evidence: Evidence, variant: Variant, candidates: int) -> Estimate:
        """What that takes at most."""
        question = self._question(evidence, variant)
        if question is None:
            return Estimate()
        return estimate(self.llm, [question.request(self.llm.capabilities)]) * candidates

    def _question(self, evidence: Evidence, variant: Variant) -> Question | None:
        """What is asked; None where the variant has nothing to show."""
        form = form_of(evidence, variant)
        if not evidence.of("explain"):
            raise NothingToExplain(
                f"There are no examples of {evidence.component} to find words from.", "Collect an atlas of more text."
            )
        shown = form.show(evidence)
        return form.question(shown) if shown else None


@cache
def _answered(form: Form) -> tuple[tuple[str, str], ...]:
    """The shots as they are shown: by the same code as what is asked about."""
    return tuple((form.show(shot.evidence), shot.words) for shot in form.shots)
