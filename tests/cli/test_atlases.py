"""`clew atlas list` and `check`, and atlases that `clew serve` opens: whole, damaged, of another model."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

import clew as library
from clew import settings

from ..tiny import tiny_model_folder
from .conftest import SMALL, Run, files
from .test_serve import serving


def test_the_models_own_atlas_is_found_by_itself(
    clew: Run, tiny: str, texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    assert json.loads(clew("atlas", "list", "--json").stdout) == []
    assert "clew collect" in clew("atlas", "list").stdout
    assert clew("collect", tiny, "--corpus", texts, "--tokens", "300", *SMALL).exit_code == 0
    (listed,) = json.loads(clew("atlas", "list", "--json").stdout)
    assert listed["folder"] == str(settings.atlas_of(tiny))
    assert listed["info"]["components"] == 132
    assert listed["bytes"] == sum(map(len, files(listed["folder"]).values()))
    assert re.search(rf"{listed['name']} +llama +132 +320 +[\d.]+ kB", clew("atlas", "list", width=300).stdout)

    model = library.load(tiny)
    assert json.loads(clew("show", "attn.0.0", "-m", tiny, "--json").stdout)["atlas"] == listed["info"]
    by_name = clew("show", "attn.0.0", "-m", tiny, "--atlas", listed["name"], "--json")
    assert json.loads(by_name.stdout)["atlas"] == listed["info"]
    own = library.components(model)
    assert own.atlas is not None
    assert own.atlas.info().to_dict() == listed["info"]
    assert library.Components(model).atlas is None

    (Path(listed["folder"]) / "components" / "attn.0.parquet").write_bytes(b"")
    (damaged,) = json.loads(clew("atlas", "list", "--json").stdout)
    assert damaged["info"] is None
    assert "attn.0.parquet was cut short" in damaged["problem"]
    failed = clew("show", "attn.0.0", "-m", tiny)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "attn.0.parquet" in failed.stderr


def test_check_names_every_damaged_file(clew: Run, atlas: str, tmp_path: Path) -> None:
    whole = clew("atlas", "check", atlas)
    assert whole.exit_code == 0
    assert "All 14 files" in whole.stdout
    copy = tmp_path / "copy"
    shutil.copytree(atlas, copy)
    (copy / "contexts.arrow").unlink()
    content = bytearray((copy / "examples" / "attn.1.parquet").read_bytes())
    (copy / "examples" / "neuron.0.parquet").write_bytes(content[:1000])
    content[len(content) // 2] ^= 1
    (copy / "examples" / "attn.1.parquet").write_bytes(content)
    result = clew("atlas", "check", str(copy), width=300)
    assert result.exit_code == 1
    assert re.findall(r"^([\w./]+) (is missing|was cut short|is not as it was written)", result.stdout, re.M) == [
        ("contexts.arrow", "is missing"),
        ("examples/attn.1.parquet", "is not as it was written"),
        ("examples/neuron.0.parquet", "was cut short"),
    ]
    document = json.loads(clew("atlas", "check", str(copy), "--json").stdout)
    assert document["ok"] is False
    assert sum(file["problem"] is not None for file in document["files"]) == 3


@pytest.mark.parametrize(
    ("edit", "exit_code", "says"),
    [
        (lambda text: text[: len(text) // 2], 1, "cannot be read"),
        (lambda text: text.replace('"sites"', '"sights"'), 1, "cannot be read"),
        (lambda text: text.replace('"sha256"', '"sha"', 1), 1, "cannot be read"),
        (lambda text: text.replace('"version": 1', '"version": 2'), 2, "is of version 2"),
    ],
    ids=["cut", "no sites", "no checksum", "version"],
)
def test_a_manifest_that_does_not_hold_is_told(
    clew: Run, atlas: str, tmp_path: Path, edit: Any, exit_code: int, says: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(atlas, copy)
    manifest = copy / "atlas.json"
    manifest.write_text(edit(manifest.read_text(encoding="utf-8")), encoding="utf-8")
    result = clew("atlas", "check", str(copy))
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert says in result.stderr


def test_serve_opens_the_atlas_that_is_named(tiny: str, atlas: str) -> None:
    with serving("--model", tiny, "--atlas", atlas) as (ready, process):
        status = httpx2.get(f"{ready['url']}/api/atlas").json()
        assert status["atlas"] == library.Atlas.open(atlas).info().to_dict()
        process.send_signal(signal.SIGINT)
        assert "Atlas tiny: 132 components, 1,504 tokens" in process.communicate(timeout=20)[1]


def test_serve_refuses_a_named_atlas_that_it_cannot_show(clew: Run, tiny: str, atlas: str, tmp_path: Path) -> None:
    nowhere = clew("serve", "--port", "0", "--atlas", str(tmp_path), "--model", "./nowhere")
    assert (nowhere.exit_code, nowhere.stdout) == (2, "")
    assert "There is no atlas" in nowhere.stderr
    other = clew(
        "serve", "--port", "0", "--atlas", atlas, "--model", str(tiny_model_folder(tmp_path / "other", seed=1))
    )
    assert (other.exit_code, other.stdout) == (2, "")
    assert "other weights" in other.stderr
    copy = tmp_path / "copy"
    shutil.copytree(atlas, copy)
    (copy / "contexts.arrow").unlink()
    damaged = clew("serve", "--port", "0", "--atlas", str(copy), "--model", tiny)
    assert (damaged.exit_code, damaged.stdout) == (1, "")
    assert "contexts.arrow is missing" in damaged.stderr


def test_serve_warns_of_a_damaged_default_atlas(tiny: str, atlas: str, tmp_path: Path) -> None:
    own = tmp_path / "atlases" / settings.atlas_of(tiny).name
    shutil.copytree(atlas, own)
    (own / "contexts.arrow").unlink()
    with serving("--model", tiny, env={"CLEW_HOME": str(tmp_path)}) as (ready, process):
        status = httpx2.get(f"{ready['url']}/api/atlas").json()
        assert status["atlas"] is None
        assert "contexts.arrow is missing" in status["problem"]
        process.send_signal(signal.SIGINT)
        assert "contexts.arrow is missing" in process.communicate(timeout=20)[1]
