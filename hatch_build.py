"""Builds the web page into the package when a wheel or an sdist is made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):
    """A wheel without the page would be a server of nothing: build it, or fail and say what to do."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        page = root / "src" / "clew" / "_static" / "index.html"
        if not (root / "web" / "src").is_dir():
            if not page.exists():
                raise RuntimeError("Neither the built page nor its sources are here: build from a full checkout.")
            return
        if page.exists() and not self._stale(root, page):
            return
        npm = shutil.which("npm")
        if npm is None:
            if page.exists() and not (root / ".git").exists():
                return  # an unpacked sdist carries the page it was made with
            raise RuntimeError("Building Clew builds its web page, which needs Node 20 or newer: install it and retry.")
        for command in ((npm, "ci"), (npm, "run", "build")):
            if subprocess.run(command, cwd=root / "web", check=False).returncode != 0:
                raise RuntimeError(f"`{' '.join(command[1:])}` failed in web/; its output above says why.")

    @staticmethod
    def _stale(root: Path, page: Path) -> bool:
        """Whether any source of the page is newer than it (files of an unpacked sdist share one date order)."""
        if not (root / ".git").exists():
            return False
        skipped = {"node_modules", "dist"}
        sources = [p for p in (root / "web").rglob("*") if p.is_file() and not skipped & set(p.parts)]
        return any(source.stat().st_mtime > page.stat().st_mtime for source in sources)
