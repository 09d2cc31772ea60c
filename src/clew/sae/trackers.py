"""What a training tells others as it goes: TensorBoard and Weights & Biases, through their own libraries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

from ..errors import UsageError
from .records import Resampled, TrainingState, TrainPoint

_SHOWN = (
    "loss", "reconstruction", "sparsity", "auxiliary", "l0", "fvu", "ce_recovered", "dead", "nearly_dead",
    "learning_rate", "tokens_per_s",
)  # fmt: skip


class Tracker(Protocol):
    """Is told of a training, in the process that trains."""

    def begin(self, state: TrainingState, settings: dict[str, Any], started: float, step: int) -> None:
        """A training begins, or goes on after `step` steps; it was `started` first at that time."""
        ...

    def add(self, event: TrainPoint | Resampled) -> None: ...

    def end(self, state: TrainingState) -> None: ...


class TensorBoard:
    """Writes event files into a folder, one curve a measure and autoencoder. Raises UsageError without the library."""

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("TensorBoard", "tensorboard") from error
        self._writer_of, self._folder = SummaryWriter, Path(folder)

    def begin(self, state: TrainingState, settings: dict[str, Any], started: float, step: int) -> None:
        # Steps after the last checkpoint are made again: what an earlier process wrote of them is hidden.
        self._writer = self._writer_of(str(self._folder), purge_step=step + 1 if step else None)

    def add(self, event: TrainPoint | Resampled) -> None:
        if isinstance(event, Resampled):
            self._writer.add_scalar(f"{event.run}/resampled", event.count, event.step)
            return
        for name, value in _shown(event).items():
            self._writer.add_scalar(f"{event.run}/{name}", value, event.step)

    def end(self, state: TrainingState) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Logs to a project of Weights & Biases, one run a training, which goes on where the training does.

    Raises UsageError without the library.
    """

    def __init__(self, project: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing("Weights & Biases", "wandb") from error
        self._wandb, self._project = wandb, project

    def begin(self, state: TrainingState, settings: dict[str, Any], started: float, step: int) -> None:
        name = hashlib.sha256(f"{state.name} {started}".encode()).hexdigest()[:12]
        self._run = self._wandb.init(
            project=self._project, name=state.name, id=name, resume="allow", dir=state.folder, config=settings
        )

    def add(self, event: TrainPoint | Resampled) -> None:
        if isinstance(event, Resampled):
            shown: dict[str, float] = {"resampled": event.count}
        else:
            shown = _shown(event)
        self._run.log({f"{event.run}/{name}": value for name, value in shown.items()}, step=event.step)

    def end(self, state: TrainingState) -> None:
        self._run.finish(exit_code=int(state.stage == "failed"))


def _shown(point: TrainPoint) -> dict[str, float]:
    """The numbers of a row that make curves; what was not measured makes none."""
    values = {name: getattr(point, name) for name in _SHOWN}
    return {name: value for name, value in values.items() if value is not None}


def _missing(what: str, extra: str) -> UsageError:
    return UsageError(f"{what} is not installed.", f"Install it with pip install 'clew[{extra}]'.")
