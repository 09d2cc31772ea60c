"""One who explains: gathers what is known of some components, has words found for them, and scores these.

It keeps nothing and decides nothing that concerns others. What is to be kept it says, as each component ends; whether
to begin another it asks. So the same work can be done in this process or in several (clew/pool.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

from .. import settings
from ..atlas.components import Components
from ..errors import Cancelled, ClewError, LLMFailed, UnknownLLM, UsageError
from ..models.tape import Stop
from ..nodes import Node
from ..pool import Desk
from .crew import Crew
from .evidence import Evidence
from .recipe import Recipe
from .records import Failure, Problem, Score
from .roles import Draft
from .samples import gather

_HEARTBEAT = 0.5  # seconds after which it says that it is at work, even if nothing ended

Validated = tuple[tuple[Draft, float | None], ...]
"""Drafts with their scores on the validation split, None where they are not defined or not needed; the best first."""


@dataclass(frozen=True)
class Explained:
    """Words for a component, with the scores of the best; `density` as in `Evidence`."""

    drafts: Validated
    scores: tuple[Score, ...]
    density: float | None


@dataclass(frozen=True)
class Ended:
    """A component ended, with words or why it has none. `besides` are the problems of candidates and revisions."""

    component: Node
    result: Explained | Problem
    besides: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Stopped:
    """What ends all of the work, once what is under way has ended."""

    error: ClewError


@dataclass(frozen=True)
class AtWork:
    """The first component is begun, or nothing ended for a moment."""


@dataclass(frozen=True)
class GoOn:
    """Is another component to be begun? True or False is the reply."""


class ExplainWorker:
    """Explains components by a recipe with its crew, `threads` at once. A task are components in order."""

    def __init__(self, components: Components, recipe: Recipe, crew: Crew, threads: int) -> None:
        self._components, self._recipe, self._crew, self._threads = components, recipe, crew, threads

    def do(self, task: Sequence[Node], desk: Desk, stop: Stop) -> Iterator[Ended | Stopped | AtWork]:
        """Each component is worked on by one thread from beginning to end.

        What asking raises is said, and what is under way goes on to its end: it is paid for. Raises Cancelled, BadAtlas
        or NotFinite.
        """
        self._crew.at(desk)
        over = Event()

        def stopped() -> bool:
            return over.is_set() or stop()

        evidence = gather(self._components, task, seed=self._recipe.seed, stop=stopped)
        pending: set[Future[Ended]] = set()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="clew-explain") as threads:
            try:
                begun, left = False, True
                while left or pending:
                    while left and len(pending) < 2 * self._threads:
                        found = next(evidence, None) if desk(GoOn()) else None
                        left = found is not None
                        if found is not None:
                            work = _Work(self._recipe, self._crew, self._components, stopped)
                            pending.add(threads.submit(work, *found))
                        if not begun:
                            begun = True
                            yield AtWork()
                    done, pending = wait(pending, _HEARTBEAT, FIRST_COMPLETED)
                    if pending and not done:
                        yield AtWork()
                    yield from _said(done)
            finally:
                over.set()
                for future in pending:
                    future.cancel()


def _said(done: Iterable[Future[Ended]]) -> Iterator[Ended | Stopped]:
    """What comes of components that ended. Raises Cancelled, after what else there is."""
    cancelled: Cancelled | None = None
    for future in done:
        try:
            said = future.result()
        except Cancelled as error:
            cancelled = error
            continue
        except ClewError as error:
            said = Stopped(error)
        yield said
    if cancelled is not None:
        raise cancelled


class _Work:
    """One component from its examples to what is to be kept."""

    def __init__(self, recipe: Recipe, crew: Crew, components: Components, stop: Stop) -> None:
        self._recipe, self._crew, self._components, self._stop = recipe, crew, components, stop
        self._besides: list[Problem] = []

    def __call__(self, node: Node, evidence: Evidence | Failure) -> Ended:
        """Raises what ends all of the work."""
        return Ended(node, self._result(node, evidence), tuple(self._besides))

    def _result(self, node: Node, evidence: Evidence | Failure) -> Explained | Problem:
        if isinstance(evidence, Failure):
            return Problem(str(node), "read", evidence)
        try:
            return self._explained(node, evidence)
        except LLMFailed as failed:
            return Problem(str(node), "explain", Failure(failed.kind, failed.message))
        except UsageError as refused:  # words that the simulator cannot read
            if isinstance(refused, UnknownLLM):
                raise
            return Problem(str(node), "score", Failure("malformed", refused.message))

    def _explained(self, node: Node, evidence: Evidence) -> Explained | Problem:
        recipe, crew = self._recipe, self._crew
        found = [
            draft
            for variant in recipe.variants
            for draft in crew.explainer.explain(evidence, variant, recipe.candidates, recipe.seed, self._stop)
        ]
        drafts = list({draft.text: draft for draft in found if isinstance(draft, Draft)}.values())
        failures = [one for one in found if isinstance(one, Failure)]
        if not drafts:
            return Problem(str(node), "explain", failures[0])
        self._besides += [Problem(str(node), "candidate", failure) for failure in failures]
        validated: Validated = ((drafts[0], None),)
        if len(drafts) > 1 or recipe.revisions:
            validated = self._validated(drafts, evidence)
        for turn in range(recipe.revisions):
            validated = self._revised(node, validated, evidence, turn)
        best, _ = validated[0]
        scores = tuple(
            scorer.score(best.text, evidence, "test", recipe.seed, self._stop) for scorer in crew.scoring(node)
        )
        return Explained(validated, scores, evidence.density)

    def _validated(self, drafts: Sequence[Draft], evidence: Evidence) -> Validated:
        """Drafts with their scores on the validation split, best first; one without a score comes last."""
        seed = self._recipe.seed
        return _best_first(
            [
                (draft, self._crew.validator.score(draft.text, evidence, "validate", seed, self._stop).value)
                for draft in drafts
            ]
        )

    def _revised(self, node: Node, validated: Validated, evidence: Evidence, turn: int) -> Validated:
        """The best draft revised by what the subject does on texts that were proposed to test it."""
        from .explainers.revision import revise

        # Each round has a seed of its own: where one brought nothing, the next is to propose other texts.
        seed = self._recipe.seed * settings.MAX_REVISIONS + turn
        new = revise(self._crew.explainer, validated[0][0], evidence, self._components, seed=seed, stop=self._stop)
        if isinstance(new, Failure):
            self._besides.append(Problem(str(node), "revision", new))
            return validated
        if new.text in {draft.text for draft, _ in validated}:
            return validated
        return _best_first([*validated, *self._validated([new], evidence)])


def _best_first(drafts: Sequence[tuple[Draft, float | None]]) -> Validated:
    """Drafts by their scores; one without comes last, and of equal ones the first stays first."""
    return tuple(sorted(drafts, key=lambda one: -2.0 if one[1] is None else one[1], reverse=True))
