"""Several ranks that hold a portion of the latents each learn what one learns that holds them all."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import clew
from clew.debug import Model
from clew.errors import NoSpace, UsageError
from clew.nodes import Site
from clew.sae import checkpoint, portion
from clew.sae import training as module
from clew.sae.formats.weights import write_safetensors
from clew.sae.group import ALONE, Group
from clew.sae.objectives import Batch, objective_of
from clew.sae.portion import Portion, sending
from clew.sae.recipe import Recipe, TrainingPlan
from clew.sae.training import TrainEvent, state_of, training
from clew.sae.weights import first_weights

from .gang import gang
from .plan import PLAN, RECIPES, WIDE, B, check_close, check_same
from .recipes import recipes
from .watching import watched

pytestmark = pytest.mark.usefixtures("one_thread")

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
OF_LATENTS = ("w_enc", "b_enc", "w_dec", "log_threshold")


@pytest.fixture(scope="module")
def wide(one_thread: None, model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training with a wide buffer by one process."""
    out = tmp_path_factory.mktemp("trainings") / "wide"
    for _ in training(model, WIDE, corpus, out):
        pass
    return out


# One step


def rows(width: int, seed: int) -> Tensor:
    """Some are the same, so that they fire alike."""
    x = torch.randn(24, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.3
    x[18:] = x[:6].clone()
    return x


def given(name: str, recipe: Recipe) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What one process learns from, in float64: first weights moved a little, so that nothing in them is special."""
    x, y = rows(8, 1), rows(8, 1) if recipe.writes is None else rows(5, 2)
    generator = torch.Generator().manual_seed(len(name))
    weights = first_weights(objective_of(recipe), x, y, generator)
    return {key: w + 0.1 * torch.randn(w.shape, generator=generator) for key, w in weights.items()}, x, y


DEAD = {"some": [1, 4, 5, 9, 14, 15], "few": [2], "none": []}  # of 16; the loss takes four at most


def outcomes(group: Group, of: dict[str, Recipe]) -> dict[Any, Any]:
    """What each recipe wants of a batch by this rank, whose latents are cut out of the weights of one process."""
    found: dict[Any, Any] = {}
    for name, recipe in of.items():
        mine = Portion(recipe.latents, group)
        weights, x, y = given(name, recipe)
        here = {key: w[mine.low : mine.high] if key in OF_LATENTS else w for key, w in weights.items()}
        for which, numbers in DEAD.items():
            dead = torch.tensor([j - mine.low for j in numbers if mine.low <= j < mine.high], dtype=torch.int64)
            batch = Batch(x, y, 0.1, None if recipe.architecture in ("relu", "jumprelu") else dead)
            objective = objective_of(recipe, mine)
            outcome = objective.outcome(here, batch)
            gradients = {key: gradient.clone() for key, gradient in outcome.gradients.items()}
            losses = [outcome.loss, outcome.reconstruction, outcome.sparsity, outcome.auxiliary]
            losses.append(outcome.error.square().sum())
            group.sum_([*losses, *(gradient for key, gradient in gradients.items() if key not in OF_LATENTS)])
            each = objective.losses(here, batch) if hasattr(objective, "losses") else None  # pyright: ignore
            found[name, which] = losses, outcome.fired.clone(), gradients, outcome.least, each
    return found


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_gradients_of_portions_are_those_of_the_whole(tmp_path: Path, size: int) -> None:
    """Of seven ranks some hold two latents and some three, and fewer than k fire on each."""
    of = recipes(k=4)
    found = gang(size, tmp_path / "meeting", outcomes, of)
    revived = 0
    for name, recipe in of.items():
        weights, x, y = given(name, recipe)
        for which, numbers in DEAD.items():
            dead = None if recipe.architecture in ("relu", "jumprelu") else torch.tensor(numbers, dtype=torch.int64)
            batch = Batch(x, y, 0.1, dead)
            objective = objective_of(recipe)
            wanted = objective.outcome(weights, batch)
            losses = [wanted.loss, wanted.reconstruction, wanted.sparsity, wanted.auxiliary]
            losses.append(wanted.error.square().sum())
            revived += bool(wanted.auxiliary > 0)
            parts = [part[name, which] for part in found]
            for mine in parts:
                close(mine[0], losses)
                assert (mine[3] is None) == (wanted.least is None)
                if wanted.least is not None:
                    close(mine[3], wanted.least)
            assert torch.equal(torch.cat([part[1] for part in parts]), wanted.fired), name
            for key, gradient in wanted.gradients.items():
                theirs = [part[2][key] for part in parts]
                if key in OF_LATENTS:
                    close(torch.cat(theirs), gradient)
                else:
                    for each in theirs:
                        close(each, gradient)
                        assert torch.equal(each, theirs[0]), "the same bits everywhere"
            if recipe.architecture == "relu":
                close(parts[-1][4], objective.losses(weights, batch))  # pyright: ignore
    assert revived == 2 * 6, "topk, batchtopk and matryoshka, and as transcoders, where any is dead"


def first(group: Group, of: dict[str, Recipe]) -> dict[str, Any]:
    """First weights of this rank, and the random number after them."""
    found: dict[str, Any] = {}
    for name, recipe in of.items():
        x, y = rows(8, 1), rows(8, 1) if recipe.writes is None else rows(5, 2)
        generator = torch.Generator().manual_seed(0)
        with patch.object(clew.sae.weights, "_DRAWN", 16):
            weights = first_weights(objective_of(recipe, Portion(recipe.latents, group)), x, y, generator)
        found[name] = weights, torch.rand(1, generator=generator)
    return found


def test_first_weights_are_those_of_the_whole(tmp_path: Path) -> None:
    of = recipes(latents=101, k=3)
    found = gang(3, tmp_path / "meeting", first, of)
    for name, (expected, after) in first(ALONE, of).items():
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(101, 8, generator=generator).double()
        torch.testing.assert_close(
            torch.nn.functional.normalize(expected["w_enc"], dim=1), torch.nn.functional.normalize(drawn, dim=1)
        )
        for key, weight in expected.items():
            parts = [part[name][0][key] for part in found]
            whole = torch.cat(parts) if key in OF_LATENTS else parts[1]
            torch.testing.assert_close(whole, weight, rtol=1e-12, atol=1e-12)
        assert all(torch.equal(part[name][1], after) for part in found)


# A training


def shape_of(run: Any) -> dict[str, dict[str, int]]:
    """How many numbers this rank holds of each thing that it learns with, by recipe."""
    found: dict[str, dict[str, int]] = {}
    for learner in run._learners:
        held = {name: tensor.numel() for name, tensor in learner.trainer.state().items()}
        found[learner.recipe.name] = held | {"window": learner._window._counts.numel()}
    return found


def alike(run: Any) -> list[Tensor]:
    """What has to be the same on all ranks."""
    return [
        tensor.clone()
        for learner in run._learners
        for name, tensor in learner.trainer.state().items()
        if not learner.trainer.is_shared(name)
    ]


def whole(group: Group, place: Path, corpus: str, plan: TrainingPlan, out: Path) -> tuple[Any, ...]:
    """A training from beginning to end, or from where it was left."""
    with watched() as seen:
        events = list(training(clew.load(str(place)), plan, corpus, out, group=group, shard_latents=True))
    return alike(seen["self"]), shape_of(seen["self"]), events


@pytest.mark.parametrize(("size", "plan"), [(2, PLAN), (3, WIDE)], ids=["two", "three"])
def test_portions_learn_what_the_whole_learns(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], wide: Path, tmp_path: Path,
    size: int, plan: TrainingPlan,
) -> None:  # fmt: skip
    """All architectures, transcoders, resampling, dead latents revived, the CE recovered and the log."""
    found = gang(size, tmp_path / "meeting", whole, model.path, corpus, plan, tmp_path / "out")
    check_close(tmp_path / "out", undisturbed[0] if plan is PLAN else wide)
    for same in zip(*(part[0] for part in found), strict=True):
        assert all(torch.equal(one, same[0]) for one in same), "the same bits on all ranks"
    told = [[type(event) for event in part[2]] for part in found]
    assert all(events == told[0] for events in told)
    with watched() as seen:
        list(training(model, replace(plan, tokens=B), corpus, tmp_path / "one"))
    of_one = shape_of(seen["self"])
    for recipe in plan.recipes:
        shares = [part[1][recipe.name] for part in found]
        for name, held in of_one[recipe.name].items():
            parts = [share[name] for share in shares]
            weight = name.split(".")[-2] if name.startswith("adam.") else name.split(".")[-1]
            if (weight in OF_LATENTS and not name.endswith(".step")) or name in ("fired", "last_fired", "window"):
                each = held // recipe.latents
                assert sum(parts) == held and max(parts) <= -(-recipe.latents // size) * each, name
            else:
                assert parts == [held] * size, name


# What is kept of each kind of weight, moment and counter, and of what lies with all.
KINDS = replace(WIDE, recipes=(RECIPES[0], RECIPES[2], RECIPES[4], RECIPES[6]), tokens=B * 40)


def some(group: Group, place: Path, corpus: str, out: Path, steps: int) -> None:
    """A training that the last rank stops after some steps, and that is saved in many pieces."""
    with watched() as seen, patch.object(portion, "_PIECE", 1000):

        def stop() -> bool:
            return group.rank == group.size - 1 and "self" in seen and seen["self"]._step >= steps

        *_, last = training(clew.load(str(place)), KINDS, corpus, out, stop=stop, group=group, shard_latents=True)
        assert last.stage == "stopped" and last.saved == steps * B  # pyright: ignore[reportAttributeAccessIssue]


def test_a_checkpoint_knows_nothing_of_portions(model: Model, corpus: str, tmp_path: Path) -> None:
    """What three have saved is what one saves, which goes on from there, and two from that."""
    out, other, steps = tmp_path / "out", tmp_path / "other", 13
    assert gang(3, tmp_path / "three", some, model.path, corpus, out, steps) == [None] * 3
    some(ALONE, Path(model.path), corpus, other, steps)
    mine, theirs = (checkpoint.load(folder / module.CHECKPOINT) for folder in (out, other))
    assert mine is not None and theirs is not None and mine.tensors.keys() == theirs.tensors.keys()
    for name, tensor in theirs.tensors.items():
        found = mine.tensors[name]
        assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype), name
        if tensor.is_floating_point() and tensor.numel():
            assert float((found - tensor).abs().max()) <= 1e-4 * float(tensor.abs().max()), name
        else:
            assert torch.equal(found, tensor), name
    ticks = iter(range(100))
    *_, stopped = training(model, KINDS, corpus, out, stop=lambda: next(ticks) > 12)
    assert isinstance(stopped, module.TrainingState) and steps * B < stopped.tokens < 36 * B
    assert len(gang(2, tmp_path / "two", whole, model.path, corpus, KINDS, out)) == 2
    for _ in training(model, KINDS, corpus, other):
        pass
    check_close(out, other, KINDS)


SHORT = replace(WIDE, recipes=(RECIPES[0], RECIPES[2]), tokens=B * 25)


def harmed(group: Group, place: Path, corpus: str, out: Path, what: str) -> None:
    """A training by portions whose disk is full: at the second checkpoint, or at the autoencoders."""
    write, count = module.checkpoint.write_safetensors, 0

    def full(tensors: Any, path: Path) -> None:
        nonlocal count
        count += 1
        if what == "checkpoint" and count == 2:
            shared = [tensor for _, tensor in portion.in_order(tensors) if isinstance(tensor, portion.Shared)]
            list(shared[0].pieces())
            for _ in shared[1].pieces():
                raise OSError(28, "No space left on device")
        write(tensors, path)

    def none(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    with patch.object(checkpoint, "write_safetensors", full), patch.object(portion, "_PIECE", 64):
        if what == "autoencoder":
            with patch("clew.sae.formats.saelens.write_safetensors", none):
                list(training(clew.load(str(place)), SHORT, corpus, out, group=group, shard_latents=True))
        else:
            list(training(clew.load(str(place)), SHORT, corpus, out, group=group, shard_latents=True))


@pytest.mark.parametrize("what", ["checkpoint", "autoencoder"])
def test_a_full_disk_ends_all_and_what_was_saved_is_gone_on_from(
    model: Model, corpus: str, tmp_path: Path, what: str
) -> None:
    out = tmp_path / "out"
    for error in gang(2, tmp_path / "meeting", harmed, model.path, corpus, out, what):
        assert isinstance(error, NoSpace) and "is full" in error.message
    state = state_of(out)
    assert (state.stage, state.saved) == ("failed", (10 if what == "checkpoint" else 20) * B)
    for folder in (out, tmp_path / "other"):
        for _ in training(model, SHORT, corpus, folder):
            pass
    check_close(out, tmp_path / "other", SHORT)


def few(group: Group, place: Path, corpus: str, out: Path) -> None:
    plan = TrainingPlan((Recipe(Site("mlp_out", 1), 2, "relu"),), tokens=B, batch=B, context=16)
    list(training(clew.load(str(place)), plan, corpus, out, group=group, shard_latents=True))


def test_fewer_latents_than_workers_are_refused(model: Model, corpus: str, tmp_path: Path) -> None:
    for error in gang(3, tmp_path / "meeting", few, model.path, corpus, tmp_path / "out"):
        assert type(error) is UsageError and error.message == "2 latents cannot be shared out over 3 workers."
    assert not (tmp_path / "out").exists()


def test_one_alone_holds_all(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], tmp_path: Path
) -> None:
    for _ in training(model, PLAN, corpus, tmp_path / "out", shard_latents=True):
        pass
    check_same(tmp_path / "out", undisturbed[0])


# Tensors that lie with all ranks

PIECES = {"rows": 0, "columns": 1, "bias": 0, "half": 0}
WHOLE = {
    "rows": torch.arange(33.0).view(11, 3),
    "columns": torch.arange(55.0, dtype=torch.float64).view(5, 11),
    "bias": torch.arange(11),
    "half": torch.arange(22.0).view(11, 2).bfloat16(),
    "alone": torch.arange(3, dtype=torch.uint8),
    "number": torch.tensor(4.0),
}


def sent(group: Group, path: Path, wrong: bool) -> None:
    mine = Portion(11, group)
    tensors = dict(WHOLE)
    with patch.object(portion, "_PIECE", 24):
        for name, dim in PIECES.items():
            at = slice(mine.low, mine.high)
            tensors[name] = mine.shared(WHOLE[name][at] if dim == 0 else WHOLE[name][:, at], dim)  # pyright: ignore
        with sending(tensors):
            if group.rank == 0 and not wrong:
                write_safetensors(tensors, path)
            elif group.rank == 0:
                raise NoSpace("The disk is full.")


@pytest.mark.parametrize("size", [1, 2, 4])
def test_tensors_are_written_as_one_would(tmp_path: Path, size: int) -> None:
    gang(size, tmp_path / "meeting", sent, tmp_path / "file", False)
    found = load_file(tmp_path / "file")
    assert found.keys() == WHOLE.keys()
    for name, tensor in WHOLE.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_a_rank_that_cannot_write_leaves_none_waiting(tmp_path: Path) -> None:
    found = gang(3, tmp_path / "meeting", sent, tmp_path / "file", True)
    assert [type(one) for one in found] == [NoSpace, type(None), type(None)]
