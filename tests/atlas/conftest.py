"""What tests of atlases share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..tiny import SENTENCES
from .published import small, write


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of one text, which says a few sentences twenty times."""
    folder = tmp_path_factory.mktemp("sentences")
    (folder / "store.txt").write_text(" ".join(SENTENCES * 20))
    return str(folder)


@pytest.fixture(scope="session")
def records() -> dict[str, Any]:
    """A small model's records as OpenAI published theirs, by path."""
    return small()


@pytest.fixture(scope="session")
def root(records: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `records`."""
    folder = tmp_path_factory.mktemp("published")
    write(folder, records)
    return folder
