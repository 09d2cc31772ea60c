"""JSON documents that language models answer with."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def document_of(text: str) -> Any:
    """The JSON document that an answer is, also in a fence of Markdown; None when it is none."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json")
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are no JSON
