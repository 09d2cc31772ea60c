"""openapi.json: what the page's types are generated from.

`python -m clew.server.openapi` writes it at the root of the checkout, `--check` fails when it is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .app import routed

FILE = Path(__file__).parents[3] / "openapi.json"


def document() -> str:
    """The API's description as openapi.json holds it."""
    return json.dumps(routed().openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write openapi.json at the root of the checkout.")
    parser.add_argument("--check", action="store_true", help="fail when openapi.json is out of date instead")
    if not parser.parse_args().check:
        FILE.write_text(document(), encoding="utf-8")
        return
    if not FILE.exists() or FILE.read_text(encoding="utf-8") != document():
        sys.exit("openapi.json is out of date: run `python -m clew.server.openapi`, then `npm run types` in web/.")


if __name__ == "__main__":
    main()
