"""The pages of components, found and read by a test."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

EXAMPLE = "When Mary and John went to the store, John gave a drink to"
PROMPT = "The capital of France is Paris"


def opened(page: Page, component: str, query: str = "") -> Page:
    """The page of a component, once it says what it does on the prompt."""
    page.goto(f"/c/{component}{query}")
    ready(page)
    return page


def ready(page: Page) -> None:
    expect(page.get_by_test_id("on-prompt")).to_have_attribute("data-ready", "true")


def address(page: Page) -> str:
    return page.evaluate("location.pathname + decodeURIComponent(location.search.replaceAll('+', ' '))")


def prompt_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Prompt", exact=True)
