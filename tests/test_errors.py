"""The tree of errors."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from clew.errors import ClewError, LLMFailed


def tree(of: type[ClewError]) -> Iterator[type[ClewError]]:
    yield of
    for kind in of.__subclasses__():
        yield from tree(kind)


@pytest.mark.parametrize("kind", list(tree(ClewError)), ids=lambda kind: kind.__name__)
def test_errors_travel_to_other_processes_whole(kind: type[ClewError]) -> None:
    there = pickle.loads(pickle.dumps(kind("It broke.", "Mend it.")))
    assert (type(there), there.message, there.hint, str(there)) == (kind, "It broke.", "Mend it.", "It broke. Mend it.")


def test_how_a_language_model_failed_travels_too() -> None:
    assert pickle.loads(pickle.dumps(LLMFailed("It hung up.", kind="timeout"))).kind == "timeout"
