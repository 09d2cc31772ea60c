"""What every test may ask for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import pytest
import torch

import clew
from clew.debug import Model

from .tiny import tiny_model_folder

TEXT = "When Mary and John went to the store, John gave a drink Mary. Then park book so it is (12) not\n"

# A shell that starts the tests in the background ignores SIGINT, and every process they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The default model, from the user's own folder and pulled into it if need be: once on a machine."""
    return clew.load("smollm2")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """A loaded tiny model of a family, made once."""
    root = tmp_path_factory.mktemp("families")

    @cache
    def load(family: str = "llama") -> Model:
        return clew.load(str(tiny_model_folder(root / family, family)))

    return load


@pytest.fixture(scope="session")
def model(tiny: Callable[[str], Model]) -> Model:
    """The tiny Llama."""
    return tiny("llama")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of three texts, some thousand tokens each."""
    folder = tmp_path_factory.mktemp("corpus")
    draw = Random(0)
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(" ".join(draw.choices(TEXT.split(" "), k=1500)), encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tensors so small that threads would only wait for each other, many times so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("64k")` is a disk of that size, and asked again the same disk of another; skips if not allowed."""
    disk = tmp_path / "disk"

    def sized(size: str) -> Path:
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("only root may mount a small disk")
        if disk.is_mount():
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            return disk
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "clew-test", str(disk)]
        if subprocess.run(mount, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        return disk

    yield sized
    if disk.is_mount():
        # Lazy, since a test that failed may still hold a file of it open.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
