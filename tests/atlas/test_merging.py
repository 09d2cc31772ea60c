"""What shards are made of: sums, best-ofs, counts and partial files, in whatever order and grouping."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew.atlas import partial, sums, tally
from clew.atlas.best import Best, Offers, merged
from clew.atlas.blocks import Keep
from clew.atlas.collect import collecting
from clew.atlas.partial import State
from clew.corpus.contexts import Contexts
from clew.debug import Model
from clew.errors import NotFinite

from .test_collect import SETTINGS

FLOATS = st.floats(-1e20, 1e20, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(st.lists(FLOATS, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_order_and_are_right_to_the_last_bit(terms: list[float], draw: Random) -> None:
    def total(terms: list[float]) -> torch.Tensor:
        found = sums.zero_sum(1)
        for term in terms:
            sums.add(found, torch.tensor([term], dtype=torch.float64), "x")
        return found

    shuffled = draw.sample(terms, len(terms))
    cut = draw.randrange(len(terms) + 1)
    first = total(terms)
    assert torch.equal(first, total(shuffled))
    assert torch.equal(first, total(shuffled[:cut]) + total(shuffled[cut:]))
    wanted = math.fsum(terms)
    # Terms above 1e-6 with 53 bits reach below the grid's 2⁻⁸⁰ by less than this.
    assert float(sums.value(first)[0]) == pytest.approx(wanted, rel=2.0**-52, abs=len(terms) * 2.0**-80)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2.0**120])
def test_what_is_not_finite_is_told(bad: float) -> None:
    with pytest.raises(NotFinite, match="The thing is not finite"):
        sums.add(sums.zero_sum(2), torch.tensor([0.0, bad], dtype=torch.float64), "The thing")


@given(
    st.lists(st.tuples(st.integers(0, 3), FLOATS), min_size=1, max_size=60),
    st.integers(0, 60),
)
def test_sums_of_chosen_places_are_the_same_sums(terms: list[tuple[int, float]], cut: int) -> None:
    """Terms added where an index says, at once or in two parts, are those added one by one: value for value."""
    found, plain = sums.zero_sum(2, 4), sums.zero_sum(2, 4)
    for part in (terms[:cut], terms[cut:]):
        index = torch.tensor([place for place, _ in part], dtype=torch.int64)
        values = torch.tensor([term for _, term in part], dtype=torch.float64)
        sums.add_at(found, index, torch.stack((values, -values / 3)), "x")
    for place, term in terms:
        one = torch.zeros(2, 4, dtype=torch.float64)
        one[:, place] = torch.tensor([term, -term / 3], dtype=torch.float64)
        sums.add(plain, one, "x")
    assert torch.equal(sums.value(found), sums.value(plain))


def test_many_terms_take_no_more_room_than_one() -> None:
    found = sums.zero_sum(1, 1)
    terms = torch.full((1, 2**16), 1.1, dtype=torch.float64)
    for done in range(1, 4):
        sums.add_at(found, torch.zeros(2**16, dtype=torch.int64), terms, "x")
        assert int(found[1:].abs().max()) < done * 2**40, "all that were added at once are carried"
        assert float(sums.value(found)[0, 0]) == pytest.approx(done * 2**16 * 1.1, rel=1e-15)


def test_what_is_mostly_zero_is_counted_as_everything_is() -> None:
    """Counts and extremes to the bit, moments to float64 rounding; with units that never and that always fire."""
    torch.manual_seed(0)
    x = torch.relu(torch.randn(6, 9, 20) - 1)
    x[:, 3], x[:, 4] = 0, torch.rand(6, 20) + 0.1
    dense, sparse = tally.Tally(9, torch.device("cpu")), tally.SparseTally(9, torch.device("cpu"))
    for part in x.split(2):
        for counted in (dense, sparse):
            counted.see(part, part.amin(2), part.amax(2), "x")
    found, wanted = sparse.state(), dense.state()
    for name in ("count", "histogram", "minimum", "maximum"):
        assert torch.equal(found[name], wanted[name]), name
    torch.testing.assert_close(sums.value(found["sums"]), sums.value(wanted["sums"]), rtol=1e-14, atol=0)
    for bad in (torch.nan, torch.inf):
        x[2, 5, 7] = bad
        with pytest.raises(NotFinite, match="What they do"):
            sparse.see(x, x.amin(2), x.amax(2), "What they do")


@given(
    st.integers(1, 4),
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5, -1.0]), min_size=3, max_size=3), min_size=1, max_size=30),
    st.integers(1, 5),
    st.data(),
)
def test_the_best_are_the_best_however_they_come(
    k: int, keys: list[list[float]], batch: int, data: st.DataObject
) -> None:
    """Three rows are offered one context after another; ties go to the earlier one. Then the same in parts, merged."""

    def collect(first: int, end: int) -> dict[str, torch.Tensor]:
        best = Best(3, k, 2, torch.device("cpu"), key=torch.float64)
        for start in range(first, end, batch):
            part = torch.tensor(keys[start : min(start + batch, end)], dtype=torch.float64).T

            def fill(row: torch.Tensor, column: torch.Tensor, start: int = start, part: torch.Tensor = part) -> Offers:
                context = column + start
                rest = {name: torch.zeros_like(row) for name in ("start", "position", "source")}
                score = part[row, column].float()
                values = torch.stack((context.float() / 64, row.float()), 1)
                return Offers({**rest, "context": context, "score": score, "scale": score}, values)

            best.offer(part, fill)
        return best.state()

    whole = collect(0, len(keys))
    for row in range(3):
        order = sorted(range(len(keys)), key=lambda context: (-keys[context][row], context))[:k]
        kept = whole["context"][row].tolist()
        assert [context for context in kept if context >= 0] == order
        assert whole["score"][row].tolist()[: len(order)] == [keys[context][row] for context in order]
        assert whole["values"][row, : len(order), 0].tolist() == [context / 64 for context in order]
    cuts = sorted({0, len(keys), *data.draw(st.lists(st.integers(0, len(keys)), max_size=3))})
    parts = [collect(first, end) for first, end in pairwise(cuts)]
    shuffled = data.draw(st.permutations(parts))
    again = merged([merged(list(shuffled[:1]), k), *shuffled[1:]], k)
    there = whole["context"] >= 0
    for name, field in whole.items():
        assert torch.equal(again[name][there], field[there])


def test_bins_are_half_octaves() -> None:
    size = torch.tensor([2.0 ** (i / 4 + 1 / 8) for i in range(-80, 100)])
    for sign in (1, -1):
        found = tally.bins(sign * size)
        wanted = [0 if x < 2.0**-14 else sign * (min(math.floor(2 * math.log2(x)), 35) + 29) for x in size.tolist()]
        assert found.tolist() == wanted
    assert tally.bins(torch.tensor([0.0, -0.0, 1e-30, torch.inf])).tolist() == [0, 0, 0, 64]
    assert len(tally.edges()) == tally.BINS + 1
    assert tally.octave(torch.tensor([-1.0, 0.0, 2.0**-15, 2.0**-14, 1.0, 1.99, 2.0, 2.0**30])).tolist() == [
        -1, -1, -1, 0, 14, 14, 15, 31,
    ]  # fmt: skip


def states_of(model: Model, corpus: str, folder: Path) -> tuple[list[dict[str, State]], Keep]:
    """The states of the blocks of each of five shards."""
    from clew.atlas.assignment import assignment
    from clew.atlas.shard import Shard

    for progress in collecting(model, corpus, out=folder / "atlas", **SETTINGS):
        if progress.stage == "collect":
            break
    texts = folder / ".collecting-atlas" / "contexts"
    keep = Keep(6, 3, 2, 4, 4, 16, 1)
    plan = replace(assignment(model, corpus, tokens=960, context=24, window=16, seed=3, batch=4).plan, keep=keep)
    found = []
    for first in range(0, 40, 8):
        shard = Shard(model.subject, plan, Contexts.open(texts), {})
        for at in range(first, first + 8, 4):
            shard.see(at, at + 4)
        found.append(dict(shard.emptied()))
    return found, keep


@pytest.mark.parametrize("site", ["neuron.1", "attn.2"])
def test_merging_is_associative_and_commutative(
    site: str, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    states, keep = states_of(tiny("llama"), corpus, tmp_path)
    parts = [state[site] for state in states]
    whole = partial.merge(parts, keep)
    draw = Random(1)
    for _ in range(20):
        heap = draw.sample(parts, len(parts))
        while len(heap) > 1:
            size = draw.randint(2, min(3, len(heap)))
            heap = [*heap[size:], partial.merge(heap[:size], keep)]
            draw.shuffle(heap)
        (again,) = heap
        assert again.keys() == whole.keys()
        for name, field in whole.items():
            kind = name.partition(".")[0]
            there = whole[f"{kind}.context"] >= 0 if "." in name and name != "band.octave" else ...
            assert torch.equal(again[name][there], field[there]), name


def test_a_partial_is_whole_or_not_there(tmp_path: Path) -> None:
    state = {"x": torch.arange(6).view(2, 3)}
    kept = partial.save(tmp_path, 0, 8, [("neuron.0", state)])
    (tmp_path / "000000008-000000016.partial").write_bytes(b"half")
    inner = partial.save(tmp_path, 0, 4, [("neuron.0", state)])
    whole, damaged = partial.found(tmp_path)
    assert whole == [kept] and damaged == []
    assert sorted(tmp_path.iterdir()) == [kept.path], "what was half-written, and what a joined one covers, is removed"
    assert not inner.path.exists()
    with kept.opened() as source:
        assert torch.equal(source.block("neuron.0")["x"], state["x"])
    content = kept.path.read_bytes()
    for broken in (content[:-1], content + b"\0", content[:50] + b"?" + content[51:]):
        kept.path.write_bytes(broken)
        assert partial.found(tmp_path) == ([], [kept.path])


def test_lots_are_even_and_differ_by_seed_and_stream() -> None:
    from clew.atlas.plan import lots

    numbers = np.arange(20_000)
    first = lots(0, numbers, 0)
    counts, _ = np.histogram(first, bins=20, range=(0, 1))
    # χ² with 19 degrees of freedom: 43.8 is its 0.999 quantile, and these lots are fixed.
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8
    for other in (lots(1, numbers, 0), lots(0, numbers, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.03
        assert not np.array_equal(first, other)
    assert np.array_equal(first[500:600], lots(0, numbers[500:600], 0)), "a lot depends on nothing but the context"
