"""A database is made where there is none, and what is wrong with one is told in a sentence, without its password."""

from __future__ import annotations

import os
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from clew import settings
from clew.errors import BadDatabase, ClewError, NoSpace
from clew.explain.store import database
from clew.explain.store.database import engine_of, reading, writing
from clew.explain.store.explanations import Explanations
from clew.explain.store.schema import VERSION, metadata, version

from .made import explanation, score


def at(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with an explanation in it."""
    path = tmp_path / "clew.db"
    kept = Explanations(at(path))
    kept.add(explanation())
    kept.close()
    return path


def test_a_database_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "clew.db"
    for _ in range(2):
        engine = engine_of(at(path))
        with reading(engine) as connection:
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
            assert connection.scalar(version.select()) == VERSION
        engine.dispose()


def test_the_settings_name_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEW_DATABASE", raising=False)
    monkeypatch.setenv("CLEW_HOME", str(tmp_path / "home"))
    engine_of().dispose()
    assert (tmp_path / "home" / "clew.db").is_file()
    monkeypatch.setenv("CLEW_DATABASE", at(tmp_path / "named.db"))
    engine_of().dispose()
    assert (tmp_path / "named.db").is_file()
    assert settings.database() == at(tmp_path / "named.db")


def test_other_tables_of_a_file_stay(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "clew.db")
    connection.execute("CREATE TABLE notes (words TEXT)")
    connection.execute("INSERT INTO notes VALUES ('mine')")
    connection.commit()
    connection.close()
    engine = engine_of(at(tmp_path / "clew.db"))
    with reading(engine) as found:
        assert found.scalar(text("SELECT words FROM notes")) == "mine"
    engine.dispose()


def test_every_table_is_made_on_both_databases(url: str) -> None:
    engine = engine_of(url)
    with reading(engine) as connection:
        for table in metadata.sorted_tables:
            assert connection.execute(table.select()).all() == ([(VERSION,)] if table is version else [])
    engine.dispose()


def test_what_fails_in_a_transaction_is_undone(url: str) -> None:
    kept = Explanations(url)

    def fail() -> None:
        with writing(kept.engine) as connection:
            connection.execute(version.update().values(version=99))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with reading(kept.engine) as connection:
        assert connection.scalar(version.select()) == VERSION
    kept.close()


def test_a_newer_database_is_refused(url: str) -> None:
    engine = engine_of(url)
    with writing(engine) as connection:
        connection.execute(version.update().values(version=VERSION + 1))
    engine.dispose()
    with pytest.raises(BadDatabase, match="made by a newer Clew"):
        engine_of(url)


def damaged(path: Path) -> None:
    """Bytes in the middle of the file that are no page of a database."""
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_text("This is a text, and far from a database. " * 200), "is not a database"),
        (damaged, "is damaged"),
        (lambda path: path.unlink() or path.mkdir(), "cannot be opened"),
    ],
)
def test_a_file_that_is_none_is_told(file: Path, harm: Callable[[Path], object], said: str) -> None:
    harm(file)
    with pytest.raises(BadDatabase, match=said) as raised:
        Explanations(at(file)).get(1)
    assert str(file) in raised.value.message


@pytest.mark.skipif(os.getuid() == 0, reason="root may write to everything")
def test_a_file_that_cannot_be_written_to_is_read(file: Path) -> None:
    file.chmod(0o400)
    kept = Explanations(at(file))
    assert kept.get(1).component == "neuron.1.2"
    with pytest.raises(BadDatabase, match="cannot be written to"):
        kept.add(explanation(text="other"))
    kept.close()


def test_a_database_for_reading_alone_says_so(file: Path) -> None:
    kept = Explanations(at(file))
    with kept.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(BadDatabase, match="cannot be written to"):
        kept.add(explanation(text="other"))
    kept.close()


def test_one_that_another_program_holds_is_told_after_a_while(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PATIENCE", 0.05)
    kept = Explanations(at(file))
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BadDatabase, match="Another program holds"):
        kept.add(explanation(text="other"))
    other.execute("ROLLBACK")
    other.close()
    assert kept.add(explanation(text="other")).id == 2
    kept.close()


def test_a_full_disk_is_told_and_what_was_complete_stays(file: Path) -> None:
    kept = Explanations(at(file))
    with kept.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    many = [explanation(f"neuron.0.{n}", "words " * 500, scores=(score(),)) for n in range(50)]
    with pytest.raises(NoSpace, match="is full"):
        kept.add_all(many)
    assert kept.get(1).component == "neuron.1.2"
    kept.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nothing at all", "no SQLAlchemy URL"),
        ("postgresql://me:{secret}@host:port/db", "no SQLAlchemy URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("mysql://me:{secret}@127.0.0.1/db", "cannot be kept in mysql"),
        ("postgresql://me:{secret}@127.0.0.1:1/db", "does not answer"),
        ("postgresql://me:{secret}@/db?host=/nowhere", "does not answer"),
        ("postgresql+psycopg2://me:{secret}@127.0.0.1:1/db", "does not answer"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_its_password(url: str, said: str) -> None:
    secret = "hunter2"
    with pytest.raises(BadDatabase, match=said) as raised:
        engine_of(url.format(secret=secret))
    told = "".join(traceback.format_exception(raised.value))
    assert secret not in str(raised.value) and secret not in told.replace(url.format(secret=secret), "")


def test_psycopg_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "find_spec", lambda name: None)
    with pytest.raises(BadDatabase, match="needs psycopg") as raised:
        engine_of("postgresql://127.0.0.1/db")
    assert "clew[postgres]" in raised.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("/postgres?", "/missing?"), "There is no database missing"),
        (lambda url: url.replace("tester@", "stranger@"), "refuses this user or password"),
    ],
)
def test_what_a_server_refuses_is_told(postgres: str, change: Callable[[str], str], said: str) -> None:
    with pytest.raises(BadDatabase, match=said):
        engine_of(change(postgres))


def test_a_user_who_may_not_write_is_told(postgres_url: str) -> None:
    kept = Explanations(postgres_url)
    statement = "SET default_transaction_read_only = on"
    with kept.engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()
    with pytest.raises(BadDatabase, match="does not let this user write"):
        kept.add(explanation())
    kept.close()


def test_other_errors_are_not_hidden(url: str) -> None:
    kept = Explanations(url)
    with pytest.raises(Exception, match="no_such_table") as raised, reading(kept.engine) as connection:
        connection.execute(text("SELECT 1 FROM no_such_table"))
    assert not isinstance(raised.value, ClewError)
    kept.close()
