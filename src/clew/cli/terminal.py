"""What every command shares: where output goes, how numbers and tokens look, progress, loading a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..errors import BadText, ClewError, NotFinite

if TYPE_CHECKING:
    from ..debug import Model
    from ..models.progress import Progress as Report

TOWARDS = "#3b82f6"  # blue pushes towards the target
AGAINST = "#f97316"  # orange towards the distractor

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="smollm2, a Hugging Face name, a folder or a .gguf file.")
]
RevisionOption = Annotated[str | None, typer.Option(help="A branch, tag or commit of a Hugging Face model.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or mps.", show_default="cpu")]
DtypeOption = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.", show_default="float32")]
BosOption = Annotated[bool, typer.Option("--bos", help="Put the model's start token first.")]
SaeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sae",
        help="An autoencoder to attach, or a folder of some: a name in clew sae list, a folder, or a Hugging Face "
        "repository; several times for more.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

_STAGES = {"download": "Downloading", "convert": "Converting", "load": "Loading"}


def console() -> Console:
    """The terminal that results are printed to."""
    return Console(highlight=False)


def notes() -> Console:
    """The terminal that progress and notes are printed to: stderr."""
    return Console(stderr=True, highlight=False)


def fail(error: ClewError) -> None:
    """Say on stderr what went wrong and what to do about it."""
    text = Text.assemble(("clew: ", "bold red"), _printable(error.message))
    if error.hint:
        text.append(" " + _printable(error.hint))
    notes().print(text, soft_wrap=True)


def print_json(document: Any) -> None:
    """The one JSON document, UTF-8 whatever the terminal's encoding. Raises NotFinite for NaN and infinity."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise NotFinite(
            "The answer holds a number that is not finite.", "Try another --dtype: float32 has the widest range."
        ) from error
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.buffer.flush()


def read_text(given: str) -> str:
    """The text itself, or for `-` what standard input holds, less one newline at its end. Raises BadText."""
    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise BadText("Standard input is not UTF-8 text.", "Convert it first.") from error


def signed(value: float | None) -> str:
    """A sign and three significant digits: +6.12, −0.0457, +1230, +1.23e−4; zero is 0, None is –."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(float(f"{value:.2e}"))
    if size >= 100_000 or size < 0.001:
        digits, power = f"{size:.2e}".split("e")
        text = f"{digits}e{int(power)}".replace("-", "−")
    else:
        text = f"{size:.0f}" if size >= 1000 else f"{size:#.3g}".rstrip(".")
    return ("−" if value < 0 else "+") + text


def number(value: float | None) -> str:
    """The same of what has no direction: a plus is left out."""
    return signed(value).removeprefix("+")


def percent(share: float) -> str:
    """A share between 0 and 1 with three significant digits: 92.1%, 0.0123%."""
    return "0%" if share == 0 else number(share * 100) + "%"


def duration(seconds: float) -> str:
    """A length of time: 4.2 s, 3:07, 2:03:55."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def tint(value: float | None) -> str:
    """The colour of an effect."""
    return "dim" if not value else TOWARDS if value > 0 else AGAINST


def visible(text: str) -> str:
    """A token with its white space made visible: ␣ for spaces, ↵ for line ends, ⇥ for tabs, the rest escaped."""
    marks = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"}
    return "".join(marks.get(char) or (char if char.isprintable() else ascii(char)[1:-1]) for char in text) or "∅"


@contextmanager
def progress() -> Iterator[Report]:
    """Bars on stderr for what a model's loading reports; on something other than a terminal, a line a stage."""
    terminal = notes()
    if not terminal.is_terminal:
        told: set[str] = set()

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in told and stage != "load":
                told.add(stage)
                terminal.print(f"{_STAGES.get(stage, stage)}…")

        yield tell
        return

    spinner = SpinnerColumn(finished_text="[green]✓[/]")
    columns = (spinner, TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"))
    bars = Progress(*columns, TimeRemainingColumn(), console=terminal, transient=True)
    tasks: dict[str, TaskID] = {}
    with bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(_STAGES.get(stage, stage), total=None, amount="")
            if total > 1:
                bars.update(tasks[stage], completed=done, total=total, amount=f"{decimal(done)} of {decimal(total)}")
            elif done:
                bars.update(tasks[stage], completed=1, total=1)

        yield show


def load(
    name: str, revision: str | None, device: str | None, dtype: str | None, sae: Sequence[str] | None = None
) -> Model:
    """The model to ask, with progress on stderr. Of `sae` what leads to no autoencoder is told before it is loaded."""
    with progress() as report:
        report("load", 0, 1)
        from ..debug import load as load_model
        from ..sae.formats.loading import locate

        for reference in sae or ():
            locate(reference)
        return load_model(name, revision, device, dtype, report)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
