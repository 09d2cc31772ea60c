"""Explaining from end to end on a tiny model: kept as it is done, gone on with, counted, and never paid for twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clew.atlas import Components, collect
from clew.debug import Model
from clew.errors import BadNode, BudgetSpent, Cancelled, LLMFailed, NoAtlas, UnknownExplanation, UsageError
from clew.explain import crew as crews
from clew.explain.explainers import LLMExplainer
from clew.explain.llm.client import Request
from clew.explain.lookup import LookupSimulator
from clew.explain.pipeline import explaining, planned, scoring
from clew.explain.recipe import Recipe
from clew.explain.records import ExplainProgress, Subject
from clew.explain.scorers import scorer
from clew.explain.store.explanations import Explanations
from clew.explain.subjects import Subjects
from clew.nodes import parse

from .scripted import ScriptedLLM

SOME = ["neuron.1.0-5"]


@pytest.fixture(scope="module")
def components(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Components:
    atlas = collect(model, corpus, out=tmp_path_factory.mktemp("atlas") / "tiny", tokens=6000, context=64, window=32)
    return Components(model, atlas)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Explanations]:
    database = Explanations(f"sqlite:///{tmp_path / 'clew.db'}")
    yield database
    database.close()


def scripted(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Request], str | LLMFailed]) -> ScriptedLLM:
    """Has words come from a scripted language model, which the tokens that they quote are read from."""
    llm = ScriptedLLM(answer)

    def made(recipe: Recipe, components: Components, answers: object) -> crews.Crew:
        simulator = LookupSimulator()
        scorers = tuple(scorer(name, llm=None, simulator=simulator, components=components) for name in recipe.scorers)
        validator = scorer("simulation", llm=None, simulator=simulator, components=components)
        return crews.Crew(LLMExplainer(llm), simulator, validator, scorers, (llm,))

    monkeypatch.setattr("clew.explain.pipeline.crew", made)
    return llm


def run(
    components: Components, specs: list[str], recipe: Recipe, kept: Explanations, redo: bool = False
) -> ExplainProgress:
    last = None
    for last in explaining(components, specs, recipe, explanations=kept, redo=redo):
        assert last.done + last.failed <= last.total
    assert last is not None and last.finished
    return last


def test_words_and_scores_of_all_are_kept(components: Components, kept: Explanations) -> None:
    last = run(components, SOME, Recipe(scorers=("simulation", "detection")), kept)
    assert (last.done, last.failed, last.total) == (6, 0, 6)
    for number in range(6):
        (found,) = kept.named(_model(components), f"neuron.1.{number}")
        assert found.chosen and found.llm == "lookup" and found.text.startswith("Fires on")
        assert [score.scorer for score in found.scores] == ["simulation", "detection"]
        assert {one.name for one in found.scores[0].baselines} == {"table", "mean", "shuffled"}
        assert not found.scores[0].failures
        assert found.scores[0].id is not None
        strips = kept.strips(found.scores[0].id)
        assert len(strips) == sum(found.scores[0].texts.values())


def test_what_is_done_is_not_done_again(components: Components, kept: Explanations) -> None:
    assert run(components, ["neuron.1.0-2"], Recipe(), kept).done == 3
    assert planned(components, SOME, Recipe(), explanations=kept).done == 3
    assert run(components, SOME, Recipe(), kept).total == 3
    # Another scorer is another matter: the words stay the same ones, and get its score beside the first.
    assert run(components, SOME, Recipe(scorers=("simulation", "detection")), kept).total == 6
    assert run(components, SOME, Recipe(), kept, redo=True).total == 6
    (found,) = kept.named(_model(components), "neuron.1.0")
    assert sorted(score.scorer for score in found.scores) == ["detection", "simulation"]


def test_what_never_fires_is_told_and_the_others_go_on(components: Components, kept: Explanations) -> None:
    # Nothing is known of the atlas's other layers when they are taken away.
    assert components.atlas is not None
    few = Components(components.subject, components.atlas.without({"neuron.0"}))
    last = run(few, ["neuron.0.0-1", "neuron.1.0"], Recipe(), kept)
    assert (last.done, last.failed, last.total) == (1, 2, 3)
    with pytest.raises(NoAtlas):
        list(explaining(Components(components.subject), SOME, Recipe(), explanations=kept))
    with pytest.raises(NoAtlas):
        planned(Components(components.subject), SOME, Recipe(), explanations=kept)
    with pytest.raises(BadNode):
        list(explaining(components, ["neuron.99.0"], Recipe(), explanations=kept))


def test_stopping_loses_nothing_that_was_done(components: Components, kept: Explanations) -> None:
    ended: list[int] = []
    steps = explaining(components, SOME, Recipe(), explanations=kept, stop=lambda: 2 in ended)
    with pytest.raises(Cancelled):
        ended.extend(step.done for step in steps)
    left = run(components, SOME, Recipe(), kept)
    assert left.total <= 4 and left.done == left.total


def test_the_best_candidate_by_validation_is_chosen_and_the_others_are_kept(
    components: Components, kept: Explanations, monkeypatch: pytest.MonkeyPatch
) -> None:
    (best,) = (one.latest for one in explaining(components, ["neuron.1.0"], Recipe(), explanations=kept) if one.latest)
    said = iter(['Fires on " nothing" (10).', best.text, 'Fires on " never" (3).'])
    scripted(monkeypatch, lambda request: next(said))
    run(components, ["neuron.1.0"], Recipe(llm="scripted", candidates=3), kept)
    found = [one for one in kept.named(_model(components), "neuron.1.0") if one.llm == "scripted"]
    assert sorted(one.chosen for one in found) == [False, False, True]
    (chosen,) = (one for one in found if one.chosen)
    assert chosen.text.rstrip(".") in best.text and chosen.validation is not None
    assert [len(one.scores) for one in found if not one.chosen] == [0, 0]


def test_a_language_model_that_answers_no_more_ends_it_with_what_was_done(
    components: Components, kept: Explanations, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def answer(request: Request) -> str | LLMFailed:
        nonlocal asked
        asked += 1
        return 'Fires on " the" (5).' if asked <= 3 else LLMFailed("It hung up.", kind="error")

    scripted(monkeypatch, answer)
    recipe = Recipe(llm="scripted", concurrency=1)
    with pytest.raises(LLMFailed, match=r"The last 8 components got no answer: It hung up\."):
        run(components, ["neuron.1.0-30"], recipe, kept)
    assert planned(components, ["neuron.1.0-30"], recipe, explanations=kept).done == 3
    problems = [
        problem for number in range(31) for problem in kept.problems(_subject(components), f"neuron.1.{number}")
    ]
    assert len(problems) >= 8 and {problem.failure.message for problem in problems} == {"It hung up."}


def test_words_that_a_simulator_cannot_read_are_the_problem_of_their_component(
    components: Components, kept: Explanations, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["months", 'Fires on " the" (5).', "days"])
    scripted(monkeypatch, lambda request: next(said))
    steps = list(explaining(components, ["neuron.1.0-2"], Recipe(llm="scripted", concurrency=1), explanations=kept))
    assert (steps[-1].done, steps[-1].failed) == (1, 2)
    problems = [step.problem for step in steps if step.problem is not None]
    assert {one.stage for one in problems} == {"score"}
    assert all("quote no token" in one.failure.message for one in problems)


def test_a_spent_budget_ends_it_with_what_was_done(
    components: Components, kept: Explanations, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def answer(request: Request) -> str:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise BudgetSpent("The budget is spent.")
        return 'Fires on " the" (5).'

    scripted(monkeypatch, answer)
    with pytest.raises(BudgetSpent, match="after 2 of 6 components"):
        run(components, SOME, Recipe(llm="scripted", concurrency=1), kept)
    assert len(kept.named(_model(components), "neuron.1.1")) == 1


def test_words_of_a_person_are_scored_and_kept(components: Components, kept: Explanations) -> None:
    (found,) = (one.latest for one in explaining(components, ["neuron.1.0"], Recipe(), explanations=kept) if one.latest)
    steps = list(scoring(components, "neuron.1.0", 'Only " the" (10)', Recipe(), explanations=kept, parent=found.id))
    mine = steps[-1].latest
    assert mine is not None and steps[-1].finished
    assert (mine.variant, mine.llm, mine.parent) == ("written", "you", found.id)
    assert mine.scores[0].strips
    # An explanation that is kept gets the same score as when it was made.
    again = list(scoring(components, "neuron.1.0", found.id or 0, Recipe(), explanations=kept))[-1].latest
    assert again is not None and again.id == found.id
    assert again.scores[0].value == found.scores[0].value
    with pytest.raises(UsageError, match="no words"):
        list(scoring(components, "neuron.1.0", "  ", Recipe(), explanations=kept))
    with pytest.raises(UsageError, match="quote no token"):
        list(scoring(components, "neuron.1.0", "months", Recipe(), explanations=kept))
    with pytest.raises(UsageError, match=r"is of neuron\.1\.0"):
        list(scoring(components, "neuron.1.1", found.id or 0, Recipe(), explanations=kept))
    with pytest.raises(BadNode, match="names 40 components"):
        list(scoring(components, "neuron.1.*", "words", Recipe(), explanations=kept))
    assert found.id is not None
    other = kept.add(replace(found, subject=replace(found.subject, model="other"), id=None, scores=()))
    with pytest.raises(UsageError, match="of other, not of this"):
        list(scoring(components, "neuron.1.0", other.id or 0, Recipe(), explanations=kept))
    with pytest.raises(UnknownExplanation):
        list(scoring(components, "neuron.1.0", 999, Recipe(), explanations=kept))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(variants=("poetry",)),  # type: ignore[arg-type]
        Recipe(variants=()),
        Recipe(scorers=("luck",)),  # type: ignore[arg-type]
        Recipe(method="by_heart"),  # type: ignore[arg-type]
        Recipe(method="json"),
        Recipe(candidates=0),
        Recipe(concurrency=0),
        Recipe(revisions=-1),
        Recipe(revisions=1),
        Recipe(budget=0),
        Recipe(money=1.0),
    ],
)
def test_recipes_that_cannot_be_done_are_refused(recipe: Recipe) -> None:
    with pytest.raises(UsageError):
        recipe.checked()


def _model(components: Components) -> str:
    assert components.atlas is not None
    return components.atlas.info().model.name


def _subject(components: Components) -> Subject:
    return Subjects(components).of(parse("neuron.1.0"))
