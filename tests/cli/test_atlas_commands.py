"""`clew collect`, `show`, `search` and `atlas`, on a tiny model and a corpus of two small files."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from rich.cells import cell_len

import clew as library
from clew import settings
from clew.cli.collect import duration
from clew.cli.strips import Strip
from clew.errors import WrongAtlas
from clew.sae import save

from ..atlas.dictionaries import random_autoencoder
from ..tiny import SENTENCES, tiny_model_folder
from .conftest import PROMPT, Run
from .test_serve import serving

SMALL = ("--context", "32", "--window", "16", "--batch", "4", "--shard-tokens", "256")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("corpus")
    for name, times in (("one.txt", 40), ("two.txt", 60)):
        (folder / name).write_text("\n".join(SENTENCES * times), encoding="utf-8")
    (folder / "nothing.txt").touch()
    return str(folder)


@pytest.fixture(scope="module")
def atlas(tiny: str, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an atlas that the command made."""
    out = tmp_path_factory.mktemp("atlas") / "tiny"
    command = [sys.executable, "-c", "from clew.cli import main; main()", "collect", tiny, "--corpus", corpus]
    done = subprocess.run(
        [*command, "--tokens", "1500", "--out", str(out), *SMALL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Collected in" in done.stdout
    # Where there is no terminal a stage is a line, not hundreds.
    stages = re.findall(
        r"^(Reading text|Collecting|Writing the atlas)… [\d,]+ of [\d,]+ (?:tokens|components)", done.stderr, re.M
    )
    assert stages == ["Reading text", "Collecting", "Writing the atlas"]
    assert "1 empty file was left out." in done.stderr
    return str(out)


def _content(folder: str | Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_complete_atlas_is_left_alone(clew: Run, tiny: str, corpus: str, atlas: str) -> None:
    before = _content(atlas)
    asked = ("collect", tiny, "--corpus", corpus, "--tokens", "1500", "--out", atlas, *SMALL)
    document = json.loads(clew(*asked, "--json").stdout)
    assert document.pop("seconds") is None
    assert document.pop("folder") == atlas
    assert document.pop("notes") == library.Atlas.open(atlas).contexts.notes == ["1 empty file was left out."]
    assert document == library.Atlas.open(atlas).info().to_dict()
    assert (document["components"], document["tokens"]) == (3 * (4 + 40), 1504)
    assert "It was complete already." in clew(*asked).stdout
    assert _content(atlas) == before


def test_other_settings_want_another_folder_or_replace(clew: Run, tiny: str, corpus: str, tmp_path: Path) -> None:
    asked = ("collect", tiny, "--corpus", corpus, "--tokens", "300", "--sites", "neuron.1", *SMALL)
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


@pytest.mark.parametrize("component", ["neuron.1.7", "attn.2.3"])
def test_show_is_the_document_of_the_python_api(clew: Run, tiny: str, atlas: str, component: str) -> None:
    result = clew("show", component, "-m", tiny, "--atlas", atlas, "--prompt", PROMPT, "--bos", "--json")
    found = json.loads(result.stdout)
    components = library.components(library.load(tiny), atlas)
    assert components.atlas is not None
    assert found == {
        "component": components.component(component).to_dict(),
        "weights": components.weights(component).to_dict(),
        "cofiring": components.cofiring(component).to_dict(),
        "prompt": components.on_prompt(component, PROMPT, True).to_dict(),
        "atlas": components.atlas.info().to_dict(),
    }
    assert found["component"]["stats"]["tokens"] == 47 * 31
    assert len(found["component"]["top"]) == settings.TOP_EXAMPLES


def test_show_without_an_atlas_has_weights_and_prompt(
    clew: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    found = json.loads(clew("show", "attn.2.3", "-m", tiny, "--prompt", PROMPT, "--json").stdout)
    assert (found["atlas"], found["component"]["stats"], found["cofiring"]) == (None, None, [])
    assert found["prompt"]["tokens"][1]["text"] == " Mary"
    assert found["weights"]["up"] is None
    assert len(found["weights"]["excited_by"]) == settings.PUSHED
    shown = clew("show", "neuron.2.3", "-m", tiny).stdout
    assert "clew collect" in shown
    assert "Strongest" not in shown


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("component", ["neuron.1.7", "attn.2.3"])
def test_show_for_a_person(clew: Run, tiny: str, atlas: str, component: str, width: int) -> None:
    result = clew("show", component, "-m", tiny, "--atlas", atlas, "--prompt", PROMPT, "--examples", "2", width=width)
    assert result.exit_code == 0, result.stderr
    shown = result.stdout
    known = library.Atlas.open(atlas).component(library.Node(*_parsed(component)))
    assert known.stats is not None
    for title in ("On the prompt", "Strongest", "At random", "By its weights", "Fires on the same tokens"):
        assert f"\n{title}\n" in shown
    assert ("Most negative" in shown) == (component.startswith("neuron"))
    assert ("induction token" in shown) == (component.startswith("attn"))
    assert "▲ the prompt" in shown
    assert "«the peak»" in shown
    assert len(re.findall(r"^ *[+−][\d.]+ ", shown.partition("\nStrongest\n")[2].partition("\n\n")[0], re.M)) == 2
    # The names of model and corpus are paths here; everything else keeps to the width.
    assert max(cell_len(line) for line in shown.splitlines()[2:]) <= width
    assert "--examples 0" in " ".join(shown.split())


def _parsed(component: str) -> tuple[Any, int, int]:
    kind, layer, index = component.split(".")
    return kind, int(layer), int(index)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("neuron.9.0",), "there are 3 layers"),
        (("attn.1",), "attn.1"),
        (("neuron.1.2@3",), "neuron.1.2"),
        (("embed@0",), "not a component"),
        (("neuron.1.2", "--bos"), "--prompt"),
        (("neuron.1.2", "--prompt", ""), "prompt"),
        (("neuron.1.2", "--atlas", "./nowhere"), "There is no atlas"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_explained(clew: Run, tiny: str, arguments: tuple[str, ...], says: str) -> None:
    result = clew("show", *arguments, "-m", tiny)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_search_is_what_python_finds(clew: Run, tiny: str, atlas: str) -> None:
    components = library.components(library.load(tiny), atlas)
    among: dict[str, Any] = {"kinds": ["neuron"], "layers": [1, 2], "max_density": 0.9, "limit": 7, "offset": 3}
    options = ["--kind", "neuron", "--layer", "1", "--layer", "2", "--max-density", "0.9", "--limit", "7"]
    options += ["--offset", "3", "-m", tiny, "--atlas", atlas, "--json"]
    found = json.loads(clew("search", "--prompt", PROMPT, "--at", "3", "--sort", "ratio", *options).stdout)
    wanted = components.search_prompt(PROMPT, 3, sort="ratio", **among)
    assert found["tokens"][3]["text"] == " John"
    assert (found["rows"], found["total"]) == (wanted.to_dict(), wanted.total)
    assert len(found["rows"]) == 7

    found = json.loads(clew("search", "--token", " Mary", "--ascending", *options).stdout)
    on_token = components.search_token(" Mary", ascending=True, **among)
    assert found == {"total": on_token.total, "rows": on_token.to_dict()}
    assert found["rows"]

    found = json.loads(clew("search", "--pushes", " Mary", *options).stdout)
    pushing = components.search_pushed(" Mary", **among)
    assert found == {"total": pushing.total, "rows": pushing.to_dict()}


@pytest.mark.parametrize(
    "by", [("--prompt", PROMPT), ("--token", " Mary"), ("--pushes", " Mary")], ids=lambda by: by[0]
)
@pytest.mark.parametrize("width", [60, 120])
def test_a_search_for_a_person(clew: Run, tiny: str, atlas: str, by: tuple[str, str], width: int) -> None:
    shown = clew("search", *by, "-m", tiny, "--atlas", atlas, "--limit", "3", width=width).stdout
    lines = shown.splitlines()
    assert [re.match(r"(attn|neuron)\.\d+\.\d+ ", line) is not None for line in lines[:5]] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert re.match(r"\d+ more: --offset 3", lines[4])
    assert max(map(cell_len, lines)) <= width


def test_without_an_atlas_a_prompt_is_searched_by_activation(
    clew: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    rows = json.loads(clew("search", "--prompt", PROMPT, "-m", tiny, "--json").stdout)["rows"]
    activations = [row["activation"] for row in rows]
    assert activations == sorted(activations, reverse=True)
    assert {row["z"] for row in rows} == {None}
    refused = clew("search", "--token", " Mary", "-m", tiny)
    assert refused.exit_code == 2
    assert "clew collect" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "exactly one"),
        (("--prompt", PROMPT, "--token", " Mary"), "exactly one"),
        (("--token", " Mary", "--at", "1"), "--prompt"),
        (("--pushes", " Mary", "--bos"), "--prompt"),
        (("--prompt", PROMPT, "--sort", "size"), "Sort by z"),
        (("--prompt", PROMPT, "--at", "99"), "Positions run from 0 to"),
        (("--pushes", "several of them"), "several of them"),
        (("--prompt", PROMPT, "--kind", "latent"), "latent"),
        (("--prompt", PROMPT, "--max-density", "2"), "--max-density"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_explained(
    clew: Run, tiny: str, atlas: str, arguments: tuple[str, ...], says: str
) -> None:
    result = clew("search", *arguments, "-m", tiny, "--atlas", atlas)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_the_models_own_atlas_is_found_by_itself(
    clew: Run, tiny: str, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    assert json.loads(clew("atlas", "list", "--json").stdout) == []
    assert "clew collect" in clew("atlas", "list").stdout
    assert clew("collect", tiny, "--corpus", corpus, "--tokens", "300", *SMALL).exit_code == 0
    (listed,) = json.loads(clew("atlas", "list", "--json").stdout)
    assert listed["folder"] == str(settings.atlas_of(tiny))
    assert listed["info"]["components"] == 132
    assert listed["bytes"] == sum(map(len, _content(listed["folder"]).values()))
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


def test_collect_and_open_in_python(clew: Run, tiny: str, corpus: str, atlas: str, tmp_path: Path) -> None:
    model = library.load(tiny)
    made = library.collect(
        model, corpus, tokens=1500, out=tmp_path / "tiny", context=32, window=16, batch=4, shard_tokens=256
    )
    assert isinstance(made, library.Atlas)
    assert _content(tmp_path / "tiny") == _content(atlas)
    assert library.components(model, made).atlas is made
    other = library.load(str(tiny_model_folder(tmp_path / "other", seed=1)))
    with pytest.raises(WrongAtlas, match="other weights"):
        library.components(other, atlas)


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


def test_show_of_a_layer_that_the_atlas_has_not(clew: Run, tiny: str, corpus: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    asked = ("collect", tiny, "--corpus", corpus, "--tokens", "300", "--sites", "neuron.1", *SMALL)
    assert clew(*asked, "--out", out).exit_code == 0
    result = clew("show", "attn.0.1", "-m", tiny, "--atlas", out, "--prompt", PROMPT)
    assert result.exit_code == 0, result.stderr
    assert "The atlas has none of attn.0" in result.stdout
    assert "Strongest" not in result.stdout
    found = json.loads(clew("show", "attn.0.1", "-m", tiny, "--atlas", out, "--prompt", PROMPT, "--json").stdout)
    assert (found["component"]["stats"], found["prompt"]["z"], found["cofiring"]) == (None, None, [])


def test_export_writes_what_show_prints(clew: Run, atlas: str, tmp_path: Path) -> None:
    out = tmp_path / "some.jsonl"
    asked = ("atlas", "export", atlas, str(out), "--component", "attn.1.*", "--component", "neuron.0.7")
    document = json.loads(clew(*asked, "--json").stdout)
    assert document == {"file": str(out), "format": "jsonl", "components": 5}
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    opened = library.Atlas.open(atlas)
    nodes = [library.Node(*_parsed(name)) for name in ("attn.1.0", "attn.1.1", "attn.1.2", "attn.1.3", "neuron.0.7")]
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


TOKENS = ["When", " Mary", " went", " to", " the", " 店", "\n", ",", " John", " gave", " a", " drink", " to"]


@pytest.mark.parametrize("width", [20, 30, 45, 100])
@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize(("peak", "source"), [(0, None), (12, 1), (5, 5), (6, None)])
def test_a_strip_keeps_its_peak_and_source_and_the_width(
    width: int, coloured: bool, peak: int, source: int | None
) -> None:
    values = [float(i == peak) for i in range(len(TOKENS))]
    attended = None if source is None else [float(i == source) for i in range(len(TOKENS))]
    strip = Strip(TOKENS, values, peak, attended, source)
    line = strip.line(width, coloured)
    assert line.cell_len <= width
    shown = TOKENS[peak].replace(" ", "␣").replace("\n", "↵")
    assert (shown if coloured else f"«{shown}»") in line.plain
    assert coloured or source in (None, peak) or "‹␣Mary›" in line.plain
    if width == 100:
        assert "…" not in line.plain


def test_a_strips_colours_say_what_a_token_is() -> None:
    neuron = Strip(["a", "b", "c", "d"], [2.0, 0.0, -1.0, 0.2], 0).whole(True)
    strong, none, negative, weak = (neuron.get_style_at_offset(_console(), i) for i in range(4))
    assert none.bgcolor is None
    assert strong.bgcolor is not None and negative.bgcolor is not None and weak.bgcolor is not None
    assert strong.bgcolor.triplet == (16, 185, 129)
    red, green, _ = negative.bgcolor.triplet or (0, 0, 0)
    assert red > green
    assert (weak.bgcolor.triplet or (0, 0, 0))[1] < 185
    head = Strip(["a", "b"], [0.0, 3.0], 1, [3.0, 0.0], 0).whole(True)
    attended, attending = (head.get_style_at_offset(_console(), i).bgcolor for i in range(2))
    assert attended is not None and attended.triplet == (56, 189, 248)
    assert attending is not None and attending.triplet == (244, 114, 182)


def _console() -> Any:
    from rich.console import Console

    return Console()


def test_durations() -> None:
    assert [duration(s) for s in (0.04, 4.21, 9.96, 59.4, 187, 7435)] == [
        "0.0 s",
        "4.2 s",
        "10 s",
        "59 s",
        "3:07",
        "2:03:55",
    ]


@pytest.fixture(scope="module")
def latents(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with two autoencoders of the tiny model."""
    folder = tmp_path_factory.mktemp("saes")
    anatomy = library.load(tiny).subject.anatomy
    for site in ("mlp_out.1", "resid.0"):
        save(random_autoencoder(anatomy, site, n=20), folder / site)
    return str(folder)


def test_latents_are_collected_shown_and_searched(
    clew: Run, tiny: str, corpus: str, atlas: str, latents: str, tmp_path: Path
) -> None:
    """They are added to an atlas that is there; nothing in it is collected again, or changed."""
    grown = str(tmp_path / "tiny")
    shutil.copytree(atlas, grown)
    collecting = ("collect", tiny, "--corpus", corpus, "--tokens", "1500", "--out", grown, *SMALL)
    added = clew(*collecting, "--sae", latents, "--sites", "latent", "--json")
    assert added.exit_code == 0, added.stderr
    document = json.loads(added.stdout)
    assert document["components"] == 3 * 44 + 40
    assert [one["writes"] for one in document["autoencoders"]] == ["resid.0", "mlp_out.1"]
    assert document["sites"][-2:] == ["latent.resid.0", "latent.mlp_out.1"]
    before, after = _content(atlas), _content(grown)
    before.pop(Path("atlas.json"))
    assert after.items() >= before.items()
    assert "clew show latent.mlp_out.1.0" in clew(*collecting, "--sae", latents).stdout

    at = ("-m", tiny, "--atlas", grown)
    components = library.components(library.load(tiny), grown, [latents])
    name = "latent.resid.0.7"
    found = json.loads(clew("show", name, *at, "--sae", latents, "--prompt", PROMPT, "--json").stdout)
    assert found["component"] == components.component(name).to_dict()
    assert found["weights"] == components.weights(name).to_dict()
    assert found["prompt"] == components.on_prompt(name, PROMPT).to_dict()
    shown = clew("show", name, *at, "--sae", latents, "--prompt", PROMPT, width=100).stdout
    assert re.match(rf"{name}  latent 7 of resid\.0-relu-0 at resid\.0, ", shown)
    for title in ("On the prompt", "Strongest", "At random", "By its weights", "tokens that excite it"):
        assert f"\n{title}" in shown
    other = clew("show", "latent.mlp_out.1.7", *at, "--sae", latents, width=100).stdout
    assert "It reads mlp_out.1, and no token's embedding gets there by itself." in other
    assert "tokens that excite it" not in other
    bare = clew("show", name, *at, width=100)
    assert bare.exit_code == 0
    assert "which is not attached: give it with --sae." in " ".join(bare.stdout.split())
    assert "Strongest" in bare.stdout and "tokens it pushes up" not in bare.stdout

    for by in (("--prompt", PROMPT), ("--pushes", " Mary"), ("--token", " Mary")):
        options = (*by, *at, "--sae", latents, "--kind", "latent", "--limit", "1000", "--json")
        rows = json.loads(clew("search", *options).stdout)["rows"]
        assert rows and all(row["id"].startswith("latent.") for row in rows)
        assert len(rows) == 40 or by[0] == "--token"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "latent.resid.0.7"), "none is attached"),
        (("show", "latent.resid.0.7", "--sae", "./nowhere"), "nowhere"),
        (("search", "--prompt", PROMPT, "--kind", "latent"), "no autoencoder is attached"),
        (("collect", "--sites", "latent"), "Name one with --sae"),
    ],
    ids=str,
)
def test_latents_without_their_autoencoder_are_explained(
    clew: Run, tiny: str, atlas: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    command, *rest = arguments
    where = (tiny, "--out", str(tmp_path / "out")) if command == "collect" else ("-m", tiny, "--atlas", atlas)
    result = clew(command, *rest, *where)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
