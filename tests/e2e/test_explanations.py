"""Words for components, as a user has them found, edits them, scores them and looks over all of a model's."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

from clew import settings
from clew.debug import Model

from .component_pages import address, ready
from .conftest import NARROW, WIDE, overflow, serving

MINE = '" store" (10), on any token after " the" (4), "self" (6)'


@pytest.fixture(scope="module")
def home(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database of its own; the models are shared."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "models").symlink_to(settings.models_folder())
    return folder


@pytest.fixture(scope="module")
def explained(atlas: Path, home: Path) -> Iterator[str]:
    """The address of a server with an atlas and a database of its own."""
    with serving("--atlas", str(atlas), home=home) as address:
        yield address


@pytest.fixture
def empty(atlas: Path, smollm2: Model, tmp_path: Path) -> Iterator[str]:
    """The address of a server with an atlas, and nothing explained."""
    (tmp_path / "models").symlink_to(settings.models_folder())
    with serving("--atlas", str(atlas), home=tmp_path) as address:
        yield address


def visiting(browser: Browser, server: str, complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport=WIDE, base_url=server)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    opened = context.new_page()
    opened.set_default_timeout(30_000)

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    opened.on("console", listen)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert complaints == []


@pytest.fixture
def page(browser: Browser, explained: str, complaints: list[str]) -> Iterator[Page]:
    yield from visiting(browser, explained, complaints)


@pytest.fixture
def newcomer(browser: Browser, empty: str, complaints: list[str]) -> Iterator[Page]:
    yield from visiting(browser, empty, complaints)


def panel(page: Page) -> Locator:
    return page.get_by_role("region", name="Explanations")


def explain(page: Page, *components: str) -> None:
    """Has components explained without a language model, and not by clicks."""
    base = re.match(r"https?://[^/]+", page.url)
    assert base is not None
    asked = {"components": list(components)}
    answer = page.request.post("/api/explanations/explain", data=asked, headers={"origin": base[0]}, timeout=120_000)
    assert answer.ok, answer.text()
    assert "event: done" in answer.text()


def choose(within: Page | Locator, label: str) -> None:
    """One of a few, side by side."""
    within.locator("label", has_text=re.compile(f"^{label}")).click()


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def test_a_neuron_is_explained_edited_and_scored(page: Page) -> None:
    page.goto("/c/neuron.5.200")
    mine = panel(page)
    expect(mine.get_by_test_id("unexplained")).to_contain_text("offline and without any language model")
    mine.get_by_test_id("unexplained").get_by_role("button", name="Explain…").click()
    form = page.get_by_role("form", name="Explain")
    expect(form.get_by_test_id("plan")).to_have_text("Nothing is asked of a language model.")
    expect(form).to_contain_text("clew explain smollm2 --components neuron.5.200 --llm lookup")
    form.get_by_role("button", name="Explain now").click()
    # The words, and beside their score what it rests on and what is reached without them.
    words = mine.get_by_test_id("words")
    expect(words).to_contain_text("Fires on")
    expect(mine.get_by_test_id("explained")).to_contain_text("1 explained, none failed")
    row = mine.locator("[data-scorer='simulation']")
    expect(row).to_contain_text(re.compile(r"\d+, none failed"))
    for baseline in ("table", "mean", "shuffled"):
        expect(row.locator(f"[data-baseline='{baseline}']")).to_have_text(re.compile(r"^([+−][\d.]+(e−\d)?|0|–)$"))
    first = number(row.get_by_test_id("score").inner_text())
    assert -1 <= first <= 1
    found = words.inner_text()
    # Other words are scored on the same texts, on the spot, and kept beside these.
    mine.get_by_role("button", name="Edit and score").click()
    editor = page.get_by_role("form", name="Write words")
    field = editor.get_by_role("textbox", name="Words")
    expect(field).to_be_focused()
    expect(editor.get_by_role("button", name="Score again")).to_be_enabled()
    field.fill(MINE)
    editor.get_by_role("button", name="Score", exact=True).click()
    expect(words).to_contain_text("on any token after")
    expect(words).not_to_have_text(found)
    expect(editor).to_have_count(0)
    second = number(row.get_by_test_id("score").inner_text())
    assert second != first
    expect(mine.get_by_test_id("explanation")).to_contain_text(re.compile(r"written by you.*revises #\d+"))
    # Both are in the history, and either can be shown again.
    shown = mine.get_by_test_id("explanation").get_attribute("data-shown")
    assert f"words={shown}" in address(page)
    history = mine.get_by_test_id("history")
    history.locator("summary").click()
    expect(history.locator("[data-explanation]")).to_have_count(2)
    history.locator("[data-explanation]").nth(1).get_by_role("button", name="Show").click()
    expect(words).to_have_text(found)
    assert number(row.get_by_test_id("score").inner_text()) == first
    # Deleting asks first.
    mine_row = history.locator("[data-explanation]").first
    mine_row.get_by_role("button", name="Delete").click()
    mine_row.get_by_role("alertdialog").get_by_role("button", name="Delete").click()
    expect(history).to_have_count(0)


def test_real_activations_stand_above_simulated_ones(page: Page) -> None:
    page.goto("/c/neuron.5.201")
    expect(panel(page).get_by_test_id("unexplained")).to_be_visible()
    explain(page, "neuron.5.201")
    page.goto("/c/neuron.5.201")
    texts = page.get_by_test_id("scored-texts")
    expect(texts.locator("[data-text]")).to_have_count(0)
    page.locator("body").press("s")
    expect(texts.locator("[data-text]").first).to_be_visible()
    kept = page.request.get("/api/components/neuron.5.201/explanations").json()["rows"][0]["scores"][0]["id"]
    strips = page.request.get(f"/api/scores/{kept}/strips").json()["rows"]
    expect(texts.locator("[data-text]")).to_have_count(len(strips))
    expect(texts.locator("[data-text]").first.locator("[data-i]")).to_have_count(len(strips[0]["tokens"]))
    # The same colour and scale above and below: how strong each is follows its number.
    tokens = texts.locator("[data-text]").first.locator("[data-i]")
    for line, values in enumerate((strips[0]["real"], strips[0]["simulated"])):
        looks: list[str] = tokens.evaluate_all(
            "(all, line) => all.map(token => token.children[line].getAttribute('style') ?? '')", line
        )
        shades = [float(found[1]) if (found := re.search(r"--active\) ([\d.]+)%", look)) else 0.0 for look in looks]
        strongest = max(range(len(values)), key=values.__getitem__)
        assert shades[strongest] == max(shades) > 0
        assert all((shade > 0) == (value > 0) for shade, value in zip(shades, values, strict=True))
    tokens.nth(2).hover()
    expect(page.get_by_role("tooltip")).to_contain_text(re.compile(r"real.* of 10.*simulated.* of 10", re.DOTALL))
    choose(texts, "random")
    random = sum(strip["kind"] == "random" for strip in strips)
    expect(texts.locator("[data-text]")).to_have_count(random)
    assert "texts=random" in address(page)
    page.reload()
    expect(texts.locator("[data-text='random']")).to_have_count(random)


def test_words_that_cannot_be_read_are_refused_with_what_to_do(page: Page, complaints: list[str]) -> None:
    page.goto("/c/neuron.5.202")
    panel(page).get_by_role("button", name="Write…").click()
    editor = page.get_by_role("form", name="Write words")
    expect(editor.get_by_role("button", name="Score")).to_be_disabled()
    editor.get_by_role("textbox", name="Words").fill("names of shops")
    editor.get_by_role("button", name="Score", exact=True).click()
    expect(editor.get_by_role("alert")).to_contain_text("These words quote no token")
    expect(editor.get_by_role("alert")).to_contain_text("Or name a language model.")
    # Nothing is kept of what was not scored.
    assert page.request.get("/api/components/neuron.5.202/explanations").json()["rows"] == []
    complaints[:] = [complaint for complaint in complaints if "status of 4" not in complaint]


def test_the_debugger_has_words_beside_the_names(page: Page) -> None:
    page.goto("/")
    row = page.locator("[data-node='attn.23.3@13']")
    expect(row).to_be_visible()
    expect(row.get_by_test_id("node-words")).to_have_count(0)
    explain(page, "attn.23.3")
    page.reload()
    expect(row.get_by_test_id("node-words")).to_contain_text(
        re.compile(r"score [+−]?[\d.]+ vs .*, \d+ texts?, none failed")
    )
    row.get_by_test_id("node-words").click()
    detail = page.get_by_test_id("detail-attn.23.3@13")
    expect(detail.get_by_test_id("component-words")).to_contain_text("In general")
    # A language model is asked nothing before its cost was told.
    detail.get_by_role("button", name="Explain in this prompt…").click()
    asking = page.get_by_role("form", name="Explain in this prompt")
    expect(asking.get_by_role("button", name="What would it cost?")).to_be_disabled()
    asking.get_by_role("combobox").select_option("local:smollm2")
    asking.get_by_role("button", name="What would it cost?").click()
    expect(asking.get_by_role("button", name=re.compile(r"Explain, for at most [\d.]+k? tokens"))).to_be_visible(
        timeout=120_000
    )
    # A card has the words as well.
    page.get_by_role("heading", name="Nodes").hover()
    row.get_by_role("link").hover()
    expect(page.get_by_test_id("component-card").get_by_test_id("card-words")).to_be_visible()


def test_all_of_a_model_is_explained_seen_and_searched(newcomer: Page, tmp_path: Path) -> None:
    page = newcomer
    page.goto("/")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Explanations").click()
    nothing = page.get_by_test_id("no-explanations")
    expect(nothing).to_contain_text("clew explain smollm2 --components neuron.5.0-199 --llm lookup")
    nothing.get_by_label("Neurons to explain").fill("20")
    nothing.get_by_role("button", name="Explain now, offline").click()
    # Once there are words, there is something to see.
    numbers = page.get_by_role("table", name="In numbers")
    expect(numbers.locator("[data-column='explained']")).to_have_text(re.compile(r"^\d+$"), timeout=120_000)
    overview = page.request.get("/api/explanations/overview").json()
    assert overview["explained"] + overview["failed"] == 20
    expect(numbers.locator("[data-column='explained']")).to_have_text(str(overview["explained"]))
    expect(numbers.locator("[data-column='failed']")).to_have_text(str(overview["failed"]))
    assert number(numbers.locator("[data-column='mean']").inner_text()) == pytest.approx(overview["mean"], abs=6e-4)
    expect(page.get_by_test_id("by-layer").locator("circle")).to_have_count(len(overview["layers"]))
    expect(page.get_by_test_id("distribution").locator("[data-bar]").first).to_be_attached()
    page.get_by_test_id("by-layer").locator("svg").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("layer 5")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "overview.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "overview.csv").read_text())))
    layer = next(row for row in rows if row["of"] == "layer")
    assert (layer["low"], float(layer["mean"])) == ("5", overview["layers"][0]["mean"])
    # Best first, and the other way round; the address says which.
    best = page.get_by_role("table", name="Best words").locator("[data-component]").first
    expect(best).to_have_attribute("data-component", overview["best"][0]["component"])
    choose(page, "Worst")
    worst = page.get_by_role("table", name="Worst words").locator("[data-component]").first
    expect(worst).to_have_attribute("data-component", overview["worst"][0]["component"])
    assert "list=worst" in address(page)
    # Judged in another way, both are drawn over each other.
    asked = {"components": ["neuron.5.0-9"], "scorers": ["detection"]}
    origin = page.url.split("/explanations")[0]
    page.request.post("/api/explanations/explain", data=asked, headers={"origin": origin}, timeout=120_000)
    page.reload()
    beside = page.get_by_label("Beside")
    detection = beside.locator("option", has_text="detection").get_attribute("value")
    beside.select_option(detection)
    expect(numbers.locator("[data-source='1']")).to_contain_text("detection")
    expect(page.get_by_test_id("by-layer").locator("[data-series]")).to_have_count(2)
    assert "scorer2=detection" in address(page)
    page.set_viewport_size(NARROW)
    expect(page.get_by_test_id("by-layer")).to_be_visible()
    assert overflow(page) == 0
    page.set_viewport_size(WIDE)
    # A row leads to its component.
    page.get_by_role("heading", name="In numbers").click()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=overview["worst"][0]["component"])).to_be_visible()
    expect(panel(page).get_by_test_id("words")).to_contain_text("Fires on")
    # And so does a search for what words say.
    text = overview["best"][0]["text"]
    quoted = re.search(r'"\s*([A-Za-z]{3,})"', text)
    page.goto("/search")
    page.get_by_text("In words", exact=True).click()
    expect(page.get_by_test_id("found-count")).to_have_text(re.compile(r"^\d+ explanations$"))
    if quoted:
        page.get_by_role("searchbox", name="Words").fill(quoted[1])
        table = page.get_by_role("table", name="Explanations found")
        expect(table.locator(f"[data-component='{overview['best'][0]['component']}']")).to_be_visible()
        assert f"words={quoted[1]}" in address(page)
    page.get_by_role("searchbox", name="Words").fill("zyzzogeton")
    expect(page.get_by_text("No explanation says that.")).to_be_visible()


def test_what_is_copied_prints_what_the_page_shows(
    page: Page, atlas: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.goto("/c/neuron.5.203")
    expect(panel(page).get_by_test_id("unexplained")).to_be_visible()
    explain(page, "neuron.5.203")
    page.goto("/c/neuron.5.203")
    expect(panel(page).get_by_test_id("words")).to_contain_text("Fires on")
    panel(page).get_by_role("button", name="Python").click()
    program: str = page.evaluate("navigator.clipboard.readText()")
    monkeypatch.setenv("CLEW_HOME", str(home))
    # The server of these tests has an atlas of its own.
    exec(program.replace("clew.components(model)", f"clew.components(model, {str(atlas)!r})"), {})
    assert "Fires on" in capsys.readouterr().out
    with page.expect_download() as download:
        panel(page).get_by_role("button", name="JSON").click()
    exported = json.loads(Path(download.value.path()).read_text())
    assert [row["component"] for row in exported["rows"]] == ["neuron.5.203"]
    page.goto("/search?by=words&words=fires")
    expect(page.get_by_role("table", name="Explanations found")).to_be_visible()
    page.get_by_role("button", name="Copy as Python").click()
    exec(page.evaluate("navigator.clipboard.readText()"), {})
    assert "Fires on" in capsys.readouterr().out


def test_explanations_fit_a_phone(page: Page) -> None:
    page.set_viewport_size(NARROW)
    page.goto("/c/neuron.5.204")
    ready(page)
    explain(page, "neuron.5.204")
    page.goto("/c/neuron.5.204?texts=all")
    expect(page.get_by_test_id("scored-texts").locator("[data-text]").first).to_be_visible()
    for name in ("Explain…", "Edit and score"):
        panel(page).get_by_role("button", name=name).click()
        assert overflow(page) == 0
    page.goto("/explanations")
    expect(page.get_by_test_id("by-layer")).to_be_visible()
    assert overflow(page) == 0
    page.goto("/search?by=words")
    expect(page.get_by_role("table", name="Explanations found")).to_be_visible()
    assert overflow(page) == 0


def test_keys_open_what_buttons_do(page: Page) -> None:
    page.goto("/c/neuron.5.205")
    ready(page)
    page.keyboard.press("e")
    expect(page.get_by_role("form", name="Explain")).to_be_visible()
    page.keyboard.press("w")
    expect(page.get_by_role("textbox", name="Words")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("form", name="Write words")).to_have_count(0)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("real against simulated activations")
    expect(dialog).to_contain_text("what a score would be without words")
