"""Work that goes in stages, as seen from the terminal: a bar a stage, or lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

_EVERY = 10.0  # seconds between two lines of a stage


class Step(Protocol):
    """How far a stage is."""

    @property
    def stage(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...


S = TypeVar("S", bound=Step)


class Stages(Generic[S]):
    """Follows such work. `names` are what its stages are called, `amount` says how far one is, `note` what else there
    is to say of a step; `last` was told last."""

    def __init__(
        self,
        terminal: Console,
        names: Mapping[str, str],
        amount: Callable[[S], str],
        note: Callable[[S], str | None] = lambda step: None,
    ) -> None:
        self._terminal, self._names, self._amount, self._note = terminal, names, amount, note
        self.last: S | None = None

    def follow(self, steps: Iterable[S]) -> None:
        """Run the work to its end."""
        if self._terminal.is_terminal:
            self._bars(self._noted(steps))
        else:
            self._lines(self._noted(steps))

    def _noted(self, steps: Iterable[S]) -> Iterator[S]:
        for step in steps:
            note = self._note(step)
            if note:
                self._terminal.print(Text(note), soft_wrap=True)
            yield step

    def _bars(self, steps: Iterable[S]) -> None:
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
        )
        tasks: dict[str, TaskID] = {}
        with Progress(*columns, console=self._terminal, transient=True) as bars:
            for step in steps:
                if step.stage not in tasks:
                    if self.last is not None:
                        # A corpus that is shorter than what was asked for ends its stage early.
                        bars.update(tasks[self.last.stage], total=self.last.done)
                    tasks[step.stage] = bars.add_task(self._names[step.stage], amount="")
                bars.update(tasks[step.stage], completed=step.done, total=step.total, amount=self._amount(step))
                self.last = step

    def _lines(self, steps: Iterable[S]) -> None:
        told = 0.0
        for step in steps:
            now = time.monotonic()
            if self.last is None or step.stage != self.last.stage or now - told >= _EVERY:
                self._terminal.print(f"{self._names[step.stage]}… {self._amount(step)}", soft_wrap=True)
                told = now
            self.last = step
