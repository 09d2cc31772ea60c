"""The overview of a model equals sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clew.errors import UnknownExplanation
from clew.explain.records import Baseline, Failure, Problem, Source, Subject
from clew.explain.store.explanations import Explanations
from clew.explain.store.overview import overview, sources

from .made import LATENTS, MODEL, explanation, score

LLM = "some@http://127.0.0.1:1/v1"
# Component, density, score, baseline.
ROWS = [
    ("neuron.0.0", 0.5, 0.25, 0.125),
    ("neuron.0.1", 0.002, -0.5, None),
    ("neuron.2.0", 0.002, 1.0, 0.5),
    ("attn.0.1", None, 0.1, -0.25),
    ("latent.mlp_out.2.0", 1e-9, 0.1, 0.0),
]


@pytest.fixture
def filled(kept: Explanations) -> Explanations:
    """The rows, with older words, scores, splits and judges that do not count."""
    for name, density, value, table in ROWS:
        subject = LATENTS if name.startswith("latent") else MODEL
        kept.add(explanation(name, "older words", subject=subject, seed=1, scores=(score(0.99, strips=()),)))
        kept.add(
            explanation(
                name, "newer words", subject=subject, density=density,
                scores=(
                    score(0.98), score(value, baselines=(Baseline("table", table),)), score(0.97, split="validate"),
                    score(0.96, llm="judge"), score(0.75, scorer="detection"),
                ),
            )
        )  # fmt: skip
    kept.add(explanation("neuron.2.1", scores=(score(None),)))
    kept.add(explanation("neuron.2.2", scores=(score(None, failures=()),)))
    kept.add(explanation("neuron.2.3"))
    kept.add(explanation("neuron.2.0", "a candidate", chosen=False, scores=(score(0.9),)))
    kept.add(explanation("neuron.2.0", "of a node", variant="node", node="neuron.2.0@1", scores=(score(0.9),)))
    kept.add(explanation("neuron.2.0", "of another model", subject=Subject("big", "f"), scores=(score(0.9),)))
    kept.add(explanation("neuron.2.0", "by another", llm="other", scores=(score(0.9),)))
    for component in ("neuron.2.4", "neuron.2.4", "neuron.2.5", "neuron.2.0"):
        kept.problem(MODEL, Problem(component, "explain", Failure("timeout", "late")), LLM)
    kept.problem(MODEL, Problem("neuron.2.4", "explain", Failure("error", "no")), LLM)
    kept.problem(MODEL, Problem("neuron.2.6", "explain", Failure("timeout", "late")), "other")
    return kept


def test_counts_and_means_are_of_the_newest_words_and_their_last_score(filled: Explanations) -> None:
    found = overview(filled, "tiny", LLM)
    assert found.source == Source("tiny", LLM, "examples", "simulation", LLM, 8)
    # Two were tried in vain, and one scored nothing but failures.
    assert (found.explained, found.scored, found.failed) == (8, 5, 3)
    values = [row[2] for row in ROWS]
    assert found.mean == pytest.approx(np.mean(values))
    assert found.table == pytest.approx(np.mean([0.125, 0.5, -0.25, 0.0]))


def test_groups_are_by_kind_and_by_layer(filled: Explanations) -> None:
    found = overview(filled, "tiny", LLM)
    assert [(group.kind, group.layer, group.n) for group in found.kinds] == [
        ("attn", None, 1), ("latent", None, 1), ("neuron", None, 3),
    ]  # fmt: skip
    neurons = found.kinds[2]
    assert neurons.mean == pytest.approx(0.25)
    assert neurons.deviation == pytest.approx(np.std([0.25, -0.5, 1.0]))
    assert neurons.table == pytest.approx((0.125 + 0.5) / 2)
    assert [(group.kind, group.layer, group.n, group.mean, group.table) for group in found.layers] == [
        ("attn", 0, 1, 0.1, -0.25),
        ("latent", 2, 1, 0.1, 0.0),
        ("neuron", 0, 2, -0.125, 0.125),
        ("neuron", 2, 1, 1.0, 0.5),
    ]
    assert found.layers[0].deviation == pytest.approx(0, abs=1e-9)


def test_scores_are_distributed_over_twenty_bins(filled: Explanations) -> None:
    bins = overview(filled, "tiny", LLM).distribution
    assert len(bins) == 20 and (bins[0].low, bins[-1].high) == (-1, 1)
    assert [(one.low, one.n, one.mean) for one in bins if one.n] == [
        (-0.5, 1, -0.5), (0.1, 2, pytest.approx(0.1)), (0.2, 1, 0.25), (0.9, 1, 1.0),
    ]  # fmt: skip
    assert {one.mean for one in bins if not one.n} == {None}
    shares = overview(filled, "tiny", LLM, scorer="detection").distribution
    assert (shares[0].low, shares[-1].high) == (0, 1)
    assert [(one.low, one.n) for one in shares if one.n] == [(0.75, 5)]


def test_densities_are_binned_by_their_logarithm(filled: Explanations) -> None:
    bins = overview(filled, "tiny", LLM).density
    assert (bins[0].low, bins[-1].high, len(bins)) == (-6, 0, 12)
    # 1e-9 is in the first, 0.002 = 10^−2.7, and a head has none.
    assert [(one.low, one.n, one.mean) for one in bins if one.n] == [(-6, 1, 0.1), (-3, 2, 0.25), (-0.5, 1, 0.25)]


def test_best_and_worst_come_with_the_score_that_counts(filled: Explanations) -> None:
    found = overview(filled, "tiny", LLM, listed=2)
    assert [(one.component, one.text, [s.value for s in one.scores]) for one in found.best] == [
        ("neuron.2.0", "newer words", [1.0]), ("neuron.0.0", "newer words", [0.25]),
    ]  # fmt: skip
    assert [one.component for one in found.worst] == ["neuron.0.1", "attn.0.1"]
    assert len(overview(filled, "tiny", LLM).best) == 5


def test_who_judged_is_told_apart(filled: Explanations) -> None:
    assert overview(filled, "tiny", LLM, simulator="judge").mean == pytest.approx(0.96)
    assert overview(filled, "tiny", "other", simulator=LLM).explained == 1
    assert overview(filled, "big", LLM).mean == 0.9


def test_what_there_is_to_see_is_listed(filled: Explanations) -> None:
    assert sources(filled, "tiny") == [
        Source("tiny", LLM, "examples", "simulation", LLM, 7),
        Source("tiny", LLM, "examples", "detection", LLM, 5),
        Source("tiny", LLM, "examples", "simulation", "judge", 5),
        Source("tiny", "other", "examples", "simulation", LLM, 1),
    ]
    assert sources(filled)[-2:] == [
        Source("big", LLM, "examples", "simulation", LLM, 1),
        Source("tiny", "other", "examples", "simulation", LLM, 1),
    ]
    assert sources(filled, "nothing") == []


def test_one_that_explained_nothing_is_told(filled: Explanations) -> None:
    with pytest.raises(UnknownExplanation, match="nobody has explained nothing of tiny"):
        overview(filled, "tiny", "nobody")
    # Nothing but problems is worth a look.
    filled.problem(MODEL, Problem("neuron.0.0", "read", Failure("nothing", "never fires")), "unlucky")
    found = overview(filled, "tiny", "unlucky")
    assert (found.explained, found.failed, found.mean, found.kinds, found.best) == (0, 1, None, [], [])


def test_an_empty_database_has_no_sources(kept: Explanations) -> None:
    assert sources(kept) == []
