"""Which token of one prompt corresponds to which of another."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from ..errors import UsageError

Alignment = list[int | None]
"""For each token of the first prompt its counterpart in the second, or None."""


def align(first: Sequence[int], second: Sequence[int]) -> Alignment:
    """Token ids paired in order: what is the same, and what stands in the same place between two things that are.

    Of a replacement by more or fewer tokens the last ones are paired, since a later token has read the earlier ones.
    """
    pairs: Alignment = [None] * len(first)
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    for _, start, end, other_start, other_end in matcher.get_opcodes():
        for back in range(1, min(end - start, other_end - other_start) + 1):
            pairs[end - back] = other_end - back
    return pairs


def checked(alignment: Sequence[int | None], first: int, second: int) -> Alignment:
    """An alignment given by hand, for prompts of so many tokens. Raises UsageError."""
    if len(alignment) != first:
        raise UsageError(
            f"The alignment has {len(alignment)} entries for a prompt of {first} tokens.",
            "Give each token its counterpart in the second prompt, or null.",
        )
    outside = next((pair for pair in alignment if pair is not None and not 0 <= pair < second), None)
    if outside is not None:
        raise UsageError(
            f"The alignment names token {outside}, and the second prompt has {second}.",
            f"Use 0 to {second - 1}, or null.",
        )
    return list(alignment)
