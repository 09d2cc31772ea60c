"""`clew collect`, on a tiny model and a folder of small files."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import clew as library
from clew.errors import WrongAtlas

from ..tiny import SENTENCES, tiny_model_folder
from .conftest import SMALL, Run, files


def test_a_complete_atlas_is_left_alone(clew: Run, tiny: str, texts: str, atlas: str) -> None:
    before = files(atlas)
    asked = ("collect", tiny, "--corpus", texts, "--tokens", "1500", "--out", atlas, *SMALL)
    document = json.loads(clew(*asked, "--json").stdout)
    assert document.pop("seconds") is None
    assert document.pop("folder") == atlas
    assert document.pop("notes") == library.Atlas.open(atlas).contexts.notes == ["1 empty file was left out."]
    assert document == library.Atlas.open(atlas).info().to_dict()
    assert (document["components"], document["tokens"]) == (3 * (4 + 40), 1504)
    assert "It was complete already." in clew(*asked).stdout
    assert files(atlas) == before


def test_other_settings_want_another_folder_or_replace(clew: Run, tiny: str, texts: str, tmp_path: Path) -> None:
    asked = ("collect", tiny, "--corpus", texts, "--tokens", "300", "--sites", "neuron.1", *SMALL)
    out = str(tmp_path / "out")
    assert json.loads(clew(*asked, "--out", out, "--json").stdout)["sites"] == ["neuron.1"]
    refused = clew(*asked, "--seed", "1", "--out", out)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "(seed)" in refused.stderr
    assert json.loads(clew(*asked, "--seed", "1", "--out", out, "--replace", "--json").stdout)["seed"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--corpus", "./nowhere.txt"), "no file or folder"),
        (("--column", "text"), "has no column"),
        (("--sites", "neuron.9"), "0 to 2"),
        (("--sites", "mlp"), "is not a site"),
        (("--context", "1"), "cannot be read"),
        (("--tokens", "0"), "at least 1"),
        (("--top", "-1"), "negative"),
        (("--out", "/"), "cannot be an atlas"),
    ],
    ids=str,
)
def test_what_cannot_be_collected_is_explained(
    clew: Run, tiny: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = clew("collect", tiny, "--out", str(tmp_path / "out"), *arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    assert says in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tiny: str, tmp_path: Path) -> None:
    out, corpus = tmp_path / "out", tmp_path / "corpus.txt"
    corpus.write_text("\n".join(SENTENCES * 500), encoding="utf-8")
    command = [sys.executable, "-c", "from clew.cli import main; main()", "collect", tiny, "--corpus", str(corpus)]
    command += ["--tokens", "12800", "--out", str(out), *SMALL]
    shards = tmp_path / ".collecting-out" / "shards"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "Collecting" not in process.stderr.readline():
            assert process.poll() is None
        while not any(shards.glob("*.safetensors")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    assert "Traceback" not in told
    assert re.search(r"Interrupted .*kept.* the same command goes on", told)
    assert not out.exists()
    assert any(shards.glob("*.safetensors"))
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["tokens"] == 12_800
    assert not shards.exists()


def test_collect_and_open_in_python(clew: Run, tiny: str, texts: str, atlas: str, tmp_path: Path) -> None:
    model = library.load(tiny)
    made = library.collect(
        model, texts, tokens=1500, out=tmp_path / "tiny", context=32, window=16, batch=4, shard_tokens=256
    )
    assert isinstance(made, library.Atlas)
    assert files(tmp_path / "tiny") == files(atlas)
    assert library.components(model, made).atlas is made
    other = library.load(str(tiny_model_folder(tmp_path / "other", seed=1)))
    with pytest.raises(WrongAtlas, match="other weights"):
        library.components(other, atlas)
