"""A report on disk: read back as it was written, a page that needs nothing else, ratings that outlive it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import get_args
from xml.etree import ElementTree

import pytest

from clew.errors import BadAutoencoder, UnknownAutoencoder, UsageError
from clew.sae.pictures import cosine_picture, density_picture, probe_picture, toy_picture
from clew.sae.ratings import rate, ratings_of
from clew.sae.records import AutoencoderInfo, Excerpt, Histogram, LatentSample, Probe, Rating, Report, ToyRun
from clew.sae.report import opacity, page, read_report, visible, write_report

INFO = AutoencoderInfo(
    "<b>mine</b>", "./mine", "tiny & small", "mlp_in.1", "mlp_out.1", "topk", "topk", 64, 8, "clew", 5000, "float32",
    True,
)  # fmt: skip
DENSITY = Histogram([-2.0, -1.0, 0.0], [3, 60], 1)
COSINE = Histogram([-1.0, 0.0, 1.0], [4, 60], 0)
PROBES = [
    Probe("number", 120, 1, 0.9, 0.99, 0.5), Probe("number", 120, 5, 0.95, 0.99, 0.5),
    Probe("in brackets", 80, 1, 0.45, 0.8, 0.5), Probe("in brackets", 80, 5, 0.6, 0.8, 0.5),
]  # fmt: skip
SAMPLES = [
    LatentSample(3, 0.25, 4.0, 1.5, 0.3, [Excerpt([" <i>", "\n", "\ta&b"], [0.0, 4.0, 1.0], 1)], None),
    LatentSample(17, 0.0, 0.0, 0.0, 0.1, [], None),
]
REPORT = Report(
    INFO, "some <text>", True, 1000, 8.0, 0.25, 0.76, 0.01, 0.9, 0.95, 3.0, 3.1, 3.5, 4.0, 0.9, 500, 0.05, 1, 2,
    DENSITY, COSINE, 0.4, 120.5, PROBES, SAMPLES, 12.0,
)  # fmt: skip


class Page(HTMLParser):
    """Collects a page's tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.styles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "span":
            self.styles.append(dict(attrs)["style"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert write_report(tmp_path / "mine", REPORT) == tmp_path / "mine" / "report.html"
    assert read_report(tmp_path / "mine") == REPORT
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["report.html", "report.json"]
    none = replace(REPORT, ce_recovered=None, probes=[])
    write_report(tmp_path / "mine", none)
    assert read_report(tmp_path / "mine") == none
    assert "Too little text" in page(none)


def test_a_report_that_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UnknownAutoencoder, match="has not been judged"):
        read_report(tmp_path)
    for text in ("", "{}", "[1]", '{"autoencoder": 3}', json.dumps(REPORT.to_dict())[:-40]):
        (tmp_path / "report.json").write_text(text, encoding="utf-8")
        with pytest.raises(BadAutoencoder, match="damaged"):
            read_report(tmp_path)


def test_an_interrupted_report_leaves_the_one_before(tmp_path: Path) -> None:
    write_report(tmp_path, REPORT)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, replace(REPORT, fvu=math.nan))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_page_stands_alone_and_everything_in_it_is_escaped() -> None:
    shown = Page(page(REPORT))
    assert not {"script", "link", "img", "iframe", "b", "i", "object"} & set(shown.tags)
    addresses = [value or "" for name, value in shown.attributes if name in ("src", "href", "xlink:href")]
    assert all(address.startswith("#") for address in addresses)
    assert "@import" not in page(REPORT)
    assert "url(" not in page(REPORT).replace("url(#", "")
    assert shown.tags.count("svg") == 3
    for text in ("<b>mine</b>", "tiny & small", "some <text>", "␣<i>", "↵", "⇥a&b", "mlp_in.1 → mlp_out.1", "0.25"):
        assert text in shown.text
    assert "prefers-color-scheme:dark" in page(REPORT)
    assert page(REPORT) == page(REPORT)


def test_tokens_are_coloured_by_how_strongly_they_fire() -> None:
    assert [opacity(value, 4) for value in (0, 4, 8)] == [pytest.approx(0.05), pytest.approx(1), pytest.approx(1)]
    assert opacity(1, 4) == pytest.approx(0.05 + 0.95 * math.log10(1 + 9 / 4))
    assert Page(page(REPORT)).styles == ["--a:1.000", f"--a:{opacity(1, 4):.3f}"]
    assert visible(" a\n\tb\r") == "␣a↵⇥b␍"


def test_pictures_are_svg_in_the_colour_of_the_page() -> None:
    run = ToyRun("topk", "synthetic", 0.9, 0.95, 2.0, 2.1, 0.1, 0, 4, 4, 1000, 1.0)
    pictures = [
        density_picture(DENSITY), cosine_picture(COSINE), probe_picture(PROBES),
        toy_picture([run, replace(run, source="superposition")], [[1.0, 0.5], [0.2, 0.1]]),
    ]  # fmt: skip
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.tag.endswith("svg")
        assert "currentColor" in picture
        assert "#000000" not in picture.replace("stroke: #000000", "")
    assert "never" in pictures[0]
    assert "in brackets" in pictures[2]
    assert pictures[3].count("superposition") >= 1


def test_ratings_outlive_reports(tmp_path: Path) -> None:
    write_report(tmp_path, REPORT)
    assert rate(tmp_path, 3, "readable") == {3: "readable"}
    assert rate(tmp_path, 40, "dead") == {3: "readable", 40: "dead"}
    assert [sample.rating for sample in read_report(tmp_path).samples] == ["readable", None]
    write_report(tmp_path, REPORT)
    assert [sample.rating for sample in read_report(tmp_path).samples] == ["readable", None]
    assert "3 · readable" in Page(page(read_report(tmp_path))).text
    assert rate(tmp_path, 3, "unclear")[3] == "unclear"
    assert rate(tmp_path, 3, None) == {40: "dead"}
    assert ratings_of(tmp_path) == {40: "dead"}


def test_ratings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownAutoencoder):
        rate(tmp_path / "none", 0, "dead")
    with pytest.raises(UsageError, match="not a rating"):
        rate(tmp_path, 0, "fine")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError):
        rate(tmp_path, -1, "dead")
    (tmp_path / "cfg.json").write_text('{"d_sae": 8}', encoding="utf-8")
    rate(tmp_path, 7, "dead")
    with pytest.raises(UsageError, match="It has 8"):
        rate(tmp_path, 8, "dead")
    for text in ("[]", '{"x": "dead"}', '{"1": "fine"}', "{"):
        (tmp_path / "ratings.json").write_text(text, encoding="utf-8")
        with pytest.raises(BadAutoencoder):
            ratings_of(tmp_path)
        with pytest.raises(BadAutoencoder):
            rate(tmp_path, 1, "dead")
        assert (tmp_path / "ratings.json").read_text(encoding="utf-8") == text


def test_ratings_given_at_once_are_all_kept(tmp_path: Path) -> None:
    kinds: tuple[Rating, ...] = get_args(Rating)
    threads = [Thread(target=rate, args=(tmp_path, index, kinds[index % 3])) for index in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ratings_of(tmp_path) == {index: kinds[index % 3] for index in range(24)}
