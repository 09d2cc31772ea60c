"""Explaining by several workers: what comes of it is what one makes, whatever becomes of them."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clew.atlas import Components, collect
from clew.debug import Model
from clew.errors import BudgetSpent, Cancelled, LLMFailed, UnknownLLM
from clew.explain.evidence import Evidence
from clew.explain.llm import open_llm
from clew.explain.llm.client import Request
from clew.explain.llm.desk import Desk
from clew.explain.llm.distant import Distant, Nearby
from clew.explain.pipeline import explaining, planned
from clew.explain.recipe import Recipe
from clew.explain.records import ExplainProgress, Explanation, Problem
from clew.explain.samples import gather
from clew.explain.selection import selected
from clew.explain.store.answers import Answers
from clew.explain.store.explanations import Explanations
from clew.explain.subjects import subject_of
from clew.explain.tasks import tasks_of
from clew.nodes import parse
from clew.pool import Here, Pool
from clew.sae.autoencoder import Autoencoder

from ..atlas.dictionaries import random_autoencoder
from ..tiny import tiny_model_folder
from .elsewhere import LOST, Elsewhere
from .llm import server
from .llm.server import Asked, Handler, Scripted
from .test_endpoints import plain, sensible

SPECS = ["neuron.1.0-11", "attn.0.0-1", "latent.mlp_out.1.0-3"]
FEW = ["neuron.1.0-7"]


@pytest.fixture(scope="module")
def components(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Components:
    autoencoder: Autoencoder = random_autoencoder(model.subject.anatomy, "mlp_out.1", n=12)
    folder = tmp_path_factory.mktemp("atlas") / "tiny"
    atlas = collect(model, corpus, out=folder, autoencoders=[autoencoder], tokens=4000, context=24, window=12)
    return Components(model, atlas, [autoencoder])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A local model that reads prompts of any length, and knows nothing: its reference."""
    folder = tiny_model_folder(tmp_path_factory.mktemp("reader") / "model", seed=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))
    return f"local:{folder}"


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[list[Explanations]]:
    """Two, so that nothing that one run knows helps the other."""
    found = [Explanations(f"sqlite:///{tmp_path / name}") for name in ("one.db", "other.db")]
    yield found
    for one in found:
        one.close()


def run(
    components: Components, specs: Sequence[str], recipe: Recipe, kept: Explanations, pool: Pool
) -> list[ExplainProgress]:
    return list(explaining(components, specs, recipe, explanations=kept, pool=pool))


