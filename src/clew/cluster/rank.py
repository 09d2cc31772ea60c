"""One worker of a training on a cluster: a rank of Ray Train's, and the box through which it speaks to who asked."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ClewError, WorkersLost
from ..sae.records import Resampled, TrainingState, TrainPoint
from .place import Place, here

if TYPE_CHECKING:
    from ..sae.group import Group

_LOOKS = 0.5  # seconds between two looks at whether it is to stop
_DEAF = 30.0  # seconds that an answer of the box may take
_ALONE = 90.0  # seconds after which who asked for the training is gone, if nothing was taken from the box


@dataclass(frozen=True)
class There:
    """A rank is at work."""

    rank: int
    place: Place


@dataclass(frozen=True)
class Begun:
    """Rank 0 begins to learn, or goes on after `step` steps (sae/trackers.py)."""

    state: TrainingState
    settings: dict[str, Any]
    started: float
    step: int


@dataclass(frozen=True)
class Ended:
    """Rank 0 is at its end."""

    state: TrainingState


@dataclass(frozen=True)
class Broken:
    """A rank failed, for a reason that would come again."""

    rank: int
    error: ClewError


class Box:
    """What ranks put and who asked takes; a Ray actor beside who asked."""

    def __init__(self) -> None:
        self._held: list[Any] = []
        self._stopped, self._taken = False, time.monotonic()

    def put(self, what: Any) -> None:
        """From a rank."""
        self._held.append(what)

    def take(self) -> list[Any]:
        """All that was put since, in order."""
        self._taken = time.monotonic()
        held, self._held = self._held, []
        return held

    def stop(self) -> None:
        """Have the training stop."""
        self._stopped = True

    def is_over(self) -> bool:
        """Whether the training is to stop: it was said, or nobody listens any more."""
        return self._stopped or time.monotonic() - self._taken > _ALONE


@dataclass(frozen=True)
class Rank:
    """What every worker does: it opens what was `packed` (model, plan, shard_latents, corpus, folder, replace), on
    `cpus` threads and a GPU if `on_gpu`, and trains."""

    packed: bytes
    box: Any
    cpus: int
    on_gpu: bool

    def __call__(self) -> None:
        from ray import train

        rank = train.get_context().get_world_rank()
        try:
            self._work(rank)
        except WorkersLost:
            raise
        except ClewError as error:
            self._put(Broken(rank, error), wait=True)
            raise
        except Exception as error:
            told = ClewError(
                f"Worker {rank} on {socket.gethostname()} failed: {type(error).__name__}: {error}",
                "What was saved is kept, and the same command goes on from there.",
            )
            self._put(Broken(rank, told), wait=True)
            raise

    def _work(self, rank: int) -> None:
        import torch
        from ray import cloudpickle, train
        from ray.train.torch import get_device

        from ..models.reference import use_device
        from ..sae.group import ALONE, OneFate, Together
        from ..sae.training import training

        torch.set_num_threads(self.cpus)
        use_device(str(get_device()) if self.on_gpu else "cpu")
        self._put(There(rank, here()), wait=True)
        group: Group = Together() if train.get_context().get_world_size() > 1 else ALONE
        with OneFate(group):
            model, plan, shard_latents, corpus, folder, replace = cloudpickle.loads(self.packed)
        events = training(
            model, plan, corpus, folder,
            stop=self._stop() if rank == 0 else None, replace=replace, trackers=[_Forwarded(self._put)], group=group,
            shard_latents=shard_latents,
        )  # fmt: skip
        for event in events:
            if rank == 0 and isinstance(event, TrainingState):
                self._put(event)

    def _put(self, what: Any, wait: bool = False) -> None:
        import ray

        put = self.box.put.remote(what)
        if wait:
            ray.get(put, timeout=_DEAF)

    def _stop(self) -> Callable[[], bool]:
        """Whether who asked for it has it stop, or is gone; looked up now and then."""
        import ray
        from ray.exceptions import RayError

        looked = float("-inf")
        is_over = False

        def stop() -> bool:
            nonlocal looked, is_over
            now = time.monotonic()
            if not is_over and now - looked >= _LOOKS:
                looked = now
                try:
                    is_over = bool(ray.get(self.box.is_over.remote(), timeout=_DEAF))
                except RayError:
                    is_over = True  # nobody is there to train for
            return is_over

        return stop


class _Forwarded:
    """A tracker that puts all it is told into the box; who asked has the real ones."""

    def __init__(self, put: Callable[[Any], None]) -> None:
        self._put = put

    def begin(self, state: TrainingState, settings: dict[str, Any], started: float, step: int) -> None:
        self._put(Begun(state, settings, started, step))

    def add(self, event: TrainPoint | Resampled) -> None:
        self._put(event)

    def end(self, state: TrainingState) -> None:
        self._put(Ended(state))
