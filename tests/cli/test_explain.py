"""`clew explain`, `clew score` and `clew explanations`, on a tiny model and without a language model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clew.explain.records import Overview, Source

from .conftest import Run


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEW_DATABASE", f"sqlite:///{tmp_path / 'clew.db'}")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CLEW_LLM_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "clew.db"


def test_explaining_stores_words_with_scores_and_says_what_it_takes(
    clew: Run, tiny: str, atlas: str, database: Path
) -> None:
    asked = ("explain", tiny, "-c", "neuron.1.0-5", "--atlas", atlas)
    plan = json.loads(clew(*asked, "--dry-run", "--json").stdout)
    assert (plan["components"], plan["done"], plan["requests"]) == (6, 0, 0)
    done = clew(*asked, "--json")
    document = json.loads(done.stdout)
    assert "costs nothing" in done.stderr
    assert (document["explained"], document["failed"]) == (6, 0)
    assert document["database"].endswith(str(database))
    for one in document["explanations"]:
        (score,) = one["scores"]
        assert one["text"] and score["scorer"] == "simulation" and "strips" not in score
        assert {baseline["name"] for baseline in score["baselines"]} == {"table", "mean", "shuffled"}
    again = clew(*asked)
    assert "All is explained already" in again.stdout
    assert "6 are done already" in again.stderr
    text = clew(*asked, "--redo").stdout
    assert "Explained 6 components" in text and "table" in text and "none failed" in text


def test_a_model_without_an_atlas_gets_its_own_first(
    clew: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    done = clew("explain", tiny, "-c", "neuron.1.0", "--json")
    assert json.loads(done.stdout)["explained"] == 1
    assert "it is collected first, once" in done.stderr
    assert [path.parent.parent for path in tmp_path.rglob("atlas.json")] == [tmp_path / "home" / "atlases"]


def test_own_words_are_scored(clew: Run, tiny: str, atlas: str) -> None:
    words = 'names: " Mary" (10), " John" (8)'
    document = json.loads(clew("score", "neuron.1.3", words, "-m", tiny, "--atlas", atlas, "--json").stdout)
    assert (document["text"], document["variant"], document["llm"]) == (words, "written", "you")
    assert document["scores"][0]["strips"]
    line = clew("score", "neuron.1.3", "--explanation", str(document["id"]), "-m", tiny, "--atlas", atlas).stdout
    assert words in line and "simulation" in line
    listed = json.loads(clew("explanations", "list", "neuron.1.3", "-m", tiny, "--json").stdout)
    assert [one["id"] for one in listed["rows"]] == [document["id"]]
    assert words in clew("explanations", "search", "names", "-m", tiny).stdout
    assert clew("explanations", "remove", str(document["id"])).exit_code == 0
    assert "Nothing is explained yet" in clew("explanations", "list", "neuron.1.3", "-m", tiny).stdout


def test_a_model_is_summed_up_exported_and_imported(clew: Run, tiny: str, atlas: str, tmp_path: Path) -> None:
    clew("explain", tiny, "-c", "neuron.1.*,attn.1.*", "--atlas", atlas, "--json")
    document = json.loads(clew("explanations", "overview", tiny, "--json").stdout)
    assert set(document) == {*Overview.__dataclass_fields__, "sources"}
    assert set(document["source"]) == set(Source.__dataclass_fields__)
    assert document["explained"] == document["source"]["components"] == 44
    text = clew("explanations", "overview", tiny).stdout
    assert "44 explained" in text and "Best" in text and "neuron.1" in text
    for form in ("json", "openai", "neuronpedia"):
        out = tmp_path / form
        written = json.loads(clew("explanations", "export", tiny, "--format", form, "--out", str(out), "--json").stdout)
        assert written["explanations"] == (40 if form == "openai" else 44)
        if form != "json":
            read = clew("explanations", "import", str(out), "--from", form, "--of", f"from-{form}", "--json")
            assert json.loads(read.stdout)["explanations"] == written["explanations"]
            listed = json.loads(clew("explanations", "list", "neuron.1.7", "-m", f"from-{form}", "--json").stdout)
            own = json.loads(clew("explanations", "list", "neuron.1.7", "-m", tiny, "--json").stdout)
            assert listed["rows"][0]["text"] == own["rows"][0]["text"]
    assert len(json.loads((tmp_path / "json").read_text())["explanations"]) == 44


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("explain",), "No component is named"),
        (("explain", "-c", "neuron.1.0", "--llm", "http://x"), "An address alone names no language model"),
        (("explain", "-c", "neuron.1.0", "--scorer", "luck"), "is not a scorer"),
        (("explain", "-c", "neuron.1.0", "--variant", "poem"), "is not a variant"),
        (("explain", "-c", "neuron.1.0", "--revisions", "2"), "nothing is revised"),
        (("explain", "-c", "neuron.1.0", "--money", "2"), "what tokens cost"),
        (("explain", "-c", "neuron.1.0", "--price-in", "2"), "Only one price"),
        (("explain", "-c", "neuron.1.0", "--budget", "0"), "buys nothing"),
        (("score", "neuron.1.0"), "Either words are scored or an explanation"),
        (("score", "neuron.1.0", "words", "--explanation", "3"), "Either words are scored or an explanation"),
        (("explanations", "list", "neuron.1"), "is not a node id"),
        (("explanations", "search", "x", "--sort", "luck"), "no order"),
        (("explanations", "overview", "nothing"), "Nothing of nothing is explained yet"),
        (("explanations", "export", "nothing"), "Nothing of nothing is explained"),
        (("explanations", "import", ".", "--from", "luck"), "does not know the format"),
        (("explanations", "import", ".", "--from", "openai"), "which model"),
        (("explanations", "remove", "7"), "no explanation 7"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told_before_a_model_is_loaded(clew: Run, arguments: tuple[str, ...], says: str) -> None:
    told = clew(*arguments)
    assert (told.exit_code, told.stdout) == (2, "")
    assert says in told.stderr


def test_what_a_model_or_atlas_lacks_is_told(clew: Run, tiny: str, atlas: str) -> None:
    refused = clew("explain", tiny, "-c", "neuron.99.0", "--atlas", atlas)
    assert (refused.exit_code, "neuron.99.0" in refused.stderr) == (2, True)
    assert clew("explain", tiny, "-c", "neuron.0.0", "--atlas", "./nowhere").exit_code == 2
    refused = clew("score", "neuron.1.0", "months", "-m", tiny, "--atlas", atlas)
    assert (refused.exit_code, "quote no token" in refused.stderr) == (2, True)
    refused = clew("score", "neuron.1.0", "--explanation", "7", "-m", tiny, "--atlas", atlas)
    assert refused.exit_code == 2 and "There is no explanation 7." in refused.stderr
    assert "list the explanations" in refused.stderr and "page" not in refused.stderr
    refused = clew("explain", tiny, "-c", "attn.0.0", "--atlas", atlas, "--scorer", "ablation")
    assert refused.exit_code == 2 and "head" in refused.stderr


def test_a_database_that_is_none_is_told_before_a_model_is_loaded(
    clew: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bad.db").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("CLEW_DATABASE", f"sqlite:///{tmp_path / 'bad.db'}")
    told = clew("explain", "-c", "neuron.1.0")
    assert (told.exit_code, told.stdout) == (1, "")
    assert "not a database" in told.stderr or "no database" in told.stderr


def test_a_component_that_is_not_there_is_told_before_an_atlas_is_collected(
    clew: Run, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_HOME", str(tmp_path))
    done = clew("explain", tiny, "-c", "neuron.99.0")
    assert done.exit_code == 2
    assert "neuron.99.0" in done.stderr
    assert "collected first" not in done.stderr
