"""Work of the page on a cluster: its workers are seen, and the loss of one is told where the work is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from clew import settings
from clew.debug import Model

from .component_pages import opened
from .conftest import NARROW, WIDE, overflow, serving

# Workers start, and each loads the model, on a busy machine.
PATIENCE = 240_000


@pytest.fixture(scope="module")
def on_cluster(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server without an atlas that works on a cluster of this machine, by two workers."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(settings.models_folder())
    with serving("--ray", "local", "--workers", "2", home=home) as address:
        yield address


def test_an_atlas_is_collected_by_workers_that_are_seen(
    browser: Browser, on_cluster: str, complaints: list[str]
) -> None:
    context = browser.new_context(viewport=WIDE, base_url=on_cluster)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(30_000)
    page.goto("/cluster")
    expect(page).to_have_title("Cluster · Clew")
    expect(page.get_by_test_id("not-started")).to_contain_text("No worker is at work")
    opened(page, "neuron.5.200")
    empty = page.get_by_test_id("no-atlas")
    # Two shards, one for each worker.
    page.get_by_label("Tokens to collect from").fill("60000")
    empty.get_by_role("button", name="Collect now").click()
    page.get_by_role("link", name="Cluster").click()
    workers = page.get_by_role("table", name="Workers on the cluster").locator("tbody tr")
    expect(workers).to_have_count(2, timeout=PATIENCE)
    for row in (workers.nth(0), workers.nth(1)):
        expect(row).to_contain_text("collect smollm2")
    tasks = page.get_by_role("table", name="Workers on the cluster").locator("[data-column=task]")
    page.get_by_role("button", name="Task").click()
    page.get_by_role("button", name="Task").click()
    expect(tasks).to_have_text(["0", "1"], timeout=PATIENCE)
    expect(page).to_have_url(f"{on_cluster}/cluster?workers=task.asc")
    machines = page.get_by_role("table", name="Machines of the cluster").locator("tbody tr")
    expect(machines).to_have_count(1)
    expect(machines).to_contain_text(f"of {os.cpu_count()}")
    # By keys, as in other tables.
    page.keyboard.press("j")
    expect(workers.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("/")
    page.keyboard.type("nobody")
    expect(page.get_by_role("region", name="Workers")).to_contain_text("None matches “nobody”.")
    page.keyboard.press("Escape")
    expect(workers).to_have_count(2)
    _lose(page)
    # Told where the work is; what is done is kept.
    page.go_back()
    notes = page.get_by_role("log", name="What happened to workers")
    expect(notes).to_contain_text("was lost (its process ended)", timeout=PATIENCE)
    page.get_by_test_id("worker-notes").get_by_role("link", name="Cluster").click()
    expect(workers).to_have_count(2, timeout=PATIENCE)
    page.go_back()
    empty.get_by_role("button", name="Cancel").click()
    expect(empty.get_by_role("button", name="Collect now")).to_be_visible()
    page.get_by_role("link", name="Cluster").click()
    expect(page.get_by_test_id("not-started")).to_be_visible(timeout=PATIENCE)
    context.close()
    assert complaints == []


def _lose(page: Page) -> None:
    """Kill the process of one of the workers that are shown."""
    shown = page.get_by_role("table", name="Workers on the cluster").locator("[data-column=process]").first
    os.kill(int(shown.inner_text()), signal.SIGKILL)


def test_without_a_cluster_the_page_says_how_to_have_one(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Cluster").click()
    empty = page.get_by_test_id("no-cluster")
    expect(empty).to_contain_text("This server works on this machine alone")
    expect(empty.locator("code").first).to_have_text("clew serve --ray auto")
    expect(page.get_by_role("link", name="Cluster")).to_have_attribute("aria-current", "page")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next / previous worker")
    page.keyboard.press("Escape")
    page.set_viewport_size(NARROW)
    assert overflow(page) <= 0


def test_a_cluster_that_is_away_is_told(smollm2: Model, browser: Browser, atlas: Path) -> None:
    with serving("--atlas", str(atlas), "--ray", "127.0.0.1:9") as address:
        page = browser.new_page(viewport=WIDE, base_url=address)
        page.goto("/cluster")
        expect(page.get_by_role("alert")).to_contain_text("There is no Ray cluster at 127.0.0.1:9.")
        expect(page.get_by_role("alert")).to_contain_text("ray start --head")
        page.close()
