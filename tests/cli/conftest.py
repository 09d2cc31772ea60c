"""The command line, run in this process, and a tiny model to run it on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

from clew.cli import app

from ..tiny import tiny_model_folder

Run = Callable[..., Result]
PROMPT = "When Mary and John went to the store, John gave a drink to"


def _commands(group: TyperGroup, before: str = "") -> dict[str, TyperCommand]:
    found: dict[str, TyperCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            found |= _commands(command, f"{before}{name} ")
        elif isinstance(command, TyperCommand):
            found[before + name] = command
    return found


# Every command by its words after `clew`, such as "debug" or "atlas list".
COMMANDS = _commands(get_command(app))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "llama"))


@pytest.fixture
def clew(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`clew(*arguments, width=…, input=…)`: what the command printed and its exit code."""

    def run(*arguments: str, width: int = 120, input: str | bytes | None = None) -> Result:
        monkeypatch.setenv("COLUMNS", str(width))
        return CliRunner().invoke(app, list(arguments), input=input)

    return run
