"""What the copier's nodes do to its answer, known on paper: worked.py says how, this file how much."""

from __future__ import annotations

import pytest

from clew.debug import Run

from .worked import (
    CLEAN,
    END,
    GRADIENT,
    MOVED,
    ON_A,
    ON_B,
    ROOT5,
    D,
    Vector,
    Worked,
    dot,
    near,
    neuron_slope,
    norm_slope,
    rms,
)

pytestmark = pytest.mark.usefixtures("one_thread")

DIRECT = {
    "embed@0": 0.0,
    "embed@1": 2 * (1 / 2) / rms(END),
    "attn.0.0@0": 0.0,
    "attn.0.0@1": (3 / 4 - 6 / 8) / rms(END),
    "attn.0.0@1<-0": 3 / 4 / rms(END),
    "attn.0.0@1<-1": -6 / 8 / rms(END),
    "attn.0.1@1": 0.0,
    "neuron.0.0@1": 21 / 4 / 8 / rms(END),
    "neuron.0.1@1": 0.0,
    "attn.1.0@1": MOVED / 2 / rms(END),
    "attn.1.0@1<-0": 2 * ON_A * 2 / ROOT5 / 2 / rms(END),
    "attn.1.0@1<-1": 2 * ON_B * 6 / 5 / 2 / rms(END),
}

VERIFIED = {
    "embed@0": Worked(a=0),
    "embed@1": Worked(b=0),
    "attn.0.0@0": Worked(before=0),
    "attn.0.0@1": Worked(there=0, here=0),
    "attn.0.0@1<-0": Worked(there=0),
    "attn.0.0@1<-1": Worked(here=0),
    "attn.0.1@1": CLEAN,
    "neuron.0.0@1": Worked(fired=0),
    "neuron.0.1@1": CLEAN,
    "attn.1.0@1": Worked(read_a=0, read_b=0),
    "attn.1.0@1<-0": Worked(read_a=0),
    "attn.1.0@1<-1": Worked(read_b=0),
}


def moved_slope(along: Vector = (0, 0, 0, 0), along_0: Vector = (0, 0, 0, 0)) -> float:
    """How what attn.1.0@1 writes moves as the streams after layer 0 move, at 1 and at 0.

    It is 2(A₀v₀ + A₁v₁), with d A₀ = −d A₁ = A₀A₁ d(score₀ − score₁) and score_s = q·k_s/2.
    """
    n = norm_slope((6 / 5, 16 / 35, 24 / 35, 48 / 35), 35 / 8, along)
    n0 = norm_slope((2 / ROOT5, 0, 4 / ROOT5, 0), ROOT5, along_0)
    query = 35 / 32 * n[1] + 35 / 48 * n[2]
    key, key_0 = (m[0] / 2 + m[2] / 2 for m in (n, n0))
    score_0 = query * (3 / ROOT5) / 2 + key_0 / 2
    score_1 = query * (33 / 35) / 2 + key / 2
    weight = ON_A * ON_B * (score_0 - score_1)
    return 2 * (ON_A * n0[0] + ON_B * n[0] + weight * (2 / ROOT5 - 6 / 5))


def slope(along: Vector) -> float:
    """How D moves as the stream at 1 after layer 0 moves."""
    return dot(GRADIENT, along) + GRADIENT[1] * moved_slope(along)


def middle_slope(along: Vector) -> float:
    """The same where the MLP of layer 0 reads: its neuron moves as well."""
    return slope([along[0] + 21 / 2 * neuron_slope(along), *along[1:]])


