"""The whole pipeline against servers: a real one to the end, and one that fails in every way while it works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from clew import settings
from clew.atlas import Components, collect
from clew.debug import Model
from clew.errors import BudgetSpent, LLMFailed
from clew.explain.pipeline import explaining, planned, scoring
from clew.explain.recipe import Recipe
from clew.explain.records import ExplainProgress, Explanation
from clew.explain.store.explanations import Explanations

from .llm import server
from .llm.server import Asked, Handler, Powers, Scripted

SCORERS = ("simulation", "detection", "fuzzing")


@pytest.fixture(scope="module")
def components(model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Components:
    """Short texts, so that a small model on a small machine can be asked about them."""
    folder = tmp_path_factory.mktemp("atlas") / "tiny"
    return Components(model, collect(model, corpus, out=folder, tokens=4000, context=32, window=16))


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


def test_a_real_server_explains_simulates_and_judges_to_the_end(
    components: Components, kept: Explanations, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("SPLIT_TOP", 2), ("SPLIT_RANDOM", 1), ("SPLIT_NEAR", 1)):
        monkeypatch.setattr(settings, name, few)
    words = list(explaining(components, ["neuron.1.0-2"], Recipe(llm=served, scorers=()), explanations=kept))
    assert words[-1].finished and words[-1].done + words[-1].failed == 3
    # So small a model may repeat its question, which is told as what it is.
    assert all(step.latest.text for step in words if step.latest is not None)
    assert {step.problem.failure.kind for step in words if step.problem is not None} <= {"malformed", "truncated"}
    recipe = Recipe(llm=served, scorers=SCORERS)
    found = list(scoring(components, "neuron.1.0", "names of people", recipe, explanations=kept))[-1].latest
    assert found is not None and [score.scorer for score in found.scores] == list(SCORERS)
    simulation, *judged = found.scores
    assert (simulation.method, simulation.llm) == ("json", served)
    assert simulation.id is not None
    strips = kept.strips(simulation.id)
    # A small model fills in few documents rightly: those it does not are failures, and in no number.
    assert sum(simulation.texts.values()) + len(simulation.failures) == len(strips) > 0
    assert [strip.failure for strip in strips if strip.simulated is None] == list(simulation.failures)
    for score in judged:
        assert sum(score.texts.values()) + len(score.failures) > 0
        assert score.value is None or 0 <= score.value <= 1
    # All of it is known now.
    again = list(scoring(components, "neuron.1.0", "names of people", recipe, explanations=kept))[-1]
    assert again.spent.requests == 0 < again.spent.known


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
