"""Every path a user takes on the debugger page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .conftest import NARROW, overflow

EXAMPLE = "When Mary and John went to the store, John gave a drink to"


def opened(page: Page, path: str = "/") -> Page:
    page.goto(path)
    expect(page.get_by_test_id("direction")).to_be_visible()
    return page


def first_node(page: Page) -> str:
    return page.locator("[data-node]").first.get_attribute("data-node") or ""


def query(page: Page) -> str:
    return page.evaluate("decodeURIComponent(location.search.replaceAll('+', ' '))")


def test_the_example_is_answered(page: Page) -> None:
    opened(page)
    expect(page.get_by_label("Prompt")).to_have_value(EXAMPLE)
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")
    expect(page.get_by_test_id("accounting")).to_contain_text("adds up to D")
    rows = page.get_by_role("region", name="Next token").locator("tbody tr")
    expect(rows.first).to_contain_text("␣Mary")
    expect(rows.first).to_contain_text("92.3%")
    assert first_node(page) == "attn.23.3@13<-9"
    assert page.locator("[data-node='attn.23.3@13']").is_visible()


def test_a_prompt_is_typed_and_a_candidate_made_the_distractor(page: Page) -> None:
    opened(page)
    prompt = page.get_by_label("Prompt")
    prompt.fill("The capital of France is")
    tokens = page.get_by_test_id("tokens")
    expect(tokens.get_by_role("button")).to_have_count(5)
    expect(tokens).to_contain_text("␣France")
    prompt.press("Enter")
    rows = page.get_by_role("region", name="Next token").locator("tbody tr")
    expect(rows.first).to_contain_text("␣Paris")
    expect(page.get_by_role("region", name="Answer")).to_contain_text("mean logit")
    before = page.get_by_test_id("direction").inner_text()
    nodes = page.locator("[data-node]").all_inner_texts()
    rows.nth(1).get_by_role("button", name="Make the distractor").click()
    expect(page.get_by_test_id("direction")).not_to_have_text(before)
    expect(page.get_by_role("region", name="Answer")).not_to_contain_text("mean logit")
    assert page.locator("[data-node]").all_inner_texts() != nodes
    assert "p=The capital of France is" in query(page)
    page.go_back()
    expect(page.get_by_test_id("direction")).to_have_text(before)


def test_a_position_is_clicked(page: Page) -> None:
    opened(page)
    page.get_by_test_id("tokens").get_by_role("button").nth(4).click()
    expect(page.get_by_role("region", name="Next token")).to_contain_text("after ␣went")
    expect(page.get_by_role("region", name="Next token").locator("tbody tr").first).to_contain_text("␣to")
    assert "at=4" in query(page)
    expect(page.get_by_test_id("tokens").get_by_role("button").nth(4)).to_have_attribute("aria-pressed", "true")


def test_the_table_is_sorted_filtered_and_opened(page: Page) -> None:
    opened(page)
    table = page.get_by_role("table", name="Nodes")
    table.get_by_role("button", name="Estimated").click()
    expect(table.get_by_role("columnheader", name="Estimated")).to_have_attribute("aria-sort", "descending")
    assert "sort=estimated_effect" in query(page)

    page.get_by_role("button", name="neurons", exact=True).click()
    expect(page.locator("[data-node^='attn']")).to_have_count(0)
    expect(page.locator("[data-node^='neuron']").first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("neuron.29")
    expect(page.locator("[data-node^='neuron.28']")).to_have_count(0)
    expect(page.locator("[data-node^='neuron.29']").first).to_be_visible()

    row = page.locator("[data-node^='neuron.29']").first
    node = row.get_attribute("data-node")
    row.click()
    detail = page.get_by_test_id(f"detail-{node}")
    expect(detail).to_contain_text("Pushes up, in logits")
    expect(detail).to_contain_text("Input tokens that excite it")
    assert detail.locator("li").count() == 30

    page.get_by_label("Filter nodes by text").fill("no such node")
    expect(table).to_contain_text("No node here matches")
    table.get_by_role("button", name="Show all").click()
    expect(page.locator("[data-node]").first).to_be_visible()


def test_a_head_shows_what_it_looks_for(page: Page) -> None:
    opened(page)
    page.locator("[data-node='attn.23.3@13<-9']").click()
    detail = page.get_by_test_id("detail-attn.23.3@13<-9")
    expect(detail).to_contain_text("At ␣to, would look more at ␣John")
    expect(detail).to_contain_text("At ␣John, would be read more from ␣to")


def test_a_cell_of_the_map_filters_the_table(page: Page) -> None:
    opened(page)
    canvas = page.get_by_test_id("heat-map").locator("canvas")
    box = canvas.bounding_box()
    assert box is not None
    rows, columns = 31, 14
    # Layer 23, token 1: what the answer reads from " Mary".
    canvas.click(position={"x": box["width"] * 1.5 / columns, "y": box["height"] * 24.5 / rows})
    expect(page.get_by_role("button", name="Remove the filter layer 23")).to_be_visible()
    expect(page.locator("[data-node='attn.29.1@13']")).to_have_count(0)
    expect(page.locator("[data-node='attn.23.0@13<-1']")).to_be_visible()
    nodes = [row.get_attribute("data-node") or "" for row in page.locator("[data-node]").all()]
    assert nodes
    assert all(node.startswith("attn.23.") and node.endswith("@13<-1") for node in nodes)
    page.get_by_role("button", name="Remove the filter from").click()
    page.get_by_text("Estimated", exact=True).first.click()
    assert "map=estimated" in query(page)


def test_the_logit_lens_is_fetched_and_read(page: Page) -> None:
    opened(page)
    page.get_by_text("Logit lens").click()
    canvas = page.get_by_test_id("heat-map").locator("canvas")
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box is not None
    canvas.hover(position={"x": box["width"] * 13.5 / 14, "y": box["height"] * 30.5 / 31})
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text("layer 29")
    expect(tip).to_contain_text("+6.12")
    expect(tip).to_contain_text("␣Mary 92.3%")


def test_a_reload_restores_everything(page: Page) -> None:
    question = "p=The+capital+of+France+is&t=+Paris&d=+Rome&at=4"
    opened(page, f"/?{question}&kinds=neuron&sort=activation.desc&map=estimated&strip=mlp&top=10")
    row = page.locator("[data-node]").first
    row.click()
    node = row.get_attribute("data-node")
    expect(page.get_by_test_id(f"detail-{node}")).to_contain_text("Pushes up")
    seen = [
        page.get_by_test_id("direction").inner_text(),
        first_node(page),
        page.locator("[data-node]").all_inner_texts(),
    ]
    page.reload()
    expect(page.get_by_test_id(f"detail-{node}")).to_contain_text("Pushes up")
    assert seen == [
        page.get_by_test_id("direction").inner_text(),
        first_node(page),
        page.locator("[data-node]").all_inner_texts(),
    ]
    expect(page.get_by_role("columnheader", name="Activation")).to_have_attribute("aria-sort", "descending")
    assert page.get_by_role("radio", name="MLP").is_checked()
    assert page.get_by_role("radio", name="Estimated").is_checked()


def test_a_field_says_what_is_wrong_and_offers_the_fix(page: Page) -> None:
    opened(page)
    field = page.get_by_label("Distractor", exact=True)
    field.fill("Elizabeth went")
    expect(page.get_by_text("tokens to the model")).to_be_visible()
    field.fill("Susan")
    fix = page.get_by_role("button", name="Use ␣Susan")
    expect(fix).to_be_visible()
    before = page.get_by_test_id("direction").inner_text()
    fix.click()
    expect(page.get_by_test_id("direction")).not_to_have_text(before)
    expect(page.get_by_role("button", name="Remove distractor Susan")).to_be_visible()


def test_candidates_complete_and_sides_swap(page: Page) -> None:
    opened(page)
    page.get_by_role("button", name="Remove distractor John").click()
    field = page.get_by_label("Distractor", exact=True)
    field.type("eli")
    page.get_by_role("option", name="␣Elizabeth").click()
    expect(page.get_by_role("region", name="Answer")).to_contain_text("␣Elizabeth")
    before = page.get_by_test_id("direction").inner_text()
    page.get_by_role("button", name="Swap target and distractor").click()
    expect(page.get_by_test_id("direction")).to_have_text(before.replace("+", "−"))


def test_an_error_is_shown_where_it_happens(page: Page, complaints: list[str]) -> None:
    page.goto("/?p=Hello&t=two+tokens")
    alert = page.get_by_role("region", name="Question").get_by_role("alert")
    expect(alert).to_contain_text("is not one token")
    expect(alert).to_contain_text("Name a single token")
    page.get_by_role("button", name="Remove target two tokens").click()
    expect(page.get_by_test_id("direction")).to_be_visible()
    expect(alert).to_have_count(0)
    # The refused request is the browser's to note; nothing else may be.
    assert all("422" in complaint for complaint in complaints)
    complaints.clear()


def test_a_position_that_is_not_there_is_said_so(page: Page, complaints: list[str]) -> None:
    page.goto("/?p=Hello&at=7")
    expect(page.get_by_role("alert")).to_contain_text("Position 7 is not in this prompt")
    complaints.clear()


def test_the_keyboard_is_enough(page: Page) -> None:
    opened(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    node = first_node(page)
    expect(page.get_by_test_id(f"detail-{node}")).to_contain_text("Pushes up")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id(f"detail-{node}")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next / previous node")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    expect(page.get_by_label("Filter nodes by text")).to_be_focused()


def test_the_first_visit_hint_is_three_sentences_and_goes_away(page: Page) -> None:
    opened(page)
    hint = page.get_by_role("complementary", name="Getting started")
    assert hint.inner_text().count(".") == 3
    hint.get_by_role("button", name="Dismiss").click()
    expect(hint).to_have_count(0)
    page.reload()
    expect(page.get_by_test_id("direction")).to_be_visible()
    expect(hint).to_have_count(0)


def test_dark_and_light_are_chosen_and_kept(page: Page) -> None:
    opened(page)

    def background() -> list[float]:
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return [float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]

    page.get_by_title("Dark theme").click()
    assert max(background()) < 64
    page.reload()
    expect(page.get_by_test_id("direction")).to_be_visible()
    assert max(background()) < 64
    page.get_by_title("Light theme").click()
    assert min(background()) > 192


@pytest.mark.parametrize("path", ["/", "/?p=" + "word+" * 60 + "&map=estimated"])
def test_a_narrow_screen_has_everything(page: Page, path: str) -> None:
    page.set_viewport_size(NARROW)
    opened(page, path)
    assert overflow(page) <= 0
    for name in ("Question", "Next token", "Answer", "Layers", "Nodes"):
        expect(page.get_by_role("region", name=name)).to_be_visible()
    page.locator("[data-node]").first.click()
    expect(page.get_by_text("Pushes up, in logits")).to_be_visible()
    assert overflow(page) <= 0


def test_copy_as_python_gives_a_program_that_runs(page: Page) -> None:
    opened(page)
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    program = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "attn.23.3@13" in done.stdout


def test_copy_as_json_and_csv(page: Page) -> None:
    opened(page)
    answer = page.get_by_role("region", name="Answer")
    answer.get_by_role("button", name="Copy JSON").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    document = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert document["direction"]["targets"] == [{"id": 5099, "text": " Mary"}]
    answer.get_by_role("button", name="Copy CSV").click()
    expect(answer.get_by_role("button", name="Copied")).to_have_count(2)
    assert len(page.evaluate("navigator.clipboard.readText()").splitlines()) == len(document["nodes"]) + 1


def test_a_trailing_space_is_warned_of(page: Page) -> None:
    opened(page)
    page.get_by_label("Prompt").fill("The capital of France is ")
    expect(page.get_by_text("The prompt ends with a space")).to_be_visible()


def test_csv_and_json_hold_the_rows(page: Page) -> None:
    opened(page)
    nodes = page.get_by_role("region", name="Nodes")
    shown = int(page.get_by_test_id("node-count").inner_text())
    with page.expect_download() as download:
        nodes.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("id,kind,layer")
    assert lines[1].startswith("attn.23.3@13<-9,attn,23,3,13,9,")
    assert len(lines) == shown + 1
    with page.expect_download() as download:
        nodes.get_by_role("button", name="JSON").click()
    assert len(json.loads(Path(download.value.path()).read_text())) == shown


def test_a_server_that_goes_away_is_noticed(page: Page, complaints: list[str]) -> None:
    opened(page)
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_test_id("tokens").get_by_role("button").nth(2).click()
    expect(page.get_by_role("alert").first).to_contain_text("The Clew server does not answer")
    page.unroute("**/api/**")
    expect(page.get_by_role("region", name="Next token")).to_contain_text("after ␣and")
    expect(page.get_by_role("alert")).to_have_count(0)
    complaints.clear()


def test_a_long_prompt_keeps_the_page_quick(page: Page) -> None:
    opened(page, "/?p=the+store" + "+the+store" * 149)
    expect(page.get_by_test_id("tokens").get_by_role("button")).to_have_count(300)
    assert overflow(page) <= 0
    assert page.locator("[data-node]").count() < 60  # virtualised: not every row is in the document
