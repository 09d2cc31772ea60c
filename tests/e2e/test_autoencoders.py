"""Autoencoders as a user meets them: trained and watched, judged and rated, and their latents in every page."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from clew import settings
from clew.debug import Model
from clew.nodes import Site
from clew.sae import Recipe, TrainingPlan, train

from .conftest import NARROW, overflow, serving

NAME = "small/resid.0-topk-256-k16"
LATENTS = 256
# Starting a process, judging and collecting take longer on a busy machine than a page's answer does.
PATIENCE = 120_000


@pytest.fixture(scope="module")
def home(smollm2: Model, atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A $CLEW_HOME with the model, an atlas of heads and neurons, and an autoencoder that nobody has judged."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(settings.models_folder())
    shutil.copytree(atlas, home / "atlases" / "smollm2")
    plan = TrainingPlan((Recipe(Site("resid", 0), LATENTS, k=16),), tokens=8192, batch=256, buffer=2048, context=64)
    train(smollm2, plan, None, home / "saes" / "small")
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    """In place of the server that other tests share: one with that home."""
    with serving(home=home) as address:
        yield address


def tokens_trained(page: Page) -> int:
    return int(re.sub(r"\D", "", page.get_by_test_id("trained").inner_text().split(" of ")[0]))


def latents_of(page: Page) -> Locator:
    return page.locator("[data-node^='latent.resid.0.']")


def test_a_training_is_written_down_watched_stopped_and_deleted(page: Page) -> None:
    page.goto("/saes")
    expect(page.locator(f"[data-autoencoder='{NAME}']")).to_be_visible()
    page.keyboard.press("n")

    # What cannot be trained says why, and what it costs is known before it begins.
    start = page.get_by_role("button", name="Start training")
    expect(page.get_by_test_id("cost")).to_contain_text("488")
    page.get_by_label("k", exact=True).fill("5000")
    expect(start).to_be_disabled()
    expect(page.get_by_role("alert").first).to_contain_text("k = 5000 of 4608 latents cannot fire")

    page.goto("/saes/train?site=resid.0&latents=256&k=16&batch=256&context=64&buffer=2048&save=20k&name=live")
    page.get_by_label("Tokens", exact=True).fill("2M")
    page.get_by_label("Tokens", exact=True).blur()
    expect(page.get_by_test_id("cost")).to_contain_text("7 812".replace(" ", "\u2009"))
    start.click()

    # It moves by itself.
    expect(page).to_have_url(re.compile("/saes/trainings/live$"))
    expect(page.get_by_test_id("stage")).to_have_text("running")
    row = page.locator("[data-run='resid.0-topk-256-k16']")
    expect(row.locator("[data-column=fvu]")).not_to_have_text("–", timeout=PATIENCE)
    seen = {tokens_trained(page)}
    until = time.monotonic() + 60
    while len(seen) < 3 and time.monotonic() < until:
        page.wait_for_timeout(200)
        seen.add(tokens_trained(page))
    assert len(seen) == 3, seen
    curve = page.get_by_test_id("chart-FVU").locator("[data-series] path")
    before = curve.get_attribute("d")
    expect(curve).not_to_have_attribute("d", before or "", timeout=PATIENCE)
    expect(page.get_by_test_id("density-map").locator("canvas")).to_be_visible()
    expect(row.locator("[data-column=l0]")).to_have_text("16.0")

    # The other pages say that it goes on, and one at a time is trained from the page.
    page.goto("/saes/train")
    expect(page.get_by_role("link", name=re.compile("^training"))).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.get_by_role("link", name="Watch it").click()

    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_test_id("stage")).to_have_text("stopped", timeout=PATIENCE)
    expect(page.get_by_role("button", name="Resume")).to_be_enabled()
    expect(row.get_by_role("link", name="what it is worth")).to_be_visible()
    page.set_viewport_size(NARROW)
    assert overflow(page) == 0

    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page).to_have_url(re.compile("/saes$"))
    expect(page.locator("[data-training=small]")).to_be_visible()
    expect(page.locator("[data-training=live]")).to_have_count(0)


def test_an_autoencoder_is_judged_and_what_one_thinks_of_its_latents_is_kept(page: Page, home: Path) -> None:
    page.goto(f"/saes/{NAME}")
    expect(page.get_by_test_id("unjudged")).to_be_visible()
    page.get_by_label("Tokens to judge on").fill("1000")
    page.get_by_role("button", name="Judge now").click()
    expect(page.get_by_test_id("judging")).to_be_visible()

    measures = page.get_by_role("table", name="Measures")
    expect(measures.locator("[data-measure=L0]")).to_contain_text("16.0", timeout=PATIENCE)
    losses = page.get_by_role("table", name="Losses")
    expect(losses.locator("[data-loss]")).to_have_count(4)

    # By keys, as one reads down the list, and by the buttons.
    expect(page.get_by_test_id("rated")).to_have_text("0 of 20 rated")
    samples = page.locator("[data-latent]")
    first, second, third = (samples.nth(i) for i in range(3))
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.keyboard.press("u")
    third.get_by_role("button", name="dead").click()
    ratings = ["readable", "unclear", "dead"]
    for sample, rating in zip((first, second, third), ratings, strict=True):
        expect(sample).to_have_attribute("data-rating", rating)
    expect(page.get_by_test_id("rated")).to_contain_text("3 of 20 rated")
    indices = [sample.get_attribute("data-latent") for sample in (first, second, third)]

    page.reload()
    for index, rating in zip(indices, ratings, strict=True):
        expect(page.locator(f"[data-latent='{index}']")).to_have_attribute("data-rating", rating)
    kept = json.loads((home / "saes" / NAME / "ratings.json").read_text())
    assert set(kept.values()) == set(ratings) or set(kept.get("ratings", {}).values()) == set(ratings)

    with page.expect_download() as saved:
        page.get_by_role("button", name="JSON").click()
    report = json.loads(saved.value.path().read_text())
    assert report["autoencoder"]["latents"] == LATENTS
    assert report["l0"] == pytest.approx(16)

    page.set_viewport_size(NARROW)
    assert overflow(page) == 0
    page.goto("/saes")
    expect(page.locator(f"[data-autoencoder='{NAME}'] [data-column=l0]")).to_have_text("16.0")


def test_latents_stand_in_the_debugger_in_place_of_the_stream(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_test_id("accounting")).to_contain_text("adds up")
    value = page.get_by_test_id("direction").inner_text()
    page.get_by_label("Take a layer apart with").select_option(NAME)
    expect(page.get_by_test_id("accounting")).to_contain_text("latents")
    expect(page.get_by_test_id("accounting")).to_contain_text("errors")
    expect(page.get_by_test_id("accounting")).to_contain_text("adds up")
    # The forward pass is unchanged: the error is put back.
    expect(page.get_by_test_id("direction")).to_have_text(value)
    assert "sae=small%2Fresid.0-topk-256-k16" in page.url

    page.get_by_role("group", name="Kinds").get_by_role("button", name="latents").click()
    node = latents_of(page).first.get_attribute("data-node")
    assert node is not None
    row = page.locator(f"[data-node='{node}']")
    row.click()
    expect(page.get_by_test_id(f"detail-{node}").get_by_role("heading", name="Pushes up")).to_be_visible()
    page.keyboard.press("v")
    expect(row.locator("[data-column=verified_effect]")).to_have_text(re.compile(r"\d"), timeout=PATIENCE)

    # Ablated, D is what verifying said it would be.
    verified = number(row.locator("[data-column=verified_effect]"))
    page.keyboard.press("a")
    expect(page.locator(f"[data-edit='zero:{node}']")).to_be_visible()
    expect(page.get_by_test_id("before")).to_be_visible()
    assert number(page.get_by_test_id("before")) - number(page.get_by_test_id("after")) == pytest.approx(
        verified, abs=0.02
    )

    # The address restores it all; leaving the autoencoder out takes the edits of its latents along.
    page.reload()
    expect(page.locator(f"[data-edit='zero:{node}']")).to_be_visible()
    expect(page.locator(f"[data-autoencoder='{NAME}']")).to_be_visible()
    page.get_by_role("button", name=f"Leave out {NAME}").click()
    expect(page.locator("[data-edit]")).to_have_count(0)
    expect(page.get_by_test_id("accounting")).not_to_contain_text("latents +")

    page.goto(f"/?sae={NAME}&tr={node}:in")
    expect(page.get_by_test_id("explained")).to_contain_text("pre-activation of latent")
    expect(page.get_by_test_id("accounting")).to_contain_text("adds up to S")


def test_a_latent_has_a_page_and_its_examples_are_collected_from_there(page: Page) -> None:
    page.goto(f"/?sae={NAME}&kinds=latent")
    link = latents_of(page).first.get_by_role("link")
    component = link.inner_text().split("@")[0]
    link.hover()
    expect(page.get_by_test_id("component-card")).to_contain_text("of resid.0")
    link.click()

    expect(page).to_have_url(re.compile(re.escape(f"/c/{component}?")))
    expect(page.get_by_test_id("on-prompt")).to_have_attribute("data-ready", "true")
    expect(page.get_by_role("heading", level=1)).to_have_text(component)
    expect(page.get_by_role("region", name="Tokens, by its weights").get_by_role("listitem").first).to_be_visible()

    # The atlas is of heads and neurons: these are added to it.
    expect(page.get_by_test_id("latents-not-held")).to_contain_text("--sae")
    page.get_by_role("button", name="Collect them now").click()
    expect(page.get_by_test_id("examples").locator("[data-example]").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("region", name="Over the atlas")).to_contain_text("density")

    # Without an autoencoder the name could mean several things.
    page.get_by_role("link", name="Components").click()
    page.get_by_role("group", name="Kinds").get_by_role("button", name="latents").click()
    found = page.locator("[data-component^='latent.resid.0.']")
    expect(found.first).to_be_visible()
    assert page.locator("[data-component]").count() == found.count()


def test_a_latent_without_its_autoencoder_says_whose_it_could_be(browser: Browser, server: str, smollm2: Model) -> None:
    page = browser.new_page(base_url=server)
    page.goto("/c/latent.resid.0.3")
    expect(page.get_by_role("alert")).to_contain_text("autoencoder")
    page.get_by_role("link", name=NAME).click()
    expect(page.get_by_test_id("on-prompt")).to_be_visible()
    page.goto("/saes/nothing")
    expect(page.get_by_role("alert")).to_contain_text("There is no autoencoder nothing here")
    page.close()


def number(cell: Locator) -> float:
    return float(cell.inner_text().replace("−", "-").replace("≠", "").strip())
