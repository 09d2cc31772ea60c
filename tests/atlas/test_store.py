"""An atlas on disk: interrupted by force, damaged, of another model, on a full disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clew.atlas import Atlas, collect
from clew.atlas.atlas import VERSION
from clew.atlas.collect import collecting
from clew.debug import Model
from clew.errors import BadAtlas, BadNode, Busy, NoAtlas, NoSpace, WrongAtlas
from clew.nodes import Node

from .conftest import content
from .test_collect import LENGTH, SETTINGS

SCRIPT = """
import json, sys, clew
from clew.atlas import collecting
settings = json.loads(sys.argv[4])
for progress in collecting(clew.load(sys.argv[1]), sys.argv[2], out=sys.argv[3], **settings):
    print(progress.stage, progress.done, flush=True)
"""


@pytest.fixture(scope="module")
def atlas(tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return collect(tiny("llama"), corpus, out=tmp_path_factory.mktemp("store") / "atlas", **SETTINGS)


@pytest.fixture
def copy(atlas: Atlas, tmp_path: Path) -> Path:
    """A copy of the atlas that may be damaged."""
    return shutil.copytree(atlas.folder, tmp_path / "atlas")


def start(model: Model, corpus: str, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(model.path), corpus, str(out), json.dumps(SETTINGS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("stage", "count"), [("read", 2), ("collect", 1), ("collect", 5), ("merge", 2)])
def test_a_killed_collection_goes_on_to_the_same_bytes(
    stage: str, count: int, atlas: Atlas, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    out = tmp_path / "atlas"
    with start(tiny("llama"), corpus, out) as process:
        assert process.stdout is not None
        for line in process.stdout:
            count -= line.startswith(stage)
            if count == 0:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    with start(tiny("llama"), corpus, out) as process:
        assert process.communicate()[0].splitlines()[-1].startswith("merge")
    assert content(out) == content(atlas.folder)


def test_two_cannot_collect_into_one_place(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    running = collecting(tiny("llama"), corpus, out=tmp_path / "atlas", **SETTINGS)
    next(running)
    with pytest.raises(Busy, match="into atlas"):
        next(iter(collecting(tiny("llama"), corpus, out=tmp_path / "atlas", **SETTINGS)))


FILES = ["components/neuron.1.parquet", "contexts.arrow", "vocabulary.parquet", "examples/neuron.1.parquet"]


def read_all(folder: Path) -> None:
    atlas = Atlas.open(folder)
    atlas.component(Node("neuron", 1, 3))


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_missing_is_told_when_the_atlas_is_opened(name: str, copy: Path) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-10])
    with pytest.raises(BadAtlas, match=rf"{name} was cut short or changed"):
        Atlas.open(copy)
    (copy / name).unlink()
    with pytest.raises(BadAtlas, match=rf"{name} is missing"):
        Atlas.open(copy)


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_told_before_it_is_read(name: str, copy: Path) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BadAtlas, match=rf"{name} is missing, or is not as it was written"):
        read_all(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "null"])
def test_a_manifest_that_is_none_is_told(text: str, copy: Path) -> None:
    (copy / "atlas.json").write_text(text)
    with pytest.raises(BadAtlas, match=r"atlas.json cannot be read"):
        Atlas.open(copy)


def test_no_atlas_and_another_version(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(NoAtlas, match="There is no atlas in"):
        Atlas.open(tmp_path / "nowhere")
    manifest = json.loads((copy / "atlas.json").read_text())
    (copy / "atlas.json").write_text(json.dumps({**manifest, "version": VERSION + 1}))
    with pytest.raises(WrongAtlas, match=rf"is of version {VERSION + 1}, and this Clew reads version {VERSION}"):
        Atlas.open(copy)


def test_an_atlas_of_another_model_is_refused(atlas: Atlas, tiny: Callable[[str], Model]) -> None:
    atlas.check(tiny("llama").subject)
    # Of the same shape, with other weights; then of another one.
    with pytest.raises(WrongAtlas, match="with other weights"):
        atlas.check(tiny("qwen2").subject)
    weight: Any = tiny("llama").subject.anatomy.layers[2].mlp_out.module.weight
    before = weight[0, 0].item()
    weight[0, 0] = before + 1
    try:
        with pytest.raises(WrongAtlas, match="with other weights"):
            atlas.check(tiny("llama").subject)
    finally:
        weight[0, 0] = before


def test_what_the_atlas_does_not_have(atlas: Atlas) -> None:
    with pytest.raises(BadNode, match=r"There is no neuron\.1\.40"):
        atlas.component(Node("neuron", 1, 40))
    with pytest.raises(BadNode, match="no such example"):
        atlas.pairs(Node("attn", 0, 0), "top", 1000, None)
    with pytest.raises(BadNode, match="no such example"):
        atlas.pairs(Node("neuron", 0, 0), "top", 0, None)
    assert atlas.summary(Node("neuron", 9)) is None and atlas.head_mean(9) is None


def test_cofiring_and_tokens_equal_a_count_over_all_examples(atlas: Atlas) -> None:
    nodes = [Node("attn", layer, index) for layer in range(3) for index in range(4)]
    nodes += [Node("neuron", layer, index) for layer in range(3) for index in range(40)]
    places = {
        str(node): {(example.context, example.start + example.peak) for example in atlas.component(node).top}
        for node in nodes
    }
    mine = places["neuron.1.3"]
    wanted = {name: len(mine & theirs) for name, theirs in places.items() if name != "neuron.1.3" and mine & theirs}
    found = {row.id: row.shared for row in atlas.cofiring(Node("neuron", 1, 3))}
    strongest = sorted(wanted.values(), reverse=True)[:20]
    assert sorted(found.values(), reverse=True) == strongest
    assert all(wanted[name] == shared for name, shared in found.items())
    token = atlas.component(Node("neuron", 1, 3)).top[0]
    token_id = token.ids[token.peak]
    for match in atlas.on_token([token_id], ["neuron"], [1, 2]):
        node = Node("neuron", int(match.id.split(".")[1]), int(match.id.split(".")[2]))
        component = atlas.component(node)
        on = [example for example in component.top if example.ids[example.peak] == token_id]
        assert node.layer in (1, 2)
        assert (match.examples, match.share) == (len(on), len(on) / len(component.top))
        assert match.activation == on[0].activation
        assert component.stats is not None
        assert (match.density, match.strong) == (component.stats.density, component.stats.strong)
    matched = {match.id for match in atlas.on_token([token_id])}
    tops = {str(node): atlas.component(node).top for node in nodes}
    assert matched == {n for n, top in tops.items() if any(e.ids[e.peak] == token_id for e in top)}


def test_a_full_disk_loses_nothing_that_was_complete(
    atlas: Atlas, tiny: Callable[[str], Model], corpus: str, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("1m")
    out = disk / "atlas"
    filler = disk / "filler"
    filler.write_bytes(b"\0" * 700_000)
    with pytest.raises(NoSpace, match="is full"):
        collect(tiny("llama"), corpus, out=out, **SETTINGS)
    kept = list((disk / ".collecting-atlas").rglob("contexts-*.arrow"))
    assert kept, "the text that was read is kept"
    assert not list(disk.rglob("*.partial"))
    filler.unlink()
    os.sync()
    # Two thirds fit now: the shards, but not the atlas too.
    try:
        made = collect(tiny("llama"), corpus, out=out, **SETTINGS)
    except NoSpace:
        assert list((disk / ".collecting-atlas" / "shards").glob("*.safetensors"))
        small_disk("16m")
        made = collect(tiny("llama"), corpus, out=out, **SETTINGS)
    assert content(made.folder) == content(atlas.folder)


def test_a_place_that_cannot_be_written_to_is_told(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NoSpace, match="cannot be written to"):
        collect(tiny("llama"), corpus, out=tmp_path / "file" / "atlas", **SETTINGS)


def test_time_left_and_speed_are_told(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    begun = time.perf_counter()
    told = list(collecting(tiny("llama"), corpus, out=tmp_path / "atlas", **SETTINGS))
    seconds = time.perf_counter() - begun
    collected = [progress for progress in told if progress.stage == "collect"]
    assert [progress.done for progress in collected] == [4 * LENGTH * i for i in range(1, 11)]
    assert all(progress.tokens_per_s and progress.tokens_per_s > progress.done / seconds for progress in collected)
    assert collected[-1].seconds_left == 0
    assert [progress.done for progress in told if progress.stage == "merge"][-1] == 3 * (4 + 40)
