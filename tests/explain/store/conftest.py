"""Databases to keep explanations in: SQLite always, PostgreSQL where its server is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from clew.explain.store.explanations import Explanations

_USER = "tester"


def _programs() -> Path | None:
    """The folder of initdb and postgres; Debian keeps it out of PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _owner() -> str | None:
    """Whom the server runs as: oneself, but PostgreSQL refuses root. None: nobody is there."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of this machine, with nothing in it."""
    programs, owner = _programs(), _owner()
    if programs is None or owner is None or find_spec("psycopg") is None:
        pytest.skip("PostgreSQL or psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="clew-pg-"))
    who = {"user": owner} if os.getuid() == 0 else {}
    shutil.chown(folder, owner)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    try:
        made = [programs / "initdb", "-D", folder / "data", "-U", _USER, "-A", "trust", "-N", "-E", "UTF8"]
        subprocess.run(made, check=True, timeout=120, **quiet, **who)  # type: ignore[call-overload]
        settings = ("listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "shared_buffers=32MB")
        arguments = [part for one in settings for part in ("-c", one)]
        server = subprocess.Popen([programs / "postgres", "-D", folder / "data", *arguments], **quiet, **who)  # type: ignore[call-overload]
        try:
            url = f"postgresql+psycopg://{_USER}@/postgres?host={folder}"
            _wait(url)
            yield url
        finally:
            server.terminate()
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    for _ in range(200):
        try:
            with engine.connect():
                return
        except OperationalError:
            time.sleep(0.1)
    pytest.fail("PostgreSQL did not start")


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """The URL of the server, emptied."""
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address with nothing in it yet, of each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'clew.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def kept(url: str) -> Iterator[Explanations]:
    """A database of explanations with nothing in it."""
    found = Explanations(url)
    yield found
    found.close()
