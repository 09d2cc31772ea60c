"""What the page says and does where there is no atlas yet, or one that is broken."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from clew import settings
from clew.debug import Model

from .component_pages import opened
from .conftest import WIDE, serving

# Waiting for a collection of a few thousand tokens on a busy machine.
PATIENCE = 240_000


def test_an_atlas_is_collected_from_the_page(browser: Browser, bare_server: str) -> None:
    context = browser.new_context(viewport=WIDE, base_url=bare_server)
    page = context.new_page()
    page.set_default_timeout(30_000)
    opened(page, "neuron.5.200")
    empty = page.get_by_test_id("no-atlas")
    expect(empty).to_contain_text("There is no atlas of this model yet")
    expect(empty.locator("code")).to_have_text("clew collect smollm2 --tokens 50000")
    # What needs no atlas is there without one.
    expect(page.get_by_role("region", name="Tokens, by its weights").get_by_role("listitem").first).to_be_visible()
    count = page.get_by_label("Tokens to collect from")
    count.fill("none")
    expect(empty.get_by_role("button", name="Collect now")).to_be_disabled()
    count.fill("2 048")
    empty.get_by_role("button", name="Collect now").click()
    expect(page.get_by_role("progressbar", name="Collecting")).to_be_visible()
    # It goes on while one looks elsewhere in the page.
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Components").click()
    expect(page.get_by_role("table", name="Components found").locator("[data-component]").first).to_be_visible(
        timeout=PATIENCE
    )
    expect(empty).to_have_count(0, timeout=PATIENCE)
    page.go_back()
    expect(page.get_by_role("region", name="Over the atlas")).to_contain_text("2 032 tokens", timeout=PATIENCE)
    expect(page.get_by_test_id("examples").locator("[data-example]").first).to_be_visible()
    context.close()


def test_a_collection_is_cancelled(browser: Browser, bare_server: str) -> None:
    context = browser.new_context(viewport=WIDE, base_url=bare_server)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto("/search?by=token&token=+the")
    empty = page.get_by_test_id("no-atlas")
    page.get_by_label("Tokens to collect from").fill("200000")
    empty.get_by_role("button", name="Collect now").click()
    expect(page.get_by_test_id("collecting")).to_contain_text("tokens", timeout=PATIENCE)
    empty.get_by_role("button", name="Cancel").click()
    expect(empty.get_by_role("button", name="Collect now")).to_be_visible()
    context.close()


def test_an_atlas_that_is_broken_says_why(smollm2: Model, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(settings.models_folder())
    folder = tmp_path / settings.atlas_of("smollm2").relative_to(settings.home())
    folder.mkdir(parents=True)
    (folder / "atlas.json").write_text("{")
    with serving(home=tmp_path) as address:
        page = browser.new_page(viewport=WIDE, base_url=address)
        opened(page, "attn.23.3")
        empty = page.get_by_test_id("no-atlas")
        expect(empty).to_contain_text("The atlas of this model cannot be opened")
        expect(empty.get_by_role("alert")).to_contain_text("atlas.json")
        expect(empty.locator("code")).to_contain_text("--replace")
        page.close()
