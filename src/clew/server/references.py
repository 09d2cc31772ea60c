"""What a request names to be opened: a name of the hub, or a path, which only who sits at this machine may give."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import Forbidden

_ON_THE_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+", re.ASCII)


def checked(reference: str, local: bool) -> str:
    """The reference; raises Forbidden for a path unless `local`: the server answers to this machine alone."""
    if local or (_ON_THE_HUB.fullmatch(reference) is not None and not _is_there(reference)):
        return reference
    raise Forbidden(
        "A server that others can reach opens no paths of its machine for them.",
        "Name a repository of the Hugging Face hub, or use the command line there.",
    )


def _is_there(reference: str) -> bool:
    try:
        return Path(reference).exists()
    except (OSError, ValueError):  # a name that the file system does not allow
        return False
