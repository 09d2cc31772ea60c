"""Verified effects on the default model: known truths, re-runs, and what the run remembers."""

from __future__ import annotations

import pytest
import torch

from clew.debug import Model, Run
from clew.debug.estimators import refined
from clew.errors import BadNode, UsageError
from clew.nodes import parse
from clew.settings import EXAMPLE_DISTRACTOR, EXAMPLE_PROMPT, EXAMPLE_TARGET

from .. import reference

LAST = 13
MARY, JOHN = 5099, 2322


@pytest.fixture(scope="module")
def hundred(smollm2: Model) -> dict[str, float]:
    """Verified effects of the hundred most promising nodes."""
    run = smollm2.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR)
    found = {row.id: row.verified_effect or 0.0 for row in run.verify(top=100)}
    assert len(found) == 100
    return found


@pytest.fixture
def run(smollm2: Model) -> Run:
    return smollm2.debug(EXAMPLE_PROMPT, EXAMPLE_TARGET, EXAMPLE_DISTRACTOR)


# Measured by ablating every head at every position, one whole run each.
@pytest.mark.parametrize(
    ("node", "effect"),
    [
        ("attn.23.3@13", 2.93),
        ("attn.29.1@13", 1.68),
        ("attn.1.5@1", 1.61),
        ("attn.1.3@1", 1.44),
        ("attn.29.0@13", -1.28),
    ],
)
def test_the_known_truths_are_among_the_first_hundred(hundred: dict[str, float], node: str, effect: float) -> None:
    assert hundred[node] == pytest.approx(effect, abs=0.01)


def test_the_whole_set_equals_naive_reruns(smollm2: Model, hundred: dict[str, float]) -> None:
    hf, ids = smollm2.subject.hf, smollm2.subject.encode_prompt(EXAMPLE_PROMPT)
    anatomy = smollm2.subject.anatomy
    hf.set_attn_implementation(reference.IMPLEMENTATION)
    try:
        with torch.no_grad():
            clean = float(reference.direction(hf, ids, LAST, [MARY], [JOHN]))
            for name, effect in hundred.items():
                with reference.dialled(anatomy, reference.without(anatomy, len(ids), parse(name))):
                    truth = clean - float(reference.direction(hf, ids, LAST, [MARY], [JOHN]))
                assert effect == pytest.approx(truth, abs=1e-4), name
    finally:
        hf.set_attn_implementation("clew")


def test_a_run_remembers_what_it_verified(run: Run) -> None:
    assert all(row.verified_effect is None for row in run.nodes())
    assert run.timing.verify_s is None
    rows = run.verify(nodes=["neuron.3.7@2", "attn.23.3@13", "attn.23.3@13"])
    assert [row.id for row in rows] == ["attn.23.3@13", "neuron.3.7@2"]
    listed = {row.id: row.verified_effect for row in run.nodes()}
    assert listed["attn.23.3@13"] == rows[0].verified_effect
    document = {row["id"]: row["verified_effect"] for row in run.to_dict()["nodes"]}
    assert document["neuron.3.7@2"] == rows[1].verified_effect
    assert (run.timing.verify_s or 0) > 0


def test_other_ablations_are_not_mistaken_for_zero_ones(run: Run, smollm2: Model) -> None:
    other = smollm2.debug("When Mary and John went to the store, Mary gave a drink to", EXAMPLE_TARGET)
    for how in ({"ablation": "mean"}, {"ablation": "resample", "other": other}):
        rows = run.verify(nodes=["attn.23.3@13"], **how)  # type: ignore[arg-type]
        assert rows[0].verified_effect != pytest.approx(2.93, abs=0.01)
    assert not run.verified()


def test_the_same_prompt_resampled_changes_nothing(run: Run) -> None:
    heads = [row.id for row in run.nodes() if row.kind == "attn" and row.source is None][:20]
    rows = run.verify(nodes=heads, ablation="resample", other=run)
    assert len(rows) == 20
    assert max(abs(row.verified_effect or 0.0) for row in rows) < 1e-4


def test_batches_arrive_most_promising_first(run: Run) -> None:
    estimates = refined(run._case, run._scalar())
    known, *batches = list(run.verifying(300))
    assert {parse(row.id) for row in known} <= set(estimates.measured)
    for rows in (known, [row for batch in batches for row in batch]):
        sizes = [abs(estimates.of(parse(row.id))) for row in rows]
        assert sizes == sorted(sizes, reverse=True)
    whole = [row for batch in (known, *batches) for row in batch]
    assert len(whole) == 300
    assert all(row.source is None for row in whole)
    (again,) = run.verifying(300)
    assert [row.id for row in again] == [row.id for row in run.verifying(300).__next__()]
    assert len(again) == 300


def test_what_cannot_be_asked_is_refused(run: Run) -> None:
    for bad in ("attn.23.3@14", "attn.30.0@3", "direct"):
        with pytest.raises(BadNode):
            run.verify(nodes=[bad])
    with pytest.raises(UsageError, match="Give one of them"):
        run.verify(top=5, nodes=["attn.23.3@13"])
    for top in (0, -1, 10**9):
        with pytest.raises(UsageError, match="number of nodes"):
            run.verify(top=top)
