"""Several ranks learn what one learns."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

import clew
from clew.debug import Model
from clew.errors import NoSpace, NothingToLearn, NotShared, WorkersLost
from clew.sae import beginning, checkpoint
from clew.sae import training as module
from clew.sae.group import Group
from clew.sae.objectives import Batch, objective_of
from clew.sae.resampling import draw
from clew.sae.training import TrainEvent, state_of, training
from clew.sae.weights import first_weights

from .gang import gang
from .plan import PLAN, WIDE, B, check_close, log
from .recipes import recipes
from .watching import watched

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def wide(one_thread: None, model: Model, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training with a wide buffer by one process."""
    out = tmp_path_factory.mktemp("trainings") / "wide"
    for _ in training(model, WIDE, corpus, out):
        pass
    assert any(point["resampled"] for point in log(out)) and any(point["dead"] for point in log(out))
    return out


def learned(run: Any) -> str:
    """A digest of all that a rank has learned and decided."""
    digest = hashlib.sha256()
    for learner in run._learners:
        tensors, numbers = learner.state()
        digest.update(repr(numbers).encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(name.encode() + tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def whole(group: Group, place: Path, corpus: str, plan: Any, out: Path) -> tuple[str, int, list[TrainEvent]]:
    """A training from beginning to end."""
    with watched() as seen:
        events = list(training(clew.load(str(place)), plan, corpus, out, group=group))
    return learned(seen["self"]), seen["passes"], events


@pytest.mark.parametrize(("size", "plan"), [(2, PLAN), (3, WIDE)], ids=["two", "three"])
def test_ranks_learn_what_one_learns(
    model: Model, corpus: str, undisturbed: tuple[Path, list[TrainEvent]], wide: Path, tmp_path: Path,
    size: int, plan: Any,
) -> None:  # fmt: skip
    found = gang(size, tmp_path / "meeting", whole, model.path, corpus, plan, tmp_path / "out")
    check_close(tmp_path / "out", undisturbed[0] if plan is PLAN else wide)
    assert len({digest for digest, _, _ in found}) == 1, "the same bits on all ranks"
    passes = [count for _, count, _ in found]
    assert max(passes) - min(passes) <= 1 < sum(passes), "each runs its share of the forward passes"
    if plan is PLAN:
        told = [[type(event) for event in events] for _, _, events in found]
        assert told[0] == [type(event) for event in undisturbed[1]] == told[1]


def some(group: Group, place: Path, corpus: str, out: Path, steps: int) -> str:
    """A training that the last rank stops after some steps."""
    with watched() as seen:

        def stop() -> bool:
            return group.rank == group.size - 1 and "self" in seen and seen["self"]._step >= steps

        *_, last = training(clew.load(str(place)), WIDE, corpus, out, stop=stop, group=group)
        assert last.stage == "stopped" and last.saved == steps * B  # pyright: ignore[reportAttributeAccessIssue]
        return learned(seen["self"])


def test_what_three_have_saved_one_goes_on_from_and_two_from_that(
    model: Model, corpus: str, wide: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert len(set(gang(3, tmp_path / "three", some, model.path, corpus, out, 13))) == 1
    steps = iter(range(100))
    events = training(model, WIDE, corpus, out, stop=lambda: next(steps) > 12)
    stopped = list(events)[-1]
    assert 13 * B < stopped.tokens < 40 * B
    found = gang(2, tmp_path / "two", whole, model.path, corpus, WIDE, out)
    assert found[0][0] == found[1][0]
    check_close(out, wide)


def harmed(group: Group, place: Path, corpus: str, out: Path, how: str) -> None:
    """A training that ends badly after ten steps, because of one rank."""
    model, saved = clew.load(str(place)), checkpoint.save

    def full(folder: Path, what: Any) -> None:
        saved(folder, what)
        if what.step == 20:
            raise NoSpace("The disk is full.", "Make room.")

    with patch.object(checkpoint, "save", full) if how == "disk" else watched() as seen:
        events = training(model, WIDE, corpus, out, group=group)
        for event in events:
            if isinstance(event, module.TrainPoint) and event.step == 15:
                if how == "nan" and group.rank == 1:
                    model.subject.hf.get_parameter("model.layers.1.mlp.up_proj.weight")[3, 3] = float("nan")
                if how == "killed" and group.rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                if how == "closed" and group.rank == 0:
                    events.close()  # pyright: ignore[reportAttributeAccessIssue]
                    return
    assert seen


@pytest.mark.parametrize(
    ("how", "kind", "message", "stage"),
    [
        ("nan", NothingToLearn, "NaN or infinite", "failed"),
        ("disk", NoSpace, "The disk is full", "failed"),
        ("killed", WorkersLost, "is gone", "failed"),
        ("closed", WorkersLost, "Interrupted after 2,560 tokens", "stopped"),
    ],
)
def test_what_ends_one_ends_all_and_little_is_lost(
    model: Model, corpus: str, wide: Path, tmp_path: Path, how: str, kind: type[Exception], message: str, stage: str
) -> None:
    out = tmp_path / "out"
    found = gang(
        2, tmp_path / "meeting", harmed, model.path, corpus, out, how, lost=[1] if how == "killed" else []
    )  # fmt: skip
    expected: list[Any] = [kind, kind]
    if how == "killed":
        expected[1] = type(None)
    if how == "closed":
        expected[0] = type(None)
    assert [type(error) for error in found] == expected
    state = state_of(out)
    assert message in state.message and (state.stage, state.saved % (10 * B)) == (stage, 0)
    assert 10 * B <= state.saved < WIDE.tokens
    for _ in training(model, WIDE, corpus, out):
        pass
    check_close(out, wide)


def apart(group: Group, place: Path, corpus: str, out: Path) -> None:
    """Ranks that do not see the same folder."""
    with patch.object(beginning, "_SEEN", 0.5):
        list(training(clew.load(str(place)), WIDE, corpus, out / str(group.rank), group=group))


def test_a_folder_that_is_not_shared_is_told(model: Model, corpus: str, tmp_path: Path) -> None:
    for error in gang(2, tmp_path / "meeting", apart, model.path, corpus, tmp_path):
        assert type(error) is NotShared and "is not the same folder" in error.message


# A step and a drawing, without a training around them

SHARES = (7, 0, 25)  # rows of each rank


def rows(width: int, seed: int) -> Tensor:
    """Of all ranks; some are the same, so that they fire alike."""
    x = torch.randn(sum(SHARES), width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.3
    x[20:] = x[:12].clone()
    return x


def outcomes(group: Group, given: dict[str, Any]) -> dict[str, Any]:
    """What each recipe wants of this rank's share, added up over the ranks."""
    found: dict[str, Any] = {}
    at = slice(sum(SHARES[: group.rank]), sum(SHARES[: group.rank + 1]))
    for name, (recipe, learned, x, y) in given.items():
        dead = None if recipe.architecture in ("relu", "jumprelu") else torch.tensor([1, 4, 5])
        batch = Batch(x[at], y[at], 0.1, dead, sum(SHARES), group)
        outcome = objective_of(recipe).outcome(learned, batch)
        numbers = [outcome.loss, outcome.reconstruction, outcome.sparsity, outcome.auxiliary, outcome.fired.clone()]
        gradients = {key: gradient.clone() for key, gradient in outcome.gradients.items()}
        group.sum_([*numbers, *gradients.values()])
        found[name] = numbers, gradients, batch.variance, outcome.least
    return found


def test_the_gradients_of_shares_add_up(tmp_path: Path) -> None:
    """Also where a rank has no rows, and where rows that are alike lie on both sides of what fires."""
    given: dict[str, Any] = {}
    for name, recipe in recipes(k=3).items():
        x, y = rows(8, 1), rows(8, 1) if recipe.writes is None else rows(5, 2)
        learned = first_weights(objective_of(recipe), x, y, torch.Generator().manual_seed(0))
        given[name] = recipe, learned, x, y
    found = gang(3, tmp_path / "meeting", outcomes, given)
    for name, (recipe, learned, x, y) in given.items():
        dead = None if recipe.architecture in ("relu", "jumprelu") else torch.tensor([1, 4, 5])
        batch = Batch(x, y, 0.1, dead)
        expected = objective_of(recipe).outcome(learned, batch)
        for rank in range(3):
            numbers, gradients, variance, least = found[rank][name]
            wanted = [expected.loss, expected.reconstruction, expected.sparsity, expected.auxiliary, expected.fired]
            torch.testing.assert_close(numbers, wanted, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(gradients, expected.gradients, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(variance, batch.variance, rtol=1e-12, atol=0)
            torch.testing.assert_close(least, expected.least, rtol=1e-12, atol=0) if least is not None else None
            assert (least is None) == (expected.least is None)
        if recipe.architecture in ("batchtopk", "matryoshka"):
            assert expected.fired.sum() == 3 * len(x)


PARTS = (30, 30, 0, 30, 11)  # rows of batches, that ranks have in turns


def parts() -> list[tuple[Tensor, Tensor]]:
    drawn = torch.Generator().manual_seed(5)
    return [(torch.randn(n, 4, generator=drawn), torch.randn(n, 3, generator=drawn)) for n in PARTS]


def weigh(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[0].square().sum(1)


def drawn(group: Group) -> Any:
    """What 40 draws give, and the random number after them."""
    generator = torch.Generator().manual_seed(1)
    turns = [*parts(), (torch.zeros(0, 4), torch.zeros(0, 3))]
    return draw(turns[group.rank :: group.size], weigh, 40, generator, group), torch.rand(1, generator=generator)


def test_ranks_draw_the_same_rows(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    expected = draw([pair for pair in parts() if len(pair[0])], weigh, 40, generator)
    assert expected is not None
    after = torch.rand(1, generator=generator)
    for size in (2, 3):
        for found, then in gang(size, tmp_path / str(size), drawn):
            assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
            assert torch.equal(then, after), "and the next draw is the same too"
