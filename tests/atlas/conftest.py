"""A tiny model of each family in a folder, and a small corpus of words."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest

import clew
from clew.debug import Model

from ..tiny import tiny_model_folder

TEXT = "When Mary and John went to the store, John gave a drink Mary. Then park book so it is (12) not\n"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """A loaded tiny model of a family, made once."""
    root = tmp_path_factory.mktemp("families")

    @cache
    def load(family: str = "llama") -> Model:
        return clew.load(str(tiny_model_folder(root / family, family)))

    return load


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of three texts, some thousand tokens each."""
    folder = tmp_path_factory.mktemp("corpus")
    draw = Random(0)
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(" ".join(draw.choices(TEXT.split(" "), k=1500)), encoding="utf-8")
    return str(folder)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
