"""Several processes that train together, for tests: forked from one that has imported all of it, and ended after."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from clew.sae.group import Together

_LONG = 60.0  # seconds after which ranks that wait for each other have failed
_context = get_context("forkserver")
_context.set_forkserver_preload(
    ["tests.sae.gang", "clew.sae.training", "clew.models.subject", "transformers.models.llama.modeling_llama"]
)


def gang(size: int, meeting: Path, work: Callable[..., Any], *given: Any, lost: Sequence[int] = ()) -> list[Any]:
    """What `work(group, *given)` gives on each of `size` ranks, or what it raises; None of a rank that is `lost`.

    `meeting` is a file that does not exist, for the ranks to find each other.
    """
    ends = [_context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        _context.Process(target=_one, args=(rank, size, str(meeting), end, work, given), daemon=True)
        for rank, (_, end) in enumerate(ends)
    ]
    for process in processes:
        process.start()
    for _, end in ends:
        end.close()
    found: list[Any] = []
    try:
        for rank, (start, _) in enumerate(ends):
            assert start.poll(_LONG), f"rank {rank} of {size} does not end"
            try:
                found.append(pickle.loads(start.recv_bytes()))
            except EOFError:
                assert rank in lost, f"rank {rank} ended without a word"
                found.append(None)
    finally:
        for process in processes:
            process.kill()
            process.join()
    return found


def _one(rank: int, size: int, meeting: str, end: Connection, work: Callable[..., Any], given: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=timedelta(seconds=_LONG)
    )
    try:
        found = work(Together(), *given)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to see it
        error.add_note(traceback.format_exc())
        found = error
    end.send_bytes(pickle.dumps(found))
    end.close()
    dist.destroy_process_group()
