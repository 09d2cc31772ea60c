"""Explaining many components: their examples read, words found, the best chosen, scored and kept.

Each component is worked on by one thread from beginning to end and kept in one step, so that whatever ends the work
loses none that is done; what language models had answered for the others is kept too, answer by answer
(store/answers.py), and the same command goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from threading import Event

from .. import settings
from ..atlas.components import Components
from ..atlas.search import no_atlas
from ..errors import BadNode, BudgetSpent, Cancelled, ClewError, LLMFailed, NothingToExplain, UnknownLLM, UsageError
from ..models.tape import Stop
from ..nodes import Node
from .crew import Crew, crew
from .evidence import Evidence
from .recipe import Recipe
from .records import Cost, ExplainPlan, ExplainProgress, Explanation, Failure, Problem, Score, Subject
from .roles import Draft, Estimate
from .samples import gather
from .selection import selected
from .store.answers import Answers
from .store.explanations import Explanations
from .subjects import Subjects

_HEARTBEAT = 0.5  # seconds after which it tells where it is, even if nothing ended
_HOPELESS = 8  # components in a row that no language model answered for: then it stops, and goes on another time
_SILENT = ("error", "timeout", "truncated")  # kinds of failures that a server that is gone makes
_PROBED = 12  # components that a plan looks at, for all
_WORDS = "fires on words that name a place or a thing, mostly at the end of a clause, and on the word before them " * 2
"""As long as explanations get: what a plan counts before there are any."""

_Judged = list[tuple[Draft, float | None]]
"""Drafts with their scores on the validation split, None where they are not defined or not needed."""


def explaining(
    components: Components,
    specs: Sequence[str],
    recipe: Recipe | None = None,
    *,
    explanations: Explanations | None = None,
    redo: bool = False,
    stop: Stop | None = None,
) -> Iterator[ExplainProgress]:
    """Explain the components that `specs` name (selection.py), telling how far it is; the last progress is `finished`.

    Those that are explained and scored by the same recipe already are left out, unless `redo`. What goes wrong with one
    component is kept as its problem and counted, and the others go on. Components need an atlas.
    Raises BadNode, NoAtlas, UsageError, UnknownLLM, BudgetSpent or LLMFailed (the language model answers no more; both
    after all that was under way is kept), BadDatabase, NoSpace or Cancelled.
    """
    recipe = (recipe or Recipe()).checked()
    kept = explanations or Explanations()
    nodes = selected(specs, components)
    with crew(recipe, components, Answers(kept.engine)) as parts:
        for node in {node.kind: node for node in nodes}.values():
            parts.scoring(node)
        done = set() if redo else _done(nodes, components, recipe, parts, kept)
        todo = [node for node in nodes if node not in done]
        yield from _Work(components, recipe, parts, kept, todo, stop).run()


def planned(
    components: Components,
    specs: Sequence[str],
    recipe: Recipe | None = None,
    *,
    explanations: Explanations | None = None,
    redo: bool = False,
    stop: Stop | None = None,
) -> ExplainPlan:
    """What `explaining` would take at most: the examples of up to twelve components are read, and stand for all.

    Raises what `explaining` does; nothing is asked of a language model but what it can do.
    """
    if components.atlas is None:
        raise no_atlas("Explaining")  # nothing may be left to read, or no language model to count for
    recipe = (recipe or Recipe()).checked()
    kept = explanations or Explanations()
    nodes = selected(specs, components)
    with crew(recipe, components, Answers(kept.engine)) as parts:
        done = set() if redo else _done(nodes, components, recipe, parts, kept)
        todo = [node for node in nodes if node not in done]
        probed = todo[:: max(1, len(todo) // _PROBED)][:_PROBED]
        takes = Estimate()
        if parts.llms:
            for node, evidence in gather(components, probed, seed=recipe.seed, stop=stop):
                if isinstance(evidence, Evidence):
                    takes += _estimate(node, evidence, recipe, parts)
        share = len(todo) / max(len(probed), 1)
        requests, sent, received = (
            round(share * number) for number in (takes.requests, takes.prompt_tokens, takes.completion_tokens)
        )
        money = None
        if recipe.prices is not None:
            money = (sent * recipe.prices[0] + received * recipe.prices[1]) / 1e6
        return ExplainPlan(
            components=len(nodes),
            done=len(done),
            llm=parts.explainer.reference,
            simulator=parts.simulator.reference,
            scorers=recipe.scorers,
            requests=requests,
            prompt_tokens=sent,
            completion_tokens=received,
            money=money,
            budget=recipe.budget,
        )


def scoring(
    components: Components,
    component: str,
    words: str | int,
    recipe: Recipe | None = None,
    *,
    explanations: Explanations | None = None,
    author: str = "you",
    parent: int | None = None,
    stop: Stop | None = None,
) -> Iterator[ExplainProgress]:
    """Score words that a person wrote for a component, or an explanation that is kept, by its number.

    Words are kept as an explanation `written` by their author, revising `parent`. One progress a scorer; the last has
    the explanation with its new scores, strips included. Raises UnknownExplanation and what `explaining` raises; what
    is wrong with the question itself is raised before the first progress.
    """
    recipe = (recipe or Recipe()).checked()
    kept = explanations or Explanations()
    node, *others = selected([component], components)
    if others:
        raise BadNode(f"{component} names {1 + len(others):,} components.", "Words are scored for one at a time.")
    of = kept.get(words) if isinstance(words, int) else None
    text = words.strip() if isinstance(words, str) else of.text if of is not None else ""
    if not text:
        raise UsageError("There are no words to score.", "Say what the component does.")
    subject = Subjects(components).of(node)
    for number in (words, parent):
        if isinstance(number, int):
            _check_of(kept.get(number), subject, node)
    with crew(recipe, components, Answers(kept.engine)) as parts:
        scorers = parts.scoring(node)
        parts.simulator.simulate(text, ())  # words that it cannot read are refused before any text is
        yield ExplainProgress("read", 0, 0, len(scorers), Cost(), None)
        ((_, evidence),) = gather(components, [node], seed=recipe.seed, stop=stop)
        if not isinstance(evidence, Evidence):
            raise NothingToExplain(evidence.message, "Without examples there is nothing to score by.")
        scores: list[Score] = []
        for scorer in scorers:
            scores.append(scorer.score(text, evidence, "test", recipe.seed, stop))
            if len(scores) < len(scorers):
                yield ExplainProgress("explain", len(scores), 0, len(scorers), parts.spent, None)
        if of is None:
            atlas = components.atlas
            of = kept.add(
                Explanation(
                    subject=subject, component=str(node), text=text, llm=author,
                    variant="written", prompt="", atlas=None if atlas is None else atlas.info().name,
                    seed=recipe.seed, chosen=True, cost=Cost(), parent=parent, density=evidence.density,
                )
            )  # fmt: skip
        assert of.id is not None
        added = [replace(kept.add_score(of.id, score), strips=score.strips) for score in scores]
        latest = replace(of, scores=added)
        yield ExplainProgress("explain", len(scores), 0, len(scores), parts.spent, 0.0, latest, finished=True)


def _check_of(explanation: Explanation, subject: Subject, node: Node) -> None:
    """Raises UsageError for an explanation that is not of this component."""
    of = explanation.subject
    # Of imported ones the weights are not known.
    if explanation.component != str(node) or of != replace(subject, fingerprint=of.fingerprint and subject.fingerprint):
        raise UsageError(
            f"Explanation {explanation.id} is of {explanation.component} of {of.model}, not of this {node}.",
            "Name that component of that model, with its autoencoder.",
        )


class _Work:
    """Components being explained, as many at once as requests may be."""

    def __init__(
        self,
        components: Components,
        recipe: Recipe,
        parts: Crew,
        kept: Explanations,
        todo: Sequence[Node],
        stop: Stop | None,
    ) -> None:
        self._components, self._recipe, self._parts, self._kept, self._todo = components, recipe, parts, kept, todo
        self._asked_to_stop, self._ended = stop, Event()
        self._subjects = Subjects(components)
        self._done = self._failed = 0
        self._silent: list[str] = []  # what came instead of answers, since there was one
        self._started = time.monotonic()

    def run(self) -> Iterator[ExplainProgress]:
        """Tells how far it is as components end, and in between."""
        yield self._progress("read")
        if not self._todo:
            yield replace(self._progress("explain"), finished=True)
            return
        # Without a language model it is all arithmetic: more threads only get in each other's way.
        workers = self._recipe.concurrency if self._parts.llms else 1
        evidence = gather(self._components, self._todo, seed=self._recipe.seed, stop=self._stop)
        pending: dict[Future[Explanation | Problem], Node] = {}
        error: ClewError | None = None
        with ThreadPoolExecutor(workers, thread_name_prefix="clew-explain") as pool:
            try:
                left = True
                while left or pending:
                    while left and error is None and len(pending) < 2 * workers:
                        found = next(evidence, None)
                        if not pending and not self._done + self._failed:
                            self._started = time.monotonic()  # reading texts for all of them says nothing of the pace
                        if found is None:
                            left = False
                        else:
                            pending[pool.submit(self._one, *found)] = found[0]
                    if error is not None:
                        left = False
                    if not pending:
                        break
                    ended, _ = wait(pending, _HEARTBEAT, FIRST_COMPLETED)
                    if not ended:
                        yield self._progress("explain")
                    for future in ended:
                        node = pending.pop(future)
                        try:
                            yield self._ended_with(node, future.result())
                        except ClewError as raised:
                            # Others under way are waited for: what they were answered is paid for.
                            error = error or raised
                            if isinstance(raised, Cancelled):
                                raise
                    if error is None and len(self._silent) >= _HOPELESS:
                        error = self._hopeless()
            finally:
                self._ended.set()
                for future in pending:
                    future.cancel()
        if error is not None:
            raise self._told(error)
        yield replace(self._progress("explain"), finished=True)

    def _stop(self) -> bool:
        return self._ended.is_set() or (self._asked_to_stop is not None and self._asked_to_stop())

    def _one(self, node: Node, evidence: Evidence | Failure) -> Explanation | Problem:
        """One component from its examples to what is kept. Raises what ends all of the work."""
        if isinstance(evidence, Failure):
            return self._problem(node, "read", evidence)
        try:
            return self._explained(node, evidence)
        except LLMFailed as failed:
            return self._problem(node, "explain", Failure(failed.kind, failed.message))
        except UsageError as refused:  # words that the simulator cannot read
            if isinstance(refused, UnknownLLM):
                raise
            return self._problem(node, "score", Failure("malformed", refused.message))

    def _explained(self, node: Node, evidence: Evidence) -> Explanation | Problem:
        recipe, parts = self._recipe, self._parts
        found = [
            draft
            for variant in recipe.variants
            for draft in parts.explainer.explain(evidence, variant, recipe.candidates, recipe.seed, self._stop)
        ]
        drafts = list({draft.text: draft for draft in found if isinstance(draft, Draft)}.values())
        failures = [one for one in found if isinstance(one, Failure)]
        if not drafts:
            return self._problem(node, "explain", failures[0])
        for failure in failures:
            self._problem(node, "candidate", failure)
        judged: _Judged = [(drafts[0], None)]
        if len(drafts) > 1 or recipe.revisions:
            judged = self._validated(drafts, evidence)
        for turn in range(recipe.revisions):
            judged = self._revised(node, judged, evidence, turn)
        scores = [
            scorer.score(judged[0][0].text, evidence, "test", recipe.seed, self._stop) for scorer in parts.scoring(node)
        ]
        return self._keep(node, evidence, judged, scores)

    def _validated(self, drafts: Sequence[Draft], evidence: Evidence) -> _Judged:
        """Drafts with their scores on the validation split, best first; one without a score comes last."""
        seed = self._recipe.seed
        return _best_first(
            [
                (draft, self._parts.validator.score(draft.text, evidence, "validate", seed, self._stop).value)
                for draft in drafts
            ]
        )

    def _revised(self, node: Node, judged: _Judged, evidence: Evidence, turn: int) -> _Judged:
        """The best draft revised by what the subject does on texts that were proposed to test it."""
        from .explainers.revision import revise

        # Each round has a seed of its own: where one brought nothing, the next is to propose other texts.
        seed = self._recipe.seed * settings.MAX_REVISIONS + turn
        new = revise(self._parts.explainer, judged[0][0], evidence, self._components, seed=seed, stop=self._stop)
        if isinstance(new, Failure):
            self._problem(node, "revision", new)
            return judged
        if new.text in {draft.text for draft, _ in judged}:
            return judged
        return _best_first([*judged, *self._validated([new], evidence)])

    def _keep(
        self,
        node: Node,
        evidence: Evidence,
        judged: _Judged,
        scores: Sequence[Score],
    ) -> Explanation:
        """The best draft with its scores, and the others beside it. Words that are kept already get the scores."""
        atlas, subject = self._components.atlas, self._subjects.of(node)
        best: Explanation | None = None
        for draft, validation in judged:
            chosen = best is None
            explanation = Explanation(
                subject=subject,
                component=str(node),
                text=draft.text,
                llm=draft.llm,
                variant=draft.variant,
                prompt=draft.prompt,
                atlas=None if atlas is None else atlas.info().name,
                seed=self._recipe.seed,
                chosen=chosen,
                cost=draft.cost,
                validation=validation,
                cited=draft.cited,
                scores=scores if chosen else (),
                density=evidence.density,
            )
            added = self._kept.add(explanation)
            best = best or added
        assert best is not None
        return best

    def _problem(self, node: Node, stage: str, failure: Failure) -> Problem:
        problem = Problem(str(node), stage, failure)
        self._kept.problem(self._subjects.of(node), problem, self._parts.explainer.reference)
        return problem

    def _ended_with(self, node: Node, result: Explanation | Problem) -> ExplainProgress:
        if isinstance(result, Explanation):
            self._done += 1
            self._silent = []
            return replace(self._progress("explain"), latest=result)
        self._failed += 1
        silent = result.stage == "explain" and result.failure.kind in _SILENT
        self._silent = [*self._silent, result.failure.message] if silent else []
        return replace(self._progress("explain"), problem=result)

    def _progress(self, stage: str) -> ExplainProgress:
        ended, total = self._done + self._failed, len(self._todo)
        seconds = time.monotonic() - self._started
        left = seconds / ended * (total - ended) if ended else None
        assert stage in ("read", "explain")
        return ExplainProgress(stage, self._done, self._failed, total, self._parts.spent, left)

    def _hopeless(self) -> LLMFailed:
        return LLMFailed(
            f"The last {len(self._silent)} components got no answer: {self._silent[-1]}",
            "See whether it runs. All that was done is kept: the same command goes on.",
        )

    def _told(self, error: ClewError) -> ClewError:
        if isinstance(error, BudgetSpent):
            return BudgetSpent(
                f"The budget is spent, after {self._done:,} of {len(self._todo):,} components.",
                "All that was answered is kept: the same command with a larger budget goes on.",
            )
        return error


def _best_first(judged: _Judged) -> _Judged:
    """Drafts by their scores; one without comes last, and of equal ones the first stays first."""
    return sorted(judged, key=lambda one: -2.0 if one[1] is None else one[1], reverse=True)


def _done(nodes: Sequence[Node], components: Components, recipe: Recipe, parts: Crew, kept: Explanations) -> set[Node]:
    """Those that this recipe has explained and scored."""
    subjects = Subjects(components)
    alike: dict[tuple[Subject, str], list[Node]] = {}
    for node in nodes:
        alike.setdefault((subjects.of(node), node.kind), []).append(node)
    done: set[Node] = set()
    for (subject, _), some in alike.items():
        names = {str(node): node for node in some}
        found = kept.explained(
            subject,
            list(names),
            llm=parts.explainer.reference,
            variants=recipe.variants,
            prompts=[parts.explainer.prompt_of(variant) for variant in recipe.variants],
            seed=recipe.seed,
            simulator=parts.simulator.reference,
            scorers=[scorer.name for scorer in parts.scoring(some[0])],
        )
        done |= {names[name] for name in found}
    return done


def _estimate(node: Node, evidence: Evidence, recipe: Recipe, parts: Crew) -> Estimate:
    """What one component takes at most."""
    from .explainers.revision import estimate_revision

    takes = Estimate()
    for variant in recipe.variants:
        takes += parts.explainer.estimate(evidence, variant, recipe.candidates)
    drafts = len(recipe.variants) * recipe.candidates
    if drafts > 1 or recipe.revisions:
        takes += parts.validator.estimate(_WORDS, evidence, "validate") * (drafts + recipe.revisions)
    if recipe.revisions:
        each = [estimate_revision(parts.explainer, evidence, variant) for variant in recipe.variants]
        takes += max(each, key=lambda one: one.prompt_tokens) * recipe.revisions
    for scorer in parts.scoring(node):
        takes += scorer.estimate(_WORDS, evidence, "test")
    return takes
