"""Two prompts, patch sweeps, continuations and attention patterns, as a user meets them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Position, Route, expect

from .conftest import NARROW, overflow
from .test_debugger import opened, query

FIRST = "When Mary and John went to the store, John gave a drink to"
SECOND = "When Mary and John went to the store, Mary gave a drink to"
LONGER = "When Mary and her brother John went to the store, Mary gave a drink to"
LAYERS = 30
# A sweep is thousands of runs of the model; on a busy machine its first cells take a while.
PATIENCE = 180_000


def with_second(page: Page, text: str, path: str = "/") -> Page:
    opened(page, path)
    page.get_by_role("button", name="Second prompt…").click()
    field = page.get_by_role("textbox", name="Second prompt")
    expect(field).to_be_focused()
    field.fill(text)
    field.press("Enter")
    expect(page.get_by_test_id("alignment")).to_be_visible()
    return page


def pairs(page: Page) -> list[str]:
    return [
        column.get_attribute("data-pair") or ""
        for column in page.get_by_test_id("alignment").locator("[data-pair]").all()
    ]


def token(page: Page, side: str, position: int) -> Locator:
    return page.get_by_test_id("alignment").locator(f"[data-token='{side}.{position}']")


def value(page: Page) -> Locator:
    """D as it is explained now: alone, or after the edits."""
    return page.locator("[data-testid=direction], [data-testid=after]")


def painted(canvas: Locator) -> int:
    """How many colours a canvas shows."""
    return canvas.evaluate(
        """element => {
            const { data } = element.getContext("2d").getImageData(0, 0, element.width, element.height);
            return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )


def middle(canvas: Locator, row: int, column: int, rows: int, columns: int) -> Position:
    """The middle of a cell of a map."""
    box = canvas.bounding_box()
    assert box is not None
    return {"x": box["width"] * (column + 0.5) / columns, "y": box["height"] * (row + 0.5) / rows}


def test_a_second_prompt_is_typed_and_aligned(page: Page) -> None:
    opened(page)
    page.get_by_role("button", name="Second prompt…").click()
    field = page.get_by_role("textbox", name="Second prompt")
    expect(field).to_have_value(FIRST)
    field.fill(LONGER)
    expect(page.get_by_test_id("second-tokens").get_by_role("button")).to_have_count(16)
    expect(page.get_by_role("region", name="Second prompt")).to_contain_text("16 tokens as typed")
    assert "p2=" not in query(page)
    field.press("Enter")
    expect(page.get_by_role("region", name="Second prompt")).to_contain_text("14 of 14 tokens paired")
    assert f"p2={LONGER}" in query(page)
    # " her" and " brother" have no counterpart and stand where they are read.
    assert pairs(page)[:7] == ["0:0", "1:1", "2:2", "-:3", "-:4", "3:5", "4:6"]
    expect(token(page, "second", 3)).to_have_attribute("title", re.compile("no counterpart"))
    # Its D is read at the last token until another one is chosen.
    strip = page.get_by_test_id("second-tokens").get_by_role("button")
    expect(strip.nth(15)).to_have_attribute("aria-pressed", "true")
    strip.nth(6).click()
    expect(strip.nth(6)).to_have_attribute("aria-pressed", "true")
    assert "at2=6" in query(page)


def test_the_alignment_is_edited_by_hand_and_restored(page: Page) -> None:
    with_second(page, LONGER)
    automatic = pairs(page)
    token(page, "first", 1).click()
    expect(token(page, "first", 1)).to_have_attribute("aria-pressed", "true")
    token(page, "second", 4).click()
    expect(page.locator("[data-pair='1:4']")).to_be_visible()
    expect(page.locator("[data-pair='-:1']")).to_be_visible()
    page.get_by_role("button", name="Unpair token 2 and token 2").click()
    expect(page.locator("[data-pair='2:-']")).to_be_visible()
    expect(page.get_by_role("region", name="Second prompt")).to_contain_text("13 of 14 tokens paired")
    made = pairs(page)
    assert "align=0,4,-,5" in query(page)
    page.reload()
    expect(page.locator("[data-pair='1:4']")).to_be_visible()
    assert pairs(page) == made
    page.get_by_role("button", name="Reset to automatic").click()
    expect(page.locator("[data-pair='1:1']")).to_be_visible()
    assert pairs(page) == automatic
    assert "align=" not in query(page)
    expect(page.get_by_role("button", name="Reset to automatic")).to_be_disabled()


def test_the_alignment_is_edited_with_the_keyboard(page: Page) -> None:
    with_second(page, LONGER)
    token(page, "first", 0).focus()
    page.keyboard.press("ArrowRight")
    expect(token(page, "first", 1)).to_be_focused()
    page.keyboard.press("Delete")
    expect(page.locator("[data-pair='1:-']")).to_be_visible()
    expect(token(page, "first", 1)).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(token(page, "second", 3)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-pair='1:3']")).to_be_visible()
    expect(token(page, "second", 3)).to_be_focused()


