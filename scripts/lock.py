"""Pins every package that Clew and its dev extra need into requirements.lock: `make lock`.

pip resolves as if into an empty environment. PyTorch's CUDA packages are left out: its Linux build from the index asks
for those it was made with, and its CPU build needs none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADER = "# Every package that Clew and its dev extra need, pinned. Made by `make lock`; do not edit.\n"
HELD = ["torch==2.13.0"]  # what the stated tolerances and benchmarks were measured with
CUDA = ("nvidia-", "cuda-", "triton")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"] + HELD
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    said = subprocess.run([*command, *wanted], stdout=subprocess.PIPE, check=True).stdout
    packages = [package["metadata"] for package in json.loads(said)["install"]]
    # A local version such as 2.13.0+cpu is a build of 2.13.0, and which one is the installing machine's business.
    pins = {p["name"]: p["version"].partition("+")[0] for p in packages}
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins, key=str.lower) if not name.lower().startswith(CUDA)]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
