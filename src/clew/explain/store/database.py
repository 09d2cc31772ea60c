"""Opening the database of explanations, and what can be wrong with it.

SQLite keeps one file with a log beside it (WAL): many read while one writes. Nothing here shows an address with its
password.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ... import settings
from ...disk import on_disk
from ...errors import BadDatabase, ClewError, NoSpace
from .schema import VERSION, metadata, version

_PATIENCE = 30.0  # seconds to wait for another program that writes
_ANOTHER = "Name another database in CLEW_DATABASE, or move that file away."
_LOCK = 0x636C6577  # of PostgreSQL, held while tables are made


def engine_of(url: str | None = None) -> Engine:
    """The database at a SQLAlchemy URL, by default the one that the settings name; made where there is none.

    Raises BadDatabase for one that cannot be opened, and NoSpace.
    """
    address = _address(settings.database() if url is None else url)
    if address.get_backend_name() == "sqlite":
        engine = _sqlite(address)
    else:
        engine = create_engine(address, pool_pre_ping=True, connect_args={"connect_timeout": int(_PATIENCE)})
    try:
        _prepare(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the database. Raises BadDatabase."""
    with _told(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction: all of what is done in it, or nothing. Raises BadDatabase or NoSpace."""
    with _told(engine), engine.connect().execution_options(clew_writes=True) as connection, connection.begin():
        yield connection


def _address(url: str) -> URL:
    """A URL that can be opened. Raises BadDatabase."""
    wanted = "Write sqlite:///FILE, or postgresql://USER@HOST/DATABASE."
    try:
        address = make_url(url)
        backend = address.get_backend_name()
    except (ArgumentError, ValueError) as error:
        # Not shown: it may hold a password.
        raise BadDatabase("The address of the database is no SQLAlchemy URL.", wanted) from error
    if backend == "sqlite":
        if not address.database or address.database == ":memory:" or address.database.startswith("file:"):
            raise BadDatabase("The address of the database names no file.", wanted)
        return address.set(drivername="sqlite+pysqlite")
    if backend != "postgresql":
        raise BadDatabase(f"Explanations cannot be kept in {backend}.", wanted)
    if find_spec("psycopg") is None:
        raise BadDatabase("PostgreSQL needs psycopg, which is not installed.", "Run: pip install 'clew[postgres]'")
    return address.set(drivername="postgresql+psycopg")


def _sqlite(address: URL) -> Engine:
    assert address.database is not None
    folder = Path(address.database).parent
    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": _PATIENCE, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: object) -> None:
        # Python would begin transactions by itself, and only before the first writing.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, a crash of this program loses nothing

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # One that reads first and writes then fails at once where another wrote in between: it waits for its turn here.
        writes = connection.get_execution_options().get("clew_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _prepare(engine: Engine) -> None:
    """Makes the tables where there are none. Raises BadDatabase and NoSpace."""
    if _version(engine) is None:
        if engine.dialect.name == "sqlite":
            _use_log(engine)
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            # Another program may have made them meanwhile.
            metadata.create_all(connection, checkfirst=True)
            if connection.scalar(select(version.c.version)) is None:
                connection.execute(version.insert().values(version=VERSION))
    found = _version(engine)
    if found is None or found > VERSION:
        raise BadDatabase(f"{_name(engine)} was made by a newer Clew.", "Update Clew, or name another database.")


def _version(engine: Engine) -> int | None:
    """Of the tables; None where there are none."""
    with reading(engine) as connection:
        if not inspect(connection).has_table(version.name):
            return None
        return connection.scalar(select(version.c.version))


def _use_log(engine: Engine) -> None:
    """Has SQLite write a log from now on, which the file remembers; not possible in a transaction."""
    with _told(engine):
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


@contextmanager
def _told(engine: Engine) -> Iterator[None]:
    """Says what is wrong with a database. Raises BadDatabase or NoSpace."""
    try:
        yield
    except PoolTimeout as error:
        raise BadDatabase(f"{_name(engine)} is busy with other requests.", "Try again in a moment.") from error
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        told = _sqlite_error(engine, cause) if isinstance(cause, sqlite3.Error) else _postgres_error(engine, error)
        if told is None:
            raise
        raise told from error


def _sqlite_error(engine: Engine, error: sqlite3.Error) -> ClewError | None:
    name = _name(engine)
    code = getattr(error, "sqlite_errorname", "")
    match code.split("_")[1] if code.startswith("SQLITE_") else "":
        case "NOTADB":
            return BadDatabase(f"{name} is not a database.", _ANOTHER)
        case "CORRUPT":
            return BadDatabase(f"{name} is damaged.", "Put a copy of it back, or move it away.")
        case "BUSY" | "LOCKED":
            return BadDatabase(f"Another program holds {name}.", "End that program, or try again in a moment.")
        case "READONLY" | "PERM":
            return BadDatabase(f"{name} cannot be written to.", "Let it be written to, or name another database.")
        case "CANTOPEN":
            return BadDatabase(f"{name} cannot be opened.", "Look at that file, or name another database.")
        case "FULL":
            return NoSpace(
                f"The disk of {name} is full; all that was complete is kept.", "Free some space and try again."
            )
        case "IOERR":
            return BadDatabase(f"The disk of {name} fails ({code}).", "Look at that disk.")
        case _:
            if "no such module" in str(error):
                return BadDatabase("This SQLite has no full-text search (FTS5).", "Use a Python whose SQLite has it.")
            return None


# Words of a server that speaks English; of another a refusal is told as no answer.
_REFUSALS = {
    r"authentication failed|role .* does not exist|no password supplied": "28P01",
    r"database .* does not exist": "3D000",
}
_REFUSED = "Look at the address, the user and the password of the database."


def _postgres_error(engine: Engine, error: DBAPIError | sqlite3.Error) -> ClewError | None:
    """By the error codes of PostgreSQL; without one it was never reached, refused the connection, or hung up."""
    name, cause = _name(engine), getattr(error, "orig", None)
    code = str(getattr(cause, "sqlstate", None) or "")
    if not code:  # psycopg passes on no code of a refusal, only the server's words
        code = next((code for words, code in _REFUSALS.items() if re.search(words, str(cause))), "")
    if code == "53100":
        return NoSpace(f"The disk of {name} is full; all that was complete is kept.", "Free some space and try again.")
    if code in ("28000", "28P01"):
        return BadDatabase(f"The {name} refuses this user or password.", _REFUSED)
    if code == "3D000":
        return BadDatabase(f"There is no {name}.", f"Make it: createdb {engine.url.database}")
    if code in ("42501", "25006"):
        return BadDatabase(f"The {name} does not let this user write.", _REFUSED)
    if code[:2] in ("08", "53", "57") or (not code and isinstance(error, (OperationalError, InterfaceError))):
        return BadDatabase(f"The {name} does not answer.", "Start it, or look at its address.")
    return None


def _name(engine: Engine) -> str:
    """A database in words: the file, or the place of a server's without user and password."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return f"database {url.database} of {url.host or 'this machine'}"
