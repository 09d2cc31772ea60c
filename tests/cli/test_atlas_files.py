"""`clew atlas export` and `import`: an atlas to a file, and published records to an atlas."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import clew as library
from clew.nodes import parse

from .conftest import Run


def test_export_writes_what_show_prints(clew: Run, atlas: str, tmp_path: Path) -> None:
    out = tmp_path / "some.jsonl"
    asked = ("atlas", "export", atlas, str(out), "--component", "attn.1.*", "--component", "neuron.0.7")
    document = json.loads(clew(*asked, "--json").stdout)
    assert document == {"file": str(out), "format": "jsonl", "components": 5}
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    opened = library.Atlas.open(atlas)
    nodes = [parse(name) for name in ("attn.1.0", "attn.1.1", "attn.1.2", "attn.1.3", "neuron.0.7")]
    kinds = "top", "bottom", "random"
    for node, line in zip(nodes, lines, strict=True):
        examples = [
            one for part in (*(line[kind] for kind in kinds), *(b["examples"] for b in line["bands"])) for one in part
        ]
        for one in examples:
            pairs = one.pop("pairs", None)
            if node.kind == "attn":
                assert pairs == opened.pairs(node, one["kind"], one["rank"], one["band"]).to_dict()["rows"]
        assert line == opened.component(node).to_dict()
    rows = tmp_path / "some.parquet"
    told = clew("atlas", "export", atlas, str(rows), "--component", "neuron.0.7", "--format", "parquet")
    assert told.exit_code == 0, told.stderr
    assert "1 component" in told.stdout
    assert rows.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--format", "csv"), "parquet"),
        (("--component", "neuron.0.99"), "neuron.0.99"),
        (("--component", "all"), "all"),
    ],
    ids=str,
)
def test_what_cannot_be_exported_is_explained(
    clew: Run, atlas: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = clew("atlas", "export", atlas, str(tmp_path / "out"), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of some neurons and of all heads of a model of the tiny one's shape, as OpenAI published theirs."""
    root = tmp_path_factory.mktemp("published")
    tokens = ["When", " Mary", " went", "…"]

    def record(layer: int, index: int, values: list[float]) -> dict[str, Any]:
        piece = {"tokens": tokens, "activations": values}
        return {
            "neuron_id": {"layer_index": layer, "neuron_index": index},
            "most_positive_activation_records": [piece],
            "random_sample": [piece],
            "random_sample_by_quantile": [[], [piece]],
            "quantile_boundaries": [0.5],
            "mean": 0.25,
            "variance": 4.0,
            "skewness": None,
            "kurtosis": 9.0,
        }

    def write(folder: Path, layer: int, index: int, values: list[float]) -> None:
        (folder / str(layer)).mkdir(parents=True, exist_ok=True)
        (folder / str(layer) / f"{index}.json").write_text(json.dumps(record(layer, index, values)), encoding="utf-8")

    for layer in range(3):
        for index in (0, 5, 39):
            write(root / "collated-activations", layer, index, [0.0, 2.0, 0.5, 0.0])
        for index in range(4):
            write(
                root / "attn_write_norm" / "collated-activations-by-token-pair", layer, index,
                [0.1, 0.0, 0.5, 3.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0],
            )  # fmt: skip
    return root


def test_import_shows_what_was_published(clew: Run, tiny: str, published: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "imported")
    result = clew("atlas", "import", str(published), "--model", "tiny", "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["imported"], document["components"]) == (str(published), 132)
    assert "neuron.1 has records of 3 of its 40 components." in document["notes"]
    assert "neuron.1 has records of 3 of its 40 components." in result.stderr
    assert clew("atlas", "check", out).exit_code == 0

    found = json.loads(clew("show", "neuron.1.5", "-m", tiny, "--atlas", out, "--json").stdout)["component"]
    assert (found["stats"]["mean"], found["stats"]["density"], found["stats"]["histogram"]) == (0.25, None, None)
    assert (found["top"][0]["text"], found["top"][0]["peak"]) == ("When Mary went…", 1)
    assert found["top"][0]["activations"] == pytest.approx([0.0, 2.0, 0.5, 0.0], abs=2.0 / 2048)
    head = json.loads(clew("show", "attn.2.1", "-m", tiny, "--atlas", out, "--json").stdout)["component"]["top"][0]
    assert (head["activation"], head["peak"], head["source"]) == (3.0, 2, 0)
    shown = clew("show", "attn.2.1", "-m", tiny, "--atlas", out).stdout
    assert "‹When›␣Mary«␣went»…" in shown
    assert "density –" in shown
    assert "\nFrom +0.500\n" in shown

    # The model's own token, though the data has numbers of its own for it.
    options = ("-m", tiny, "--atlas", out, "--kind", "neuron", "--json")
    matches = json.loads(clew("search", "--token", " Mary", *options).stdout)
    assert [row["id"] for row in matches["rows"]] == [f"neuron.{layer}.{i}" for layer in range(3) for i in (0, 5, 39)]
    assert json.loads(clew("search", "--token", " John", *options).stdout)["rows"] == []


def test_what_cannot_be_imported_is_explained(clew: Run, published: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    nothing = clew("atlas", "import", str(tmp_path), "--out", str(out))
    assert (nothing.exit_code, nothing.stdout) == (2, "")
    assert "no records" in nothing.stderr
    broken = tmp_path / "broken"
    shutil.copytree(published, broken)
    record = broken / "collated-activations" / "1" / "5.json"
    record.write_text(record.read_text(encoding="utf-8")[:100], encoding="utf-8")
    result = clew("atlas", "import", str(broken), "--model", "tiny", "--out", str(out))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "5.json is not whole JSON" in result.stderr
    assert not out.exists()
