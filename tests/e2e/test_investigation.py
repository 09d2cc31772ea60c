"""From guess to proof on the debugger page: verify, edit, compare, trace upstream, and the same in Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import NARROW, overflow
from .test_debugger import first_node, opened, query

# Measuring a hundred nodes takes seconds on a quiet machine.
MEASURED_MS = 180_000
ABLATED = "/?e=zero%3Aattn.23.3%4013&cmp=edited"
THREE_DIGITS = 0.0051  # relative: half a unit of the third digit of a number that begins with 1, and a little


def cell(page: Page, node: str, column: str) -> Locator:
    return page.locator(f"[data-node='{node}'] [data-column='{column}']")


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("≠", "").replace("disagrees with the estimate", ""))


def edits(page: Page) -> list[str]:
    return [row.get_attribute("data-edit") or "" for row in page.locator("[data-edit]").all()]


def compared(page: Page) -> None:
    expect(page.get_by_test_id("change")).to_be_visible(timeout=MEASURED_MS)


def measured(page: Page) -> None:
    expect(page.get_by_test_id("verified-count")).to_contain_text(" in ", timeout=MEASURED_MS)


def test_the_verified_column_fills_and_is_compared_with_the_estimate(page: Page) -> None:
    opened(page)
    expect(page.get_by_role("columnheader", name="Verified")).to_have_count(0)
    page.get_by_role("button", name="Verify top 100").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Verified")).to_be_visible()
    measured(page)
    expect(page.get_by_test_id("verified-count")).to_contain_text("100 measured")
    expect(cell(page, "attn.23.3@13", "verified_effect")).to_have_text("+2.93")
    expect(cell(page, "attn.29.1@13", "verified_effect")).to_have_text("+1.68")
    expect(page.get_by_text("its row is not renormalised")).to_be_visible()
    assert "v=100" in query(page)

    panel = page.get_by_role("region", name="Verified effects")
    assert panel.locator("[data-point]").count() == 100
    facts = panel.locator("dl").inner_text().split("\n")
    assert facts[0::2] == ["Pearson", "Spearman", "nodes", "disagree"]
    assert all(-1 <= number(value) <= 1 for value in facts[1:4:2])
    assert facts[5] == "100"

    page.get_by_role("columnheader", name="Verified").get_by_role("button").click()
    largest = page.locator("[data-node]").first
    sizes = [abs(number(text)) for text in page.locator("[data-column='verified_effect']").all_inner_texts()[:10]]
    assert sizes == sorted(sizes, reverse=True)
    assert "sort=verified_effect" in query(page)
    panel.locator(f"[data-point='{largest.get_attribute('data-node')}']").hover(force=True)
    expect(page.get_by_role("tooltip")).to_contain_text(largest.get_attribute("data-node") or "")
    panel.locator(f"[data-point='{largest.get_attribute('data-node')}']").click(force=True)
    expect(largest).to_have_attribute("aria-selected", "true")

    off = int(facts[7].split(" ")[0])
    assert 0 < off < 100
    panel.get_by_label("only where they disagree").check()
    expect(page.get_by_test_id("node-count")).to_contain_text(f"{off} of")
    page.get_by_role("columnheader", name="Off by").get_by_role("button").click()
    rows = page.locator("[data-column='verified_effect']")
    assert rows.count() > 0
    assert all("≠" in text for text in rows.all_inner_texts())

    seen = page.locator("[data-node]").all_inner_texts()
    page.reload()
    measured(page)
    assert page.locator("[data-node]").all_inner_texts() == seen


def test_a_verification_is_stopped_and_what_it_measured_stays(page: Page) -> None:
    opened(page)
    page.get_by_label("How many nodes to verify").select_option("1000")
    page.keyboard.press("V")
    count = page.get_by_test_id("verified-count")
    expect(count).to_contain_text(re.compile(r"[1-9]\d* of \d+ measured"), timeout=MEASURED_MS)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Verify top 1000")).to_be_enabled()
    page.wait_for_timeout(1000)
    queue = page.evaluate("fetch('/api/status').then((reply) => reply.json()).then((status) => status.queue)")
    assert queue == {"running": False, "waiting": 0}
    done = int(count.inner_text().split(" ")[0])
    assert 0 < done < 1000
    assert re.search(rf"[?&]v={done}(&|$)", query(page))


def test_a_row_is_verified_by_its_key_and_says_how(page: Page) -> None:
    opened(page)
    page.keyboard.press("v")
    expect(page.get_by_text("Choose a row first")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("v")
    found = cell(page, "attn.23.3@13<-9", "verified_effect")
    expect(found).to_have_text("+2.89", timeout=MEASURED_MS)
    expect(found).to_have_attribute("title", re.compile("row not renormalised"))
    assert "vn=attn.23.3@13<-9" in query(page)
    page.get_by_label("renormalise cut pairs").check()
    expect(found).to_have_attribute("title", re.compile("row renormalised"), timeout=MEASURED_MS)
    expect(found).not_to_have_text("+2.89")
    expect(page.get_by_text("its row is renormalised")).to_be_visible()
    resample = page.get_by_label("Ablate to").locator("option[value=resample]")
    assert resample.is_disabled()
    assert "second prompt" in resample.inner_text()
    page.get_by_label("Ablate to").select_option("mean")
    expect(page.get_by_label("renormalise cut pairs")).to_be_disabled()
    # A pair has no mean: it is not asked for, and the key says why.
    page.keyboard.press("v")
    expect(page.get_by_text("A pair is one attention weight")).to_be_visible()


def test_an_error_in_the_middle_of_a_verification_is_said(page: Page, complaints: list[str]) -> None:
    opened(page)
    start = 'event: start\ndata: {"total": 100}\n\n'
    error = 'event: error\ndata: {"error": {"code": "busy", "message": "The queue is full.", "hint": "Try again."}}\n\n'
    page.route("**/api/verify", lambda route: route.fulfill(body=start + error, content_type="text/event-stream"))
    page.get_by_role("button", name="Verify top 100").click()
    alert = page.get_by_role("region", name="Verified effects").get_by_role("alert")
    expect(alert).to_contain_text("The queue is full. Try again.")
    expect(cell(page, "attn.23.3@13", "verified_effect")).to_have_count(0)
    page.unroute("**/api/verify")
    alert.get_by_role("button", name="Retry").click()
    measured(page)
    expect(alert).to_have_count(0)
    complaints.clear()


def test_a_node_is_ablated_by_its_key_and_back(page: Page) -> None:
    opened(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("a")
    change = page.get_by_test_id("change")
    compared(page)
    assert [page.get_by_test_id(name).inner_text() for name in ("before", "after")] == ["+6.12", "+3.19"]
    expect(change).to_contain_text("(−2.93)")
    assert edits(page) == ["zero:attn.23.3@13"]
    assert "cmp=edited" in query(page)

    expect(cell(page, "attn.23.3@13", "direct_left")).to_have_text("+2.86")
    expect(cell(page, "attn.23.3@13", "direct_difference")).to_have_text("−2.86")
    expect(cell(page, "attn.23.3@13", "direct_right")).to_have_text("0")
    for node in page.locator("[data-node]").all()[:5]:
        left, change_, right = (
            number(node.locator(f"[data-column='estimated_{side}']").inner_text())
            for side in ("left", "difference", "right")
        )
        assert change_ == pytest.approx(right - left, abs=0.011)
    rows = page.get_by_test_id("compared-candidates").locator("tbody tr")
    expect(rows.first).to_contain_text("␣Mary")
    expect(rows.first).to_contain_text("92.3%")
    expect(page.get_by_role("region", name="Continuation")).to_be_visible()

    page.keyboard.press("a")
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")
    assert edits(page) == []
    assert "cmp" not in query(page)
    page.go_back()
    expect(page.get_by_test_id("after")).to_have_text("+3.19")


def test_edits_are_added_reordered_switched_off_and_removed(page: Page, complaints: list[str]) -> None:
    opened(page, ABLATED.removesuffix("&cmp=edited"))
    form = page.get_by_role("form", name="Add an edit")
    form.get_by_label("Place").fill("attn.nonsense")
    form.get_by_role("button", name="Add").click()
    expect(form.get_by_role("alert")).to_contain_text("is not a place in the model")
    assert edits(page) == ["zero:attn.23.3@13"]

    form.get_by_label("Op").select_option("scale")
    form.get_by_label("Place").fill("attn.23.3@13")
    expect(form.get_by_role("alert")).to_have_count(0)
    form.get_by_label("Value").fill("3")
    form.get_by_role("button", name="Add").click()
    expect(page.locator("[data-edit]")).to_have_count(2)
    assert edits(page) == ["zero:attn.23.3@13", "scale:attn.23.3@13=3"]
    assert "e=zero:attn.23.3@13&e=scale:attn.23.3@13=3" in query(page)
    expect(page.get_by_test_id("direction")).to_have_text("+3.19")

    page.get_by_role("button", name="Move up: scale attn.23.3@13").click()
    expect(page.locator("[data-edit]").first).to_have_attribute("data-edit", "scale:attn.23.3@13=3")
    expect(page.get_by_role("button", name="Move up: scale attn.23.3@13")).to_be_disabled()
    page.get_by_label("Switch off: zero attn.23.3@13").click()
    expect(page.get_by_text("1 of 2 on")).to_be_visible()
    expect(page.get_by_test_id("direction")).not_to_have_text("+3.19")
    tripled = number(page.get_by_test_id("direction").inner_text())
    assert tripled > 6.12
    page.reload()
    expect(page.get_by_test_id("direction")).to_be_visible()
    assert edits(page) == ["scale:attn.23.3@13=3", "!zero:attn.23.3@13"]
    assert number(page.get_by_test_id("direction").inner_text()) == tripled
    page.get_by_role("button", name="Remove edit: scale attn.23.3@13").click()
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")
    page.get_by_role("button", name="Clear all").click()
    assert edits(page) == []
    # The refused request is the browser's to note; nothing else may be.
    assert all("422" in complaint for complaint in complaints)
    complaints.clear()


def test_an_edit_that_an_address_got_wrong_is_refused_where_it_stands(page: Page, complaints: list[str]) -> None:
    page.goto("/?e=zero%3Aattn.99.3")
    alert = page.get_by_role("region", name="Edits").get_by_role("alert")
    expect(alert).to_be_visible()
    page.get_by_role("button", name="Remove edit: zero attn.99.3").click()
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")
    expect(alert).to_have_count(0)
    complaints.clear()


def test_several_nodes_a_layer_and_an_embedding_are_ablated(page: Page) -> None:
    opened(page)
    page.get_by_label("Select attn.23.3@13<-9").check()
    page.get_by_label("Select attn.29.1@13", exact=True).check()
    page.get_by_role("button", name="Ablate selection").click()
    compared(page)
    assert edits(page) == ["zero:attn.23.3@13<-9", "zero:attn.29.1@13"]
    page.get_by_role("button", name="Clear all").click()
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")

    canvas = page.get_by_test_id("heat-map").locator("canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] * 13.5 / 14, "y": box["height"] * 24.5 / 31})
    page.get_by_role("button", name="Ablate the MLP").click()
    compared(page)
    assert edits(page) == ["zero:neuron.23.*@13"]
    page.get_by_role("button", name="Ablated: the MLP").click()
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")

    page.goto("/?kinds=embed&open=embed%401")
    page.get_by_test_id("tools-embed@1").get_by_role("button", name="Ablate").click()
    compared(page)
    assert edits(page) == ["zero:embed@1"]
    assert page.get_by_test_id("tools-embed@1").get_by_role("button", name="Trace").is_disabled()


def test_a_node_is_steered_and_scaled_from_its_tools(page: Page) -> None:
    opened(page, "/?open=attn.23.3%4013")
    tools = page.get_by_test_id("tools-attn.23.3@13")
    assert tools.get_by_role("button", name="Patch from second").is_disabled()
    tools.get_by_label("Change by").select_option("scale")
    tools.get_by_label("Value to scale").fill("0.5")
    tools.get_by_role("button", name="Add edit").click()
    compared(page)
    assert edits(page) == ["scale:attn.23.3@13=0.5"]
    tools.get_by_role("button", name="To mean").click()
    expect(page.locator("[data-edit]")).to_have_count(2)
    tools.get_by_role("button", name="Open attention pattern").click()
    pattern = page.get_by_role("region", name="Attention pattern").locator("canvas")
    expect(pattern).to_be_visible(timeout=MEASURED_MS)
    assert "head=attn.23.3" in query(page)


def test_a_trace_goes_three_steps_up_and_back(page: Page) -> None:
    opened(page)
    page.keyboard.press("j")
    page.keyboard.press("t")
    page.keyboard.press("q")
    trail = page.get_by_role("navigation", name="Trace")
    crumbs = trail.get_by_role("button")
    explained = page.get_by_test_id("explained")
    expect(explained).to_have_text("attention score of head 23.3, ␣to reading ␣John, through its query")
    expect(crumbs).to_have_count(2)
    score = page.get_by_test_id("direction").inner_text()
    expect(crumbs.last).to_contain_text(f"(S = {score})")
    expect(page.get_by_test_id("accounting")).to_contain_text("adds up to S")
    expect(page.get_by_test_id("accounting")).to_contain_text("constant")
    # What explains a query at layer 23 lies before it.
    layers = [int(row.split(".")[1]) for row in node_ids(page) if not row.startswith(("embed", "bias"))]
    assert layers
    assert max(layers) < 23

    page.get_by_role("button", name="heads", exact=True).click()
    head = first_node_of(page, r"attn\.\d+\.\d+@\d+$")
    page.locator(f"[data-node='{head}']").click()
    page.get_by_test_id(f"tools-{head}").get_by_role("button", name="Trace through value").click()
    expect(crumbs).to_have_count(3)
    expect(explained).to_contain_text("as it moves the step before (attn.23.3@13←9)")

    page.get_by_role("button", name="neurons", exact=True).click()
    expect(page.locator("[data-node^='attn']")).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("t")
    page.keyboard.press("g")
    expect(crumbs).to_have_count(4)
    expect(explained).to_contain_text("gate of neuron")
    expect(page.get_by_test_id("accounting")).to_contain_text("adds up to S")

    page.go_back()
    expect(crumbs).to_have_count(3)
    expect(explained).to_contain_text("as it moves the step before")
    crumbs.nth(1).click()
    expect(crumbs).to_have_count(2)
    expect(page.get_by_test_id("direction")).to_have_text(score)
    page.reload()
    expect(page.get_by_test_id("direction")).to_have_text(score)
    crumbs.first.click()
    expect(trail).to_have_count(0)
    expect(page.get_by_test_id("direction")).to_have_text("+6.12")


def node_ids(page: Page) -> list[str]:
    return [row.get_attribute("data-node") or "" for row in page.locator("[data-node]").all()]


def first_node_of(page: Page, pattern: str) -> str:
    expect(page.locator("[data-node]").first).to_be_visible()
    return next(node for node in node_ids(page) if re.match(pattern, node))


def test_the_script_of_an_investigation_prints_the_numbers_of_the_page(page: Page) -> None:
    opened(page, "/?e=zero%3Aattn.21.5%4013&tr=attn.23.3%4013%3C-9%3Aq&v=30")
    measured(page)
    answer = page.get_by_role("region", name="Answer")
    score = number(page.get_by_test_id("direction").inner_text())
    answer.get_by_role("button", name="Copy JSON").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    document = json.loads(page.evaluate("navigator.clipboard.readText()"))
    expect(answer.get_by_role("button", name="Copied")).to_have_count(0)
    answer.get_by_role("button", name="Copy as Python").click()
    expect(answer.get_by_role("button", name="Copied")).to_be_visible()
    program = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    sides = re.search(r"^([+-]\S+) → ([+-]\S+) \(difference", done.stdout, re.MULTILINE)
    assert sides is not None
    assert float(sides[2]) == pytest.approx(score, rel=THREE_DIGITS)
    assert float(sides[1]) != float(sides[2])
    printed = tables(done.stdout)
    verified = {
        node["id"]: node["verified_effect"] for node in document["nodes"] if node["verified_effect"] is not None
    }
    assert len(verified) >= 10
    for node, effect in verified.items():
        assert printed[node]["verified_effect"] == pytest.approx(effect, rel=THREE_DIGITS, abs=1e-6)
    for node in document["nodes"]:
        for column in ("direct_effect", "estimated_effect"):
            assert printed[node["id"]][column] == pytest.approx(node[column], rel=THREE_DIGITS, abs=1e-6)


def tables(text: str) -> dict[str, dict[str, float]]:
    """The numbers of every table of nodes in what a script printed, by id."""
    found: dict[str, dict[str, float]] = {}
    names: list[str] = []
    for line in text.splitlines():
        fields = line.split()
        if fields[:2] == ["id", "kind"]:
            names = fields
        elif names and fields and fields[0].startswith("'"):
            row = dict(zip(names, fields, strict=True))
            numbers = {name: float(row[name]) for name in names if name.endswith("_effect") and row[name] != "–"}
            found.setdefault(fields[0].strip("'"), {}).update(numbers)
    return found


@pytest.mark.parametrize("path", [ABLATED, "/?tr=attn.23.3%4013%3C-9%3Aq&open=attn.21.5%4013"])
def test_a_narrow_screen_has_the_investigation(page: Page, path: str) -> None:
    page.set_viewport_size(NARROW)
    page.goto(path)
    expect(page.get_by_test_id("accounting")).to_contain_text("adds up to")
    expect(page.locator("[data-node]").first).to_be_visible()
    assert overflow(page) <= 0


def test_help_knows_the_keys_and_the_words(page: Page) -> None:
    opened(page)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    for text in ("switch the node off", "trace it upstream", "verify the node", "Verified effect", "Edit", "Trace"):
        expect(dialog).to_contain_text(text)
    page.keyboard.press("Escape")
    assert first_node(page)
