"""What some contexts gave, in one file: written whole or not at all, found damaged by its name, merged exactly.

A file is named FIRST-END.DIGEST.safetensors after the contexts [FIRST, END) it covers and the SHA-256 of its bytes, so
one rename makes it complete, and nobody else's word is needed to know that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..disk import digest, sync
from .best import merged
from .blocks import Keep

State = dict[str, Tensor]

_DIGITS = 16  # of a digest, in a name
_NAME = re.compile(rf"(\d+)-(\d+)\.([0-9a-f]{{{_DIGITS}}})\.safetensors")
_ADDED = ("sums", "count", "histogram", "octaves", "mixed", "types", "rows")


@dataclass(frozen=True)
class Partial:
    """A partial file and the contexts [first, end) that it covers."""

    path: Path
    first: int
    end: int

    @contextmanager
    def opened(self) -> Iterator[Source]:
        """Reads one block after another; the file is mapped, not loaded."""
        with safe_open(self.path, "pt") as file:
            names = list(file.keys())
            yield Source(file, names)


class Source:
    """An open partial."""

    def __init__(self, file: safe_open, names: list[str]) -> None:
        self._file, self._names = file, names

    def block(self, site: str) -> State:
        """The state of one block."""
        prefix = f"{site}/"
        return {
            name.removeprefix(prefix): self._file.get_tensor(name) for name in self._names if name.startswith(prefix)
        }


def start_of(first: int, end: int) -> str:
    """What the name of a partial of these contexts begins with."""
    return f"{first:09d}-{end:09d}."


def save(folder: Path, first: int, end: int, blocks: Iterable[tuple[str, State]]) -> Partial:
    """Write a partial. Raises OSError when the disk is full; nothing half-written keeps a partial's name."""
    tensors = {f"{site}/{name}": tensor.contiguous().cpu() for site, state in blocks for name, tensor in state.items()}
    # A worker that was given up may be at the same one.
    unfinished = folder / f"{start_of(first, end)}{uuid4().hex[:8]}.partial"
    try:
        save_file(tensors, unfinished)
    except Exception as error:
        unfinished.unlink(missing_ok=True)
        # safetensors gives the system's error as text alone.
        if "os error 28" in str(error) or "No space" in str(error):
            raise OSError(28, "No space left on device") from error
        raise
    sync(unfinished)
    path = folder / f"{start_of(first, end)}{digest(unfinished)[:_DIGITS]}.safetensors"
    unfinished.rename(path)
    return Partial(path, first, end)


def found(folder: Path) -> tuple[list[Partial], list[Path]]:
    """The whole partials of a folder in order, and the damaged ones. One inside another is a leftover and removed."""
    whole: list[Partial] = []
    damaged: list[Path] = []
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None:
            if path.suffix == ".partial":
                path.unlink()
            continue
        if digest(path)[:_DIGITS] == match[3]:
            whole.append(Partial(path, int(match[1]), int(match[2])))
        else:
            damaged.append(path)
    return _outermost(whole), damaged


def listed(folder: Path) -> list[Partial]:
    """The partials of a folder in order, their bytes not checked again."""
    matches = [(path, _NAME.fullmatch(path.name)) for path in folder.iterdir()]
    return _outermost([Partial(path, int(match[1]), int(match[2])) for path, match in matches if match])


def _outermost(whole: list[Partial]) -> list[Partial]:
    kept: list[Partial] = []
    for partial in sorted(whole, key=lambda one: (one.first, -one.end)):
        if kept and partial.end <= kept[-1].end:
            partial.path.unlink()
        else:
            kept.append(partial)
    return kept


def joined(folder: Path, partials: list[Partial], sites: Iterable[str], keep: Keep) -> Partial:
    """One partial in place of several that follow each other."""
    with ExitStack() as stack:
        sources = [stack.enter_context(partial.opened()) for partial in partials]
        blocks = [(site, merge([source.block(site) for source in sources], keep)) for site in sites]
    whole = save(folder, partials[0].first, partials[-1].end, blocks)
    for partial in partials:
        partial.path.unlink()
    return whole


def merge(states: list[State], keep: Keep) -> State:
    """The state of all contexts that the given ones cover, whatever their order and grouping."""
    if len(states) == 1:
        return states[0]
    total: State = {}
    for name in _ADDED:
        if name in states[0]:
            total[name] = torch.stack([state[name] for state in states]).sum(0)
    total["minimum"] = torch.stack([state["minimum"] for state in states]).amin(0)
    total["maximum"] = torch.stack([state["maximum"] for state in states]).amax(0)
    for kind, k in (("top", keep.top), ("bottom", keep.bottom)):
        parts = [_part(state, kind) for state in states]
        if parts[0]:
            total |= _named(kind, merged(parts, k))
    total |= _named("band", _merge_bands([_part(state, "band") for state in states], keep))
    parts = [_part(state, "random") for state in states]
    together = {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
    at = torch.argsort(together["context"][0], stable=True)
    return total | _named("random", {name: field[:, at] for name, field in together.items()})


def _merge_bands(parts: list[State], keep: Keep) -> State:
    """Bands count down from the highest octave: those of each state are moved to where the common highest puts them."""
    highest = torch.stack([part["octave"] for part in parts]).amax(0)
    n, bands = len(highest), keep.bands
    moved = []
    for part in parts:
        source = torch.arange(bands) - (highest - part["octave"])[:, None]
        # Nothing was seen at octave −1, and its empty slots may stand anywhere.
        gone = (source < 0) | (part["octave"] < 0)[:, None]
        at = source.clamp(min=0).long()
        rows = torch.arange(n)[:, None]
        fields = {name: field[rows, at].clone() for name, field in part.items() if name != "octave"}
        fields["key"][gone] = -torch.inf
        fields["context"][gone] = -1
        moved.append({name: field.flatten(0, 1) for name, field in fields.items()})
    kept = merged(moved, keep.band)
    return {name: field.unflatten(0, (n, bands)) for name, field in kept.items()} | {"octave": highest}


def _part(state: State, kind: str) -> State:
    prefix = f"{kind}."
    return {name.removeprefix(prefix): field for name, field in state.items() if name.startswith(prefix)}


def _named(kind: str, state: State) -> State:
    return {f"{kind}.{name}": field for name, field in state.items()}
