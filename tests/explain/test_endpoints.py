"""The whole pipeline against servers: a real one to the end, and one that fails in every way while it works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from clew.atlas import Components, collect
from clew.debug import Model
from clew.errors import BudgetSpent, LLMFailed
from clew.explain.evidence import Evidence, Sample
from clew.explain.explainers import LLMExplainer
from clew.explain.llm import open_llm
from clew.explain.pipeline import explaining, planned
from clew.explain.recipe import Recipe
from clew.explain.records import ExplainProgress, Explanation, ScorerName
from clew.explain.roles import Draft
from clew.explain.scorers import scorer
from clew.explain.simulators import methods, simulator
from clew.explain.store.answers import Answers
from clew.explain.store.explanations import Explanations
from clew.nodes import parse

from .llm import server
from .llm.server import Asked, Handler, Powers, Scripted

SCORERS: tuple[ScorerName, ...] = ("simulation", "detection", "fuzzing")


@pytest.fixture(scope="module")
def components(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Components:
    """Short texts, so that a small model on a small machine can be asked about them."""
    folder = tmp_path_factory.mktemp("atlas") / "tiny"
    return Components(model, collect(model, corpus, out=folder, tokens=4000, context=24, window=12))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Explanations]:
    database = Explanations(f"sqlite:///{tmp_path / 'clew.db'}")
    yield database
    database.close()


def sensible(handler: Handler, asked: Asked) -> None:
    """Answers whatever it is asked in the form that is wanted, as a language model would that knows nothing."""
    shown = asked.text
    if shown.rstrip().endswith("Activations:"):
        tokens = json.loads(shown.rpartition("\nTokens: ")[2].splitlines()[0])
        rows = [{"token": token, "activation": number % 3} for number, token in enumerate(tokens)]
        said = json.dumps({"activations": rows})
    elif shown.rstrip().endswith("Answers:"):
        said = json.dumps({"answers": [number % 2 for number in range(shown.count("\nText "))]})
    else:
        said = "words that name a thing"
    message = {"role": "assistant", "content": said}
    body = {
        "id": "1", "object": "chat.completion", "created": 1, "model": "scripted",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }  # fmt: skip
    handler.send(200, json.dumps(body).encode())
    asked.done = True


def plain(scripted: Scripted) -> None:
    """Chat without log-probabilities, as most servers that people run."""
    scripted.powers = Powers(completions=False, logprobs=0, echo=False, lies=False)
    scripted.always = sensible


def explained(steps: Iterator[ExplainProgress]) -> list[Explanation]:
    return [step.latest for step in steps if step.latest is not None]


def evidence() -> Evidence:
    """A component that fires on names of months, in texts of a few words: a small model is to read them all."""
    texts = {
        ("top", "explain"): "We met in May last year",
        ("top", "test"): "It snowed in January and thawed",
        ("top", "calibrate"): "Since June it has rained",
        ("random", "test"): "The dog ate a bone",
    }
    samples = []
    for number, ((kind, split), text) in enumerate(texts.items()):
        tokens = tuple(f" {word}" for word in text.split())
        fires = [float(token.strip() in ("May", "January", "June")) for token in tokens]
        ids = tuple(range(len(tokens)))
        samples.append(Sample(kind, split, number, 0, tokens, ids, np.array(fires), 0))  # type: ignore[arg-type]
    return Evidence(parse("neuron.1.0"), 1.0, tuple(samples))


def test_a_real_server_explains_simulates_and_judges_to_the_end(
    components: Components, served: str, answers: Answers
) -> None:
    llm, known = open_llm(served, answers=answers, concurrency=1), evidence()
    with closing(llm):
        (draft,) = LLMExplainer(llm).explain(known, "tokens", 1, 0)
        # So small a model may repeat its question, which is told as what it is.
        assert draft.text if isinstance(draft, Draft) else draft.kind in ("malformed", "truncated")
        assert methods(llm.capabilities) == ["json"]
        simulates = simulator(llm, None)
        scores = [
            scorer(name, llm=llm, simulator=simulates, components=components).score("months", known, "test", 0)
            for name in SCORERS
        ]
        sent = llm.spent.requests
        again = scorer("simulation", llm=llm, simulator=simulates, components=components)
        assert again.score("months", known, "test", 0).value == scores[0].value
        assert llm.spent.requests == sent  # all of it is known now
    simulation, *judged = scores
    assert (simulation.method, simulation.llm, simulation.prompt) == ("json", served, simulates.prompt)
    # What a small model does not fill in rightly is a failure, and in no number.
    assert len(simulation.strips) == 2 == sum(simulation.texts.values()) + len(simulation.failures)
    assert [strip.failure for strip in simulation.strips if strip.simulated is None] == list(simulation.failures)
    for score in judged:
        assert sum(score.texts.values()) + len(score.failures) == 2
        assert score.value is None or 0 <= score.value <= 1


def test_faults_lose_nothing_and_are_counted(components: Components, kept: Explanations, scripted: Scripted) -> None:
    plain(scripted)
    passing = cycle([server.status(429, retry_after="0"), None, server.status(500), None, server.hang_up, None,
                     server.cut_body, None, server.cut_stream, None, server.cut_json, None])  # fmt: skip
    scripted.faults.extend(next(passing) or sensible for _ in range(60))
    recipe = Recipe(llm=scripted.reference, scorers=SCORERS, concurrency=4)
    found = explained(explaining(components, ["neuron.1.0-3"], recipe, explanations=kept))
    assert len(found) == 4 and not any(score.failures for one in found for score in one.scores)
    assert {score.method for one in found for score in one.scores[:1]} == {"json"}
    # Each answer was asked for until it came, and none twice.
    answered = [asked.text for asked in scripted.asked if asked.done]
    assert len(answered) == len(set(answered))


def test_answers_in_no_form_are_failures_of_their_texts_alone(
    components: Components, kept: Explanations, scripted: Scripted
) -> None:
    plain(scripted)
    wrong = iter(["I would rather not.", '{"activations": []}', '{"activations": [', "[]"] * 100)

    def half(handler: Handler, asked: Asked) -> None:
        if asked.text.rstrip().endswith("Activations:") and len(scripted.asked) % 2:
            message = {"role": "assistant", "content": next(wrong)}
            choices = [{"index": 0, "finish_reason": "stop", "message": message}]
            server.says({"id": "1", "object": "x", "created": 1, "model": "scripted", "choices": choices})(
                handler, asked
            )
        else:
            sensible(handler, asked)

    scripted.always = half
    recipe = Recipe(llm=scripted.reference, concurrency=1)
    (found,) = explained(explaining(components, ["neuron.1.0"], recipe, explanations=kept))
    (score,) = found.scores
    assert score.failures and {one.kind for one in score.failures} == {"malformed"}
    assert score.id is not None
    strips = kept.strips(score.id)
    assert len([strip for strip in strips if strip.simulated is None]) == len(score.failures)
    assert sum(score.texts.values()) == len(strips) - len(score.failures)
    counted = [strip for strip in strips if strip.simulated is not None]
    assert 0 < len(counted) < len(strips)


def test_a_server_that_dies_half_way_costs_what_was_under_way(
    components: Components, kept: Explanations, scripted: Scripted
) -> None:
    plain(scripted)
    answers = 0

    def dies(handler: Handler, asked: Asked) -> None:
        nonlocal answers
        answers += 1
        (sensible if answers <= 100 else server.hang_up)(handler, asked)

    scripted.always = dies
    recipe = Recipe(llm=scripted.reference, concurrency=4)
    with pytest.raises(LLMFailed):
        list(explaining(components, ["neuron.1.0-31"], recipe, explanations=kept))
    done = planned(components, ["neuron.1.0-31"], recipe, explanations=kept).done
    assert 0 < done < 32
    scripted.always = sensible
    before = [asked.text for asked in scripted.asked if asked.done]
    found = explained(explaining(components, ["neuron.1.0-31"], recipe, explanations=kept))
    assert len(found) == 32 - done
    after = [asked.text for asked in scripted.asked if asked.done][len(before) :]
    assert not set(before) & set(after)


def test_a_budget_is_exceeded_by_what_is_under_way_at_most(
    components: Components, kept: Explanations, scripted: Scripted
) -> None:
    plain(scripted)
    recipe = Recipe(llm=scripted.reference, budget=3000, concurrency=4)
    with pytest.raises(BudgetSpent, match="The budget is spent, after"):
        list(explaining(components, ["neuron.1.0-9"], recipe, explanations=kept))
    sent = len([asked for asked in scripted.asked if asked.done])
    assert 3000 - 120 <= 120 * sent <= 3000 + 4 * 120
    done = len(explained(explaining(components, ["neuron.1.0-9"], Recipe(llm=scripted.reference), explanations=kept)))
    assert done > 0
    answered = [asked.text for asked in scripted.asked if asked.done]
    assert len(answered) == len(set(answered))


PROGRAM = """
import sys
import clew
from clew.atlas import Components, Atlas
from clew.explain import Explanations, Recipe, explaining
folder, atlas, reference, url = sys.argv[1:]
model = clew.load(folder)
recipe = Recipe(llm=reference, concurrency=4)
steps = explaining(Components(model, Atlas.open(atlas)), ["neuron.1.0-7"], recipe, explanations=Explanations(url))
print(sum(step.latest is not None for step in steps))
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_run_goes_on_and_asks_nothing_twice(
    components: Components, kept: Explanations, scripted: Scripted
) -> None:
    plain(scripted)
    scripted.delay = 0.02
    assert components.atlas is not None
    url = str(kept.engine.url.render_as_string(hide_password=False))
    arguments = [str(components.subject.path), str(components.atlas.folder), scripted.reference, url]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(scripted.asked) < 60:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.2)
    before = [asked.text for asked in scripted.asked]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    after = [asked.text for asked in scripted.asked][len(before) :]
    assert len(set(before) & set(after)) <= 4  # those under way
    assert len(after) == len(set(after)) > 0
    assert planned(components, ["neuron.1.0-7"], Recipe(llm=scripted.reference), explanations=kept).done == 8
