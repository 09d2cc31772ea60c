"""Builds the web page into the package when a wheel or an sdist is made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NEEDED = "Packing Clew builds its web page, which needs Node 20.19 or 22.12 or newer"


class PageHook(BuildHookInterface):
    """A wheel without the page would be a server of nothing: build it, or fail and say what to do."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is the target's kind of build; an editable install serves what `make page` builds."""
        if version == "editable":
            return
        root = Path(self.root)
        if (root / "PKG-INFO").exists():  # an unpacked sdist, which carries the page it was packed with
            if not (root / "src" / "clew" / "_static" / "index.html").exists():
                raise RuntimeError("This sdist lacks the built web page: pack it again from a checkout.")
            return
        npm = _npm()
        lock, installed = root / "web" / "package-lock.json", root / "web" / "node_modules" / ".package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            self._run(npm, "ci", "--no-fund", "--no-audit")
        self._run(npm, "run", "build")

    def _run(self, npm: str, *arguments: str) -> None:
        done = subprocess.run(
            [npm, *arguments], cwd=Path(self.root) / "web", capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"`npm {' '.join(arguments)}` failed in web/:\n{done.stdout}{done.stderr}")


def _npm() -> str:
    """The npm to build with. Raises RuntimeError, saying what to install, without Node or with an old one."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise RuntimeError(f"{NEEDED}, with npm: install it.")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    version = tuple(int(part) for part in said.lstrip("v").split(".")[:2])
    if not ((20, 19) <= version < (21,) or version >= (22, 12)):
        raise RuntimeError(f"{NEEDED}, and this is {said}.")
    return npm
