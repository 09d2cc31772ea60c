"""What a language model is named by: MODEL@URL, MODEL alone, or local:MODEL."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ... import settings
from ...errors import UnknownLLM

LOCAL = "local:"

_ADDRESSED = re.compile(r"(?P<model>.*?)@(?P<url>[A-Za-z][A-Za-z0-9+.-]*:.*)", re.DOTALL)
_NO_SCHEME = re.compile(r"@(localhost|[\w.-]+:\d+|\[[0-9a-fA-F:]+\])(/|:|$)")
_SHOWN = 100  # characters of a reference in a message


@dataclass(frozen=True)
class Reference:
    """A model at an endpoint's base `url`, or in this process where that is None. Prints as it is written."""

    model: str
    url: str | None

    def __str__(self) -> str:
        return f"{LOCAL}{self.model}" if self.url is None else f"{self.model}@{self.url}"


def read_reference(text: str) -> Reference:
    """What a reference names, its address made uniform. Raises UnknownLLM.

    The first `@` that an address follows ends the model's name, which may hold others. A model alone is asked at
    $OPENAI_BASE_URL or OpenAI. An address without a path is given the `/v1` that every server of this protocol has.
    """
    text = text.strip()
    if text == "lookup":
        raise UnknownLLM(
            "lookup explains by counting tokens and is no language model to ask.",
            "Name one as MODEL@URL, or local:MODEL.",
        )
    if text.startswith(LOCAL):
        return Reference(_named(text.removeprefix(LOCAL), text), None)
    addressed = _ADDRESSED.fullmatch(text)
    if addressed is not None:
        return Reference(_named(addressed["model"], addressed["model"]), read_url(addressed["url"]))
    if _NO_SCHEME.search(text):
        raise UnknownLLM("The address of a language model has no scheme.", "Write MODEL@http://… or MODEL@https://….")
    return Reference(_named(text, text), read_url(os.environ.get("OPENAI_BASE_URL") or settings.LLM_URL))


def read_url(text: str) -> str:
    """An endpoint's base address, made uniform. Raises UnknownLLM, whose message never repeats what could be a key."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UnknownLLM("The address of the language model is none.", "Write http://HOST:PORT/v1.") from error
    if "@" in parts.netloc or "@" in parts.path.partition("/")[0]:
        raise UnknownLLM(
            "The address of the language model holds a name or a key, and addresses are stored.",
            "Leave it out, and put the key into the environment as CLEW_LLM_KEY.",
        )
    if parts.scheme not in ("http", "https"):
        raise UnknownLLM("Language models are asked by http and https alone.", "Write MODEL@http://HOST:PORT/v1.")
    if parts.query or parts.fragment:
        raise UnknownLLM(
            "The address of the language model has a query or fragment, and addresses are stored.",
            "End it with the path, such as /v1; a key goes into the environment as CLEW_LLM_KEY.",
        )
    if not host or not re.fullmatch(r"[\w.:%-]+", host) or not re.fullmatch(r"[!-~]*", parts.path):
        raise UnknownLLM("The address of the language model names no host.", "Write http://HOST:PORT/v1.")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path.rstrip('/') or '/v1'}"


def _named(model: str, text: str) -> str:
    if re.match(r"https?:", model, re.IGNORECASE):
        raise UnknownLLM("An address alone names no language model.", "Write MODEL@http://HOST:PORT/v1.")
    if not model.strip() or model != model.strip() or not model.isprintable() or len(model) > 500:
        raise UnknownLLM(
            f"{text[:_SHOWN]!r} names no language model.", "Write MODEL@URL, MODEL for OpenAI's, or local:MODEL."
        )
    return model
