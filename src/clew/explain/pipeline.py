"""Explaining many components: their examples read, words found, the best chosen, scored and kept.

Workers (worker.py) do the work, here or on a cluster, and this process alone keeps what comes of it: each component in
one step as it ends, so that whatever ends the work loses none that is done. What language models had answered for the
others is kept too, answer by answer (store/answers.py), and the same command goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

from ..atlas.components import Components
from ..atlas.search import no_atlas
from ..errors import BadNode, BudgetSpent, ClewError, LLMFailed, NothingToExplain, UsageError
from ..models.tape import Stop
from ..nodes import Node
from ..pool import Event as Happened
from ..pool import Finished, Here, Note, Pool, Said
from .crew import Crew, crew
from .evidence import Evidence
from .llm.desk import Desk, Question
from .recipe import Recipe
from .records import Cost, ExplainPlan, ExplainProgress, Explanation, Problem, Score, Stage, Subject
from .roles import Estimate
from .samples import gather
from .selection import selected
from .store.answers import Answers
from .store.explanations import Explanations
from .subjects import Subjects
from .tasks import tasks_of
from .worker import AtWork, Ended, Explained, ExplainWorker, GoOn, Stopped

_HOPELESS = 8  # components in a row that no language model answered for: then it stops, and goes on another time
_SILENT = ("error", "timeout", "truncated")  # kinds of failures that a server that is gone makes
_PROBED = 12  # components that a plan looks at, for all
_WORDS = "fires on words that name a place or a thing, mostly at the end of a clause, and on the word before them " * 2
"""As long as explanations get: what a plan counts before there are any."""


def explaining(
    components: Components,
    specs: Sequence[str],
    recipe: Recipe | None = None,
    *,
    explanations: Explanations | None = None,
    redo: bool = False,
    pool: Pool | None = None,
    stop: Stop | None = None,
) -> Iterator[ExplainProgress]:
    """Explain the components that `specs` name (selection.py), telling how far it is; the last progress is `finished`.

    Those that are explained and scored by the same recipe already are left out, unless `redo`. What goes wrong with one
    component is kept as its problem and counted, and the others go on. Components need an atlas. The workers of `pool`
    do the work, by default this process alone; what they ask of endpoints goes through this one.
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
        yield from _Driver(components, recipe, parts, kept, todo, pool or Here(), stop).run()


def planned(
    components: Components,
    specs: Sequence[str],
    recipe: Recipe | None = None,
    *,
    explanations: Explanations | None = None,
    redo: bool = False,
    pool: Pool | None = None,
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
        share, size = len(todo) / max(len(probed), 1), (pool or Here()).size
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
            workers=min(size, len(tasks_of(components, todo, size, recipe.seed))),
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


class _Driver:
    """Components being explained: tells workers what they may do, keeps what comes of it, and says how far it is."""

    def __init__(
        self,
        components: Components,
        recipe: Recipe,
        parts: Crew,
        kept: Explanations,
        todo: Sequence[Node],
        pool: Pool,
        stop: Stop | None,
    ) -> None:
        self._components, self._recipe, self._parts, self._kept, self._todo = components, recipe, parts, kept, todo
        self._pool, self._asked_to_stop, self._over = pool, stop, Event()
        self._desk = Desk(parts.llms, self._stop)
        self._subjects = Subjects(components)
        self._left = set(todo)
        self._done = self._failed = 0
        self._silent: list[str] = []  # what came instead of answers, since there was one
        self._error: ClewError | None = None
        self._begun = False
        self._started = time.monotonic()

    def run(self) -> Iterator[ExplainProgress]:
        """Tells how far it is as components end, and in between."""
        yield self._progress("read")
        # Without a language model it is all arithmetic: more threads only get in each other's way.
        threads = -(-self._recipe.concurrency // self._pool.size) if self._parts.llms else 1
        make = partial(ExplainWorker, self._components, self._recipe, self._parts, threads)
        tasks = tasks_of(self._components, self._todo, self._pool.size, self._recipe.seed)
        work = self._pool.work(make, tasks, desk=self._reply, left=self._left_of, stop=self._stop)
        with closing(self._desk), closing(work) as events:
            try:
                for event in events:
                    yield from self._heard(event)
            finally:
                self._over.set()
        if self._error is not None:
            raise self._told(self._error)
        yield replace(self._progress("explain"), finished=True)

    def _stop(self) -> bool:
        return self._over.is_set() or (self._asked_to_stop is not None and self._asked_to_stop())

    def _reply(self, question: GoOn | Question) -> Any:
        """What a worker is told at the desk."""
        return self._error is None if isinstance(question, GoOn) else self._desk(question)

    def _left_of(self, number: int, task: Sequence[Node]) -> Sequence[Node]:
        """What is not kept yet of a task whose worker was lost."""
        return [node for node in task if node in self._left]

    def _heard(self, event: Happened[Ended | Stopped | AtWork]) -> Iterator[ExplainProgress]:
        match event:
            case Said(what=Ended() as ended):
                # One that a lost worker told of may come a second time.
                if ended.component in self._left:
                    yield from self._ended(ended)
            case Said(what=Stopped(error=error)):
                self._error = self._error or error
            case Said() if not self._begun:
                self._begun = True
                self._started = time.monotonic()  # reading texts for all of them says nothing of the pace
            case Note(text=text):
                yield replace(self._progress(), note=text)
            case Finished():
                pass
            case _:
                yield self._progress()

    def _ended(self, ended: Ended) -> Iterator[ExplainProgress]:
        """Keep a component's words, or its problem, and tell of it."""
        try:
            for problem in ended.besides:
                self._problem(ended.component, problem)
            if isinstance(ended.result, Problem):
                self._problem(ended.component, ended.result)
                latest = None
            else:
                latest = self._keep(ended.component, ended.result)
        except ClewError as error:
            self._error = self._error or error
            return
        self._left.discard(ended.component)
        if isinstance(ended.result, Problem):
            self._failed += 1
            failure = ended.result.failure
            silent = ended.result.stage == "explain" and failure.kind in _SILENT
            self._silent = [*self._silent, failure.message] if silent else []
            yield replace(self._progress("explain"), problem=ended.result)
        else:
            self._done += 1
            self._silent = []
            yield replace(self._progress("explain"), latest=latest)
        if len(self._silent) >= _HOPELESS:
            self._error = self._error or self._hopeless()

    def _keep(self, node: Node, explained: Explained) -> Explanation:
        """The best draft with its scores, and the others beside it. Words that are kept already get the scores."""
        atlas, subject = self._components.atlas, self._subjects.of(node)
        best: Explanation | None = None
        for draft, validation in explained.drafts:
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
                scores=explained.scores if chosen else (),
                density=explained.density,
            )
            added = self._kept.add(explanation)
            best = best or added
        assert best is not None
        return best

    def _problem(self, node: Node, problem: Problem) -> None:
        self._kept.problem(self._subjects.of(node), problem, self._parts.explainer.reference)

    def _progress(self, stage: Stage | None = None) -> ExplainProgress:
        """How far it is; without a stage, in that which it is in."""
        ended, total = self._done + self._failed, len(self._todo)
        seconds = time.monotonic() - self._started
        left = seconds / ended * (total - ended) if ended else None
        stage = stage or ("explain" if self._begun else "read")
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