def kept_of(kept: Explanations, components: Components, specs: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """All that is kept of components, strips too, but when and under which number."""
    found = {}
    for node in selected(specs, components):
        words = [_bare(kept, one) for one in kept.named(components.subject.name, str(node))]
        found[str(node)] = sorted(words, key=lambda one: one["text"])
    return found


def problems(kept: Explanations, components: Components, specs: Sequence[str]) -> list[Problem]:
    """What went wrong with components, each in its order."""
    nodes = selected(specs, components)
    found = [one for node in nodes for one in kept.problems(subject_of(components, node), str(node))]
    assert {one.component for one in found} == {str(node) for node in nodes}
    return found


def _bare(kept: Explanations, explanation: Explanation) -> dict[str, Any]:
    scores = []
    for score in sorted(explanation.scores, key=lambda score: score.scorer):
        assert score.id is not None
        scores.append(replace(score, id=None, created=None, strips=kept.strips(score.id)))
    document = replace(explanation, id=None, created=None, scores=scores).to_dict()
    assert json.dumps(document)
    return document


def test_components_that_travelled_have_the_same_evidence(components: Components) -> None:
    there = pickle.loads(pickle.dumps(components))
    assert there is not components and there.subject is not components.subject
    nodes = selected(SPECS, components)
    for (_, here), (_, elsewhere) in zip(gather(components, nodes), gather(there, nodes), strict=True):
        assert isinstance(here, Evidence) and isinstance(elsewhere, Evidence)
        assert (here.maximum, here.alike, here.density) == (elsewhere.maximum, elsewhere.alike, elsewhere.density)
        for one, other in zip(here.samples, elsewhere.samples, strict=True):
            assert (one.ids, one.split, one.kind, one.start) == (other.ids, other.split, other.kind, other.start)
            np.testing.assert_array_equal(one.activations, other.activations)


@pytest.mark.parametrize("lost_after", [None, 4])
def test_several_keep_what_one_keeps(
    components: Components, databases: list[Explanations], lost_after: int | None
) -> None:
    recipe = Recipe(scorers=("simulation", "detection", "ablation"))
    one, other = databases
    run(components, SPECS, recipe, one, Here())
    steps = run(components, SPECS, recipe, other, Elsewhere(lost_after=lost_after))
    assert (steps[-1].done, steps[-1].failed, steps[-1].total, steps[-1].finished) == (18, 0, 18, True)
    assert [step.note for step in steps if step.note] == ([LOST] if lost_after else [])
    # Each is told once, and counted once.
    latest = [step.latest.component for step in steps if step.latest is not None]
    assert sorted(latest) == sorted(str(node) for node in selected(SPECS, components))
    assert kept_of(other, components, SPECS) == kept_of(one, components, SPECS)


def test_an_endpoint_is_asked_by_one_process_for_all(
    components: Components, databases: list[Explanations], scripted: Scripted
) -> None:
    plain(scripted)
    scripted.delay = 0.005
    one, other = databases
    recipe = Recipe(llm=scripted.reference, scorers=("detection",), candidates=2, concurrency=3)
    here = run(components, FEW, recipe, one, Here())
    before = len(scripted.asked)
    scripted.most_at_once = 0
    steps = run(components, FEW, recipe, other, Elsewhere(lost_after=3))
    assert kept_of(other, components, FEW) == kept_of(one, components, FEW)
    assert [step.note for step in steps if step.note] == [LOST]
    # A worker that was lost had asked what the other one would have asked again.
    asked = [(one.text, one.fields.get("seed")) for one in scripted.asked[before:]]
    assert len(asked) == len(set(asked)) == before
    assert scripted.most_at_once <= 3
    spent = steps[-1].spent
    assert (spent.requests, spent.prompt_tokens) == (here[-1].spent.requests, here[-1].spent.prompt_tokens)


def test_a_limit_of_the_server_holds_for_all_workers(
    components: Components, databases: list[Explanations], scripted: Scripted
) -> None:
    plain(scripted)
    scripted.faults.extend([sensible] * 20 + [server.status(429, retry_after="3")])
    run(components, FEW, Recipe(llm=scripted.reference, concurrency=4), databases[0], Elsewhere())
    refused = scripted.asked[20]
    # Those that were on their way at that moment came right after it, and for three seconds no other.
    after = [asked.at - refused.at for asked in scripted.asked[21:]]
    assert not [late for late in after if 1 < late < 2.9] and max(after) > 3


def test_a_budget_is_that_of_all_workers(
    components: Components, databases: list[Explanations], scripted: Scripted
) -> None:
    plain(scripted)
    recipe = Recipe(llm=scripted.reference, budget=6000, concurrency=4)
    steps: list[ExplainProgress] = []
    with pytest.raises(BudgetSpent, match=r"The budget is spent, after \d of 12 components"):
        steps.extend(explaining(components, SPECS[:1], recipe, explanations=databases[0], pool=Elsewhere()))
    done = steps[-1].done
    sent = len([asked for asked in scripted.asked if asked.done])
    assert 6000 - 120 <= 120 * sent <= 6000 + 4 * 120
    assert planned(components, SPECS[:1], recipe, explanations=databases[0]).done == done
    run(components, SPECS[:1], replace(recipe, budget=None), databases[0], Elsewhere())
    answered = [asked.text for asked in scripted.asked if asked.done]
    assert len(answered) == len(set(answered))


def test_silence_is_counted_over_all_workers(
    components: Components, databases: list[Explanations], scripted: Scripted
) -> None:
    plain(scripted)
    asked = 0

    def dies(handler: Handler, one: Asked) -> None:
        nonlocal asked
        asked += 1
        (sensible if asked <= 30 else server.status(503))(handler, one)

    scripted.always = dies
    recipe = Recipe(llm=scripted.reference, concurrency=2)
    with pytest.raises(LLMFailed, match="The last 8 components got no answer"):
        run(components, ["neuron.1.*"], recipe, databases[0], Elsewhere())
    plan = planned(components, ["neuron.1.*"], recipe, explanations=databases[0])
    assert 0 < plan.done < plan.components - 8


def test_what_is_refused_is_told_as_it_is(
    components: Components, databases: list[Explanations], scripted: Scripted
) -> None:
    plain(scripted)
    scripted.always = server.status(401)
    with pytest.raises(UnknownLLM, match="401"):
        run(components, SPECS[:1], Recipe(llm=scripted.reference), databases[0], Elsewhere())


def test_stopping_ends_all_workers(components: Components, databases: list[Explanations], scripted: Scripted) -> None:
    plain(scripted)
    ended: list[int] = []
    recipe = Recipe(llm=scripted.reference, concurrency=2)
    steps = explaining(
        components, SPECS[:1], recipe, explanations=databases[0], pool=Elsewhere(), stop=lambda: 2 in ended
    )
    with pytest.raises(Cancelled):
        ended.extend(step.done for step in steps)
    asked = len(scripted.asked)
    time.sleep(0.2)
    assert len(scripted.asked) == asked
    assert planned(components, SPECS[:1], recipe, explanations=databases[0]).done >= 2


def test_a_local_model_is_asked_where_the_work_is_done(
    components: Components,
    databases: list[Explanations],
    reader: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It writes nothing that could be kept as words, but what is wrong with it is.
    recipe = Recipe(llm=reader, simulator="lookup", concurrency=2)
    one, other = databases
    here = run(components, FEW, recipe, one, Here())
    asked: list[object] = []
    answer = Desk.__call__

    def noted(self: Desk, question: Any) -> Any:
        asked.append(question)
        return answer(self, question)

    monkeypatch.setattr(Desk, "__call__", noted)
    steps = run(components, FEW, recipe, other, Elsewhere(lost_after=3))
    assert [step.note for step in steps if step.note] == [LOST]
    assert problems(other, components, FEW) == problems(one, components, FEW)
    assert {type(question).__name__ for question in asked} >= {"Begin", "Keep"}
    assert "Ask" not in {type(question).__name__ for question in asked}
    spent, theirs = here[-1].spent, steps[-1].spent
    # What the lost one was answering is asked again.
    assert spent.requests == 8 <= theirs.requests <= 10
    again = list(explaining(components, FEW, recipe, explanations=other, pool=Elsewhere(), redo=True))[-1].spent
    assert (again.requests, again.prompt_tokens, again.known) == (0, 0, spent.requests)


def test_a_budget_holds_for_local_models_too(
    components: Components, databases: list[Explanations], reader: str
) -> None:
    recipe = Recipe(llm=reader, simulator="lookup", budget=4000, concurrency=2)
    steps: list[ExplainProgress] = []
    with pytest.raises(BudgetSpent, match=r"The budget is spent, after \d of 8 components"):
        steps.extend(explaining(components, FEW, recipe, explanations=databases[0], pool=Elsewhere()))
    spent = steps[-1].spent
    assert spent.requests and 4000 <= spent.prompt_tokens + spent.completion_tokens < 8000


def test_neither_key_nor_connection_travels(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEW_LLM_KEY", "sk-secret-of-mine")
    llm = open_llm(scripted.reference)
    with closing(llm):
        sent = pickle.dumps(llm)
        assert b"secret" not in sent
        there = pickle.loads(sent)
        assert isinstance(there, Distant) and there.reference == llm.reference
        desk = Desk([llm], lambda: False)
        there.desk = desk
        request = Request(prompt="One two", max_tokens=4)
        assert there.ask(request) == llm.ask(request)
        assert there.capabilities == llm.capabilities and there.count("four bytes") == llm.count("four bytes")
        desk.close()
        with pytest.raises(Cancelled):
            there.ask(request)


def test_a_local_model_travels_as_its_place(model: Model, answers: Answers) -> None:
    llm = open_llm(f"local:{model.subject.path}", answers=answers, subject=model.subject)
    sent = pickle.dumps(llm)
    assert len(sent) < 2000
    there = pickle.loads(sent)
    assert isinstance(there, Nearby) and there.reference == llm.reference
    there.desk = Desk([llm], lambda: False)
    request = Request(prompt="One two", max_tokens=4)
    answer = there.ask(request)
    assert not answer.known and llm.spent.requests == 1
    assert llm.ask(request) == replace(answer, known=True)
    assert (llm.spent.requests, llm.spent.known) == (1, 1)
    assert there.ask_all([request]) == [replace(answer, known=True)]
    assert (llm.spent.requests, llm.spent.known) == (1, 2)


def test_tasks_are_few_and_hold_each_component_once(components: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = selected(["neuron.*.*"], components)
    assert tasks_of(components, nodes, 1, 0) == [nodes]
    for workers in (2, 3):
        tasks = tasks_of(components, nodes, workers, 0)
        assert [node for task in tasks for node in task] == nodes
        assert workers <= len(tasks) <= 2 * workers and max(map(len, tasks)) - min(map(len, tasks)) < len(tasks)
    assert tasks_of(components, nodes[:3], 2, 0) == [nodes[:3]]
    assert tasks_of(components, [], 2, 0) == tasks_of(components, [], 1, 0) == []
    # No more than can be read in one pass.
    monkeypatch.setattr("clew.explain.pool._HELD", 20_000)
    few = max(map(len, tasks_of(components, nodes, 2, 0)))
    assert few < len(nodes) / 4
    heads = [parse(f"attn.0.{number}") for number in range(2)] * 8
    assert [len(task) for task in tasks_of(components, heads, 2, 0)] == [4, 4, 4, 4]
