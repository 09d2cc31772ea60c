"""What a component does on its examples, as a list: the tokens it fires on and those just before them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from ... import settings
from ..evidence import Evidence
from ..spelling import spelled
from .pairs import strongest

TOKENS = 25  # named at most
BEFORE = 12  # likewise
LEAST = 0.5  # of 10: a mean below this is not told, unless few are above
FEW = 5  # rows told whatever their mean, if they fired at all


def tokens(evidence: Evidence) -> str:
    """Tokens with their mean activation and how often they were seen, strongest first; then what stands before."""
    on: defaultdict[str, list[float]] = defaultdict(list)
    after: defaultdict[str, list[float]] = defaultdict(list)
    for sample in evidence.of("explain"):
        scaled = np.minimum(evidence.scaled(sample), settings.SCALE).tolist()
        for at in range(sample.first, len(scaled)):
            on[sample.tokens[at]].append(scaled[at])
            if at:
                after[sample.tokens[at - 1]].append(scaled[at])
    strong = _rows(on.items(), TOKENS)
    # A token seen once says nothing that the token after it does not.
    before = _rows(((token, values) for token, values in after.items() if len(values) > 1), BEFORE)
    parts = ["Tokens it fires on, with the mean activation and how often each was seen:", *strong]
    if before:
        parts += ["", "Tokens after which it fires, with the mean activation of what follows and how often:", *before]
    return "\n".join(parts)


def pairs(evidence: Evidence) -> str:
    """The same of a head: tokens that read, and tokens that are read, of the strongest pair of each reading token."""
    readers: defaultdict[str, list[float]] = defaultdict(list)
    read: defaultdict[str, list[float]] = defaultdict(list)
    both: defaultdict[str, list[float]] = defaultdict(list)
    for sample in evidence.of("explain"):
        for at, source, value in strongest(sample, len(sample.tokens)):
            scaled = min(settings.SCALE * max(value, 0.0) / evidence.maximum, float(settings.SCALE))
            reader, seen = sample.tokens[at], sample.tokens[source]
            readers[reader].append(scaled)
            if not value > 0:  # then it reads none more than another
                continue
            read[seen].append(scaled)
            both[f"{spelled(reader)}\t{spelled(seen)}"].append(scaled)
    return "\n".join(
        [
            "Pairs, the token that reads and the one it reads most, with their mean strength and how often:",
            *_rows(both.items(), TOKENS, escape=False),
            "",
            "Tokens that read, with their mean strength and how often:",
            *_rows(readers.items(), BEFORE),
            "",
            "Tokens that are read, with their mean strength and how often:",
            *_rows(read.items(), BEFORE),
        ]
    )


def _rows(seen: Iterable[tuple[str, list[float]]], most: int, escape: bool = True) -> list[str]:
    means = [(token, sum(values) / len(values), len(values)) for token, values in seen]
    ranked = sorted((row for row in means if row[1] > 0), key=lambda row: (-row[1], -row[2], row[0]))[:most]
    told = [row for rank, row in enumerate(ranked) if rank < FEW or row[1] >= LEAST]
    return [f"{spelled(token) if escape else token}\t{mean:.1f}\t{count}" for token, mean, count in told]
