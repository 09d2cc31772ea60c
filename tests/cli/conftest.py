"""The command line, run in this process, and a tiny model to run it on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner, Result

from clew.cli import app

from ..tiny import SENTENCES, tiny_model_folder

Run = Callable[..., Result]
# For `clew collect` of texts as small as these.
SMALL = ("--context", "32", "--window", "16", "--batch", "4", "--shard-tokens", "256")
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


def files(folder: str | Path) -> dict[Path, bytes]:
    """The content of every file of a folder, by its path there."""
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


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


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of two small texts and an empty one."""
    folder = tmp_path_factory.mktemp("texts")
    for name, times in (("one.txt", 40), ("two.txt", 60)):
        (folder / name).write_text("\n".join(SENTENCES * times), encoding="utf-8")
    (folder / "nothing.txt").touch()
    return str(folder)


@pytest.fixture(scope="session")
def atlas(tiny: str, texts: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an atlas that the command made."""
    out = tmp_path_factory.mktemp("atlas") / "tiny"
    command = [sys.executable, "-c", "from clew.cli import main; main()", "collect", tiny, "--corpus", texts]
    done = subprocess.run(
        [*command, "--tokens", "1500", "--out", str(out), *SMALL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Collected in" in done.stdout
    # Where there is no terminal a stage is a line, not hundreds.
    stages = re.findall(
        r"^(Reading text|Collecting|Writing the atlas)… [\d,]+ of [\d,]+ (?:tokens|components)", done.stderr, re.M
    )
    assert stages == ["Reading text", "Collecting", "Writing the atlas"]
    assert "1 empty file was left out." in done.stderr
    return str(out)
