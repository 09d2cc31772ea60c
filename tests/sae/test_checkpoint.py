"""Checkpoints: whole or not there, the last of two, and known when damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clew.errors import BadCheckpoint, NoSpace
from clew.sae import checkpoint
from clew.sae.checkpoint import Checkpoint, Loaded


def made(step: int, size: int = 100) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "weights": torch.randn(size, generator=generator),
        "half": torch.randn(3, 2, generator=generator).bfloat16(),
        "turned": torch.arange(6).view(2, 3).T,
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(step, dtype=torch.int64),
    }
    return Checkpoint(step, {"at": step, "mean": 0.1 + 0.2, "names": ["a", None], "largest": 2**63}, tensors)


def same(first: Loaded | None, second: Checkpoint) -> bool:
    assert first is not None
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in second.tensors.items():
        assert isinstance(tensor, torch.Tensor)
        assert first.tensors[name].dtype == tensor.dtype
        assert torch.equal(first.tensors[name], tensor)
    return (first.step, first.numbers) == (second.step, second.numbers)


def test_what_is_saved_is_loaded_and_replaces_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert checkpoint.load(folder) is None
    for step in (9, 1000, 1_000_000_000):
        checkpoint.save(folder, made(step))
        assert same(checkpoint.load(folder), made(step))
        assert len(list(folder.iterdir())) == 1


def test_a_saving_that_was_killed_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, made(1))
    (tmp_path / "000000002.partial").write_bytes(b"half of")
    assert same(checkpoint.load(tmp_path), made(1))
    checkpoint.save(tmp_path, made(3))
    assert [path.name.split(".")[0] for path in tmp_path.iterdir()] == ["000000003"]
    # Killed between the renaming and the removal: both are there, and the later one counts.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *args, **options: None)
        checkpoint.save(tmp_path, made(4))
    assert len(list(tmp_path.iterdir())) == 2
    assert same(checkpoint.load(tmp_path), made(4))
    checkpoint.save(tmp_path, made(5))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "longer"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    checkpoint.save(tmp_path, made(1))
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-1:]
    elif damage == "flipped":
        content[-100] ^= 1
    elif damage == "emptied":
        content.clear()
    else:
        content += b"\0"
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match="is not as it was written"):
        checkpoint.load(tmp_path)


def test_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "VERSION", 0)
    checkpoint.save(tmp_path, made(1))
    monkeypatch.undo()
    with pytest.raises(BadCheckpoint, match="another version of Clew"):
        checkpoint.load(tmp_path)


def test_a_full_disk_leaves_the_last_one_whole(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("96k")
    checkpoint.save(disk, made(1, 10_000))
    with pytest.raises(NoSpace, match="full; all that was complete is kept"):
        checkpoint.save(disk, made(2, 20_000))
    assert same(checkpoint.load(disk), made(1, 10_000))
    assert len(list(disk.iterdir())) == 1, "the half-written one is removed"
    checkpoint.save(disk, made(2, 5_000))
    assert same(checkpoint.load(disk), made(2, 5_000))
