"""What is imported of published records is what they hold; what they do not hold is nothing, never zero."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clew.atlas import Atlas
from clew.atlas.openai import import_openai
from clew.atlas.records import Component, Example
from clew.errors import AtlasExists, BadRecord, Cancelled, ClewError, NoSpace, Offline, UsageError
from clew.nodes import Node, parse

from .conftest import content
from .published import BOUNDARIES, HEADS, NEURONS, component, small, write

TOP = "most_positive_activation_records"
STRIP = 1 / 2048  # of its largest value: how exactly a strip is kept
ROUNDED = 0.5e-4  # of the power of ten below that value: how strips are rounded when they are read


@pytest.fixture(scope="module")
def records() -> dict[str, Any]:
    return small()


@pytest.fixture(scope="module")
def root(records: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write(folder, records)
    return folder


@pytest.fixture(scope="module")
def imported(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return import_openai(root, tmp_path_factory.mktemp("atlases") / "small", model="small")


def check_example(found: Example, given: dict[str, Any], *, pairs: bool) -> None:
    values = np.array(given["activations"])
    assert list(found.tokens) == given["tokens"]
    assert found.text == "".join(given["tokens"])
    assert found.activation == np.float32(values.max())
    assert (found.start, found.origin) == (0, "")
    exact = STRIP * np.abs(values).max() + ROUNDED * np.abs(values).max()
    n = len(given["tokens"])
    if not pairs:
        np.testing.assert_allclose(found.activations, values, rtol=0, atol=exact)
        assert (found.peak, found.source, found.attended) == (int(values.argmax()), None, None)
        return
    square = np.full((n, n), -np.inf)
    square[np.tril_indices(n)] = values
    np.testing.assert_allclose(found.activations, square.max(1), rtol=0, atol=exact)
    assert found.attended is not None
    np.testing.assert_allclose(found.attended, square.max(0), rtol=0, atol=exact)
    assert (found.peak, found.source) == np.unravel_index(int(square.argmax()), square.shape)


def check_component(found: Component, given: dict[str, Any], *, pairs: bool) -> None:
    stats, top = found.stats, given["most_positive_activation_records"]
    assert stats is not None
    moments = (stats.mean, stats.variance, stats.skewness, stats.kurtosis)
    assert moments == tuple(given[name] for name in ("mean", "variance", "skewness", "kurtosis"))
    assert stats.maximum == np.float32(max(max(record["activations"]) for record in top))
    unsaid = (stats.tokens, stats.density, stats.strong, stats.minimum, stats.histogram, found.types)
    assert unsaid == (None,) * 6
    boundaries = given["quantile_boundaries"]
    samples = given["random_sample_by_quantile"]
    assert [(band.low, band.high) for band in found.bands] == list(itertools.pairwise(boundaries))[::-1]
    assert {(band.quantile_low, band.quantile_high, band.contexts) for band in found.bands} == {(None, None, None)}
    groups = [
        ("top", None, found.top, top),
        ("random", None, found.random, given["random_sample"]),
        *(("band", i, band.examples, samples[-1 - i]) for i, band in enumerate(found.bands)),
    ]
    for kind, band, examples, wanted in groups:
        assert [(example.kind, example.band, example.rank) for example in examples] == [
            (kind, band, rank) for rank in range(len(wanted))
        ]
        for example, record in zip(examples, wanted, strict=True):
            check_example(example, record, pairs=pairs)
    assert found.bottom == []


def test_all_that_records_say_is_read_back(imported: Atlas, records: dict[str, Any]) -> None:
    for path, given in records.items():
        *_, layer, name = path.split("/")
        pairs = path.startswith(HEADS)
        node = parse(f"{'attn' if pairs else 'neuron'}.{layer}.{name.removesuffix('.json')}")
        check_component(imported.component(node), given, pairs=pairs)


def test_the_pairs_of_a_head_are_read_back(imported: Atlas, records: dict[str, Any]) -> None:
    given = records[f"{HEADS}/1/2.json"]["random_sample_by_quantile"][4][1]
    found = imported.pairs(parse("attn.1.2"), "band", 1, 0)
    flat = [value for row in found.rows for value in row]
    assert [len(row) for row in found.rows] == list(range(1, 10))
    largest = max(given["activations"])
    np.testing.assert_allclose(flat, given["activations"], rtol=0, atol=(STRIP + ROUNDED) * largest)


def test_the_atlas_says_what_it_is(imported: Atlas, root: Path, records: dict[str, Any]) -> None:
    info = imported.info()
    assert info.imported == str(root)
    assert (info.model.n_layers, info.model.n_heads, info.model.n_neurons) == (2, 3, 5)
    assert (info.model.name, info.model.fingerprint, info.model.d_model) == ("small", None, None)
    assert list(info.sites) == ["attn.0", "attn.1", "neuron.0", "neuron.1"]
    assert (info.components, info.context_length, info.window, info.skip) == (16, 16, 16, 0)
    texts = {
        tuple(piece["tokens"])
        for record in records.values()
        for group in [record[TOP], record["random_sample"], *record["random_sample_by_quantile"]]
        for piece in group
    }
    # Texts of 16 tokens and of 9 that are equal are kept once; 10 neurons share one.
    assert info.contexts == len(texts)
    assert info.tokens == sum(len(text) for text in texts)
    assert imported.contexts.notes == []
    assert len(set(imported.vocabulary)) == len(imported.vocabulary)


def test_equal_texts_are_one_context(imported: Atlas) -> None:
    shared = {
        imported.component(parse(f"neuron.{layer}.{index}")).random[0].context for layer in (0, 1) for index in range(5)
    }
    assert len(shared) == 1


def test_what_is_usual_of_imported_heads_is_not_known(imported: Atlas) -> None:
    heads, neurons = imported.summary(Node("attn", 0)), imported.summary(Node("neuron", 0))
    assert heads is not None
    assert neurons is not None
    assert np.isnan([heads.mean, heads.deviation, heads.maximum, heads.density]).all()
    assert np.isfinite([neurons.mean, neurons.deviation, neurons.maximum]).all()
    assert np.isnan([neurons.density, neurons.strong]).all()
    assert imported.head_mean(0) is None
    assert imported.histogram(parse("neuron.0.0")) is None


def test_two_imports_give_the_same_bytes(imported: Atlas, root: Path, tmp_path: Path) -> None:
    import_openai(root, tmp_path / "again", model="small")
    assert content(tmp_path / "again") == content(imported.folder)


def test_top_records_are_ranked_by_their_largest_activation(tmp_path: Path) -> None:
    given = component(0, 0)
    given["most_positive_activation_records"].reverse()
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": given})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    scores = [example.activation for example in atlas.component(parse("neuron.0.0")).top]
    assert scores == sorted(scores, reverse=True)
    best = atlas.best(parse("neuron.0.0"))
    assert best is not None
    assert best.activation == scores[0]


def test_records_of_different_lengths(tmp_path: Path) -> None:
    lengths = [1, 2, 64, 33]
    given = [component(0, index, length=length) for index, length in enumerate(lengths)]
    write(tmp_path / "root", {f"{NEURONS}/0/{index}.json": record for index, record in enumerate(given)})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    assert atlas.info().context_length == 64
    for index, record in enumerate(given):
        found = atlas.component(parse(f"neuron.0.{index}"))
        check_component(found, record, pairs=False)
    short = atlas.component(parse("neuron.0.1")).top[0].context
    assert atlas.contexts.tokens(short).tolist()[2:] == [-1] * 62


def test_what_is_missing_has_no_data_and_is_told(tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/3/{index}.json": component(3, index) for index in (1, 4)})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="gpt2", layers=[3])
    info = atlas.info()
    assert (info.model.n_layers, info.model.n_heads, info.model.n_neurons, info.model.d_model) == (12, 12, 3072, 768)
    assert (list(info.sites), info.components) == (["neuron.3"], 3072)
    assert atlas.contexts.notes == ["neuron.3 has records of 2 of its 3,072 components."]
    for index in (0, 2, 3, 5, 3071):
        found = atlas.component(parse(f"neuron.3.{index}"))
        assert found.stats is None
        assert [*found.top, *found.bottom, *found.bands, *found.random] == []
    check_component(atlas.component(parse("neuron.3.4")), component(3, 4), pairs=False)
    assert atlas.component(parse("neuron.0.0")).stats is None


def test_limit_and_layers(root: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    atlas = import_openai(
        root,
        tmp_path / "atlas",
        model="small",
        layers=[1],
        limit=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert list(atlas.info().sites) == ["attn.1", "neuron.1"]
    assert told == [(n, 4) for n in range(1, 5)]
    assert atlas.component(parse("neuron.1.1")).stats is not None
    assert atlas.component(parse("neuron.1.2")).stats is None


@pytest.mark.parametrize(
    ("model", "places"),
    [
        ("gpt2", {"neuron": "gpt2_small_data/collated-activations", "attn": f"gpt2_small/{HEADS}"}),
        ("gpt2-xl", {"neuron": "data/collated-activations"}),
    ],
)
def test_the_layout_of_the_published_bucket(model: str, places: dict[str, str], tmp_path: Path) -> None:
    for kind, place in places.items():
        write(tmp_path / "root", {f"{place}/11/0.json": component(11, 0, pairs=kind == "attn")})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model=model, layers=[11], limit=1)
    assert list(atlas.info().sites) == [f"{kind}.11" for kind in sorted(places)]
    sizes = {"gpt2": (12, 12, 3072), "gpt2-xl": (48, 25, 6400)}[model]
    assert (atlas.info().model.n_layers, atlas.info().model.n_heads, atlas.info().model.n_neurons) == sizes


@pytest.mark.parametrize(("below", "site"), [(NEURONS, "neuron.0"), (HEADS, "attn.0")])
def test_the_folder_of_the_records_itself(below: str, site: str, root: Path, tmp_path: Path) -> None:
    atlas = import_openai(root / below, tmp_path / "atlas", model="small", layers=[0])
    assert list(atlas.info().sites) == [site]


def test_fields_that_mean_nothing_are_counted(tmp_path: Path) -> None:
    given = component(0, 0)
    given["notes"] = "?"
    given["random_sample"][0]["weight"] = 3
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": given, f"{NEURONS}/0/1.json": {**component(0, 1), "notes": 1}})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    assert sorted(atlas.contexts.notes) == [
        "1 records have a field weight, which is not read.",
        "2 records have a field notes, which is not read.",
    ]


def test_older_names_and_open_fields(tmp_path: Path) -> None:
    given = component(0, 0)
    given["neuron_id"] = {"layer": "0", "idx": 0}
    given["random_sample_by_quantile"] = given["quantile_boundaries"] = None
    given["skewness"] = given["kurtosis"] = None
    inner = {**component(0, 1), "quantile_boundaries": BOUNDARIES[1:-1]}
    unsaid = {**component(0, 2), "quantile_boundaries": None}
    silent = {**component(0, 3), "mean": None}
    write(tmp_path / "root", {f"{NEURONS}/0/{i}.json": found for i, found in enumerate([given, inner, unsaid, silent])})
    atlas = import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    zero, one, two, three = (atlas.component(parse(f"neuron.0.{i}")) for i in range(4))
    assert zero.stats is not None
    assert (zero.bands, zero.stats.skewness, zero.stats.kurtosis) == ([], None, None)
    assert [(band.low, band.high) for band in one.bands] == list(itertools.pairwise(BOUNDARIES))[::-1]
    assert [(band.low, band.high) for band in two.bands] == [(None, None)] * 5
    assert three.stats is None
    assert len(three.top) == 6


def test_a_record_without_texts(tmp_path: Path) -> None:
    none = {TOP: [], "random_sample": [], "random_sample_by_quantile": [[]] * 5}
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": {**component(0, 0), **none}})
    with pytest.raises(UsageError, match="hold no text at all"):
        import_openai(tmp_path / "root", tmp_path / "atlas", model="one")
    write(tmp_path / "root", {f"{NEURONS}/0/1.json": component(0, 1)})
    found = import_openai(tmp_path / "root", tmp_path / "atlas", model="one").component(parse("neuron.0.0"))
    # Without its top texts its maximum is not known, and no other statistic is of use without it.
    assert (found.stats, found.top, found.random) == (None, [], [])
    assert [(band.high, band.examples) for band in found.bands] == [(high, []) for high in BOUNDARIES[:0:-1]]


def broken(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A record with something wrong."""
    found = component(0, 1)
    change(found)
    return json.dumps(found).encode()


