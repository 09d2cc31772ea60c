"""What language models answered, kept by what they were asked: a run that is repeated, or goes on, asks nothing twice.

Neither the question nor any key is kept, only the digest of the one; so the answer to a long prompt is small.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from sqlalchemy import Engine, Table, select
from sqlalchemy.exc import IntegrityError

from ..llm.client import Answer, Chances, Request
from .database import reading, writing
from .schema import answers, dialects

_FORM = 1  # of what a digest is made from, and of what is kept


class Answers:
    """The answers and dialects in a database. Safe from several threads, and from several programs at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # SQLite lets one write at a time, and the others would look again and again whether it is their turn.
        self._lock = Lock()

    def known(self, asked: str, request: Request) -> Answer | None:
        """What `asked` answered before, marked as known. Raises BadDatabase."""
        with reading(self._engine) as connection:
            content = connection.scalar(select(answers.c.content).where(answers.c.key == _key(asked, request)))
        return None if content is None else _unpacked(content)

    def keep(self, asked: str, reference: str, request: Request, answer: Answer) -> None:
        """Kept when this returns, whatever happens next. Raises BadDatabase or NoSpace."""
        row = {"key": _key(asked, request), "reference": reference, "content": _packed(answer), "created": _now()}
        self._write(answers, row)

    def dialect(self, reference: str) -> Mapping[str, Any] | None:
        """What was found out about an endpoint before. Raises BadDatabase."""
        with reading(self._engine) as connection:
            return connection.scalar(select(dialects.c.content).where(dialects.c.reference == reference))

    def learn(self, reference: str, dialect: Mapping[str, Any]) -> None:
        """Keeps what was found out. Raises BadDatabase or NoSpace."""
        self._write(dialects, {"reference": reference, "content": dialect, "created": _now()})

    def _write(self, table: Table, row: Mapping[str, Any]) -> None:
        (key,) = table.primary_key
        with self._lock:
            try:
                with writing(self._engine) as connection:
                    connection.execute(table.delete().where(key == row[key.name]))
                    connection.execute(table.insert().values(row))
            except IntegrityError:
                pass  # another program wrote the same at this moment


def _key(asked: str, request: Request) -> bytes:
    """`asked` says who was, weights included where they are known."""
    text = json.dumps([_FORM, asked, asdict(request)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).digest()


def _packed(answer: Answer) -> bytes:
    return zlib.compress(json.dumps(asdict(answer), separators=(",", ":")).encode())


def _unpacked(content: bytes) -> Answer:
    fields = json.loads(zlib.decompress(content))
    fields |= {name: _chances(fields[name]) for name in ("tokens", "prompt")}
    return Answer(**{**fields, "known": True})


def _chances(rows: list[dict[str, Any]] | None) -> tuple[Chances, ...] | None:
    if rows is None:
        return None
    return tuple(Chances(row["text"], row["start"], tuple((name, value) for name, value in row["top"])) for row in rows)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
