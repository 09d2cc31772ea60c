"""The table's rows are exactly the ends of every metric, whatever was skipped on the way to them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.debug.answer import answer
from clew.debug.case import Case
from clew.debug.direction import reading
from clew.debug.ranking import Selection
from clew.debug.records import NodeEffect
from clew.debug.scalar import Final
from clew.errors import TooManyNodes, UsageError

from ..families import PROMPT, ids, subject_of, tiny_hf

POSITION = 7
SUBJECT = subject_of(tiny_hf("gpt2"))
LOOK = reading(SUBJECT.anatomy, [3], [7])


def table(selection: Selection) -> list[NodeEffect]:
    case = Case(SUBJECT, ids(), POSITION)
    return list(answer(case, Final(SUBJECT.anatomy, LOOK, POSITION), selection).nodes)


EVERY = table(Selection(top=100_000))


def admitted(row: NodeEffect, selection: Selection) -> bool:
    return (
        (selection.kinds is None or row.kind in selection.kinds)
        and (selection.layers is None or row.layer in selection.layers)
        and (selection.positions is None or row.position in selection.positions)
        and (selection.sources is None or row.source in selection.sources)
    )


def expected(selection: Selection) -> set[str]:
    """The definition, on the whole table: sort by each metric, take both ends."""
    rows = [row for row in EVERY if admitted(row, selection)]
    if selection.threshold is not None:
        bar = selection.threshold
        large = [row for row in rows if max(abs(row.direct_effect), abs(row.estimated_effect)) >= bar]
        return {row.id for row in large if row.direct_effect or row.estimated_effect}
    chosen: set[str] = set()

    def ends(some: list[NodeEffect], metric: str, both: bool) -> None:
        ranked = sorted(some, key=lambda row: getattr(row, metric))
        k = min(selection.top, len(ranked))
        chosen.update(row.id for row in ranked[len(ranked) - k :])
        if both:
            chosen.update(row.id for row in ranked[:k])

    ends(rows, "direct_effect", True)
    ends(rows, "estimated_effect", True)
    ends(rows, "write_norm", False)
    neurons = [row for row in rows if row.kind == "neuron"]
    heads = [row for row in rows if row.kind == "attn" and row.source is None]
    pairs = [row for row in rows if row.source is not None]
    ends(neurons, "activation", True)
    ends(heads, "activation", False)
    ends(pairs, "activation", False)
    return chosen


def close(one: set[str], other: set[str], rows: dict[str, NodeEffect]) -> None:
    """Equal, but for nodes whose metrics tie (such as the zero direct effects of other positions)."""
    for node in one ^ other:
        row = rows[node]
        assert row.direct_effect == 0 or row.estimated_effect == 0 or row.activation in (0, 1), node


@pytest.mark.parametrize("top", [1, 5, 30, 200])
def test_rows_are_the_ends_of_every_metric(top: int) -> None:
    selection = Selection(top=top)
    close({row.id for row in table(selection)}, expected(selection), {row.id: row for row in EVERY})


filters = st.fixed_dictionaries(
    {
        "top": st.integers(1, 20),
        "kinds": st.none() | st.lists(st.sampled_from(["embed", "attn", "neuron", "bias"]), min_size=1, unique=True),
        "layers": st.none() | st.lists(st.integers(0, 4), max_size=2),
        "positions": st.none() | st.lists(st.integers(0, len(PROMPT)), max_size=3),
        "sources": st.none() | st.lists(st.integers(0, len(PROMPT)), max_size=3),
    }
)


@settings(deadline=None, max_examples=40)
@given(filters)
def test_filters_give_the_top_of_what_they_admit(given_filters: dict[str, Any]) -> None:
    selection = Selection.of(**given_filters)
    rows = table(selection)
    assert all(admitted(row, selection) for row in rows)
    close({row.id for row in rows}, expected(selection), {row.id: row for row in EVERY})
    values = {row.id: row for row in EVERY}
    for row in rows:
        assert row == values[row.id]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([0.0, 0.001, 0.02, 0.3, 50.0]), filters)
def test_a_threshold_gives_everything_above_it(threshold: float, given_filters: dict[str, Any]) -> None:
    selection = Selection.of(**{**given_filters, "threshold": threshold})
    assert {row.id for row in table(selection)} == expected(selection)


def test_rows_come_largest_direct_effect_first() -> None:
    sizes = [abs(row.direct_effect) for row in table(Selection(top=10))]
    assert sizes == sorted(sizes, reverse=True)


def test_a_threshold_that_lets_too_much_through_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.debug.ranking.MAX_NODES", 10)
    with pytest.raises(TooManyNodes, match="Raise the threshold"):
        table(Selection(threshold=0.0))


@pytest.mark.parametrize(
    "wrong",
    [{"top": -1}, {"threshold": -0.1}, {"threshold": float("nan")}, {"threshold": float("inf")}, {"kinds": ["x"]}],
)
def test_a_selection_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Selection.of(**wrong)
