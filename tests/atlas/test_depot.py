"""Collecting by workers that share nothing with this process but a store."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from clew.atlas import collecting
from clew.atlas.depot import Depot
from clew.debug import Model
from clew.errors import Cancelled, NotShared, UsageError

from .conftest import content
from .test_collect import SETTINGS


@pytest.fixture(scope="module")
def plain(tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The atlas without a store."""
    out = tmp_path_factory.mktemp("plain") / "atlas"
    list(collecting(tiny("llama"), corpus, out=out, **SETTINGS))
    return content(out)


@pytest.mark.parametrize("url", ["memory://depot", "{folder}/store", "file://{folder}/store/"])
def test_a_store_changes_nothing_and_is_left_empty(
    url: str, tiny: Callable[[str], Model], corpus: str, plain: dict[str, bytes], tmp_path: Path
) -> None:
    url, out = url.format(folder=tmp_path), tmp_path / "atlas"
    list(collecting(tiny("llama"), corpus, out=out, store=url, **SETTINGS))
    assert content(out) == plain
    files, root = fsspec.core.url_to_fs(url)
    assert not [path for path in files.find(root) if not path.endswith("/")]


def test_what_lies_in_the_store_is_not_done_again(
    tiny: Callable[[str], Model], corpus: str, plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, store = tmp_path / "atlas", tmp_path / "store"

    def gone(*args: Any) -> None:
        """The one who gave the work is gone before it takes a shard."""
        if list(store.rglob("*.safetensors")):
            raise Cancelled("Gone.")

    with monkeypatch.context() as patch:
        patch.setattr(Depot, "receive_shards", gone)
        with pytest.raises(Cancelled):
            list(collecting(tiny("llama"), corpus, out=out, store=str(store), **SETTINGS))
    assert len(list(store.rglob("*.safetensors"))) == 1
    steps = [
        step.done for step in collecting(tiny("llama"), corpus, out=out, store=str(store), **SETTINGS)
        if step.stage == "collect"
    ]  # fmt: skip
    assert min(steps) > SETTINGS["shard_tokens"]
    assert content(out) == plain


def test_layers_are_added_with_the_text_of_an_atlas_that_is_there(
    tiny: Callable[[str], Model], corpus: str, plain: dict[str, bytes], tmp_path: Path
) -> None:
    """Its text is one file, and not the folder of a reading."""
    out, store = tmp_path / "atlas", str(tmp_path / "store")
    list(collecting(tiny("llama"), corpus, out=out, sites=["attn"], **SETTINGS))
    list(collecting(tiny("llama"), corpus, out=out, store=store, **SETTINGS))
    assert content(out) == plain


def test_a_store_that_cannot_be_written_to_is_told(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotShared, match=r"The store at .*file/x/atlas-.* cannot be used"):
        list(collecting(tiny("llama"), corpus, out=tmp_path / "atlas", store=f"{tmp_path}/file/x", **SETTINGS))


@pytest.mark.parametrize("url", ["nonsense://x", "s3://bucket/x"])
def test_a_url_that_nothing_reads_is_refused(
    url: str, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    if url.startswith("s3") and importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(UsageError, match="cannot be used to store things"):
        list(collecting(tiny("llama"), corpus, out=tmp_path / "atlas", store=url, **SETTINGS))
