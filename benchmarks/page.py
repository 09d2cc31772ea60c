"""How long the page takes from the server's answer to a painted table, in the system's Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from clew.settings import EXAMPLE_DISTRACTOR, EXAMPLE_PROMPT, EXAMPLE_TARGET

if TYPE_CHECKING:
    from playwright.sync_api import Page

MEASURE = "clew:answer-to-paint"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
ROUNDS = 5


def answer_to_paint() -> float:
    """Median seconds over five loads of the example, as the page itself marks them (performance.measure)."""
    from playwright.sync_api import sync_playwright

    query = f"p={quote(EXAMPLE_PROMPT)}&t={quote(EXAMPLE_TARGET)}&d={quote(EXAMPLE_DISTRACTOR)}"
    browser_path = os.environ.get("CLEW_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    port = _free_port()
    clew = str(Path(sys.executable).with_name("clew"))
    server = subprocess.Popen([clew, "serve", "--port", str(port), "--no-open"], stdout=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/api/status")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
            seconds = []
            for _ in range(ROUNDS):
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.goto(f"http://127.0.0.1:{port}/?{query}")
                seconds.append(_painted(page) / 1000)
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return statistics.median(seconds)


def _painted(page: Page) -> float:
    """Milliseconds from answer to paint. Polled: the page's security policy forbids evaluating a predicate in it."""
    for _ in range(300):
        durations = page.evaluate(f"performance.getEntriesByName('{MEASURE}').map((entry) => entry.duration)")
        if durations:
            return durations[0]
        page.wait_for_timeout(100)
    raise TimeoutError("The page painted no answer within half a minute.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(f"The server did not answer at {url} within a minute.")
