"""Files of JSON, a document a line, packed by gzip or not; and what is told of an import."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import BadRecord
from ...records import Record

Progress = Callable[[int, int], None]  # files done, and how many there can be

_AGAIN = "Get that file again, or leave it out."
_PACKED = b"\x1f\x8b"  # what a gzip file begins with


@dataclass(frozen=True)
class Imported(Record):
    """What an import found: `components` with words, `explanations` of them and `scores` of these; `missing` files that
    are not there; `damaged`: a sentence for each file that could not be read, of which nothing was imported; `unread`:
    what there was besides, by name, and how many of each."""

    components: int
    explanations: int
    scores: int
    missing: int
    damaged: Sequence[str]
    unread: Mapping[str, int]


def wrong(name: str, what: str) -> BadRecord:
    """What is wrong with a file."""
    return BadRecord(f"{name} {what}.", _AGAIN)


def documents(content: bytes, name: str) -> list[dict[str, Any]]:
    """The objects of a file: one a line, or a list of them. Raises BadRecord, naming the file and what is wrong."""
    if content.startswith(_PACKED):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise wrong(name, "is cut short or damaged: it cannot be unpacked") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise wrong(name, "is not text") from error
    if text.lstrip().startswith("["):
        found = _json(text, name, "is not whole JSON")
    else:
        # Not splitlines: JSON may hold other line ends, such as U+2028.
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [_json(line, name, f"is not whole JSON in line {number}") for number, line in lines]
    if not found:
        raise wrong(name, "is empty")
    if not all(isinstance(document, dict) for document in found):
        raise wrong(name, "holds something that is not an object")
    return found


def field(document: Mapping[str, Any], key: str, kind: type | tuple[type, ...], name: str) -> Any:
    """A field that must be there and of a kind. Raises BadRecord."""
    value = document.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise wrong(name, f"has no {key}" if key not in document else f"has a {key} of another kind than is known")
    return value


def number(document: Mapping[str, Any], key: str, name: str) -> float | None:
    """A number, None for one that is missing or not finite. Raises BadRecord."""
    if document.get(key) is None:
        return None
    try:
        value = float(field(document, key, (int, float), name))
    except OverflowError as error:
        raise wrong(name, f"has a {key} that is too large for a number") from error
    return value if abs(value) < float("inf") else None


def _json(text: str, name: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise wrong(name, what) from error
