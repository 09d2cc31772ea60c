"""The products over pairs that fire, against matrix products; and which pairs are the largest, against a full sort."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from clew.sae.sparse import Dense, Pairs, Sparse, above, largest_of_all, largest_of_each

close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-12)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_matrix(pairs: Sparse, values: Tensor) -> Tensor:
    matrix = values.new_zeros(len(pairs.starts) - 1, pairs.latents)
    matrix[pairs.token, pairs.column] = values
    return matrix


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_products_are_those_of_matrices(kind: str) -> None:
    b, n, d = 9, 14, 5
    z = random(b, n)
    z[3] = -1.0  # a token on which nothing fires
    z[:, 5] = -1.0  # a latent that never fires
    f = z.relu()
    w_dec, g, rows, row = random(n, d, seed=1), random(b, d, seed=2), random(b, d, seed=3), random(n, seed=4)
    pairs: Pairs
    if kind == "sparse":
        pairs, values = above(z, 0.0)
    else:
        pairs, values = Dense(n, torch.empty_like(f), f), f
    mask = (f > 0).to(f.dtype)

    def whole(values: Tensor) -> Tensor:
        return as_matrix(pairs, values) if isinstance(pairs, Sparse) else values

    torch.testing.assert_close(whole(values), f, rtol=0, atol=0)
    close(whole(pairs.spread(row) * values), f * row)
    close(pairs.decode(values, w_dec), f @ w_dec)
    close(pairs.push(values, rows), f.T @ rows)
    close(pairs.totals(values), f.sum(0))
    close(whole(pairs.pull(g, w_dec)), (g @ w_dec.T) * mask)
    close(whole(pairs.pull(g, w_dec, row)), (g @ w_dec.T + row) * mask)


def test_pairs_within_some_latents() -> None:
    z = random(9, 14)
    pairs, values = above(z, 0.0)
    for low, high in ((0, 4), (4, 11), (11, 14), (6, 6)):
        part, at = pairs.within(low, high)
        assert torch.equal(as_matrix(part, values[at]), z.relu()[:, low:high])


@pytest.mark.parametrize(
    ("b", "n", "k"), [(7, 20, 3), (5, 20, 20), (6, 640, 7), (3, 4608, 32), (4, 1024, 16), (1, 64, 1)]
)
def test_largest_of_each_token(b: int, n: int, k: int) -> None:
    z = random(b, n)
    pairs, values = largest_of_each(z, k)
    best = z.topk(k, dim=1)
    assert torch.equal(as_matrix(pairs, values), torch.zeros_like(z).scatter(1, best.indices, best.values))
    assert torch.equal(z[pairs.token, pairs.column], values)


def test_largest_of_each_token_with_ties_is_still_k_pairs() -> None:
    pairs, values = largest_of_each(torch.ones(3, 1280), 8)
    assert (as_matrix(pairs, values).sum(1) == 8).all()


@pytest.mark.parametrize(("b", "n", "count"), [(6, 10, 12), (40, 5000, 640), (256, 1024, 8192), (5, 9, 1), (4, 6, 24)])
def test_largest_of_a_batch(b: int, n: int, count: int) -> None:
    z = random(b, n)
    pairs, values = largest_of_all(z, count)
    flat = z.flatten()
    best = flat.topk(count)
    wanted = torch.zeros_like(flat).scatter(0, best.indices, best.values).view(b, n).relu()
    assert torch.equal(as_matrix(pairs, values), wanted)


def test_largest_of_a_batch_where_few_are_positive_or_many_are_equal() -> None:
    z = -random(8, 30).abs()
    z[2, 5], z[7, 29] = 1.0, 2.0
    pairs, values = largest_of_all(z, 40)
    assert pairs.token.tolist() == [2, 7]
    assert pairs.column.tolist() == [5, 29]
    assert values.tolist() == [1.0, 2.0]
    pairs, values = largest_of_all(torch.ones(4, 10), 13)
    assert pairs.starts.tolist() == [0, 10, 13, 13, 13]
    nothing, values = largest_of_all(-torch.ones(4, 10), 13)
    assert len(values) == 0
    assert not nothing.decode(values, torch.ones(10, 3)).any()


def test_largest_of_a_batch_does_not_depend_on_where_they_are() -> None:
    """The quick first guess looks at one place in many: all large ones may lie elsewhere, or just there."""
    for stride in (1, 31, 127):
        z = random(128, 4096).abs() * 1e-3
        z.view(-1)[::stride][:3000] += 1.0
        pairs, values = largest_of_all(z, 2000)
        assert torch.equal(values.sort().values, z.flatten().topk(2000).values.sort().values)
        assert torch.equal(z[pairs.token, pairs.column], values)