def test_two_prompts_are_compared(page: Page) -> None:
    with_second(page, LONGER)
    page.get_by_label("Compare the two prompts").check()
    assert "cmp=second" in query(page)
    rows = page.get_by_test_id("compared-candidates").locator("tbody tr")
    # The first prompt goes on with Mary, the second with her brother.
    mary = rows.filter(has_text="␣Mary").first
    expect(mary).to_contain_text("92.3%", timeout=PATIENCE)
    first, second = (mary.locator("td").nth(i).inner_text() for i in (1, 2))
    assert first != second
    expect(mary.locator("td").nth(3)).to_have_text(re.compile("^−"))
    john = rows.filter(has_text="␣John").first
    expect(john.locator("td").nth(3)).to_have_text(re.compile(r"^\+"))
    page.get_by_role("button", name="Remove the second prompt").click()
    expect(page.get_by_role("button", name="Second prompt…")).to_be_visible()
    expect(page.get_by_test_id("compared-candidates")).to_have_count(0)
    assert "p2=" not in query(page)
    assert "cmp=" not in query(page)


def test_a_sweep_paints_and_a_cell_is_patched(page: Page) -> None:
    with_second(page, SECOND)
    panel = page.get_by_role("region", name="Patch sweep")
    panel.get_by_role("button", name="Sweep", exact=True).click()
    canvas = page.get_by_test_id("sweep-resid").locator("canvas")
    last = page.get_by_role("button", name=f"stream after {LAYERS - 1}")
    expect(last.first).to_be_visible(timeout=PATIENCE)
    assert painted(canvas) > 2
    expect(page.get_by_test_id("sweep-legend")).to_contain_text("+1.00")
    expect(page.get_by_test_id("sweep-progress")).to_contain_text("of 4 620 places")
    panel.get_by_role("button", name="Stop").click()
    expect(page.get_by_test_id("sweep-progress")).to_contain_text("stopped")

    # The stream after the last layer at the last token is all that D is made of: it restores everything.
    canvas.hover(position=middle(canvas, LAYERS - 1, 13, LAYERS, 14))
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text(f"stream after {LAYERS - 1}")
    expect(tip).to_contain_text("+1.00 restored")
    canvas.click(position=middle(canvas, LAYERS - 1, 13, LAYERS, 14))
    chosen = page.get_by_test_id("sweep-chosen")
    expect(chosen).to_contain_text("restores +1.00")
    becomes = re.search(r"D becomes\s+(\S+)", chosen.inner_text())
    assert becomes is not None
    chosen.get_by_role("button", name="Patch it").click()
    expect(value(page)).to_contain_text(becomes.group(1))
    assert f"e=patch:resid.{LAYERS - 1}@13" in query(page)
    # The map stays, the edit cannot be made twice, and the prompt it reads cannot be taken away.
    expect(canvas).to_be_visible()
    expect(chosen.get_by_role("button", name="Patch it")).to_be_disabled()
    chosen.get_by_role("button", name="Let go of this place").click()
    expect(chosen).to_have_count(0)
    remove = page.get_by_role("button", name="Remove the second prompt")
    expect(remove).to_be_disabled()
    expect(remove).to_have_attribute("title", re.compile("Edits patch from it"))


def test_a_sweep_is_made_again_from_its_address(page: Page) -> None:
    opened(page, "/?p=The+capital+of+France+is&t=+Paris&d=+Rome&p2=The+capital+of+Italy+is&sweep=1")
    progress = page.get_by_test_id("sweep-progress")
    expect(progress).to_contain_text("1 650 places in", timeout=PATIENCE)
    panel = page.get_by_role("region", name="Patch sweep")
    expect(panel.get_by_role("button", name="Sweep again")).to_be_visible()
    # The stream after layer 0 at the country is where the two prompts differ.
    canvas = page.get_by_test_id("sweep-resid").locator("canvas")
    canvas.focus()
    for key in ["ArrowLeft", *["ArrowUp"] * (LAYERS - 1)]:
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    chosen = page.get_by_test_id("sweep-chosen")
    expect(chosen).to_contain_text("stream after 0")
    expect(chosen).to_contain_text("␣France")
    expect(chosen).to_contain_text(re.compile(r"restores \+(0\.9|1\.0)"))
    # One layer's heads, instead of the strongest of each.
    heads = page.get_by_test_id("sweep-attn")
    heads.get_by_label("Heads shown").select_option("heads of layer 3")
    expect(heads.locator("canvas")).to_have_attribute("aria-label", re.compile("the heads of layer 3"))
    heads.get_by_role("button").first.click()
    chosen.get_by_role("button", name="Show its node").click()
    assert "find=attn." in query(page)


