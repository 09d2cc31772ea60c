"""Waiting, and being told to."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.errors import Cancelled
from clew.explain.llm.waiting import Gate, asked_to_wait, pause, seconds_of, turn

_NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20", 20.0), ("0", 0.0), ("1.5", 1.5), ("1s", 1.0), ("6m0s", 360.0), ("1h2m3.5s", 3723.5), ("20ms", 0.02),
        ("2d", 172_800.0), ("2m59.56s", 179.56),
        (str(int(_NOW) + 30), 30.0), (str(int(_NOW * 1000) + 30_000), 30.0), (str(int(_NOW) - 30), 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0), ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("", None), ("soon", None), ("-3", None), ("nan", None), ("inf", None), ("1e9", None), ("m", None),
        ("9" * 400, None), ("١", None),
    ],
)  # fmt: skip
def test_how_long_is_read_in_every_form_that_servers_use(text: str, seconds: float | None) -> None:
    assert seconds_of(text, _NOW) == (None if seconds is None else pytest.approx(seconds))


@settings(deadline=None)
@given(st.text())
def test_no_header_breaks_it(text: str) -> None:
    found = seconds_of(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("headers", "refused", "seconds"),
    [
        ({"retry-after": "3"}, True, 3.0),
        ({"retry-after": "3"}, False, None),
        ({"retry-after": "3", "retry-after-ms": "250"}, True, 0.25),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}, False, 2.0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "2s"}, False, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m0s", "retry-after": "3"}, True, 60.0),
        ({"x-ratelimit-remaining-tokens": "0"}, True, None),
        ({}, True, None),
    ],
)
def test_the_longest_of_what_a_server_asks_for_counts(
    headers: dict[str, str], refused: bool, seconds: float | None
) -> None:
    assert asked_to_wait(headers, refused) == (None if seconds is None else pytest.approx(seconds))


def test_a_pause_is_given_up_at_once() -> None:
    asked = threading.Event()
    threading.Timer(0.1, asked.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        pause(30, asked.is_set)
    assert time.monotonic() - started < 2


def test_a_gate_holds_everyone_until_it_opens() -> None:
    gate, started = Gate(), time.monotonic()
    gate.close(0.3)
    gate.close(0.1)
    waited: list[float] = []

    def wait() -> None:
        gate.wait(None)
        waited.append(time.monotonic() - started)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waited) == 3
    assert min(waited) >= 0.3


def test_a_turn_that_does_not_come_is_given_up() -> None:
    lock = threading.Lock()
    with lock, pytest.raises(Cancelled), turn(lock, lambda: True):
        pass
    with turn(lock, None):
        assert lock.locked()
    assert not lock.locked()
