"""Long work as server-sent events: each as it is ready, an `error` event for what fails on the way.

WHATWG HTML, "Server-sent events": `event: NAME`, `data: JSON`, an empty line.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import Cancelled, ClewError
from .errors import Internal, body

# Marks an operation of openapi.json whose answer comes as events.
STREAMS: dict[str, Any] = {"x-stream": True}

logger = logging.getLogger("clew.server")


def event(name: str, data: bytes) -> bytes:
    """One event; `data` is JSON, which has no line ends."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class EventStream(Response):
    """A response that sends events until there are no more. `events` is closed when the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self._events:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Cancelled:
            return  # nobody listens any more
        except ClewError as error:
            await self._end(send, body(error))
            return
        except Exception:
            logger.exception("%s %s failed after its first event", scope["method"], scope["path"])
            await self._end(
                send, body(Internal("Clew failed to go on.", "The server's log says why; please report it."))
            )
            return
        finally:
            await self._events.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _end(send: Send, error: dict[str, Any]) -> None:
        await send({"type": "http.response.body", "body": event("error", json.dumps(error).encode())})


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """openapi.json's document, the answers of streams described as events: FastAPI takes a typed reply for JSON.

    Each event is an object of its fields, whose data is JSON of one of the reply's models.
    """
    for methods in document["paths"].values():
        for operation in methods.values():
            if STREAMS.items() <= operation.items():
                answer = operation["responses"]["200"]
                reply = answer["content"].pop("application/json")["schema"]
                models = reply.get("anyOf", [reply])
                answer["content"][EventStream.media_type] = {
                    "schema": {"anyOf": [_event_of(model) for model in models]}
                }
    return document


def _event_of(model: dict[str, Any]) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": model}
    properties = {"event": {"type": "string"}, "data": data}
    return {"type": "object", "properties": properties, "required": list(properties)}