# An embedding scaled up or down is the same after a norm, so attn.0.0 does not feel it: only the stream itself does.
ESTIMATED = {
    "embed@0": GRADIENT[1] * moved_slope(along_0=(2, 0, 0, 0)),
    "embed@1": middle_slope((0, 2, 0, 0)),
    "attn.0.0@0": GRADIENT[1] * moved_slope(along_0=(0, 0, 4, 0)),
    "attn.0.0@1": middle_slope((0, 0, 3, 6)),
    "attn.0.0@1<-0": middle_slope((0, 0, 3, 0)),
    "attn.0.0@1<-1": middle_slope((0, 0, 0, 6)),
    "attn.0.1@1": 0.0,
    "neuron.0.0@1": slope((21 / 4, 0, 0, 0)),
    "neuron.0.1@1": 0.0,
    "attn.1.0@1": GRADIENT[1] * MOVED,
    "attn.1.0@1<-0": GRADIENT[1] * 2 * ON_A * 2 / ROOT5,
    "attn.1.0@1<-1": GRADIENT[1] * 2 * ON_B * 6 / 5,
}


def test_the_worked_numbers_agree_with_each_other() -> None:
    assert CLEAN.after == pytest.approx([21 / 4, 2, 3, 6])
    assert rms(CLEAN.after) == pytest.approx(35 / 8)
    assert CLEAN.moved == pytest.approx(MOVED)
    assert CLEAN.d == pytest.approx(D)


def test_the_direction(run: Run) -> None:
    assert run.direction.value == near(D)
    assert [token.text for token in run.tokens] == [" a", " b"]


@pytest.mark.parametrize("node", DIRECT)
def test_direct_effects(run: Run, node: str) -> None:
    assert run.node(node).node.direct_effect == near(DIRECT[node])


@pytest.mark.parametrize("node", ESTIMATED)
def test_estimated_effects(run: Run, node: str) -> None:
    assert run.node(node).node.estimated_effect == near(ESTIMATED[node])


def test_verified_effects(run: Run) -> None:
    found = {row.id: row.verified_effect for row in run.verify(nodes=list(VERIFIED))}
    assert found == {node: near(D - worked.d) for node, worked in VERIFIED.items()}
    assert abs(D - VERIFIED["embed@0"].d) > 0.01


def test_activations(run: Run) -> None:
    assert run.node("attn.0.0@1<-0").node.activation == near(3 / 4)
    assert run.node("attn.1.0@1<-0").node.activation == near(ON_A)
    assert run.node("neuron.0.0@1").node.activation == near(1 / 2)
    assert run.node("neuron.0.1@1").node.activation == 0


def test_accounting(run: Run) -> None:
    accounting = run.accounting()
    wanted = {"embed": 1 / rms(END), "attn": DIRECT["attn.1.0@1"], "neuron": DIRECT["neuron.0.0@1"], "bias": 0.0}
    assert {kind: accounting.terms[kind] for kind in wanted} == {kind: near(value) for kind, value in wanted.items()}
    assert accounting.difference == near(0)


def test_a_row_that_sums_to_one_again(run: Run) -> None:
    # Without a, all of the weight is on b: four times what it was.
    rows = run.verify(nodes=["attn.0.0@1<-0"], renormalise=True)
    assert rows[0].verified_effect == near(D - Worked(there=0, here=4).d)


def test_a_mean_ablation(run: Run) -> None:
    # The only other position is 0. There the neuron is silent, and the head's value is a's alone: 4 in dimension 2.
    rows = run.verify(nodes=["neuron.0.0@1", "attn.0.0@1"], ablation="mean")
    assert {row.id: row.verified_effect for row in rows} == {
        "neuron.0.0@1": near(D - Worked(fired=0).d),
        "attn.0.0@1": near(D - Worked(there=4 / 3, here=0).d),
    }


def test_edits(run: Run) -> None:
    assert run.ablate("neuron.0.0@1").value == near(Worked(fired=0).d)
    assert run.scale("neuron.0.0@1", 2).value == near(Worked(fired=2).d)
    assert run.ablate(["neuron.0.0@1", "attn.0.0@1<-0"]).value == near(Worked(fired=0, there=0).d)
    assert run.cut("attn.0.0@1<-0").value == near(Worked(there=0, here=4).d)
