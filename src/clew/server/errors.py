"""One shape for every error a client can meet: {"error": {"code", "message", "hint"}}.

An error the user can act on is a ClewError and keeps its own code and status. What only HTTP can get wrong has the
codes below. Anything else is a fault of ours: it is logged with its traceback and answered without details.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import settings
from ..errors import BadText, BodyTooLarge, Busy, ClewError, UsageError

logger = logging.getLogger("clew.server")

RETRY_AFTER_S = 1


class BadJson(UsageError):
    """A body that is not JSON."""

    code = "bad_json"
    status = 400


class NotFound(UsageError):
    """A path that the server does not have."""

    code = "not_found"
    status = 404


class MethodNotAllowed(UsageError):
    """A path asked with the wrong method."""

    code = "method_not_allowed"
    status = 405


class Internal(ClewError):
    """A fault of Clew itself."""

    code = "internal"


def body(error: ClewError) -> dict[str, Any]:
    """The one shape."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def reply(error: ClewError, headers: Mapping[str, str] | None = None) -> Response:
    """The response that carries an error. Characters JSON or UTF-8 cannot hold arrive escaped."""
    extra = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, Busy) else {}
    return Response(json.dumps(body(error)), error.status, {**extra, **(headers or {})}, media_type="application/json")


def install(app: FastAPI) -> None:
    """Answer the app's known exceptions in the one shape; `Faults` answers the rest."""
    app.add_exception_handler(ClewError, _clew_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)


class Faults:
    """Answers whatever no handler knows, and logs it; nothing of it reaches the client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            answer = reply(Internal("Clew failed to answer this.", "The server's log says why; please report it."))
            await answer(scope, receive, send)


async def _clew_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClewError)
    return reply(error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return reply(explain(error.errors()))


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):
        headers["Allow"] = ", ".join(methods)
    return reply(_of_status(request, error.status_code, headers), headers)


def _methods(request: Request) -> list[str]:
    """All methods that a path of the API answers: the router, which asks one operation after another, names one's."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    asked = request.scope["path"]
    fitting = [path for path in paths if re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(path)), asked)]
    # Of several the one that is spelled out furthest: prompt before {component}.
    best = max(fitting, key=lambda path: len(re.sub(r"\{\w+\}", "", path)), default=None)
    return [] if best is None else sorted(method.upper() for method in paths[best])


def _of_status(request: Request, status: int, headers: Mapping[str, str]) -> ClewError:
    path = _cut(request.scope["path"])
    match status:
        case 400:
            return BadJson("The body cannot be read as JSON.", "Send UTF-8 JSON.")
        case 404:
            return NotFound(f"There is no {path} here.", "GET /api/openapi.json lists what there is.")
        case 405:
            allowed = headers.get("Allow", "another method")
            return MethodNotAllowed(f"{path} does not answer {request.method}.", f"Use {allowed}.")
        case 413:
            return too_large()
        case _:
            raise RuntimeError(f"no error code for HTTP status {status}")


def too_large() -> BodyTooLarge:
    """The error for a body over the limit."""
    return BodyTooLarge(f"The body is over {settings.MAX_BODY_BYTES:,} bytes.", "Send a shorter prompt.")


def explain(problems: Sequence[Mapping[str, Any]]) -> ClewError:
    """One readable sentence about the first of pydantic's complaints, naming its field."""
    first = problems[0]
    place = list(first["loc"])[1:]
    if first["type"] == "json_invalid":
        return BadJson(f"The body is not JSON: {first['ctx']['error']} at character {place[0]}.", "Check the brackets.")
    name = _name(place)
    if first["type"] == "string_unicode":
        return BadText(
            f"{name} holds a lone surrogate, half of a character, which no tokenizer can take.",
            "It usually comes from a cut-off copy and paste: type that character again.",
        )
    more = len(problems) - 1
    others = f"{more} more {'field is' if more == 1 else 'fields are'} wrong too. " if more else ""
    return UsageError(_sentence(name, place, first), others + "GET /api/openapi.json describes every field.")


def _sentence(name: str, place: Sequence[str | int], problem: Mapping[str, Any]) -> str:
    match problem["type"]:
        case "missing":
            return f"{name} is missing."
        case "extra_forbidden":
            return f"{name} is not a field of this request."
        case _ if not place:
            return "The body must be a JSON object, sent with Content-Type: application/json."
        case _:
            _, _, rest = problem["msg"].partition(" should ")
            return f"{name} must {rest}."


def _name(place: Sequence[str | int]) -> str:
    """`layers[0]` for ("layers", 0). A field's name is the client's own text, so it is cut and escaped."""
    if not place:
        return "The body"
    head, *rest = place
    path = str(head) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    return _cut(path).encode("ascii", "backslashreplace").decode()


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
