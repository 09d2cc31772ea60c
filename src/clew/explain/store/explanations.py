"""The explanations of every component of every model, with all that they scored and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ...errors import UnknownExplanation
from ...records import Records
from ..records import Explanation, Problem, Score, ScorerName, Strip, Subject, Variant
from . import rows
from .database import engine_of, reading, writing
from .schema import explanations, problems, scores, strips, subjects

_SAME_SCORE = ("explanation", "scorer", "llm", "split", "method", "prompt", "seed", "value", "low", "high", "tokens")
_GONE = "It may have been removed: list the explanations of its component again."
_AT_ONCE = 5000  # ids named in one statement: databases bound how many

T = TypeVar("T")


class Explanations:
    """A database of explanations, at a SQLAlchemy URL or where the settings say; safe to use from several threads.

    An explanation is kept once: the same words for the same component by the same explainer, prompt and seed get their
    new scores beside the old. So is a score: number for number the same, by the same judge, prompt and seed, it is not
    added again. Opening and every method raise BadDatabase; those that write raise NoSpace too.
    """

    def __init__(self, url: str | None = None) -> None:
        self.engine: Engine = engine_of(url)
        self._insert = (sqlite if self.engine.dialect.name == "sqlite" else postgresql).insert

    @property
    def place(self) -> str:
        """The address of the database, without a password."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def add(self, explanation: Explanation) -> Explanation:
        """Keep an explanation and its scores. Given back with numbers and times, and scores without strips.

        Raises BadNode for a component without an id, and UnknownExplanation for a parent that is not there.
        """
        (added,) = self.add_all([explanation])
        return added

    def add_all(self, several: Iterable[Explanation]) -> list[Explanation]:
        """Keep several, all or none of them; as `add`."""
        with writing(self.engine) as connection:
            return [self._add(connection, one) for one in several]

    def add_score(self, explanation: int, score: Score) -> Score:
        """Keep one more score of an explanation. Given back without strips. Raises UnknownExplanation."""
        with writing(self.engine) as connection:
            self._known(connection, explanation)
            return self._add_scores(connection, explanation, [score])[0]

    def get(self, number: int) -> Explanation:
        """One explanation. Raises UnknownExplanation."""
        with reading(self.engine) as connection:
            self._known(connection, number)
            return read(connection, selected().where(explanations.c.id == number))[0]

    def of(self, subject: Subject, component: str) -> Records[Explanation]:
        """All of a component, newest first: candidates that were not chosen, revised and written ones too.

        Those of a model by this name whose weights are not known, as imported ones are, count as of every such model.
        """
        with reading(self.engine) as connection:
            query = selected().where(_of(subject), explanations.c.component == component)
            return Records(read(connection, query.order_by(explanations.c.id.desc())))

    def named(self, model: str, component: str) -> Records[Explanation]:
        """The same by the model's name alone, whatever its weights and autoencoders."""
        with reading(self.engine) as connection:
            query = selected().where(subjects.c.model == model, explanations.c.component == component)
            return Records(read(connection, query.order_by(explanations.c.id.desc())))

    def best(self, subject: Subject, components: Sequence[str]) -> dict[str, Explanation]:
        """The chosen explanation of each component that has one: the one that simulates best on the test split (of a
        head, that tells pairs best), and of equals the newest."""
        found: dict[str, Row[Any]] = {}
        with reading(self.engine) as connection:
            for some in _parts(components):
                query = selected().where(
                    _of(subject),
                    explanations.c.component.in_(some),
                    explanations.c.chosen,
                    explanations.c.variant != "node",
                )
                for row in connection.execute(query):
                    other = found.get(row.component)
                    if other is None or _worth(row) > _worth(other):
                        found[row.component] = row
            of = _scores(connection, [row.id for row in found.values()])
        return {
            name: rows.read_explanation(found[name], of.get(found[name].id, ()))
            for name in dict.fromkeys(components)
            if name in found
        }

    def explained(
        self,
        subject: Subject,
        components: Sequence[str],
        *,
        llm: str,
        variants: Sequence[Variant],
        prompts: Sequence[str],
        seed: int,
        simulator: str,
        scorers: Sequence[ScorerName],
    ) -> set[str]:
        """Which components have a chosen explanation by one of the variants, each with the version of its prompt, and
        of it a score by each scorer on the test split. One that is nothing but failures is none. What a revision adds
        to the version, after a +, does not matter."""
        wanted = set(zip(variants, prompts, strict=True))
        done: set[str] = set()
        with reading(self.engine) as connection:
            for some in _parts(components):
                query = selected().where(
                    _of(subject),
                    explanations.c.component.in_(some),
                    explanations.c.chosen,
                    explanations.c.llm == llm,
                    explanations.c.seed == seed,
                )
                for one in read(connection, query):
                    judged = {
                        score.scorer
                        for score in one.scores
                        if score.split == "test"
                        and score.llm == simulator
                        and (score.value is not None or not score.failures)
                    }
                    if (one.variant, one.prompt.partition("+")[0]) in wanted and judged.issuperset(scorers):
                        done.add(one.component)
        return done

    def strips(self, score: int) -> Records[Strip]:
        """The texts of a scoring. Raises UnknownExplanation for a score that is not there."""
        with reading(self.engine) as connection:
            query = select(scores.c.id, strips.c.content).join_from(scores, strips, isouter=True)
            row = connection.execute(query.where(scores.c.id == score)).first()
        if row is None:
            raise UnknownExplanation(f"There is no score {score}.", _GONE)
        return Records(rows.unpack(row.content) if row.content is not None else ())

    def problem(self, subject: Subject, problem: Problem, llm: str) -> None:
        """Keep why there is no explanation, or no score; the same problem is kept once."""
        with writing(self.engine) as connection:
            row = rows.problem_row(problem, self._subject(connection, subject), llm)
            statement = self._insert(problems).values(row)
            connection.execute(
                statement.on_conflict_do_update(index_elements=["digest"], set_={"created": row["created"]})
            )

    def problems(self, subject: Subject, component: str | None = None) -> Records[Problem]:
        """What was tried in vain, of a component or of all of a subject's, newest first."""
        query = select(problems).where(problems.c.subject.in_(_subjects(subject)))
        if component is not None:
            query = query.where(problems.c.component == component)
        with reading(self.engine) as connection:
            found = connection.execute(query.order_by(problems.c.created.desc(), problems.c.id.desc()))
            return Records(map(rows.read_problem, found))

    def subjects(self, model: str) -> list[Subject]:
        """Whose explanations there are under a model's name: of other weights, and of latents of each autoencoder."""
        with reading(self.engine) as connection:
            found = connection.execute(select(subjects).where(subjects.c.model == model).order_by(subjects.c.id))
            return [Subject(row.model, row.fingerprint or None, row.autoencoder or None) for row in found]

    def remove(self, number: int) -> None:
        """Delete an explanation with its scores; what revises it stays. Raises UnknownExplanation."""
        with writing(self.engine) as connection:
            self._known(connection, number)
            connection.execute(delete(explanations).where(explanations.c.id == number))

    def chosen(self, subject: Subject, components: Sequence[str] | None = None) -> Iterator[Explanation]:
        """The best explanation of each component, of all or of some, in the order of the model: for export."""
        if components is None:
            names = select(explanations.c.component).where(
                _of(subject), explanations.c.chosen, explanations.c.variant != "node"
            )
            with reading(self.engine) as connection:
                ordered = names.group_by(
                    explanations.c.kind, explanations.c.layer, explanations.c.number, explanations.c.component
                ).order_by(explanations.c.layer, explanations.c.kind, explanations.c.number)
                components = list(connection.scalars(ordered))
        for some in _parts(components):
            best = self.best(subject, some)
            yield from (best[name] for name in some if name in best)

    def _known(self, connection: Connection, number: int) -> None:
        if connection.scalar(select(explanations.c.id).where(explanations.c.id == number)) is None:
            raise UnknownExplanation(f"There is no explanation {number}.", _GONE)

    def _subject(self, connection: Connection, subject: Subject) -> int:
        """Its number, given one if it has none."""
        row = rows.subject_row(subject)
        query = select(subjects.c.id).where(*(subjects.c[name] == value for name, value in row.items()))
        found = connection.scalar(query)
        if found is None:
            connection.execute(self._insert(subjects).values(row).on_conflict_do_nothing())
            found = connection.scalar(query)
        assert found is not None
        return found

    def _add(self, connection: Connection, explanation: Explanation) -> Explanation:
        if explanation.parent is not None:
            self._known(connection, explanation.parent)
        row = rows.explanation_row(explanation, self._subject(connection, explanation.subject))
        statement = self._insert(explanations).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=["digest"], set_={"chosen": or_(explanations.c.chosen, statement.excluded.chosen)}
        ).returning(explanations.c.id, explanations.c.created, explanations.c.chosen)
        number, created, chosen = connection.execute(statement).one()
        added = self._add_scores(connection, number, explanation.scores)
        return replace(explanation, id=number, created=created, chosen=bool(chosen), scores=tuple(added))

    def _add_scores(self, connection: Connection, explanation: int, several: Sequence[Score]) -> list[Score]:
        added = []
        for score in several:
            row = rows.score_row(score, explanation)
            same = [scores.c[name].is_not_distinct_from(row[name]) for name in _SAME_SCORE]
            known = connection.execute(select(scores.c.id, scores.c.created).where(*same)).first()
            if known is None:
                statement = self._insert(scores).values(row).returning(scores.c.id, scores.c.created)
                known = connection.execute(statement).one()
            if score.strips:
                content = rows.pack(score.strips)
                connection.execute(
                    self._insert(strips).values(score=known.id, content=content).on_conflict_do_nothing()
                )
            added.append(replace(score, strips=(), id=known.id, created=known.created))
        headline = rows.headline(several)
        if headline is not None:
            connection.execute(update(explanations).where(explanations.c.id == explanation).values(headline=headline))
        return added


