"""Searches for components, as a user makes them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from playwright.sync_api import Page, expect

from .component_pages import EXAMPLE, address, prompt_field


def test_components_are_searched_by_prompt(page: Page) -> None:
    page.goto(f"/search?p={EXAMPLE}")
    table = page.get_by_role("table", name="Components found")
    expect(table.locator("[data-component]")).to_have_count(50)
    zs = [float(text.replace("−", "-")) for text in table.locator("[data-column='z']").all_inner_texts()]
    assert zs == sorted(zs, reverse=True)
    page.get_by_test_id("search-tokens").get_by_role("button").nth(13).click()
    expect(table.locator("[data-component]").first).to_contain_text("␣to13")
    assert "at=13" in address(page)
    page.get_by_role("button", name="heads", exact=True).click()
    layers = page.get_by_label("Layers")
    layers.fill("23")
    layers.press("Enter")
    expect(page.get_by_test_id("found-count")).to_have_text("9 components")
    ids = [row.get_attribute("data-component") or "" for row in table.locator("[data-component]").all()]
    assert sorted(ids) == [f"attn.23.{head}" for head in range(9)]
    table.get_by_role("button", name="Activation").click()
    expect(table.get_by_role("columnheader", name="Activation")).to_have_attribute("aria-sort", "descending")
    page.get_by_label("Strong on at most").select_option("0.1")
    assert "density=0.1" in address(page)
    layers.fill("23-")
    expect(page.get_by_role("alert")).to_contain_text("numbers and ranges")
    layers.press("Escape")
    # The keys of the table lead to a component, and Back to the same search.
    there = address(page)
    page.get_by_label("Strong on at most").select_option("")
    expect(page.get_by_test_id("found-count")).to_have_text("9 components")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    chosen = table.locator("[aria-selected=true]").get_attribute("data-component") or ""
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=chosen)).to_be_visible()
    expect(prompt_field(page)).to_have_value(EXAMPLE)
    page.go_back()
    page.go_back()
    assert address(page) == there


def test_components_are_searched_by_token(page: Page, complaints: list[str]) -> None:
    page.goto("/search")
    page.get_by_text("On a token", exact=True).click()
    expect(page.get_by_text("Type a token to find the components whose top examples")).to_be_visible()
    field = page.get_by_label("Token", exact=True)
    field.fill("the")
    page.get_by_role("button", name="with a space").click()
    expect(field).to_have_value(" the")
    table = page.get_by_role("table", name="Components found")
    row = table.locator("[data-component]").first
    expect(row).to_be_visible()
    expect(row.locator("[data-column='share']")).to_contain_text("%")
    component = row.get_attribute("data-component") or ""
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name=component)).to_be_visible()
    page.go_back()
    field.fill("two words")
    expect(page.get_by_role("alert")).to_contain_text("two words")
    assert all("422" in complaint for complaint in complaints)
    complaints.clear()


def test_components_are_searched_by_what_they_push(page: Page, tmp_path: Path) -> None:
    page.goto("/search?by=push&token=%20Mary")
    table = page.get_by_role("table", name="Components found")
    expect(table.locator("[data-component]")).to_have_count(50)
    first = table.locator("[data-component]").first.get_attribute("data-component")
    page.get_by_role("button", name="Next").click()
    expect(table.locator("[data-component]").first).not_to_have_attribute("data-component", first or "")
    assert "page=2" in address(page)
    page.go_back()
    expect(table.locator("[data-component]").first).to_have_attribute("data-component", first or "")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "found.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text())))
    assert len(rows) == 1000
    assert rows[0]["id"] == first
    assert [float(row["push"]) for row in rows] == sorted((float(row["push"]) for row in rows), reverse=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    download.value.save_as(tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())[0]["id"] == first
    page.get_by_role("button", name="Copy as Python").click()
    assert 'components.search_pushed(" Mary", sort="push")' in page.evaluate("navigator.clipboard.readText()")
