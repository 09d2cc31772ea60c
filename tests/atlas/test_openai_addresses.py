"""Published records are read from an address as from a folder, whatever its server does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clew.atlas.openai import import_openai
from clew.errors import ClewError, Offline, UsageError

from .conftest import content
from .published import HEADS, NEURONS, component, write


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing about it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """The address of a server on this machine that serves a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_address_gives_what_its_folder_does(tmp_path: Path) -> None:
    given = {f"{HEADS}/2/{index}.json": component(2, index, pairs=True, length=9) for index in (0, 1, 3, 11)}
    given |= {f"{NEURONS}/2/{index}.json": component(2, index) for index in (0, 2, 39)}
    write(tmp_path / "root", given)
    here = import_openai(tmp_path / "root", tmp_path / "here", model="gpt2", layers=[2], limit=40)
    with serving(tmp_path / "root") as address:
        there = import_openai(f"{address}/", tmp_path / "there", model="gpt2", layers=[2], limit=40)
        with pytest.raises(UsageError, match="The sizes of other are not known"):
            import_openai(address, tmp_path / "other", model="other")
        with pytest.raises(UsageError, match="There are no records of gpt2 in"):
            import_openai(f"{address}/elsewhere", tmp_path / "other", model="gpt2")
    assert there.info().imported == f"{address}/"
    ours, theirs = content(here.folder), content(there.folder)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == ["atlas.json"]


class HangingUp(Quiet):
    """Ends every fifth answer in the middle."""

    lock = threading.Lock()
    asked = 0
    always = False

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with self.lock:
            type(self).asked += 1
            hangs_up = self.always or self.asked % 5 == 0
        if not hangs_up:
            return super().copyfile(source, outputfile)
        outputfile.write(source.read(100))
        outputfile.flush()
        self.close_connection = True
        return None


class AlwaysHangingUp(HangingUp):
    """Ends every answer in the middle."""

    always = True


class Refusing(Quiet):
    """Lets nobody in."""

    def do_GET(self) -> None:
        self.send_error(403)


def test_a_server_that_hangs_up_now_and_then_is_asked_again(tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/{index}.json": component(0, index) for index in range(12)})
    here = import_openai(tmp_path / "root", tmp_path / "here", model="gpt2", layers=[0], limit=12)
    with serving(tmp_path / "root", HangingUp) as address:
        there = import_openai(address, tmp_path / "there", model="gpt2", layers=[0], limit=12)
    assert HangingUp.asked > 13
    file = "examples/neuron.0.parquet"
    assert content(there.folder)[file] == content(here.folder)[file]


@pytest.mark.parametrize(
    ("handler", "says"),
    [(AlwaysHangingUp, "could not be read, 3 times over"), (Refusing, r"was refused \(status 403\)")],
)
def test_a_server_that_does_not_answer(handler: type[Quiet], says: str, tmp_path: Path) -> None:
    write(tmp_path / "root", {f"{NEURONS}/0/0.json": component(0, 0)})
    with serving(tmp_path / "root", handler) as address, pytest.raises(Offline, match=says) as told:
        import_openai(address, tmp_path / "atlas", model="gpt2", layers=[0])
    assert isinstance(told.value, ClewError)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["root"]


def test_nobody_there(tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        pass
    with pytest.raises(Offline, match=r"3 times over \(ConnectError\)"):
        import_openai(address, tmp_path / "atlas", model="gpt2")
