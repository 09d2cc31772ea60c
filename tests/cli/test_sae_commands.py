"""`clew sae` from the terminal: a tiny model, real trainings, real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import clew as library
from clew.cli.sae_train import name_of
from clew.cli.sae_watch import Watch, blocks
from clew.nodes import Site
from clew.sae import Recipe, TrainingPlan, load, load_all
from clew.sae.ratings import ratings_of
from clew.sae.records import Histogram, Resampled
from clew.sae.report import read_report
from clew.sae.toy import toy
from clew.sae.training import read_log, state_of, training

from .conftest import Run

SMALL = ("--context", "16", "--batch", "64", "--buffer", "400", "--save-every", "640")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty $CLEW_HOME."""
    monkeypatch.setenv("CLEW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def trained(tiny: str, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of two autoencoders of one site."""
    out = tmp_path_factory.mktemp("trained") / "two"
    site = Site("mlp_out", 1)
    recipes = (Recipe(site, 16, "topk", k=2), Recipe(site, 16, "relu", sparsity=3.0))
    plan = TrainingPlan(recipes, tokens=1280, batch=64, context=16, buffer=400)
    for _ in training(library.load(tiny), plan, corpus, out):
        pass
    return out


def test_sites_sizes_and_sparsities_are_trained_in_one_pass(clew: Run, tiny: str, corpus: str, home: Path) -> None:
    result = clew(
        "sae", "train", tiny, "--site", "mlp_out.1", "--site", "resid.0", "--latents", "16", "--latents", "32",
        "--architecture", "topk", "--architecture", "relu", "--k", "2", "--k", "3", "--sparsity", "4",
        "--tokens", "1280", "--corpus", corpus, *SMALL, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    wanted = [
        f"{site}-{rest}"
        for site in ("mlp_out.1", "resid.0")
        for rest in (
            "topk-16-k2", "topk-16-k3", "topk-32-k2", "topk-32-k3", "relu-16-l4", "relu-32-l4",
        )
    ]  # fmt: skip
    assert sorted(document["runs"]) == sorted(wanted)
    assert (document["stage"], document["tokens"], document["total"]) == ("done", 1280, 1280)
    folder = home / "saes" / f"llama-{document['runs'][0]}-and-11-more"
    assert document["folder"] == str(folder)
    assert state_of(folder).to_dict() == {key: document[key] for key in state_of(folder).to_dict()}
    last = {point.run: point.to_dict() for point in read_log(folder)}
    assert {point["run"]: point for point in document["last"]} == last
    found = {(str(one.reads), one.n_latents, one.k) for one in load_all(folder) if one.activation == "topk"}
    assert found == {(site, size, k) for site in ("mlp_out.1", "resid.0") for size in (16, 32) for k in (2, 3)}


def test_what_is_trained_is_what_python_trains(clew: Run, tiny: str, corpus: str, tmp_path: Path) -> None:
    """Every number that the options give reaches the plan."""
    arguments = (
        "--site", "mlp_in.1", "--writes", "mlp_out.1", "--skip-term", "--latents", "24", "--architecture", "relu",
        "--loss", "2024", "--sparsity", "2", "--lr", "0.002", "--seed", "3", "--no-resample", "--tokens", "1000",
        "--batch", "50", "--warmup", "0.1", "--decay", "0.3", "--clip", "2", "--save-every", "400", "--context", "12",
        "--bos", "--skip", "2", "--buffer", "300",
    )  # fmt: skip
    out = tmp_path / "out"
    assert clew("sae", "train", tiny, *arguments, "--corpus", corpus, "--out", str(out)).exit_code == 0
    recipe = Recipe(
        Site("mlp_in", 1), 24, "relu", sparsity=2.0, loss="2024", learning_rate=0.002, writes=Site("mlp_out", 1),
        skip=True, resample=False, seed=3,
    )  # fmt: skip
    plan = TrainingPlan(
        (recipe,), 1000, batch=50, context=12, bos=True, skip=2, buffer=300, warmup=0.1, decay=0.3, clip=2.0,
        evaluate_every=400, save_every=400, seed=3,
    )  # fmt: skip
    assert TrainingPlan.of(json.loads((out / "training.json").read_text())["plan"]) == plan
    # The same plan as a file gives the same weights.
    file, again = tmp_path / "plan.json", tmp_path / "again"
    file.write_text(json.dumps(plan.to_dict()))
    assert clew("sae", "train", tiny, "--plan", str(file), "--corpus", corpus, "--out", str(again)).exit_code == 0
    one, other = load(out), load(again)
    assert (one.w_enc == other.w_enc).all()
    assert one.w_skip is not None and other.w_skip is not None and (one.w_skip == other.w_skip).all()


def test_the_same_command_leaves_a_finished_training_alone(clew: Run, tiny: str, corpus: str, home: Path) -> None:
    words = ("sae", "train", tiny, "--site", "resid.1", "--latents", "16", "--k", "2", "--corpus", corpus, *SMALL)
    first = clew(*words, "--tokens", "640", "--tensorboard", str(home / "board"))
    assert first.exit_code == 0, first.stderr
    assert "640 of 640 tokens" in first.stderr
    assert "clew sae eval llama-resid.1-topk-16-k2" in first.stdout
    assert list((home / "board").glob("events*"))
    folder = home / "saes" / "llama-resid.1-topk-16-k2"
    before = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert clew(*words, "--tokens", "640").exit_code == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before
    other = clew(*words, "--tokens", "704")
    assert (other.exit_code, "other settings (tokens)" in other.stderr) == (2, True)
    assert clew(*words, "--tokens", "704", "--replace").exit_code == 0
    assert state_of(folder).total == 704


def test_ctrl_c_saves_and_resume_goes_on(clew: Run, tiny: str, corpus: str, home: Path) -> None:
    words = [
        "sae", "train", tiny, "--site", "mlp_out.1", "--latents", "32", "--k", "2", "--tokens", "32000",
        "--corpus", corpus, "--context", "16", "--batch", "16", "--buffer", "400", "--save-every", "8000",
    ]  # fmt: skip
    folder = home / "saes" / "llama-mlp_out.1-topk-32-k2"
    with subprocess.Popen([sys.executable, "-m", "clew", *words], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not read_log(folder):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130, said
    state = state_of(folder)
    assert (state.stage, state.saved) == ("stopped", state.tokens)
    assert 0 < state.tokens < state.total
    assert f"Stopped after {state.tokens:,} tokens" in said
    assert "clew sae resume llama-mlp_out.1-topk-32-k2" in said
    assert load(folder).origin.tokens == state.tokens
    listed = clew("sae", "list")
    assert f"stopped, {state.tokens:,} of {state.total:,} tokens" in listed.stdout
    # What goes on is the training as it was asked for: its command holds the corpus and the model.
    kept = json.loads((folder / "command.json").read_text())
    assert (kept["model"], kept["corpus"]) == (tiny, corpus)
    (folder / "command.json").write_text(json.dumps({**kept, "corpus": str(home / "gone")}))
    gone = clew("sae", "resume", folder.name)
    assert (gone.exit_code, "There is no file or folder" in gone.stderr) == (2, True)
    (folder / "command.json").write_text(json.dumps(kept))
    again = clew("sae", "resume", str(folder), "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["stage"] == state_of(folder).stage == "done"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "There is no site"),
        (("--site", "mlp_out"), "is not a site"),
        (("--site", "mlp_out.9"), "mlp_out.9 does not exist"),
        (("--site", "resid.1", "--architecture", "vanilla"), "is not an architecture"),
        (("--site", "resid.1", "--architecture", "relu", "--k", "3"), "--k means nothing to relu"),
        (("--site", "resid.1", "--sparsity", "3"), "--sparsity means nothing to topk"),
        (("--site", "resid.1", "--no-resample"), "are options of relu"),
        (("--site", "resid.1", "--latents", "8", "--k", "9"), "k = 9 of 8 latents"),
        (("--site", "resid.1", "--k", "3", "--k", "3"), "is to be trained twice"),
        (("--site", "resid.1", "--skip-term"), "A skip term is a transcoder's"),
        (("--site", "resid.1", "--tokens", "10"), "tokens must be at least"),
        (("--site", "resid.1", "--context", "900"), "Contexts of 900 tokens"),
        (("--site", "resid.1", "--corpus", "./nowhere"), "There is no file or folder"),
        (("--site", "resid.1", "--shard-latents"), "--shard-latents is for the workers of a cluster"),
        (("--plan", "./nowhere.json"), "cannot be read as a training plan"),
        (("--plan", "-"), "cannot be read as a training plan"),
        (("--plan", "-", "--tokens", "900"), "--plan says all that --tokens could"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else None,
)
def test_what_cannot_be_trained_is_explained(
    clew: Run, tiny: str, home: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = clew("sae", "train", tiny, *arguments, input='{"recipes": [{"site": "resid.1"}], "tokens": 4096}')
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert not home.exists() or not any(home.rglob("training.json"))


def test_what_a_training_would_take(clew: Run, tiny: str, corpus: str, home: Path) -> None:
    asked = ("sae", "train", tiny, "--site", "mlp_out.1", "--latents", "32", "--k", "2", "--tokens", "1300",
             "--corpus", corpus, "--dry-run", *SMALL)  # fmt: skip
    found = clew(*asked, "--json")
    assert found.exit_code == 0, found.stderr
    plan = json.loads(found.stdout)
    assert (plan["tokens"], plan["steps"], plan["workers"], plan["weights"]) == (1280, 20, 1, 4 * (32 * 49 + 24))
    assert plan["train_s"] > 0 and plan["memory"] > plan["model"]
    said = clew(*asked)
    assert "1,280 tokens in 20 steps of 1 worker, with 1 forward passes." in said.stdout
    assert "A worker holds" in said.stdout and "ms a step of a worker" in said.stdout
    assert not any(home.rglob("*.json")) and not any(home.rglob(".probing*"))


def test_a_training_without_its_command_is_explained(clew: Run, home: Path, trained: Path) -> None:
    """One that Python ran, and one that is not there."""
    for name in (str(trained), "nowhere"):
        result = clew("sae", "resume", name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "does not say how its training was asked for" in result.stderr


def test_names_of_trainings() -> None:
    recipe = Recipe(Site("mlp_out", 3), 64, "topk", k=4)
    assert name_of("EleutherAI/pythia-70m", TrainingPlan((recipe,), 4096)) == (
        "EleutherAI--pythia-70m-mlp_out.3-topk-64-k4"
    )


def test_the_shelf(clew: Run, home: Path, trained: Path) -> None:
    assert "No autoencoders yet" in clew("sae", "list").stdout
    source = trained / "mlp_out.1-topk-16-k2"
    added = clew("sae", "add", str(source), "--name", "mine", "--json")
    assert added.exit_code == 0, added.stderr
    info = json.loads(added.stdout)
    assert (info["reference"], info["reads"], info["latents"], info["k"]) == ("mine", "mlp_out.1", 16, 2)
    assert (load("mine").w_dec == load(source).w_dec).all()
    again = clew("sae", "add", str(source), "--name", "mine")
    assert (again.exit_code, "already" in again.stderr) == (2, True)
    document = json.loads(clew("sae", "list", "--json").stdout)
    assert (document["autoencoders"], document["trainings"]) == ([info], [])
    shown = clew("sae", "list").stdout
    assert all(word in shown for word in ("mine", "mlp_out.1", "topk", "16", "1,280"))
    assert json.loads(clew("sae", "rate", "mine", "3", "readable", "--json").stdout) == {"ratings": {"3": "readable"}}
    assert clew("sae", "rate", "mine", "4", "dead").exit_code == 0
    assert clew("sae", "rate", "mine", "3", "none").exit_code == 0
    assert ratings_of(home / "saes" / "mine") == {4: "dead"}
    for wrong, says in ((("3", "good"), "is not a rating"), (("16", "dead"), "Its latents are 0 to 15")):
        result = clew("sae", "rate", "mine", *wrong)
        assert (result.exit_code, says in result.stderr) == (2, True)
    assert json.loads(clew("sae", "remove", "mine", "--json").stdout) == {"removed": "mine"}
    assert clew("sae", "remove", "mine").exit_code == 2
    assert "No autoencoders yet" in clew("sae", "list").stdout


def test_judging_what_was_trained(clew: Run, tiny: str, home: Path, trained: Path, corpus: str) -> None:
    options = ("--model", tiny, "--corpus", corpus, "--tokens", "1000", "--losses", "500", "--samples", "2")
    result = clew("sae", "eval", str(trained), *options, "--json")
    assert result.exit_code == 0, result.stderr
    reports = json.loads(result.stdout)["reports"]
    names = ["mlp_out.1-relu-16-l3", "mlp_out.1-topk-16-k2"]
    assert [report["autoencoder"]["name"] for report in reports] == names
    for name, report in zip(names, reports, strict=True):
        kept = json.loads(json.dumps(read_report(trained / name).to_dict()))
        assert report == {**kept, "page": str(trained / name / "report.html")}
        assert Path(report["page"]).is_file()
        assert f"Probing latents of {trained.name}/{name}… 1 of " in result.stderr
    shown = clew("sae", "eval", str(trained / names[1]), *options, "--out", str(home / "out"))
    assert shown.exit_code == 0, shown.stderr
    words = ("FVU", "CE recovered", "dead", "told by latents", "whole site", f"{home / 'out' / 'report.html'}")
    assert all(word in shown.stdout for word in words)
    assert "0 is all explained" in shown.stdout
    narrow = clew("sae", "eval", str(trained / names[1]), *options, "--out", str(home / "out"), width=60)
    assert "0 is all explained" not in narrow.stdout


def test_what_cannot_be_judged_is_explained(clew: Run, tiny: str, home: Path, trained: Path) -> None:
    for arguments, says in (
        (("nowhere",), "There is no autoencoder"),
        ((str(trained), "--out", str(home)), "--out is one folder"),
        ((str(trained), "--corpus", "./nowhere"), "There is no file or folder"),
        ((str(trained), "--model", "./nowhere"), "There is no model"),
    ):
        result = clew("sae", "eval", *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert says in result.stderr


def test_toy_models(clew: Run, tmp_path: Path) -> None:
    small = ("--features", "16", "--width", "8", "--l0", "1.5", "--samples", "6000")
    picture = tmp_path / "toy.svg"
    result = clew("sae", "toy", *small, "--source", "synthetic", "--architecture", "topk", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    found = toy(["topk"], "synthetic", features=16, width=8, l0=1.5, samples=6000).to_dict()
    for run in (*document["runs"], *found["runs"]):
        del run["seconds"]
    assert document == found
    shown = clew("sae", "toy", *small, "--source", "both", "--architecture", "relu", "--picture", str(picture))
    assert shown.exit_code == 0, shown.stderr
    assert all(word in shown.stdout for word in ("MCC", "true L0", "synthetic", "superposition", str(picture)))
    assert "<svg" in picture.read_text()
    told = [line.partition(":")[0] for line in shown.stderr.splitlines()]
    assert told == ["relu on synthetic", "relu on superposition"]
    for wrong in (("--source", "text"), ("--architecture", "vanilla"), ("--features", "1")):
        assert clew("sae", "toy", *wrong).exit_code == 2


def test_blocks_show_what_is_not_zero() -> None:
    counts = [0, 0, 1, 0, 100, 60, 0, 0]
    assert blocks(Histogram([float(i) for i in range(9)], counts, 3)) == " ▁█ "
    assert blocks(Histogram([0.0], [], 0)) == ""


def test_the_table_has_room_for_more_on_a_wide_terminal(trained: Path) -> None:
    state, points = state_of(trained), read_log(trained)
    with Path(os.devnull).open("w") as nowhere:
        watch = Watch(Console(file=nowhere))
        watch.follow([state, *points, Resampled(points[-1].run, points[-1].step, points[-1].tokens, 3)])
    names = {width: [column.header for column in watch.table(width).columns] for width in (40, 80, 120, 160)}
    assert names[40] == ["autoencoder", "L0", "FVU", "CE recovered", "dead"]
    assert names[80] == ["autoencoder", "loss", *names[40][1:]]
    assert names[120] == ["autoencoder", "loss", "reconstruction", "sparsity", "auxiliary", *names[40][1:]]
    assert names[160] == [*names[120], "latents by density"]
    assert all(watch.table(width).row_count == 2 for width in names)
    cells = [list(column.cells) for column in watch.table(160).columns]
    assert len({len(column) for column in cells}) == 1
