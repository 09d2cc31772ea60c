"""Component pages and hover cards, as a user meets them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from .component_pages import EXAMPLE, PROMPT, address, opened, prompt_field, ready
from .conftest import NARROW, overflow

# Percent of a colour behind the strongest token.
FULL = 60.0


def choose(page: Page, label: str) -> None:
    """One of a few, side by side."""
    page.locator("label", has_text=re.compile(f"^{label}")).click()


def strongest_pair(page: Page, head: str, prompt: str) -> tuple[int, int]:
    """Which token receives the longest vector in this head, and from which."""
    asked = {"component": head, "prompt": prompt, "bos": False}
    answer = page.request.post("/api/components/prompt", data=asked, headers={"origin": page.url.split("/c/")[0]})
    pairs = answer.json()["pairs"]
    _, at, source = max((value, at, source) for at, row in enumerate(pairs) for source, value in enumerate(row))
    return at, source


def tokens(page: Page) -> Locator:
    return page.get_by_test_id("prompt-tokens").locator("[data-i]")


def background(token: Locator) -> str:
    return token.evaluate("element => element.style.background")


def opacity(token: Locator, colour: str) -> float:
    """In percent, how much of a colour is behind a token; 0 for none."""
    found = re.search(rf"var\(--{colour}\) ([\d.]+)%", background(token))
    return float(found[1]) if found else 0.0


def test_a_head_is_clicked_in_the_debugger(page: Page) -> None:
    page.goto("/")
    page.locator("[data-node='attn.23.3@13<-9']").get_by_role("link").click()
    expect(page.get_by_role("heading", name="attn.23.3")).to_be_visible()
    ready(page)
    assert address(page) == f"/c/attn.23.3?p={EXAMPLE}"
    expect(prompt_field(page)).to_have_value(EXAMPLE)
    expect(tokens(page)).to_have_count(14)
    # The strongest pair of this head on this prompt is the one that the debugger explains the answer by.
    expect(page.get_by_test_id("on-prompt")).to_contain_text("␣to ← ␣John")
    expect(page.get_by_test_id("prompt-pattern").locator("canvas")).to_be_visible()
    types = page.get_by_role("region", name="What it attends to")
    expect(types).to_contain_text(re.compile(r"token before\s*[\d.]+%"))
    expect(page.get_by_test_id("examples").locator("[data-example]").first).to_be_visible()
    # Both ways back lead to the question as it was, with its target and distractor.
    page.go_back()
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")
    page.go_forward()
    page.get_by_role("link", name="This prompt in the debugger").click()
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")


def test_a_neuron_is_opened_by_its_key(page: Page) -> None:
    page.goto("/?kinds=neuron")
    expect(page.locator("[data-node^='neuron']").first).to_be_visible()
    expect(page.locator("[data-node^='attn']")).to_have_count(0)
    page.keyboard.press("j")
    node = page.locator("[data-node][aria-selected=true]").get_attribute("data-node") or ""
    page.keyboard.press("c")
    expect(page.get_by_role("heading", name=node.split("@")[0])).to_be_visible()
    ready(page)
    strongest = page.get_by_test_id("on-prompt").get_by_text("Strongest at")
    expect(strongest).to_contain_text(re.compile(r"z [+−][\d.]+.* above [\d.]+% of the atlas’s tokens"))
    statistics = page.get_by_role("region", name="Over the atlas")
    # The first token of each of the 32 contexts is not counted.
    expect(statistics).to_contain_text("4 064 tokens")
    expect(statistics.get_by_test_id("histogram-mark")).to_be_visible()


def test_a_row_and_the_name_on_it_have_clicks_of_their_own(page: Page) -> None:
    page.goto("/")
    row = page.locator("[data-node='attn.23.3@13']")
    row.locator("[data-column='activation']").click()
    expect(page.get_by_test_id("detail-attn.23.3@13")).to_be_visible()
    assert page.url.split("?")[0].endswith("/")
    row.get_by_role("button", name="Close attn.23.3@13").click()
    expect(page.get_by_test_id("detail-attn.23.3@13")).to_have_count(0)
    # An embedding is no component: its name is text, and the key says why it leads nowhere.
    page.goto("/?kinds=embed")
    embedding = page.locator("[data-node^='embed']").first
    expect(embedding).to_be_visible()
    expect(page.locator("[data-node^='attn']")).to_have_count(0)
    expect(embedding.get_by_role("link")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page.get_by_text("has no page of its own")).to_be_visible()


def test_the_prompt_is_changed_in_place(page: Page) -> None:
    opened(page, "neuron.5.200")
    mark = page.get_by_test_id("histogram-mark")
    before = mark.text_content() or ""
    prompt = prompt_field(page)
    page.keyboard.press("/")
    expect(prompt).to_be_focused()
    prompt.fill(PROMPT)
    expect(tokens(page)).to_have_count(6)
    ready(page)
    expect(page.get_by_test_id("prompt-tokens")).to_contain_text("␣France")
    expect(mark).not_to_have_text(before)
    assert address(page) == f"/c/neuron.5.200?p={PROMPT}"
    tokens(page).nth(3).hover()
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text(re.compile(r"token 3.*activation.*z.*atlas tokens below it", re.DOTALL))
    prompt.fill("")
    expect(page.get_by_text("An empty prompt has no tokens")).to_be_visible()
    prompt.fill(PROMPT)
    ready(page)
    page.reload()
    ready(page)
    expect(prompt_field(page)).to_have_value(PROMPT)


def test_activations_are_emerald_above_zero_and_orange_below(page: Page) -> None:
    opened(page, "neuron.5.200")
    seen = {name for name in ("active", "against") for token in tokens(page).all() if opacity(token, name) > 0}
    legend = page.get_by_test_id("legend").first
    assert "against" in seen
    expect(legend).to_contain_text("negative")
    for token in tokens(page).all():
        assert min(opacity(token, "active"), opacity(token, "against")) == 0


def test_two_colours_follow_the_pointer(page: Page) -> None:
    opened(page, "attn.23.3")
    at, source = strongest_pair(page, "attn.23.3", EXAMPLE)
    assert at > source
    reader, read = tokens(page).nth(at), tokens(page).nth(source)
    heading = page.get_by_role("heading", name="attn.23.3")
    at_rest = [background(token) for token in tokens(page).all()]
    assert (opacity(read, "attended"), opacity(reader, "attending")) == (FULL, FULL)
    read.hover()
    # Light blue for the token that is attended to, pink for those from which, at and after it.
    assert (opacity(read, "attended"), opacity(reader, "attending")) == (FULL, FULL)
    assert opacity(reader, "attended") == 0
    for i, token in enumerate(tokens(page).all()):
        assert (opacity(token, "attending") > 0) == (i >= source)
        assert (opacity(token, "attended") > 0) == (i == source)
    choose(page, "what it attends to")
    assert "hover=to" in address(page)
    reader.hover()
    for i, token in enumerate(tokens(page).all()):
        assert (opacity(token, "attended") > 0) == (i <= at)
        assert (opacity(token, "attending") > 0) == (i == at)
    assert (opacity(read, "attended"), opacity(reader, "attending")) == (FULL, FULL)
    # A click keeps the token when the pointer leaves, the next one lets it go.
    reader.click()
    heading.hover()
    assert opacity(read, "attended") == FULL
    expect(page.get_by_test_id("on-prompt")).to_contain_text("(pinned)")
    reader.click()
    heading.hover()
    expect(page.get_by_test_id("on-prompt")).not_to_contain_text("(pinned)")
    assert [background(token) for token in tokens(page).all()] == at_rest


def test_the_arrow_keys_go_to_the_neighbours(page: Page) -> None:
    opened(page, "attn.23.8", f"?p={PROMPT}&layout=line")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="attn.24.0")).to_be_visible()
    ready(page)
    assert address(page) == f"/c/attn.24.0?p={PROMPT}&layout=line"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name="attn.23.7")).to_be_visible()
    page.get_by_role("link", name="Next component: attn.23.8").click()
    expect(page.get_by_role("heading", name="attn.23.8")).to_be_visible()
    # In a field the arrows move the cursor.
    prompt_field(page).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="attn.23.8")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="attn.23.7")).to_be_visible()
    opened(page, "attn.0.0")
    expect(page.get_by_role("button", name="Previous component")).to_be_disabled()


def test_any_component_is_gone_to_by_its_id(page: Page) -> None:
    page.goto("/search")
    expect(page.get_by_role("banner")).to_contain_text("30 layers")
    page.keyboard.press("g")
    page.keyboard.type("neuron.99.1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("There is no layer 99: this model has layers 0 to 29.")
    page.get_by_label("Go to component").fill("neuron 5 200")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="neuron.5.200")).to_be_visible()
    ready(page)


def test_a_component_that_is_not_there_says_so(page: Page) -> None:
    page.goto("/c/neuron.99.1")
    expect(page.get_by_role("alert")).to_contain_text("There is no layer 99")
    page.goto("/c/nonsense")
    expect(page.get_by_role("alert")).to_contain_text("“nonsense” is no component")


def test_examples_have_groups_and_layouts(page: Page) -> None:
    opened(page, "neuron.5.200")
    examples = page.get_by_test_id("examples")
    first = examples.locator("[data-example='top 0']")
    top = first.inner_text()
    choose(page, "One line")
    expect(first).to_be_visible()
    # The strongest tokens stand under each other.
    lefts = [
        row.locator("[data-i]").locator("xpath=../../div[2]/span[1]").bounding_box()
        for row in examples.locator("[data-example]").all()[:4]
    ]
    assert len({round(box["x"]) for box in lefts if box}) == 1
    choose(page, "Bands")
    expect(examples.get_by_role("heading").first).to_contain_text(re.compile(r"^[+\d.]+ to [+\d.]+: top [\d.]+%$"))
    choose(page, "Random")
    expect(examples.locator("[data-example='random 0']")).to_be_visible()
    assert "layout=line" in address(page)
    assert "group=random" in address(page)
    page.reload()
    expect(examples.locator("[data-example='random 0']")).to_be_visible()
    choose(page, "Top")
    choose(page, "Stacked")
    assert first.inner_text() == top
    first.locator("[data-i]").nth(3).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("activation")


def test_an_example_of_a_head_shows_its_pairs(page: Page) -> None:
    opened(page, "attn.23.3")
    first = page.get_by_test_id("examples").locator("[data-example='top 0']")
    peak = first.locator("[data-i]").evaluate_all(
        "all => all.findIndex(token => token.style.background.includes('--attending) 60.0%'))"
    )
    assert peak >= 0
    before = background(first.locator("[data-i]").nth(peak))
    with page.expect_response(lambda response: "/pairs?kind=top&rank=0" in response.url):
        first.locator("[data-i]").nth(peak).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("most it receives")
    choose(page, "what it attends to")
    first.locator("[data-i]").nth(peak).hover()
    # Pointed at, it alone is pink.
    pink = first.locator("[data-i]").evaluate_all(
        "all => all.flatMap((token, i) => token.style.background.includes('--attending') ? [i] : [])"
    )
    assert pink == [peak]
    assert before != ""


def test_an_example_opens_in_the_debugger(page: Page) -> None:
    opened(page, "attn.23.3")
    first = page.get_by_test_id("examples").locator("[data-example='top 0']")
    link = first.get_by_role("link", name="open in debugger")
    link.click()
    expect(page.get_by_test_id("direction")).to_be_visible()
    prompt = page.evaluate("new URLSearchParams(location.search).get('p')")
    expect(prompt_field(page)).to_have_value(prompt)
    page.go_back()
    ready(page)
    first.get_by_role("link", name="as prompt").click()
    ready(page)
    assert prompt_field(page).input_value().startswith(prompt)


def test_names_lead_on_and_show_a_card(page: Page) -> None:
    opened(page, "neuron.5.200")
    related = page.get_by_role("region", name="Related components")
    expect(related.get_by_test_id("fires-together")).to_be_attached()
    name = related.get_by_role("link").first
    name.hover()
    card = page.get_by_test_id("component-card")
    expect(card).to_contain_text(name.inner_text())
    expect(card).to_contain_text("pushes")
    expect(card.locator("[data-i]").first).to_be_visible()
    page.mouse.move(5, 5)
    expect(card).to_have_count(0)
    # By keys as well: it opens on focus and Escape closes it.
    page.keyboard.press("Tab")
    name.focus()
    expect(card).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)
    target = name.inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=target)).to_be_visible()


def test_a_card_opens_over_the_table_of_nodes(page: Page) -> None:
    page.goto("/")
    row = page.locator("[data-node='attn.23.3@13']")
    row.get_by_role("link").hover()
    card = page.get_by_test_id("component-card")
    expect(card).to_contain_text("head 3 of layer 23")
    expect(card).to_contain_text("largest write")
    page.mouse.move(5, 5)
    expect(card).to_have_count(0)


def test_copied_python_prints_what_the_page_shows(page: Page, atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(page, "neuron.5.200", f"?p={PROMPT}")
    page.get_by_role("button", name="Copy as Python").click()
    program: str = page.evaluate("navigator.clipboard.readText()")
    shown = page.get_by_role("region", name="Over the atlas").inner_text()
    # The server of these tests has an atlas of its own.
    exec(program.replace("clew.components(model)", f"clew.components(model, {str(atlas)!r})"), {})
    assert "neuron.5.200" in capsys.readouterr().out
    assert "4 064 tokens" in shown


def test_pages_fit_a_phone(page: Page) -> None:
    page.set_viewport_size(NARROW)
    opened(page, "attn.23.3")
    expect(page.get_by_test_id("examples").locator("[data-example]").first).to_be_visible()
    assert overflow(page) == 0
    opened(page, "neuron.5.200", "?layout=line")
    assert overflow(page) == 0
    page.goto("/search")
    expect(page.locator("[data-component]").first).to_be_visible()
    assert overflow(page) == 0


def test_help_lists_the_keys(page: Page) -> None:
    opened(page, "attn.23.3")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("the component before / after this one")
    expect(dialog).to_contain_text("go to a component by its id")
    # A dialog that is open has the keys for itself.
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="attn.23.3")).to_be_visible()
