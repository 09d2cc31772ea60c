"""What a person thought of latents, kept beside the autoencoder whatever else is measured of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from filelock import FileLock

from ..disk import on_disk, written
from ..errors import BadAutoencoder, UnknownAutoencoder, UsageError
from .records import Rating

RATINGS = "ratings.json"


def ratings_of(folder: Path) -> dict[int, Rating]:
    """Every rating given, by latent. Raises BadAutoencoder when the file is damaged."""
    path = folder / RATINGS
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(kept, dict) or not all(
        key.isascii() and key.isdigit() and rating in get_args(Rating) for key, rating in kept.items()
    ):
        raise _damaged(path)
    return {int(key): rating for key, rating in kept.items()}


def rate(folder: Path, index: int, rating: Rating | None) -> dict[int, Rating]:
    """Keeps what a person says of a latent, or with None takes it back; gives every rating there is then.

    Raises UnknownAutoencoder, UsageError, BadAutoencoder or NoSpace.
    """
    if not folder.is_dir():
        raise UnknownAutoencoder(f"There is no folder {folder.name}.", "See `clew sae list`.")
    if rating is not None and rating not in get_args(Rating):
        raise UsageError(f"{rating!r} is not a rating.", f"Use one of {', '.join(get_args(Rating))}.")
    latents = _latents(folder)
    if index < 0 or (latents is not None and index >= latents):
        raise UsageError(
            f"{index} is not a latent of {folder.name}.",
            "They are counted from 0." if latents is None else f"It has {latents:,}, counted from 0.",
        )
    with on_disk(folder), FileLock(folder / ".ratings.lock", thread_local=False):
        ratings = ratings_of(folder)
        if rating is None:
            ratings.pop(index, None)
        else:
            ratings[index] = rating
        with written(folder / RATINGS) as partial:
            partial.write_text(json.dumps(dict(sorted(ratings.items())), indent=1), encoding="utf-8")
    return ratings


def _latents(folder: Path) -> int | None:
    """How many there are by the autoencoder's configuration; None where it does not say."""
    try:
        n = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))["d_sae"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return n if isinstance(n, int) else None


def _damaged(path: Path) -> BadAutoencoder:
    return BadAutoencoder(f"{path.name} is damaged and cannot be read as ratings.", "Delete it to rate anew.")
