"""One request over HTTP, through the `openai` library: what came back, or what went wrong and whether it may pass.

The library's own retries are off; ours honour what a server says of its limits. A body is read piece by piece, so that
the time limit holds for the whole answer, however slowly it drips.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from weakref import finalize

import httpx2
import openai
from openai import OpenAI

from ...errors import LLMFailed, UnknownLLM
from .dialect import CHAT, EMBEDDINGS, PROMPT_LOGPROBS
from .keys import Key, key_of
from .references import Reference
from .replies import message_of
from .waiting import asked_to_wait

_CONNECT = 10.0  # seconds
_MOST_BYTES = 64_000_000  # of a body
_PASSING = (408, 409, 425, 429)
# What OpenAI says with status 429 though no waiting helps.
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_LIMITS = ("x-ratelimit-", "retry-after")
_OPENAI = frozenset(("openai-organization", "openai-project"))
_SENT = frozenset((
    "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host",
    "transfer-encoding", "user-agent",
))  # fmt: skip
_OWN = "x-stainless-"  # the library's notes on itself, which it reads again
_AWAY = "See whether it runs and whether its address is right. What was answered is kept."
_LATER = "Run it again later: what was answered is kept."
_PROTOCOL = "See whether it speaks OpenAI's protocol at this address."
_SLOW = "Give it more time, or ask less of it at once. What was answered is kept."


class Passing(Exception):
    """Something that may go away when it is tried again, after `wait` seconds where the server said so.

    `reached`: there was a server. `paid`: it may have read the prompt, and charge for it.
    """

    def __init__(
        self, failure: LLMFailed, wait: float | None = None, *, reached: bool = True, paid: bool = False
    ) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait = wait
        self.reached = reached
        self.paid = paid


class Refused(Exception):
    """An endpoint's answer that it will not do this, now or later."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


@dataclass(frozen=True)
class Reply:
    """What came back, the key taken out. `body` is the JSON document, None where it is none."""

    status: int
    headers: Mapping[str, str]
    text: str
    body: Any

    @property
    def wait(self) -> float | None:
        """Seconds until the next request may be sent, where the server says so."""
        return asked_to_wait(self.headers, self.status >= 400)


class Wire:
    """A connection to the endpoint of a reference; safe from several threads."""

    def __init__(self, reference: Reference, timeout: float, connections: int) -> None:
        assert reference.url is not None
        self.name = str(reference)
        self.key = key_of(reference.url)
        self._timeout = timeout
        self._client = client_of(reference.url, self.key, timeout, connections)
        # Connections go with whoever forgot to close them.
        self._closing = finalize(self, self._client.close)

    def close(self) -> None:
        self._closing()

    def send(self, way: str, fields: Mapping[str, Any]) -> Reply:
        """The reply, whatever its status. Raises Passing when there is none, or it breaks off."""
        try:
            return self._send(way, fields)
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            unsent = isinstance(error.__cause__ or error, (httpx2.ConnectTimeout, httpx2.PoolTimeout))
            told = f"{self.name} gave no whole answer within {self._timeout:g} s."
            failed = Passing(LLMFailed(told, _SLOW, kind="timeout"), reached=not unsent, paid=not unsent)
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
            if isinstance(cause, (httpx2.ConnectError, httpx2.UnsupportedProtocol, httpx2.ProxyError)):
                failed = Passing(LLMFailed(f"{self.name} cannot be reached.", _AWAY), reached=False)
            else:
                failed = Passing(LLMFailed(f"{self.name} broke its answer off.", _AWAY, kind="truncated"), paid=True)
        # Raised out here: the library's error holds the request, and with it the key.
        raise failed

    def _send(self, way: str, fields: Mapping[str, Any]) -> Reply:
        end = time.monotonic() + self._timeout
        client = self._client
        ways = {CHAT: client.chat.completions, EMBEDDINGS: client.embeddings}
        resource: Any = ways.get(way, client.completions)
        ours = {name: value for name, value in fields.items() if name != PROMPT_LOGPROBS}
        more = {PROMPT_LOGPROBS: fields[PROMPT_LOGPROBS]} if PROMPT_LOGPROBS in fields else None
        try:
            with resource.with_streaming_response.create(**ours, extra_body=more) as response:
                pieces, size = [], 0
                for piece in response.iter_bytes():
                    pieces.append(piece)
                    size += len(piece)
                    if time.monotonic() > end:
                        raise httpx2.ReadTimeout("")
                    if size > _MOST_BYTES:
                        raise httpx2.RemoteProtocolError("")
                return self._reply(response.status_code, response.headers, b"".join(pieces))
        except openai.APIStatusError as error:
            return self._reply(error.response.status_code, error.response.headers, error.response.content)

    def _reply(self, status: int, headers: Mapping[str, str], content: bytes) -> Reply:
        kept = {name.lower(): value for name, value in headers.items() if name.lower().startswith(_LIMITS)}
        text = self.key.hidden(content.decode("utf-8", "replace"))
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = None
        if self.key and "\\" in text:  # JSON has several ways to write a sign
            body, text = self.key.hidden_in(body), self.key.hidden_unread(text)
        return Reply(status, kept, text, body)


