"""A real server with the real model, and the system's Chromium in front of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

import clew
from clew import settings
from clew.debug import Model

STATIC = Path(clew.__file__).parent / "_static" / "index.html"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# An answer takes a second on a quiet machine; on a busy one a test should wait rather than fail.
expect.set_options(timeout=30_000)

WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}


CLEW = (sys.executable, "-c", "from clew.cli import main; main()")
# Enough for every component to have examples; collecting it takes seconds.
TOKENS = 4096


def overflow(page: Page) -> int:
    """How many pixels of a page its screen is too narrow for."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@contextmanager
def serving(*options: str, home: Path | None = None) -> Iterator[str]:
    """The address of a `clew serve` with these options; `home` is its $CLEW_HOME if not the user's."""
    assert STATIC.exists(), "The page is not built: run `make page`."
    command = [*CLEW, "serve", "--port", "0", "--no-open", *options]
    env = os.environ if home is None else {**os.environ, "CLEW_HOME": str(home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        assert process.stdout is not None
        said = ""
        try:
            for line in process.stdout:
                said += line
                found = re.search(r"http://127\.0\.0\.1:\d+", line)
                if found:
                    yield found.group()
                    break
            else:
                pytest.fail(f"clew serve did not start:\n{said}")
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="package")
def atlas(smollm2: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small atlas, collected once; `smollm2` has made sure that the model is here."""
    folder = tmp_path_factory.mktemp("atlas") / "smollm2"
    command = [*CLEW, "collect", "smollm2", "--tokens", str(TOKENS), "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="package")
def server(atlas: Path) -> Iterator[str]:
    """The address of a server with an atlas, started once."""
    with serving("--atlas", str(atlas)) as address:
        yield address


@pytest.fixture
def bare_server(smollm2: Model, tmp_path: Path) -> Iterator[str]:
    """The address of a server without an atlas, in a home of its own to collect one into; the models are shared."""
    (tmp_path / "models").symlink_to(settings.models_folder())
    with serving(home=tmp_path) as address:
        yield address


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Closed with the package: Playwright keeps an event loop in this thread, in which asyncio.run would fail."""
    path = os.environ.get("CLEW_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console complained of; a test that expects a failed request clears it."""
    return []


@pytest.fixture
def page(browser: Browser, server: str, complaints: list[str]) -> Iterator[Page]:
    """A fresh visitor on a wide screen; the console must stay quiet."""
    context = browser.new_context(viewport=WIDE, base_url=server)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    opened = context.new_page()
    opened.set_default_timeout(30_000)

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    opened.on("console", listen)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert complaints == []