def _at(found: dict[str, Any], place: str) -> tuple[Any, Any]:
    """What holds the field at a place such as random_sample/0/tokens, and the field's name in it."""
    *path, last = [int(part) if part.isdecimal() else part for part in place.split("/")]
    holder: Any = found
    for part in path:
        holder = holder[part]
    return holder, last


def _set(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        holder, name = _at(found, place)
        holder[name] = value

    return change


def _without(place: str) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        holder, name = _at(found, place)
        del holder[name]

    return change


WHOLE = json.dumps(component(0, 1)).encode()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (b"", "is empty"),
        (WHOLE[: len(WHOLE) // 2], "is not whole JSON"),
        (b"\xff\xfe\x00", "is not whole JSON"),
        (b"[" * 100_000, "is not whole JSON"),
        (b"[]", "is not an object"),
        (WHOLE.replace(b'"mean": ', b'"mean": NaN, "old": '), "holds NaN where a number belongs"),
        (WHOLE.replace(b'"activations": [', b'"activations": [-Infinity, ', 1), "holds -Infinity"),
        (broken(_without("neuron_id")), "lacks neuron_id"),
        (broken(_without("mean")), "lacks mean"),
        (broken(_without("neuron_id/layer_index")), "has a neuron_id without layer_index"),
        (broken(_set("neuron_id", 3)), "has a neuron_id that is not an object"),
        (broken(_set("neuron_id/neuron_index", 2)), "is of component 2 of layer 0, and its name says 1 of layer 0"),
        (broken(_set("neuron_id/layer_index", 5)), "is of component 1 of layer 5"),
        (broken(_set("variance", "0.5")), "has a variance that is not a number"),
        (broken(_set("variance", True)), "has a variance that is not a number"),
        (broken(_set("variance", 10**400)), "has a variance that is too large"),
        (broken(_set(TOP, {})), f"has a {TOP} that is not a list"),
        (broken(_set(f"{TOP}/2", [])), f"has a {TOP}[2] that is not an object"),
        (broken(_without(f"{TOP}/2/tokens")), f"has a {TOP}[2] without tokens"),
        (broken(_without("random_sample/0/activations")), "has a random_sample[0] without activations"),
        (broken(_set("random_sample/0/tokens/3", 7)), "has tokens in random_sample[0] that are not texts"),
        (broken(_set("random_sample/0/tokens/3", "\ud83d")), "has half a character"),
        (broken(_set("random_sample/0/tokens", ["a"])), "has 16 activations in random_sample[0] for 1 tokens"),
        (broken(_set("random_sample/0", {"tokens": [], "activations": []})), "has 0 tokens in random_sample[0]"),
        (
            broken(_set("random_sample/0/activations/3", None)),
            "has activations in random_sample[0] that are not numbers",
        ),
        (
            broken(_set("random_sample/0/activations/3", "1")),
            "has activations in random_sample[0] that are not numbers",
        ),
        (broken(_set("random_sample/0/activations/3", 1e39)), "too large for a 32-bit number"),
        (broken(_set("random_sample/0/activations/3", 10**400)), "is too large for any number"),
        (broken(_set("random_sample_by_quantile", 3)), "has a random_sample_by_quantile that is not a list"),
        (broken(_set("random_sample_by_quantile/4", {})), "has a random_sample_by_quantile[4] that is not a list"),
        (broken(_set("quantile_boundaries", [1.0])), "does not fit its 5 quantiles"),
        (broken(_set("quantile_boundaries/2", None)), "does not rise"),
        (broken(_set("quantile_boundaries/2", 5.0)), "does not rise"),
        (broken(_set("quantile_boundaries/2", "1.0")), "has a quantile_boundaries that is not a number"),
    ],
)
def test_a_broken_record_is_named_and_nothing_is_left(found: bytes, says: str, tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/{index}.json": component(0, index) for index in range(3)})
    file = tmp_path / "root" / NEURONS / "0" / "1.json"
    file.write_bytes(found)
    with pytest.raises(BadRecord) as told:
        import_openai(tmp_path / "root", tmp_path / "atlases" / "one", model="one")
    assert str(told.value).startswith(f"{file} ")
    assert says in str(told.value)
    assert "\n" not in str(told.value)
    assert [path.name for path in (tmp_path / "atlases").iterdir() if path.suffix != ".lock"] == []


def test_a_head_of_other_pairs_than_its_tokens_have(tmp_path: Path) -> None:
    given = component(0, 0, pairs=True, length=9)
    given["random_sample"][1]["activations"].pop()
    write(tmp_path / "root", {f"{HEADS}/0/0.json": given})
    with pytest.raises(BadRecord, match=r"has 44 activations in random_sample\[1\] for 45 pairs of 9 tokens"):
        import_openai(tmp_path / "root", tmp_path / "atlas", model="one")


def test_a_record_that_cannot_be_opened(tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": component(0, 0)})
    (tmp_path / "root" / NEURONS / "0" / "1.json").mkdir()
    with pytest.raises(BadRecord, match=r"1\.json cannot be read: is a directory"):
        import_openai(tmp_path / "root", tmp_path / "atlas", model="one")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"root": "nowhere"}, "There is no folder nowhere."),
        ({"layers": [9]}, "There are no records of small in"),
        ({"layers": [0, 9]}, "small has no layer 9."),
        ({"layers": [-1, 0]}, "small has no layer -1."),
        ({"limit": 0}, "At least one component"),
        ({"model": "gpt2", "layers": [0, 2]}, "has no records of layer 2."),
        ({"root": "http://", "model": "gpt2"}, "is not an address."),
    ],
)
def test_what_cannot_be_imported(changes: dict[str, Any], says: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        import_openai(**{"root": root, "out": tmp_path / "atlas", "model": "small", **changes})
    assert says in str(told.value)
    assert not (tmp_path / "atlas").exists()


def test_what_is_in_the_way_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "mine.txt").write_text("mine")
    with pytest.raises(AtlasExists):
        import_openai(root, tmp_path / "atlas", model="small")
    assert content(tmp_path / "atlas") == {"mine.txt": b"mine"}
    (tmp_path / "file").write_text("")
    with pytest.raises(NoSpace):
        import_openai(root, tmp_path / "file" / "atlas", model="small")