def test_a_sweep_that_breaks_off_says_so(page: Page) -> None:
    with_second(page, SECOND)

    def break_off(route: Route) -> None:
        route.fulfill(
            content_type="text/event-stream",
            body='event: start\ndata: {"total": 2, "first": 1, "second": 2, "alignment": [0]}\n\n',
        )

    page.route("**/api/sweep", break_off)
    panel = page.get_by_role("region", name="Patch sweep")
    panel.get_by_role("button", name="Sweep", exact=True).click()
    expect(panel.get_by_role("alert")).to_contain_text("The server hung up before it was done.")
    page.unroute("**/api/sweep")
    panel.get_by_role("button", name="Retry").click()
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("button", name=f"stream after {LAYERS - 1}").first).to_be_visible(timeout=PATIENCE)
    panel.get_by_role("button", name="Stop").click()


def test_the_text_goes_on_before_and_after_edits(page: Page) -> None:
    page.goto("/?gen=1&n=8&e=zero:attn.23.3@13&e=zero:attn.29.1@13&e=zero:attn.1.5@1&e=zero:attn.1.3@1")
    texts = page.get_by_test_id("continuation")
    before, after = texts.get_by_label("As it is"), texts.get_by_label("Under 4 edits")
    expect(before).to_contain_text("␣Mary", timeout=PATIENCE)
    expect(after.locator("[data-differs]")).to_be_visible(timeout=PATIENCE)
    expect(before.locator("[data-differs]")).to_have_count(1)
    expect(texts).to_contain_text("The edits change the text from its token")
    expect(before.get_by_role("status")).to_have_count(0, timeout=PATIENCE)
    expect(after.get_by_role("status")).to_have_count(0, timeout=PATIENCE)

    # Drawn with a seed it is another text, and the same one every time.
    panel = page.get_by_role("region", name="Continuation")
    greedy = before.inner_text()
    panel.get_by_text("sampled").click()
    panel.get_by_label("temperature").fill("1.5")
    panel.get_by_label("seed").fill("7")
    expect(panel.get_by_role("button", name="Again")).to_be_visible(timeout=PATIENCE)
    sampled = before.inner_text()
    assert sampled != greedy
    assert {"temp=1.5", "seed=7"} <= set(query(page).split("&"))
    page.reload()
    expect(panel.get_by_role("button", name="Again")).to_be_visible(timeout=PATIENCE)
    assert before.inner_text() == sampled


def test_a_continuation_is_stopped(page: Page) -> None:
    page.goto("/?gen=1&n=96")
    panel = page.get_by_role("region", name="Continuation")
    expect(page.get_by_test_id("continuation")).to_contain_text("␣Mary", timeout=PATIENCE)
    panel.get_by_role("button", name="Stop").click()
    expect(page.get_by_test_id("continuation")).to_contain_text("stopped")


def test_a_cell_of_the_pattern_asks_why(page: Page) -> None:
    opened(page)
    panel = page.get_by_role("region", name="Attention pattern")
    panel.get_by_role("button", name="23.3", exact=True).click()
    assert "head=attn.23.3" in query(page)
    canvas = page.get_by_test_id("pattern").locator("canvas")
    expect(canvas).to_be_visible()
    assert painted(canvas) > 10
    canvas.hover(position=middle(canvas, 13, 9, 14, 14))
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text("␣to")
    expect(tip).to_contain_text("␣John")
    page.mouse.move(0, 0)

    # The text: what " drink" attends to, and what attends to it.
    word = page.get_by_test_id("pattern-tokens").get_by_role("button").nth(12)
    word.hover()
    expect(word).to_have_attribute("aria-current", "true")
    expect(panel).to_contain_text("attended from␣to")

    canvas.click(position=middle(canvas, 13, 9, 14, 14))
    pair = panel.get_by_label("The chosen pair")
    expect(pair).to_contain_text("Head 23.3 at ␣to attends to ␣John with weight +0.")
    pair.get_by_role("button", name="Why does it at ␣to attend to ␣John?").click()
    expect(page.get_by_role("navigation", name="Trace")).to_contain_text("attn.23.3@13")
    assert "tr=attn.23.3@13<-9:both" in query(page)
    page.go_back()
    expect(value(page)).to_contain_text("+6.12")


def test_a_cell_of_the_pattern_is_cut(page: Page) -> None:
    opened(page, "/?head=attn.23.3")
    canvas = page.get_by_test_id("pattern").locator("canvas")
    expect(canvas).to_be_visible()
    canvas.focus()
    # It begins at the token where D is read; four to the left is what it attends to.
    for key in ["ArrowLeft"] * 4:
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    pair = page.get_by_label("The chosen pair")
    expect(pair).to_contain_text("attends to ␣John")
    pair.get_by_role("button", name="Cut").click()
    expect(value(page)).not_to_contain_text("+6.12")
    assert "e=cut:attn.23.3@13<-9" in query(page)
    expect(pair).to_contain_text("with weight 0.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_holds_everything(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size(NARROW)
    with_second(page, LONGER, "/?head=attn.23.3")
    expect(page.get_by_test_id("pattern").locator("canvas")).to_be_visible()
    expect(page.get_by_role("region", name="Patch sweep")).to_be_visible()
    assert overflow(page) <= 0
