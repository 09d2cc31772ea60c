"""A training as it is seen from the terminal: a table that moves, or a line now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..pool import Note
from ..sae.records import Histogram, Resampled, TrainEstimate, TrainingState, TrainPoint
from .answer import bar, plain_table
from .terminal import duration, number, percent

if TYPE_CHECKING:
    from ..sae.training import TrainEvent

_EVERY = 10.0  # seconds between two lines where there is no terminal
_TOLD = 3  # resamplings listed below the table
_BLOCKS = " ▁▂▃▄▅▆▇█"

# Terminal columns from which the table has room for more than sparsity, error and dead latents.
_ROOM_FOR_LOSS, _ROOM_FOR_PARTS, _ROOM_FOR_DENSITY = 64, 110, 140


class Watch:
    """Follows a training. `state` is the last one told, `points` the last row of every autoencoder by its name."""

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal
        self._resampled: list[Resampled] = []
        self._note = ""
        # When a message was passed on last, and when rows were told.
        self._said = self._told = float("-inf")
        self._recovered: dict[str, float] = {}  # CE, where it was measured last
        self.state: TrainingState | None = None
        self.points: dict[str, TrainPoint] = {}

    def follow(self, events: Iterable[TrainEvent | Note]) -> None:
        """Run a training to its end."""
        if not self._terminal.is_terminal:
            for event in events:
                self._line(event)
            return
        with Live(get_renderable=self._screen, console=self._terminal, refresh_per_second=4, transient=True):
            for event in events:
                self._take(event)

    @property
    def told(self) -> str:
        """What the training said last of itself."""
        return "Interrupted." if self.state is None else self.state.message

    def table(self, width: int) -> Table:
        """The last row of every autoencoder, in `width` columns."""
        table = plain_table()
        table.add_column("autoencoder", overflow="fold")
        names = ["loss"] if width >= _ROOM_FOR_LOSS else []
        names += ["reconstruction", "sparsity", "auxiliary"] if width >= _ROOM_FOR_PARTS else []
        for name in (*names, "L0", "FVU", "CE recovered", "dead"):
            table.add_column(name, justify="right", no_wrap=True)
        if width >= _ROOM_FOR_DENSITY:
            table.add_column("latents by density", no_wrap=True)
        for name, point in self.points.items():
            cells: list[str | Text] = [Text(name, "bold")]
            parts = [point.loss, point.reconstruction, point.sparsity, point.auxiliary]
            cells += [number(part) for part in parts[: 1 + len(names[1:]) if names else 0]]
            recovered = percent(self._recovered[name]) if name in self._recovered else "–"
            cells += [number(point.l0), number(point.fvu), recovered, f"{point.dead:,}"]
            if width >= _ROOM_FOR_DENSITY:
                cells.append(Text(blocks(point.density), "green"))
            table.add_row(*cells)
        return table

    def _take(self, event: TrainEvent | Note) -> None:
        match event:
            case TrainingState():
                self.state = event
            case TrainPoint():
                self.points[event.run] = event
                if event.ce_recovered is not None:
                    self._recovered[event.run] = event.ce_recovered
            case Resampled():
                self._resampled.append(event)
            case Note():
                self._note = event.text

    def _line(self, event: TrainEvent | Note) -> None:
        """Tell what happened: another message and a resampling at once, how far it is now and then, and at the end."""
        before = "" if self.state is None else self.state.message
        now = time.monotonic()
        self._take(event)
        if isinstance(event, Note):
            self._terminal.print(event.text, soft_wrap=True)
        elif isinstance(event, Resampled):
            self._terminal.print(_resampling(event), soft_wrap=True)
        elif isinstance(event, TrainingState):
            # How it ended is told by who asked for the training; reading text has a message for every file.
            another = event.message.partition(":")[0] != before.partition(":")[0]
            if event.stage == "running" and event.message and (another or now - self._said >= _EVERY):
                self._said = now
                self._terminal.print(event.message, soft_wrap=True)
        elif self.state is not None and event.run == self.state.runs[-1]:
            if now - self._told < _EVERY and event.tokens < self.state.total:
                return
            self._told = now
            self._terminal.print(self._progress(), soft_wrap=True)
            for name, point in self.points.items():
                recovered = f"  CE recovered {percent(self._recovered[name])}" if name in self._recovered else ""
                figures = f"loss {number(point.loss)}  L0 {number(point.l0)}  FVU {number(point.fvu)}{recovered}"
                self._terminal.print(f"  {name}  {figures}  dead {point.dead:,}", soft_wrap=True)

    def _screen(self) -> RenderableType:
        told = [Text(_resampling(event), "dim") for event in self._resampled[-_TOLD:]]
        told += [Text(self._note, "yellow")] if self._note else []
        message = [] if self.state is None or not self.state.message else [Text(self.state.message, "dim")]
        return Group(self.table(self._terminal.width), *told, *message, self._progress())

    def _progress(self) -> Text:
        state = self.state
        if state is None:
            return Text("Training…")
        point = max(self.points.values(), key=lambda point: point.tokens, default=None)
        done = state.tokens if point is None else max(state.tokens, point.tokens)
        text = Text.assemble((bar(done / state.total if state.total else 0.0, 24).ljust(24, "░"), "green"), " ")
        text.append(f"{done:,} of {state.total:,} tokens")
        if point is not None and state.stage == "running":
            text.append(f", {point.tokens_per_s:,.0f}/s, {duration(point.seconds_left)} left")
        return text


def blocks(histogram: Histogram) -> str:
    """A histogram as a line of blocks, two bins to a character."""
    counts = [sum(histogram.counts[i : i + 2]) for i in range(0, len(histogram.counts), 2)]
    largest = max(counts, default=0) or 1
    # What is not zero shows.
    return "".join(_BLOCKS[0 if count == 0 else max(1, round(count / largest * 8))] for count in counts)


def _resampling(event: Resampled) -> str:
    latents = f"{event.count:,} dead latent{'' if event.count == 1 else 's'}"
    return f"Step {event.step:,}: {latents} of {event.run} got new weights."


def tell_estimate(terminal: Console, found: TrainEstimate) -> None:
    """Print what a training would take."""
    ranks = "1 worker" if found.workers == 1 else f"{found.workers:,} workers"
    more = f", and at most {found.resampling_passes:,} to resample" if found.resampling_passes else ""
    total = duration(found.read_s + found.train_s)
    lines = [
        f"{found.tokens:,} tokens in {found.steps:,} steps of {ranks}, with {found.passes:,} forward passes{more}.",
        f"A worker holds {decimal(found.memory)}: the model {decimal(found.model)}, weights {decimal(found.weights)}, "
        f"Adam's moments {decimal(found.moments)}, gradients {decimal(found.gradients)}, activations "
        f"{decimal(found.activations)}, the buffer {decimal(found.buffer)}. With all that runs beside, measured: "
        f"{decimal(found.peak)}.",
        f"A checkpoint takes {decimal(found.checkpoint)}; with the text and the autoencoders at most "
        f"{decimal(found.disk)} are on disk.",
        f"About {total}: {duration(found.read_s)} to read the text, {duration(found.train_s)} to train, at "
        f"{found.tokens_per_s:,.0f} tokens/s; measured were {found.pass_s * 1000:,.3g} ms a pass and "
        f"{found.step_s * 1000:,.3g} ms a step of a worker.",
    ]
    for line in lines:
        terminal.print(line, soft_wrap=True)
    for note in found.notes:
        terminal.print(Text(note, "dim"), soft_wrap=True)
