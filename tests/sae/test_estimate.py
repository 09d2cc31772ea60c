"""What a training would take, beside what one took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from clew.debug import Model
from clew.errors import Cancelled, UsageError
from clew.pool import Here
from clew.sae import checkpoint, planned
from clew.sae.activations import Stream
from clew.sae.group import Group
from clew.sae.portion import Portion
from clew.sae.training import training

from .plan import PLAN as AGAIN
from .plan import RECIPES, WIDE, B
from .watching import watched

pytestmark = pytest.mark.usefixtures("one_thread")


PLAN = replace(AGAIN, tokens=B * 28)  # one pass over the text: nobody knows before how much text there is
SLOTS = PLAN.buffer + 256 * 15 - 1  # of the buffer, with a forward pass beside it


class Three(Here):
    """As if there were three workers."""

    size = 3


@pytest.fixture(scope="module")
def took(one_thread: None, model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a training by one process took."""
    out = tmp_path_factory.mktemp("trainings") / "out"
    saved, save, sample = [], checkpoint.save, Stream.sample
    sampled = 0

    def noting(folder: Path, what: Any) -> None:
        save(folder, what)
        rows = sum(tensor.nbytes for name, tensor in what.tensors.items() if name.startswith("buffer/"))
        saved.append((next(folder.iterdir()).stat().st_size, rows))

    def counted(self: Stream, *given: Any) -> Any:
        nonlocal sampled
        for rows in sample(self, *given):
            sampled += 1
            yield rows

    with watched() as seen, patch.object(checkpoint, "save", noting), patch.object(Stream, "sample", counted):
        for _ in training(model, PLAN, corpus, out):
            pass
    run = seen["self"]
    states = {learner.recipe.name: learner.trainer.state() for learner in run._learners}
    return {
        "passes": seen["passes"],
        "sampled": sampled,
        "saved": saved,
        "weights": {
            name: sum(held.nbytes for key, held in state.items() if key.startswith("weights."))
            for name, state in states.items()
        },
        "moments": sum(
            held.nbytes for state in states.values() for key, held in state.items() if "exp_avg" in key
        ),
        "buffer": sum(rows.nbytes for rows in run._buffer._rows.values()),
        "disk": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
    }  # fmt: skip


def test_what_is_planned_is_what_it_takes(model: Model, corpus: str, took: dict[str, Any], tmp_path: Path) -> None:
    found = planned(model, PLAN, corpus, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == [], "nothing is kept"
    assert (found.tokens, found.steps, found.workers, found.shard_latents) == (B * 28, 28, 1, False)
    assert (found.passes, found.contexts) == (took["passes"], 478)
    assert 0 < took["sampled"] <= found.resampling_passes, "a resampling with no dead latent reads nothing"
    assert found.weights == sum(took["weights"].values()) == found.gradients
    assert found.moments == took["moments"]
    assert found.buffer == took["buffer"]
    weights = sum(weight.numel() for weight in model.subject.hf.parameters())
    assert found.model == 4 * weights, "in float32"
    most = found.buffer // SLOTS * min(PLAN.buffer + 256 * 15, PLAN.tokens)
    for size, rows in took["saved"]:
        # All but the rows that the buffer happens to hold; names and the states of generators take a little.
        assert rows <= most and 0 < (size - rows) - (found.checkpoint - most) < 10_000 * len(RECIPES)
    assert took["disk"] <= found.disk + 50_000
    parts = found.model + found.weights + found.moments + found.gradients + found.activations + found.buffer
    assert found.memory == parts < found.peak
    assert found.pass_s > 0 and found.step_s > 0 and found.read_s > 0
    seconds = (found.passes + found.resampling_passes) * found.pass_s + found.steps * found.step_s
    assert found.train_s == pytest.approx(seconds) == pytest.approx(found.tokens / found.tokens_per_s)
    assert found.notes == []


def test_workers_share_tokens_or_latents(model: Model, corpus: str, took: dict[str, Any], tmp_path: Path) -> None:
    shared = planned(model, PLAN, corpus, out=tmp_path / "out", pool=Three())
    assert shared.weights == sum(took["weights"].values())
    assert shared.buffer == took["buffer"] // SLOTS * (SLOTS // 3 + 256 * 15)
    assert shared.workers == 3 and "what workers send each other" in shared.notes[0]
    found = planned(model, PLAN, corpus, out=tmp_path / "out", pool=Three(), shard_latents=True)
    assert found.shard_latents and found.checkpoint == shared.checkpoint
    whole = {recipe: took["weights"][recipe.name] for recipe in RECIPES}
    # What belongs to no latent is on every worker: as much as two autoencoders of other sizes say.
    for recipe, held in whole.items():
        doubled = planned_weights(model, replace(recipe, latents=2 * recipe.latents), corpus, tmp_path)
        each, fixed = (doubled - held) // recipe.latents, 2 * held - doubled
        assert planned_weights(model, recipe, corpus, tmp_path, 3) == fixed + each * portion(recipe.latents)
    assert found.weights == sum(
        planned_weights(model, recipe, corpus, tmp_path, 3) for recipe in RECIPES
    )  # fmt: skip


def planned_weights(model: Model, recipe: Any, corpus: str, tmp_path: Path, workers: int = 1) -> int:
    plan = replace(PLAN, recipes=(recipe,))
    pool = Three() if workers == 3 else Here()
    with patch("clew.sae.estimate._PASSES", 1), patch("clew.sae.estimate._STEPS", 1):
        return planned(model, plan, corpus, out=tmp_path / "out", pool=pool, shard_latents=workers > 1).weights


def portion(latents: int) -> int:
    """The most latents that one of three ranks holds."""

    class Rank:
        size = 3

        def __init__(self, rank: int) -> None:
            self.rank = rank

    ranks: list[Group] = [Rank(rank) for rank in range(3)]  # pyright: ignore[reportAssignmentType]
    return max(Portion(latents, rank).size for rank in ranks)


def test_what_cannot_be_is_refused_and_it_can_be_stopped(model: Model, corpus: str, tmp_path: Path) -> None:
    few = replace(PLAN, recipes=(replace(RECIPES[0], latents=2),))
    with pytest.raises(UsageError, match="2 latents cannot be shared out over 3 workers"):
        planned(model, few, corpus, out=tmp_path / "out", pool=Three(), shard_latents=True)
    with pytest.raises(UsageError, match="Contexts of 65 tokens cannot be read"):
        planned(model, replace(WIDE, context=65), corpus, out=tmp_path / "out")
    with pytest.raises(Cancelled):
        planned(model, PLAN, corpus, out=tmp_path / "out", stop=lambda: True)
    assert list(tmp_path.iterdir()) == []
