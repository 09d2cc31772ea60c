"""Explanations in Clew's own words: one JSON document with all that is kept of each, strips left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...disk import written
from ..records import Subject
from ..store.explanations import Explanations


def export_explanations(
    kept: Explanations, out: str | Path, subjects: Iterable[Subject], components: Sequence[str] | None = None
) -> int:
    """Write the best explanation of each component of some subjects, of all or of some, into a file; how many.

    The document is {"explanations": [...]}, each as `Explanation.to_dict` gives it. Raises NoSpace and BadDatabase.
    """
    count = 0
    with written(Path(out)) as partial, partial.open("w", encoding="utf-8", errors="replace") as file:
        file.write('{"explanations": [')
        for subject in subjects:
            for explanation in kept.chosen(subject, components):
                document = json.dumps(explanation.to_dict(), ensure_ascii=False, allow_nan=False)
                file.write(f"{',' * (count > 0)}\n{document}")
                count += 1
        file.write("\n]}\n")
    return count