def client_of(url: str, key: Key, timeout: float, connections: int) -> OpenAI:
    """The `openai` library's client of an address, which is sent this key and nothing else of the environment.

    By itself the library takes an organisation, a project and any headers from there, all meant for OpenAI.
    """
    sent = _SENT | _OPENAI if key.for_openai else _SENT

    def strip(request: httpx2.Request) -> None:
        for name in [one for one in request.headers if one not in sent and not one.startswith(_OWN)]:
            del request.headers[name]
        if key:
            request.headers["authorization"] = f"Bearer {key.secret}"
        else:
            request.headers.pop("authorization", None)

    transport = httpx2.Client(
        timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT)),
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,  # what it is sent, key and all, is not for whoever it names
        event_hooks={"request": [strip]},
    )
    return OpenAI(
        api_key=key.secret or "none",
        admin_api_key="",
        base_url=url,
        max_retries=0,
        timeout=timeout,
        http_client=transport,
    )


def checked(reply: Reply, name: str) -> Any:
    """The JSON document of a reply that is one. Raises Passing or Refused."""
    body, status = reply.body, reply.status
    error = body.get("error") if isinstance(body, Mapping) else None
    # Some gateways answer 200 and put the error that they met into the body.
    if status < 300 and error and "choices" not in body:
        given = error.get("code") if isinstance(error, Mapping) else None
        status = given if isinstance(given, int) and 400 <= given < 600 else 500
    if status < 300 and body is not None:
        return body
    said = message_of(body, reply.text) or "nothing"
    if status < 300:
        cut = reply.text.lstrip()[:1] in ("{", "[")
        told = f"{name} broke its answer off." if cut else f"{name} answered with something else than JSON: {said}"
        raise Passing(LLMFailed(told, _PROTOCOL, kind="truncated" if cut else "malformed"), paid=True)
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, Mapping) else ""
    if status >= 500 or (status in _PASSING and code not in _SPENT):
        wait = "" if reply.wait is None else f" (asks to wait for {reply.wait:,.0f} s)"
        raise Passing(LLMFailed(f"{name} answered {_status(status)}: {said}{wait}", _LATER), reply.wait)
    raise Refused(status, said, code)


def told(refused: Refused, name: str, key: Key) -> UnknownLLM | LLMFailed:
    """What a refusal means, in words."""
    sentence = f"{name} answered {_status(refused.status)}: {refused.message}"
    if refused.code in _SPENT or refused.status == 402:
        return UnknownLLM(sentence, "Its account can pay for nothing more.")
    if refused.status in (401, 403):
        missing = f"Put the key into the environment as {key.variable}." if not key else f"Check {key.variable}."
        return UnknownLLM(sentence, missing)
    if refused.status == 404:
        return UnknownLLM(sentence, "Check the model's name, and whether the address ends in /v1.")
    if 300 <= refused.status < 400:
        return UnknownLLM(sentence, "It sends on to another address, which a key is not sent to: name that one.")
    return LLMFailed(sentence, "It will say so again: change what is asked, or ask another.", kind="refused")


def _status(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)
