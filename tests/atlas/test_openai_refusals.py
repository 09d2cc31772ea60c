"""Records that are broken, imports that cannot be: each is named, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clew.atlas.openai import import_openai
from clew.errors import AtlasExists, BadRecord, Cancelled, NoSpace, UsageError

from .conftest import content
from .published import HEADS, NEURONS, TOP, component, small, write


def broken(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A record with something wrong."""
    found = component(0, 1)
    change(found)
    return json.dumps(found).encode()


def _at(found: dict[str, Any], place: str) -> tuple[Any, Any]:
    """What holds the field at a place such as random_sample/0/tokens, and the field's name in it."""
    *path, last = [int(part) if part.isdecimal() else part for part in place.split("/")]
    holder: Any = found
    for part in path:
        holder = holder[part]
    return holder, last


def _set(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        holder, name = _at(found, place)
        holder[name] = value

    return change


def _without(place: str) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        holder, name = _at(found, place)
        del holder[name]

    return change


WHOLE = json.dumps(component(0, 1)).encode()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (b"", "is empty"),
        (WHOLE[: len(WHOLE) // 2], "is not whole JSON"),
        (b"\xff\xfe\x00", "is not whole JSON"),
        (b"[" * 100_000, "is not whole JSON"),
        (b"[]", "is not an object"),
        (WHOLE.replace(b'"mean": ', b'"mean": NaN, "old": '), "holds NaN where a number belongs"),
        (WHOLE.replace(b'"activations": [', b'"activations": [-Infinity, ', 1), "holds -Infinity"),
        (broken(_without("neuron_id")), "lacks neuron_id"),
        (broken(_without("mean")), "lacks mean"),
        (broken(_without("neuron_id/layer_index")), "has a neuron_id without layer_index"),
        (broken(_set("neuron_id", 3)), "has a neuron_id that is not an object"),
        (broken(_set("neuron_id/neuron_index", 2)), "is of component 2 of layer 0, and its name says 1 of layer 0"),
        (broken(_set("neuron_id/layer_index", 5)), "is of component 1 of layer 5"),
        (broken(_set("variance", "0.5")), "has a variance that is not a number"),
        (broken(_set("variance", True)), "has a variance that is not a number"),
        (broken(_set("variance", 10**400)), "has a variance that is too large"),
        (broken(_set(TOP, {})), f"has a {TOP} that is not a list"),
        (broken(_set(f"{TOP}/2", [])), f"has a {TOP}[2] that is not an object"),
        (broken(_without(f"{TOP}/2/tokens")), f"has a {TOP}[2] without tokens"),
        (broken(_without("random_sample/0/activations")), "has a random_sample[0] without activations"),
        (broken(_set("random_sample/0/tokens/3", 7)), "has tokens in random_sample[0] that are not texts"),
        (broken(_set("random_sample/0/tokens/3", "\ud83d")), "has half a character"),
        (broken(_set("random_sample/0/tokens", ["a"])), "has 16 activations in random_sample[0] for 1 tokens"),
        (broken(_set("random_sample/0", {"tokens": [], "activations": []})), "has 0 tokens in random_sample[0]"),
        (
            broken(_set("random_sample/0/activations/3", None)),
            "has activations in random_sample[0] that are not numbers",
        ),
        (
            broken(_set("random_sample/0/activations/3", "1")),
            "has activations in random_sample[0] that are not numbers",
        ),
        (broken(_set("random_sample/0/activations/3", 1e39)), "too large for a 32-bit number"),
        (broken(_set("random_sample/0/activations/3", 10**400)), "is too large for any number"),
        (broken(_set("random_sample_by_quantile", 3)), "has a random_sample_by_quantile that is not a list"),
        (broken(_set("random_sample_by_quantile/4", {})), "has a random_sample_by_quantile[4] that is not a list"),
        (broken(_set("quantile_boundaries", [1.0])), "does not fit its 5 quantiles"),
        (broken(_set("quantile_boundaries/2", None)), "does not rise"),
        (broken(_set("quantile_boundaries/2", 5.0)), "does not rise"),
        (broken(_set("quantile_boundaries/2", "1.0")), "has a quantile_boundaries that is not a number"),
    ],
)
def test_a_broken_record_is_named_and_nothing_is_left(found: bytes, says: str, tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/{index}.json": component(0, index) for index in range(3)})
    file = tmp_path / "root" / NEURONS / "0" / "1.json"
    file.write_bytes(found)
    with pytest.raises(BadRecord) as told:
        import_openai(tmp_path / "root", tmp_path / "atlases" / "one", model="one")
    assert str(told.value).startswith(f"{file} ")
    assert says in str(told.value)
    assert "\n" not in str(told.value)
    assert [path.name for path in (tmp_path / "atlases").iterdir() if path.suffix != ".lock"] == []


def test_a_head_of_other_pairs_than_its_tokens_have(tmp_path: Path) -> None:
    given = component(0, 0, pairs=True, length=9)
    given["random_sample"][1]["activations"].pop()
    write(tmp_path / "root", {f"{HEADS}/0/0.json": given})
    with pytest.raises(BadRecord, match=r"has 44 activations in random_sample\[1\] for 45 pairs of 9 tokens"):
        import_openai(tmp_path / "root", tmp_path / "atlas", model="one")


def test_a_record_that_cannot_be_opened(tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": component(0, 0)})
    (tmp_path / "root" / NEURONS / "0" / "1.json").mkdir()
    with pytest.raises(BadRecord, match=r"1\.json cannot be read: is a directory"):
        import_openai(tmp_path / "root", tmp_path / "atlas", model="one")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"root": "nowhere"}, "There is no folder nowhere."),
        ({"layers": [9]}, "There are no records of small in"),
        ({"layers": [0, 9]}, "small has no layer 9."),
        ({"layers": [-1, 0]}, "small has no layer -1."),
        ({"limit": 0}, "At least one component"),
        ({"model": "gpt2", "layers": [0, 2]}, "has no records of layer 2."),
        ({"root": "http://", "model": "gpt2"}, "is not an address."),
    ],
)
def test_what_cannot_be_imported(changes: dict[str, Any], says: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        import_openai(**{"root": root, "out": tmp_path / "atlas", "model": "small", **changes})
    assert says in str(told.value)
    assert not (tmp_path / "atlas").exists()


def test_what_is_in_the_way_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "mine.txt").write_text("mine")
    with pytest.raises(AtlasExists):
        import_openai(root, tmp_path / "atlas", model="small")
    assert content(tmp_path / "atlas") == {"mine.txt": b"mine"}
    (tmp_path / "file").write_text("")
    with pytest.raises(NoSpace):
        import_openai(root, tmp_path / "file" / "atlas", model="small")


def test_a_full_disk_is_told(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    write(tmp_path / "root", small(layers=1, neurons=100))
    disk = small_disk("200k")
    with pytest.raises(NoSpace, match="is full"):
        import_openai(tmp_path / "root", disk / "atlas", model="small")
    assert [path.name for path in disk.iterdir() if path.suffix != ".lock"] == []


def test_an_import_can_be_stopped(root: Path, tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(Cancelled):
        import_openai(
            root,
            tmp_path / "atlas",
            model="small",
            progress=lambda done, total: told.append(done),
            stop=lambda: len(told) == 7,
        )
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert import_openai(root, tmp_path / "atlas", model="small").info().components == 16
