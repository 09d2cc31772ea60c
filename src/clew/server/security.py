"""Who may ask: the machine's own pages, or whoever holds the token.

A server on 127.0.0.1 can still be reached by any web page its user opens: a foreign page can post to it, and a name
the page controls can be rebound to 127.0.0.1. So the Host must be a loopback name, and an Origin, where a browser
sends one, must be the server itself. With a token the server may answer to any name, since a foreign page does not
hold the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import settings
from ..errors import Forbidden
from .errors import reply, too_large

_COOKIE_S = 30 * 24 * 3600

# The page is one bundle from this server; styles are also set by its libraries at run time.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds the headers that keep the page to itself; answers of the API are never cached."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if is_api(scope["path"]):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)


class BodyLimit:
    """Refuses a body over the limit: at once when it declares its length, else as soon as too much has arrived."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > settings.MAX_BODY_BYTES:
            await reply(too_large())(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > settings.MAX_BODY_BYTES:
                # FastAPI lets this type alone through from where it reads a body.
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


class Guard:
    """Refuses foreign hosts and origins, and with a `token` whoever does not have it.

    The token is taken as `Authorization: Bearer TOKEN`, or once as `?token=TOKEN` in the page's address, which is
    answered with a cookie and the address without it.
    """

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app = app
        self._token = token
        self._proof = hashlib.sha256((token or "").encode()).hexdigest()
        # Browsers share cookies between the ports of a host: the name keeps two servers apart.
        self._cookie = "clew_" + hashlib.sha256(self._proof.encode()).hexdigest()[:12]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._check(scope) if scope["type"] == "http" else None
        await (self._app if answer is None else answer)(scope, receive, send)

    def _check(self, scope: Scope) -> Response | None:
        """The response that ends this request, None to let it through."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._token is None and not is_loopback(_name(host)):
            return reply(
                Forbidden(
                    f"This server does not answer to the name {_shown(host)}.",
                    "Open it as localhost or 127.0.0.1, or start it with --token to reach it by another name.",
                )
            )
        origin = headers.get("origin")
        if origin is not None and _origin_host(origin) != host.lower():
            return reply(
                Forbidden(f"A page from {_shown(origin)} may not use this server.", "Open the server's own page.")
            )
        return None if self._token is None else self._check_token(scope, headers)

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return None
        answer = self._without_token(scope)
        if answer is not None or _same(cookie_parser(headers.get("cookie", "")).get(self._cookie, ""), self._proof):
            return answer
        return reply(
            Forbidden(
                "This server wants a token.",
                "Open the address that `clew serve` printed, or send Authorization: Bearer TOKEN.",
            )
        )

    def _without_token(self, scope: Scope) -> Response | None:
        """A redirect to the page's address without its token, with the cookie set; None if it has no right one."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for key, value in query if key == "token"]
        if is_api(scope["path"]) or scope["method"] != "GET" or not any(map(self._is_token, given)):
            return None
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        # One leading slash: "//host" would lead to another server.
        path = "/" + scope["path"].lstrip("/\\")
        answer = RedirectResponse(path + ("?" + rest if rest else ""), 303)
        answer.set_cookie(self._cookie, self._proof, _COOKIE_S, httponly=True, samesite="lax")
        return answer

    def _is_token(self, given: str) -> bool:
        return self._token is not None and _same(given, self._token)


def is_api(path: str) -> bool:
    """Whether a path belongs to the API rather than the page."""
    return path == "/api" or path.startswith("/api/")


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine and no other can be meant by it."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def _origin_host(origin: str) -> str:
    """The host and port of an Origin, "" for `null` and what is no URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(host: str) -> str:
    """The name in a Host header, without port or brackets; "" for what is no host."""
    try:
        parts = urlsplit("//" + host)
        return parts.hostname or "" if parts.port is None or parts.port > 0 else ""
    except ValueError:
        return ""


def _shown(header: str) -> str:
    return repr(header if len(header) <= 60 else header[:57] + "...")