def test_a_full_disk_is_told(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    write(tmp_path / "root", small(layers=1, neurons=100))
    disk = small_disk("200k")
    with pytest.raises(NoSpace, match="is full"):
        import_openai(tmp_path / "root", disk / "atlas", model="small")
    assert [path.name for path in disk.iterdir() if path.suffix != ".lock"] == []


def test_an_import_can_be_stopped(root: Path, tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(Cancelled):
        import_openai(
            root,
            tmp_path / "atlas",
            model="small",
            progress=lambda done, total: told.append(done),
            stop=lambda: len(told) == 7,
        )
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert import_openai(root, tmp_path / "atlas", model="small").info().components == 16


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing about it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """The address of a server on this machine that serves a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_address_gives_what_its_folder_does(tmp_path: Path) -> None:
    given = {f"{HEADS}/2/{index}.json": component(2, index, pairs=True, length=9) for index in (0, 1, 3, 11)}
    given |= {f"{NEURONS}/2/{index}.json": component(2, index) for index in (0, 2, 39)}
    write(tmp_path / "root", given)
    here = import_openai(tmp_path / "root", tmp_path / "here", model="gpt2", layers=[2], limit=40)
    with serving(tmp_path / "root") as address:
        there = import_openai(f"{address}/", tmp_path / "there", model="gpt2", layers=[2], limit=40)
        with pytest.raises(UsageError, match="The sizes of other are not known"):
            import_openai(address, tmp_path / "other", model="other")
        with pytest.raises(UsageError, match="There are no records of gpt2 in"):
            import_openai(f"{address}/elsewhere", tmp_path / "other", model="gpt2")
    assert there.info().imported == f"{address}/"
    ours, theirs = content(here.folder), content(there.folder)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == ["atlas.json"]


class HangingUp(Quiet):
    """Ends every fifth answer in the middle."""

    lock = threading.Lock()
    asked = 0
    always = False

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with self.lock:
            type(self).asked += 1
            hangs_up = self.always or self.asked % 5 == 0
        if not hangs_up:
            return super().copyfile(source, outputfile)
        outputfile.write(source.read(100))
        outputfile.flush()
        self.close_connection = True
        return None


class AlwaysHangingUp(HangingUp):
    """Ends every answer in the middle."""

    always = True


class Refusing(Quiet):
    """Lets nobody in."""

    def do_GET(self) -> None:
        self.send_error(403)


def test_a_server_that_hangs_up_now_and_then_is_asked_again(tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/{index}.json": component(0, index) for index in range(12)})
    here = import_openai(tmp_path / "root", tmp_path / "here", model="gpt2", layers=[0], limit=12)
    with serving(tmp_path / "root", HangingUp) as address:
        there = import_openai(address, tmp_path / "there", model="gpt2", layers=[0], limit=12)
    assert HangingUp.asked > 13
    file = "examples/neuron.0.parquet"
    assert content(there.folder)[file] == content(here.folder)[file]


@pytest.mark.parametrize(
    ("handler", "says"),
    [(AlwaysHangingUp, "could not be read, 3 times over"), (Refusing, r"was refused \(status 403\)")],
)
def test_a_server_that_does_not_answer(handler: type[Quiet], says: str, tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": component(0, 0)})
    with serving(tmp_path / "root", handler) as address, pytest.raises(Offline, match=says) as told:
        import_openai(address, tmp_path / "atlas", model="gpt2", layers=[0])
    assert isinstance(told.value, ClewError)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["root"]


def test_nobody_there(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        pass
    with pytest.raises(Offline, match=r"3 times over \(ConnectError\)"):
        import_openai(address, tmp_path / "atlas", model="gpt2")
