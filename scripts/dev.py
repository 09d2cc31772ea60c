"""The server with reload and the page's dev server, as one command: `make dev`.

Ctrl-C, or the end of either, stops both.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
GRACE_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--port", default="7410", help="the server's; the page's is Vite's own")
    given = parser.parse_args()
    clew = Path(sys.executable).parent / "clew"
    server = [str(clew), "serve", "--model", given.model, "--port", given.port, "--no-open", "--reload"]
    page = ["npm", "run", "--silent", "dev"]
    signal.signal(signal.SIGTERM, _interrupt)
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.append(subprocess.Popen(server, start_new_session=True))
        vite = {**os.environ, "CLEW_SERVER": f"http://127.0.0.1:{given.port}"}
        running.append(subprocess.Popen(page, cwd=ROOT / "web", env=vite, start_new_session=True))
        while all(process.poll() is None for process in running):
            time.sleep(0.2)
        return next(process.returncode for process in running if process.returncode is not None)
    except KeyboardInterrupt:
        return 0
    finally:
        for process in running:
            _stop(process)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all it started: each leads a session of its own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    sys.exit(main())
