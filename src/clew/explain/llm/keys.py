"""API keys: from the environment, to their own host, and nowhere else.

A key is in no reference, database, message or file. What a server says is searched for it, since some repeat what they
were sent; so is what the HTTP libraries log, which at level DEBUG includes a server's headers.
"""

from __future__ import annotations

import logging
import os
import re
from typing import Any
from urllib.parse import urlsplit

from ... import settings
from ...errors import UnknownLLM

OPENAI_KEY, OTHER_KEY = "OPENAI_API_KEY", "CLEW_LLM_KEY"
HIDDEN = "[key]"

_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_LOGGERS = ("openai", "httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))


class Key:
    """The key that an address is sent, or none. Only `secret` tells it."""

    __slots__ = ("_secret", "variable")

    def __init__(self, variable: str, secret: str) -> None:
        self.variable = variable
        self._secret = secret

    def __repr__(self) -> str:
        return f"Key({self.variable}, {'set' if self else 'not set'})"

    def __bool__(self) -> bool:
        return bool(self._secret)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key is not to be copied or stored")

    @property
    def for_openai(self) -> bool:
        return self.variable == OPENAI_KEY

    @property
    def secret(self) -> str:
        return self._secret

    def hidden(self, text: str) -> str:
        """A text without the key."""
        return text.replace(self._secret, HIDDEN) if self._secret else text

    def hidden_unread(self, text: str) -> str:
        """The same for a text that was to be JSON, where a key can be spelled in several ways."""
        plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace("\\", "")
        return HIDDEN if self.inside(plain) else text

    def hidden_in(self, document: Any) -> Any:
        """A JSON document without the key in any of its texts."""
        if isinstance(document, str):
            return self.hidden(document)
        if isinstance(document, list):
            return [self.hidden_in(item) for item in document]
        if isinstance(document, dict):
            return {self.hidden(name): self.hidden_in(item) for name, item in document.items()}
        return document

    def inside(self, text: str) -> bool:
        """Whether a text tells the key."""
        return bool(self._secret) and self._secret in text


def variable_of(url: str) -> str:
    """The environment variable whose key an address is sent: OPENAI_API_KEY is OpenAI's, and of the address in
    $OPENAI_BASE_URL, which its owner named for it; every other is sent $CLEW_LLM_KEY."""
    own = [settings.LLM_URL, os.environ.get("OPENAI_BASE_URL") or settings.LLM_URL]
    return OPENAI_KEY if _origin(url) in [_origin(one) for one in own] else OTHER_KEY


def key_of(url: str) -> Key:
    """The key for an address; keeps it out of the logs from now on. Raises UnknownLLM for one that cannot be sent."""
    variable = variable_of(url)
    secret = os.environ.get(variable, "").strip()
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise UnknownLLM(
            f"The key in {variable} holds characters that cannot be sent.", "Copy it again, without quotes or spaces."
        )
    key = Key(variable, secret)
    if key:
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_HIDES)
        _HIDES.keys[secret] = key
    return key


class _Hides(logging.Filter):
    """Takes keys out of what is logged, arguments and exceptions included."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Key] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        for key in tuple(self.keys.values()):
            if key.inside(said):
                said = key.hidden(said)
                record.msg, record.args = said, ()
        return True


_HIDES = _Hides()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
