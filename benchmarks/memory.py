"""Peak memory of one answer above the loaded model, in a process of its own.

Run as `python -m benchmarks.memory TOKENS`; prints bytes. Resident memory is what is counted, so that what libraries
allocate is in it; the kernel's own high-water mark where it can be reset (Linux), else a sample every millisecond.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from clew.debug.answer import answer
from clew.debug.case import Case
from clew.debug.direction import reading
from clew.debug.ranking import Selection
from clew.debug.scalar import Final

from .models import GPT2_SHAPE, load

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_above(work: Callable[[], object]) -> int:
    """Bytes by which resident memory rises, at most, while `work` runs."""
    process = psutil.Process()
    before = process.memory_info().rss
    if RESET.exists():
        RESET.write_text("5")
        work()
        mark = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(mark.split()[1]) * 1024 - before
    highest, done = before, threading.Event()

    def sample() -> None:
        nonlocal highest
        while not done.wait(0.001):
            highest = max(highest, process.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    work()
    done.set()
    thread.join()
    return highest - before


def main(tokens: int) -> int:
    """The peak while the node table of `tokens` random tokens is made."""
    subject = load(GPT2_SHAPE).subject
    look = reading(subject.anatomy, [1], [2])
    ids = torch.randint(subject.anatomy.unembed.out_features, (tokens,))
    case = Case(subject, ids, tokens - 1)
    return peak_above(lambda: answer(case, Final(subject.anatomy, look, tokens - 1), Selection()))


if __name__ == "__main__":
    print(main(int(sys.argv[1])))
