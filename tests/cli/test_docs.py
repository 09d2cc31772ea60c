"""Every command, option, setting and error code is in the docs, and nothing else is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from clew import errors, settings
from clew.debug.run import Run
from clew.edits import OPS, VALUED, parse_edit, parse_place
from clew.errors import ClewError
from clew.server import errors as http_errors

from .conftest import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


def test_every_command_has_its_section() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## clew ([\w ]+)$", text, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    shared = text.partition("\n## ")[0]
    section = text.partition(f"\n## clew {name}\n")[2].partition("\n## ")[0]
    options = {
        option
        for parameter in COMMANDS[name].params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--") and option != "--help"
    }
    assert {option for option in options if f"`{option}`" not in shared + section} == set()
    documented = set(re.findall(r"^\| `(--[a-z-]+)`", section, re.MULTILINE))
    assert documented - options == set()


def test_every_setting_is_documented() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    names = {name for name in vars(settings) if name.isupper()}
    variables = set(re.findall(r"(?<!_)CLEW_[A-Z_]+", "".join(_sources())))
    assert {name for name in names | variables if f"`{name}`" not in text} == set()
    others = {"HF_TOKEN", "OPENAI_API_KEY", "OPENAI_BASE_URL"}
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", text)) - names - variables == others


def test_every_error_has_its_section() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    classes = {
        error
        for module in (errors, http_errors)
        for error in vars(module).values()
        if isinstance(error, type) and issubclass(error, ClewError)
    }
    codes = {error.code for error in classes}
    assert len(codes) == len(classes), "two errors share a code"
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == sorted(codes)
    for error in classes:
        section = text.partition(f"\n## {error.code}\n\n")[2].partition("\n## ")[0]
        facts = section.splitlines()[0].split(" · ")
        if error.__module__ == errors.__name__:
            assert facts[0] == f"`{error.__name__}`"
        stated = {fact for fact in facts if fact.startswith(("HTTP", "exit"))}
        assert stated <= {f"HTTP {error.status}", f"exit {error.exit_code}"}, error
        assert stated, error


def test_every_edit_is_documented() -> None:
    text = (DOCS / "interventions.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z]+)`(?: = [a-z])? \|", text, re.MULTILINE)) - {"embed"} == set(OPS)
    valued = set(re.findall(r"^\| `([a-z]+)` = [a-z] \|", text, re.MULTILINE))
    assert valued == set(VALUED)
    for edit in re.findall(r"\b(?:" + "|".join(OPS) + r"):[a-z]+[^\s`'\",)…]*", text):
        assert str(parse_edit(edit)) == edit


def test_the_readme_names_what_a_run_has() -> None:
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    listed = text.partition("What a run can do:\n\n")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", listed)
    assert {"verify", "patch", "trace"} <= set(names)
    assert [name for name in [*names, *re.findall(r"\brun\.(\w+)", text)] if not hasattr(Run, name)] == []


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, _, anchor in re.findall(r"\]\(([\w./-]+\.md)?(#([\w-]+))?\)", page.read_text(encoding="utf-8")):
        other = page.parent / target if target else page
        assert other.exists(), target
        headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{target}#{anchor}"


def _lines() -> list[str]:
    """The command lines on all pages that are whole: without an ellipsis, comments dropped."""
    pages = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    found = re.findall(r"^(?: {4})?(?:\.venv/bin/)?(clew [a-z]+ .+)$", text, re.MULTILINE)
    return [line for line in dict.fromkeys(found) if "…" not in line and "PROMPT" not in line]


@pytest.mark.parametrize("line", _lines(), ids=lambda line: line[:80])
def test_every_command_line_can_be_given(line: str) -> None:
    _, *words = shlex.split(line, comments=True)
    length = next(length for length in (2, 1) if " ".join(words[:length]) in COMMANDS)
    name, arguments = " ".join(words[:length]), words[length:]
    given = COMMANDS[name].make_context(name, arguments).params
    for edit in given.get("edit") or ():
        assert str(parse_edit(edit)) == edit
    for place in given.get("patch") or ():
        assert str(parse_place(place)) == place


def _sources() -> list[str]:
    root = Path(settings.__file__).parent
    return [path.read_text(encoding="utf-8") for path in root.rglob("*.py")]
