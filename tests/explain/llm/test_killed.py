"""A run that is killed goes on where it was: the server's own log shows that nothing answered is asked again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .server import Scripted

_REQUESTS, _AT_ONCE = 40, 4

_PROGRAM = """
import sys
from clew.errors import LLMFailed
from clew.explain.llm import open_llm
from clew.explain.llm.client import Message, Request
from clew.explain.store.answers import Answers
from clew.explain.store.database import engine_of

reference, url, requests, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
llm = open_llm(reference, answers=Answers(engine_of(url)), concurrency=at_once)
answers = llm.ask_all([Request((Message("user", f"question {n}"),)) for n in range(requests)])
assert not any(isinstance(one, LLMFailed) for one in answers)
print(len(answers), sum(one.known for one in answers), llm.spent.requests)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_run_repeats_no_finished_request(scripted: Scripted, tmp_path: Path) -> None:
    scripted.delay = 0.05
    url = f"sqlite:///{tmp_path / 'clew.db'}"
    command = [sys.executable, "-c", _PROGRAM, scripted.reference, url, str(_REQUESTS), str(_AT_ONCE)]

    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(scripted.asked) < _REQUESTS // 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.3)  # what it had sent is logged by now
    before = [one.text for one in scripted.asked]
    probes = len(scripted.log) - len(before)

    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    after = [one.text for one in scripted.asked[len(before) :]]
    # What the client had not kept when it died was under way, and that is never more than it sends at once.
    repeated = set(before) & set(after)
    assert len(repeated) <= _AT_ONCE
    assert len(after) == len(set(after)) == _REQUESTS - (len(before) - len(repeated))
    assert len(scripted.log) == probes + len(before) + len(after)  # nor is it asked again what it has
    assert again.stdout.split() == [str(_REQUESTS), str(_REQUESTS - len(after)), str(len(after))]
