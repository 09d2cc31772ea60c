"""What all commands promise, and the small ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clew import __version__
from clew.models import store

from ..tiny import tiny_model_folder
from .conftest import COMMANDS, PROMPT, Run

ROOT = Path(__file__).parents[2]


def test_version(clew: Run) -> None:
    assert clew("--version").stdout == f"clew {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["-h"],
        ["debug", "--help"],
        ["trace", "-h"],
        ["serve", "-h"],
        ["show", "-h"],
        ["search", "-h"],
        ["collect", "-h"],
        ["atlas", "-h"],
        ["atlas", "import", "-h"],
    ],
)
def test_help_is_quick_because_nothing_heavy_is_imported(arguments: list[str]) -> None:
    code = (
        "import sys; from clew.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'fastapi', 'uvicorn', 'huggingface_hub', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_takes_json() -> None:
    assert set(COMMANDS) == {
        "debug", "trace", "show", "search", "collect", "serve", "tokens", "pull", "models", "bench",
        "atlas list", "atlas check", "atlas import", "atlas export",
        "sae train", "sae resume", "sae eval", "sae toy", "sae add", "sae list", "sae remove", "sae rate",
        "explain", "score", "explanations list", "explanations search", "explanations overview", "explanations import",
        "explanations export", "explanations remove", "cluster status",
    }  # fmt: skip
    for name, command in COMMANDS.items():
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_an_unknown_command_is_wrong_usage(clew: Run) -> None:
    result = clew("explode")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "explode" in result.stderr


def test_tokens(clew: Run, tiny: str) -> None:
    assert json.loads(clew("tokens", "When Mary", "-m", tiny, "--json").stdout) == {
        "tokens": [{"position": 0, "id": 283, "text": "When"}, {"position": 1, "id": 269, "text": " Mary"}]
    }
    assert re.search(r"1 +269 +␣Mary", clew("tokens", "-", "-m", tiny, input="When Mary\n").stdout)
    assert json.loads(clew("tokens", "a", "--bos", "-m", tiny, "--json").stdout)["tokens"][0]["text"] == "<|start|>"


def test_models(clew: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    assert json.loads(clew("models", "--json").stdout) == []
    assert "clew pull" in clew("models").stdout
    folder = tiny_model_folder(tmp_path / "models" / "tiny")
    (folder / store.MANIFEST).write_text('{"name": "tiny", "revision": null}')
    (found,) = json.loads(clew("models", "--json").stdout)
    assert (found["name"], found["family"], found["path"]) == ("tiny", "llama", str(folder))
    shown = clew("models", width=200).stdout
    assert re.search(r"tiny +llama +0 M +[\d.]+ kB", shown)


def test_bench(clew: Run, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.debug.bench.SECONDS", 0.01)
    costs = json.loads(clew("bench", "--tokens", "4", "--tokens", "8", "-m", tiny, "--json").stdout)
    assert [cost["tokens"] for cost in costs] == [4, 8]
    assert all(cost["ratio"] > 0 for cost in costs)
    assert "×" in clew("bench", "--tokens", "4", "-m", tiny).stdout
    assert clew("bench", "--tokens", "0", "-m", tiny).exit_code == 2
    assert "more than the 64" in clew("bench", "--tokens", "65", "-m", tiny).stderr


def test_pull_says_where_the_model_is(clew: Run, tiny: str) -> None:
    assert json.loads(clew("pull", tiny, "--json").stdout) == {"name": tiny, "path": tiny}
    assert tiny in clew("pull", tiny).stdout


def test_pull_of_nothing_is_explained(clew: Run) -> None:
    result = clew("pull", "no such model!")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no such model!" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("arguments", [["debug", "-"], ["trace", "-", "attn.1.2@3"]], ids=" ".join)
def test_ctrl_c_is_130_without_a_traceback(tiny: str, arguments: list[str]) -> None:
    import signal

    program = "import sys; from clew.cli import main; print('started', file=sys.stderr, flush=True); main()"
    command = [sys.executable, "-c", program, *arguments, "-m", tiny]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "started\n"
        time.sleep(1)  # it waits for the prompt
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_traceback(tiny: str) -> None:
    clew = f'"{sys.executable}" -c "from clew.cli import main; main()"'
    line = f'{clew} debug "{PROMPT}" -m "{tiny}" --threshold 0 --csv | head -1'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.stdout.startswith("id,kind,")
    assert "Traceback" not in done.stderr
