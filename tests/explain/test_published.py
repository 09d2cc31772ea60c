"""Published explanations are read as they were written, and ours come back as they went out."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import BadRecord, Cancelled, ClewError, UsageError
from clew.explain.published import neuronpedia, openai
from clew.explain.published.files import documents
from clew.explain.records import Cost, Subject
from clew.explain.store.explanations import Explanations

from .store.made import LATENTS, MODEL, explanation, score

GPT2 = Subject("gpt2", None)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Explanations]:
    found = Explanations(f"sqlite:///{tmp_path / 'clew.db'}")
    yield found
    found.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Explanations]:
    """A second database, to import into what the first exported."""
    found = Explanations(f"sqlite:///{tmp_path / 'other.db'}")
    yield found
    found.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files below `published`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "published")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def simulation(value: Any, *peaks: float, key: str = "simulation", normalized: bool = False) -> dict[str, Any]:
    """A published score with a text of three tokens for each peak, of which half is expected."""
    scale = "simulated_normalized_activations" if normalized else "neuron_activations"
    return {
        "dataclass_name": "ScoredSimulation",
        "ev_correlation_score": value, "rsquared_score": 0.25, "absolute_dev_explained_score": -0.5,
        "scored_sequence_simulations": [
            {
                key: {
                    "tokens": ["a", " b", f" {peak}"], "expected_activations": [0.0, 0.0, peak / 2],
                    "activation_scale": scale, "distribution_values": [], "distribution_probabilities": [],
                    "uncalibrated_simulation": None,
                },
                "true_activations": [0.0, -0.125, peak], "ev_correlation_score": 0.5,
            }
            for peak in peaks
        ],
    }  # fmt: skip


def neuron(layer: int, index: int, *scored: tuple[str, dict[str, Any] | None]) -> dict[str, Any]:
    return {
        "neuron_id": {"layer_index": layer, "neuron_index": index},
        "scored_explanations": [{"explanation": text, "scored_simulation": one} for text, one in scored],
    }


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def gpt2(root: Path) -> Path:
    """Four neurons: with two explanations, one without a score, one whose score is not a number, and one missing."""
    home = root / "gpt2_small_data/explanations"
    write(home / "0/0.jsonl", neuron(0, 0, (" weak ", simulation(0.25, 1, 4, 2, 0.5)), ("strong", simulation(0.5, 4))))
    write(home / "0/1.jsonl", neuron(0, 1, ("unscored", None)))
    write(home / "0/3.jsonl", neuron(0, 3, ("undefined", simulation(float("nan"), 0))))
    return root


def test_openai_explanations_come_with_their_scores(tmp_path: Path, kept: Explanations) -> None:
    told = openai.import_explanations(gpt2(tmp_path / "published"), kept, model="gpt2")
    assert (told.components, told.explanations, told.scores, told.missing, told.damaged) == (3, 4, 3, 1, ())
    strong, weak = kept.of(GPT2, "neuron.0.0")
    assert (strong.text, strong.chosen, weak.text, weak.chosen) == ("strong", True, "weak", False)
    assert (strong.variant, strong.llm, strong.subject, strong.cost) == ("imported", "gpt-4", GPT2, Cost())
    (judged,) = weak.scores
    assert (judged.scorer, judged.method, judged.split, judged.value) == ("simulation", "all_at_once", "test", 0.25)
    assert judged.measures == {"r_squared": 0.25, "absolute_deviation": -0.5}
    assert (judged.tokens, judged.texts, judged.baselines) == (12, {"top": 2, "random": 2}, ())
    assert judged.id is not None
    strips = kept.strips(judged.id)
    # The largest of all, 4, is told as 10; the two texts with the larger peaks are the strongest ones.
    assert [strip.real[2] for strip in strips] == [2.5, 10, 5, 1.25]
    assert [(strip.simulated or [])[2] for strip in strips] == [1.25, 5, 2.5, 0.625]
    assert [strip.kind for strip in strips] == ["random", "top", "top", "random"]
    assert strips[0].tokens == ["a", " b", " 1"]
    assert kept.of(GPT2, "neuron.0.1")[0].scores == ()
    assert [one.value for one in kept.of(GPT2, "neuron.0.3")[0].scores] == [None]


def test_what_was_expected_from_0_to_10_stays_so(tmp_path: Path, kept: Explanations) -> None:
    row = neuron(0, 0, ("x", simulation(0.5, 4, key="sequence_simulation", normalized=True)))
    row["neuron_id"] = {"layer": "0", "idx": 0}
    write(tmp_path / "explanations/0/0.jsonl", row)
    openai.import_explanations(tmp_path, kept, model="other")
    (strip,) = kept.strips(kept.of(Subject("other", None), "neuron.0.0")[0].scores[0].id or 0)
    assert (strip.real[2], (strip.simulated or [])[2]) == (10, 2)


def test_an_import_again_adds_nothing(tmp_path: Path, kept: Explanations) -> None:
    root = gpt2(tmp_path / "published")
    first = openai.import_explanations(root, kept, model="gpt2")
    before = [one for index in (0, 1, 3) for one in kept.of(GPT2, f"neuron.0.{index}")]
    assert openai.import_explanations(root, kept, model="gpt2") == first
    assert [one for index in (0, 1, 3) for one in kept.of(GPT2, f"neuron.0.{index}")] == before


def test_layers_and_limits_narrow_an_import(tmp_path: Path, kept: Explanations) -> None:
    root = gpt2(tmp_path / "published")
    write(root / "gpt2_small_data/explanations/2/0.jsonl", neuron(2, 0, ("second", None)))
    seen: list[tuple[int, int]] = []
    told = openai.import_explanations(
        root, kept, model="gpt2", layers=[2], limit=1, progress=lambda *of: seen.append(of)
    )
    assert (told.components, seen) == (1, [(1, 1)])
    assert openai.import_explanations(root / "gpt2_small_data/explanations", kept, model="mine").components == 4
    for wrong in ({"layers": [7]}, {"limit": 0}):
        with pytest.raises(UsageError):
            openai.import_explanations(root, kept, model="gpt2", **wrong)  # type: ignore[arg-type]


def test_openai_explanations_are_fetched(tmp_path: Path, kept: Explanations, served: str) -> None:
    gpt2(tmp_path / "published")
    told = openai.import_explanations(served, kept, model="gpt2", layers=[0], limit=5)
    assert (told.components, told.missing) == (3, 2)
    with pytest.raises(UsageError, match="no explanations of other"):
        openai.import_explanations(f"{served}/nothing", kept, model="other")


def test_what_was_read_before_a_stop_is_kept(tmp_path: Path, kept: Explanations) -> None:
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        openai.import_explanations(gpt2(tmp_path), kept, model="gpt2", stop=lambda: next(asked))
    assert len(kept.of(GPT2, "neuron.0.0")) == 2
    assert kept.of(GPT2, "neuron.0.1") == []


ROW = neuron(0, 0, ("x", simulation(0.5, 1)))


def without(*path: Any) -> dict[str, Any]:
    """The row without a field, or with the last of the path in its place."""
    row = json.loads(json.dumps(ROW))
    *way, key, value = path
    at = row
    for step in way:
        at = at[step]
    if value is None:
        del at[key]
    else:
        at[key] = value
    return row


_SCORED = ("scored_explanations", 0, "scored_simulation")
_TEXT = (*_SCORED, "scored_sequence_simulations", 0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("not JSON", "not whole JSON in line 1"),
        ("", "is empty"),
        ("[]", "is empty"),
        ("[1]", "not an object"),
        ("\xff\x00", "is not text"),
        (json.dumps(ROW)[:-7], "not whole JSON"),
        (gzip.compress(json.dumps(ROW).encode())[:-9], "cut short or damaged"),
        (without("neuron_id", None), "no neuron_id"),
        (without("neuron_id", "neuron_index", 1), "is of neuron 1 of layer 0"),
        (without("scored_explanations", None), "no scored_explanations"),
        (without("scored_explanations", [1]), "not an object"),
        (without("scored_explanations", 0, "explanation", None), "no explanation"),
        (without(*_SCORED, "ev_correlation_score", "high"), "ev_correlation_score of another kind"),
        (without(*_SCORED, "ev_correlation_score", 10**400), "too large"),
        (without(*_SCORED, "scored_sequence_simulations", None), "no scored_sequence_simulations"),
        (without(*_SCORED, "scored_sequence_simulations", [1]), "not an object"),
        (without(*_TEXT, "simulation", None), "no sequence_simulation"),
        (without(*_TEXT, "simulation", "tokens", [1, 2, 3]), "tokens that are not texts"),
        (without(*_TEXT, "true_activations", [1.0]), "1 true_activations for 3 tokens"),
        (without(*_TEXT, "true_activations", [1.0, True, 2.0]), "true_activations that are not numbers"),
        (without(*_TEXT, "simulation", "expected_activations", [1.0, float("nan"), 2.0]), "not numbers"),
    ],
)
def test_a_damaged_file_is_told_and_left_out(
    tmp_path: Path, kept: Explanations, row: dict[str, Any] | str | bytes, said: str
) -> None:
    home = tmp_path / "explanations/0"
    home.mkdir(parents=True)
    content = json.dumps(row) if isinstance(row, dict) else row
    (home / "0.jsonl").write_bytes(content.encode("latin-1") if isinstance(content, str) else content)
    with pytest.raises(BadRecord, match=said) as raised:
        openai.import_explanations(tmp_path, kept, model="mine")
    assert "0.jsonl" in raised.value.message
    write(home / "1.jsonl", neuron(0, 1, ("whole", None)))
    told = openai.import_explanations(tmp_path, kept, model="mine")
    assert (told.components, told.damaged) == (1, (raised.value.message,))
    assert kept.of(Subject("mine", None), "neuron.0.0") == []


@given(st.binary() | st.text().map(str.encode) | st.binary().map(gzip.compress))
def test_no_bytes_are_a_crash(content: bytes) -> None:
    for read in (lambda: documents(content, "x"), lambda: openai.read_explanations(content, "x", 0, 0)):
        with suppress(BadRecord):
            read()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda of: st.lists(of) | st.dictionaries(
    st.sampled_from(["neuron_id", "layer_index", "neuron_index", "scored_explanations", "explanation",
    "scored_simulation", "scored_sequence_simulations", "simulation", "tokens", "true_activations"]), of)))  # fmt: skip
def test_no_document_is_a_crash(document: Any) -> None:
    row = {"neuron_id": {"layer_index": 0, "neuron_index": 0}, "scored_explanations": document}
    with suppress(BadRecord):
        openai.read_explanations(json.dumps(row).encode(), "x", 0, 0)


def filled(kept: Explanations) -> Explanations:
    """A neuron with an older and a newer score, one without, a head and two latents."""
    kept.add(explanation("neuron.1.2", 'tokens like "日本"\u2028and\n', scores=(score(0.25), score(0.5))))
    kept.add(explanation("neuron.0.7", "unscored"))
    kept.add(explanation("neuron.0.7", "candidate", chosen=False))
    kept.add(explanation("attn.1.0", "previous token", scores=(score(0.875, scorer="pairs"),)))
    for index in (3, 11):
        judged = score(0.75, scorer="detection", method=None), score(None, scorer="fuzzing")
        kept.add(explanation(f"latent.mlp_out.2.{index}", f"latent {index}", subject=LATENTS, scores=judged))
    return kept


def test_ours_come_back_from_openai_files(tmp_path: Path, kept: Explanations, other: Explanations) -> None:
    assert openai.export_explanations(filled(kept), tmp_path / "out", MODEL) == 2
    told = openai.import_explanations(tmp_path / "out", other, model="tiny", fingerprint="f00d")
    assert (told.components, told.scores, told.damaged) == (2, 1, ())
    (back,) = other.of(MODEL, "neuron.1.2")
    assert back.text == 'tokens like "日本"\u2028and'
    (judged,) = back.scores
    assert (judged.value, judged.measures["r_squared"]) == (0.5, 0.25)
    (strip,) = other.strips(judged.id or 0)
    assert (strip.tokens, strip.real, strip.simulated) == (["a", " b"], [0.0, 10.0], [0.5, 9.0])
    assert openai.export_explanations(kept, tmp_path / "some", MODEL, ["neuron.0.7"]) == 1
    assert [path.name for path in (tmp_path / "some").rglob("*.jsonl")] == ["7.jsonl"]


def test_ours_come_back_from_neuronpedia_files(tmp_path: Path, kept: Explanations, other: Explanations) -> None:
    assert neuronpedia.export_explanations(filled(kept), tmp_path / "out", [MODEL, LATENTS]) == 5
    folders = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.gz"))
    assert folders == [
        f"{source}/explanations/batch-0.jsonl.gz" for source in ("0", "1-clew-heads", "1", "2-clew-mlp_out")
    ]
    told = neuronpedia.import_explanations(
        tmp_path / "out", other, fingerprint="f00d", autoencoders={"2-clew-mlp_out": "beef"}
    )
    assert (told.components, told.explanations, told.scores) == (5, 5, 5)
    for subject, component in (
        (MODEL, "neuron.1.2"), (MODEL, "neuron.0.7"), (MODEL, "attn.1.0"), (LATENTS, "latent.mlp_out.2.11"),
    ):  # fmt: skip
        (back,), ours = other.of(subject, component), kept.best(subject, [component])[component]
        assert (back.text, back.llm, back.variant) == (ours.text.strip(), ours.llm, "imported")
        assert [(one.scorer, one.llm, one.value) for one in back.scores] == [
            (one.scorer, one.llm, one.value) for one in ours.scores if one.value is not None
        ]
    again = tmp_path / "again"
    neuronpedia.export_explanations(other, again, [MODEL, LATENTS])
    assert neuronpedia.import_explanations(again, other, fingerprint="f00d", autoencoders={"2-clew-mlp_out": "beef"})
    assert len(other.of(LATENTS, "latent.mlp_out.2.11")[0].scores) == 1


def test_a_score_goes_out_with_what_it_rests_on(kept: Explanations) -> None:
    line = next(line for source, line in neuronpedia.lines(filled(kept), [MODEL]) if source == "1-clew-heads")
    (judged,) = json.loads(line)["scores"]
    details = json.loads(judged["jsonDetails"])
    assert (judged["value"], judged["explanationScoreTypeName"]) == (0.875, "clew_pairs")
    assert details["baselines"][0] == {"name": "table", "value": 0.125}
    assert details["failures"] == [{"kind": "malformed", "message": "no JSON"}]


def row(index: Any = "5", layer: str = "3-res-jb", **changes: Any) -> dict[str, Any]:
    """An explanation as Neuronpedia exports it."""
    return {
        "id": "clx", "modelId": "gpt2-small", "layer": layer, "index": index, "authorId": "someone",
        "description": "names of cities", "embedding": "[0.25,0.5]", "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini", "umap_x": 0, "umap_y": 0, "umap_cluster": 0,
        "umap_log_feature_sparsity": 0, **changes,
    }  # fmt: skip


JUDGED = [
    {"value": 0.75, "explanationScoreTypeName": "eleuther_recall", "explanationScoreModelName": "judge"},
    {"value": 0.5, "explanationScoreTypeName": "eleuther_fuzz", "explanationScoreModelName": "judge"},
    {"value": 0.25, "explanationScoreTypeName": "recall_alt", "explanationScoreModelName": "judge"},
]


def test_an_export_of_neuronpedia_is_read(tmp_path: Path, kept: Explanations) -> None:
    source = tmp_path / "v1/gpt2-small/3-res-jb"
    write(source / "explanations/batch-0.jsonl.gz", row("5", scores=JUDGED), row("5", description="towns"))
    write(source / "explanations-gpt-4o/batch-0.jsonl", row("6", explanationModelName=None, typeName=None))
    write(source / "features/batch-0.jsonl.gz", {"modelId": "gpt2-small", "index": "5"})
    told = neuronpedia.import_explanations(tmp_path, kept, model="gpt2", sites={"3-res-jb": "resid.2"})
    assert (told.components, told.explanations, told.scores) == (2, 3, 2)
    assert told.unread == {"scores recall_alt": 1}
    subject = Subject("gpt2", None, "neuronpedia:gpt2-small/3-res-jb")
    towns, cities = kept.of(subject, "latent.resid.2.5")
    assert (cities.text, cities.llm, cities.prompt) == ("names of cities", "gpt-4o-mini", "oai_token-act-pair")
    assert [(one.scorer, one.llm, one.value) for one in cities.scores] == [
        ("detection", "judge", 0.75), ("fuzzing", "judge", 0.5),
    ]  # fmt: skip
    assert towns.text == "towns"
    assert kept.of(subject, "latent.resid.2.6")[0].llm == "unknown"


def test_neurons_of_neuronpedia_need_no_site(tmp_path: Path, kept: Explanations) -> None:
    neuronpedia.import_explanations(write(tmp_path / "some.jsonl", row("5", "11")), kept)
    assert kept.of(Subject("gpt2-small", None), "neuron.11.5")[0].text == "names of cities"


def test_a_source_of_neuronpedia_is_fetched(tmp_path: Path, kept: Explanations, served: str) -> None:
    home = tmp_path / "published/v1/gpt2-small/7"
    for batch in range(3):
        write(home / f"explanations/batch-{batch}.jsonl.gz", row(str(batch), "7"))
    told = neuronpedia.import_explanations(f"{served}/v1/gpt2-small/7", kept)
    assert told.components == 3
    assert neuronpedia.import_explanations(f"{served}/v1/gpt2-small/7/explanations/", kept) == told
    with pytest.raises(UsageError, match="no explanations at"):
        neuronpedia.import_explanations(f"{served}/v1/gpt2-small/8", kept)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(json.dumps(row(layer="1")).encode())[:-9], "cut short or damaged"),
        (json.dumps({"modelId": "gpt2-small", "layer": "1", "index": "0", "maxActApprox": 3.5}), "no description"),
        (json.dumps(row(layer="1"))[:50], "not whole JSON"),
        (json.dumps(row(5, "1")), "index of another kind"),
        (json.dumps(row("five", "1")), "index 'five'"),
        (json.dumps(row(layer="1", scores=[1])), "score that is not an object"),
        (json.dumps(row(layer="1", scores=[{"value": 1}])), "no explanationScoreTypeName"),
        (json.dumps(row(layer="1", scores="high")), "scores of another kind"),
    ],
)
def test_a_damaged_export_is_told_and_left_out(
    tmp_path: Path, kept: Explanations, content: bytes | str, said: str
) -> None:
    path = tmp_path / "explanations/batch-0.jsonl"
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(row("1", "1")).encode() + b"\n" * 2)
    if isinstance(content, str):
        with path.open("a") as file:
            file.write(content)
    with pytest.raises(BadRecord, match=said):
        neuronpedia.import_explanations(tmp_path, kept)
    # All of a file or nothing.
    assert kept.of(Subject("gpt2-small", None), "neuron.1.1") == []
    write(tmp_path / "explanations/batch-1.jsonl", row("2", "1"))
    told = neuronpedia.import_explanations(tmp_path, kept)
    assert told.components == 1 and len(told.damaged) == 1


def test_wrong_questions_are_told(tmp_path: Path, kept: Explanations) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        neuronpedia.import_explanations(tmp_path / "nothing", kept)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no explanations in"):
        neuronpedia.import_explanations(tmp_path / "empty", kept)
    path = write(tmp_path / "some.jsonl", row())
    with pytest.raises(UsageError, match="3-res-jb") as raised:
        neuronpedia.import_explanations(path, kept)
    assert "3-res-jb=resid.3" in raised.value.hint
    with pytest.raises(ClewError, match="resid"):
        neuronpedia.import_explanations(path, kept, sites={"3-res-jb": "resid"})
    with pytest.raises(Cancelled):
        neuronpedia.import_explanations(path, kept, stop=lambda: True)
    write(path, row(layer="1", description="  "))
    with pytest.raises(UsageError, match="no explanation in"):
        neuronpedia.import_explanations(path, kept)