def selected(*more: Any) -> Select[Any]:
    """Explanations with their subjects, to be narrowed and then read; `more` columns beside."""
    return select(explanations, subjects.c.model, subjects.c.fingerprint, subjects.c.autoencoder, *more).join_from(
        explanations, subjects
    )


def read(connection: Connection, query: Select[Any]) -> list[Explanation]:
    """The explanations that a query of `selected` finds, with their scores."""
    found = connection.execute(query).all()
    of = _scores(connection, [row.id for row in found])
    return [rows.read_explanation(row, of.get(row.id, ())) for row in found]


def _scores(connection: Connection, numbers: Sequence[int]) -> dict[int, list[Score]]:
    """The scores of explanations by these numbers, oldest first."""
    found: dict[int, list[Score]] = {}
    for some in _parts(numbers):
        query = select(scores).where(scores.c.explanation.in_(some)).order_by(scores.c.id)
        for row in connection.execute(query):
            found.setdefault(row.explanation, []).append(rows.read_score(row))
    return found


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at a time as a statement can name."""
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _subjects(subject: Subject) -> Select[Any]:
    """Numbers of the subjects whose explanations are a subject's: itself, and the model of its name that is not known
    any closer."""
    row = rows.subject_row(subject)
    return select(subjects.c.id).where(
        subjects.c.model == row["model"],
        subjects.c.fingerprint.in_({row["fingerprint"], ""}),
        subjects.c.autoencoder == row["autoencoder"],
    )


def _of(subject: Subject) -> Any:
    return explanations.c.subject.in_(_subjects(subject))


def _worth(row: Row[Any]) -> tuple[bool, float, int]:
    return row.headline is not None, row.headline or 0.0, row.id
