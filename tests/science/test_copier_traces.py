"""Traces of the copier's nodes, known on paper: worked.py says what happens."""

from __future__ import annotations

import pytest

from clew.debug import Run

from .worked import GRADIENT, ON_A, ON_B, ROOT5, Vector, Worked, near, neuron_slope

pytestmark = pytest.mark.usefixtures("one_thread")

# A trace: S, then per node its direct, estimated and verified effect on S. Norms in front of the traced node are held.
SCORE = 3 / (2 * ROOT5)
SHARE_A = ON_A * (2 / ROOT5) * 2 * GRADIENT[1]
SHARE_B = ON_B * (6 / 5) * 2 * GRADIENT[1]


def own_score(x: Vector) -> float:
    """The score of attn.1.0@1<-1 from the stream it reads at 1 for both sides, its norm held at 8/35."""
    query = (35 / 32 * x[1] + 35 / 48 * x[2]) * 8 / 35
    return query * (x[0] + x[2]) / 2 * (8 / 35) / 2


def own_slope(along: Vector) -> float:
    """How it moves: d query · key/2 + query · d key/2, with query 1 and key 33/35."""
    query = (35 / 32 * along[1] + 35 / 48 * along[2]) * 8 / 35
    return query * (33 / 35) / 2 + (along[0] + along[2]) / 2 * (8 / 35) / 2


OWN = 33 / 70  # of which the neuron's dimension 0 is 7/11 of the key, and a's copy in 2 the other 4/11
TRACES: dict[tuple[str, str], tuple[float, dict[str, tuple[float, float, float]]]] = {
    # Key at 0: 1/2·2/√5 from a, 2·1/4·4/√5 from attn.0.0@0, which copies a: without a there is no key.
    ("attn.1.0@1<-0", "k"): (
        SCORE,
        {
            "embed@0": (SCORE / 3, SCORE / 3, SCORE),
            "attn.0.0@0": (SCORE * 2 / 3, SCORE * 2 / 3, SCORE * 2 / 3),
        },
    ),
    # Query: 1/2 from b's embedding and 1/2 from what attn.0.0@1 copied of a. Without a it copies nothing; without b it
    # looks evenly and copies 2/3 of it.
    ("attn.1.0@1<-0", "q"): (
        SCORE,
        {
            "embed@0": (0, 0, SCORE / 2),
            "embed@1": (SCORE / 2, SCORE / 2, SCORE * (1 - 1 / 3)),
            "attn.0.0@1<-0": (SCORE / 2, SCORE / 2, SCORE / 2),
            "attn.0.0@1<-1": (0, 0, 0),
            "neuron.0.0@1": (0, 0, 0),
        },
    ),
    # Both sides at once: first-order effects of both add up to 2S.
    ("attn.1.0@1<-0", "both"): (
        SCORE,
        {
            "embed@0": (SCORE / 3, SCORE / 3, SCORE),
            "attn.0.0@0": (SCORE * 2 / 3, SCORE * 2 / 3, SCORE * 2 / 3),
            "embed@1": (SCORE / 2, SCORE / 2, SCORE * 2 / 3),
            "attn.0.0@1<-0": (SCORE / 2, SCORE / 2, SCORE / 2),
        },
    ),
    # Query and key from one token. What comes before the neuron also moves what it writes, 21/2 of its activation.
    ("attn.1.0@1<-1", "both"): (
        OWN,
        {
            "embed@0": (0, 0, OWN - own_score(Worked(a=0).after)),
            "embed@1": (
                OWN / 2,
                own_slope((21 / 2 * neuron_slope((0, 2, 0, 0)), 2, 0, 0)),
                OWN - own_score(Worked(b=0).after),
            ),
            "attn.0.0@1<-0": (
                OWN * (1 / 2 + 4 / 11),
                own_slope((21 / 2 * neuron_slope((0, 0, 3, 0)), 0, 3, 0)),
                OWN - own_score(Worked(there=0).after),
            ),
            "attn.0.0@1<-1": (
                0,
                own_slope((21 / 2 * neuron_slope((0, 0, 0, 6)), 0, 0, 6)),
                OWN - own_score(Worked(here=0).after),
            ),
            "neuron.0.0@1": (OWN * 7 / 11, OWN * 7 / 11, OWN * 7 / 11),
        },
    ),
    # The value is dimension 0 at 0: a's embedding and nothing else.
    ("attn.1.0@1<-0", "v"): (
        SHARE_A,
        {"embed@0": (SHARE_A, SHARE_A, SHARE_A), "attn.0.0@0": (0, 0, 0), "neuron.0.0@0": (0, 0, 0)},
    ),
    # The whole head: its part from 1 is what neuron.0.0@1 wrote there, 21/4, which without b is nothing.
    ("attn.1.0@1", "v"): (
        SHARE_A + SHARE_B,
        {
            "embed@0": (SHARE_A, SHARE_A, SHARE_A + SHARE_B * (1 - Worked(a=0).after[0] / (21 / 4))),
            "neuron.0.0@1": (SHARE_B, SHARE_B, SHARE_B),
            "embed@1": (0, SHARE_B * 2 * neuron_slope((0, 2, 0, 0)), SHARE_B),
        },
    ),
    # Gate: 1/4 from b, 1/4 from a's copy. Without b a's copy is 2/3 of it: 1/6 is left.
    ("neuron.0.0@1", "gate"): (
        1 / 2,
        {
            "embed@0": (0, 0, 1 / 4),
            "embed@1": (1 / 4, 1 / 4, 1 / 2 - 1 / 6),
            "attn.0.0@1": (1 / 4, 1 / 4, 1 / 4),
            "attn.0.0@1<-0": (1 / 4, 1 / 4, 1 / 4),
            "attn.0.0@1<-1": (0, 0, 0),
        },
    ),
    # Up: 1/2 from b, 1/2 from its copy, which without a is twice as large.
    ("neuron.0.0@1", "up"): (
        1,
        {
            "embed@0": (0, 0, 1 - 3 / 2),
            "embed@1": (1 / 2, 1 / 2, 1),
            "attn.0.0@1<-0": (0, 0, 0),
            "attn.0.0@1<-1": (1 / 2, 1 / 2, 1 / 2),
        },
    ),
    # Gate times up: d(gate·up) = d gate·1 + 1/2·d up.
    ("neuron.0.0@1", "both"): (
        1 / 2,
        {
            "embed@0": (0, 0, 1 / 2 - 1 / 4 * 3 / 2),
            "embed@1": (1 / 4 + 1 / 4, 1 / 4 + 1 / 4, 1 / 2),
            "attn.0.0@1": (1 / 4 + 1 / 4, 1 / 4 + 1 / 4, 1 / 2 - 1 / 4 * 1 / 2),
            "attn.0.0@1<-0": (1 / 4, 1 / 4, 1 / 2 - 1 / 4 * 1),
            "attn.0.0@1<-1": (1 / 4, 1 / 4, 1 / 2 - 1 / 2 * 1 / 2),
        },
    ),
}


@pytest.mark.parametrize("step", TRACES, ids=":".join)
def test_traces(run: Run, step: tuple[str, str]) -> None:
    value, effects = TRACES[step]
    traced = run.trace(step[0], through=step[1])
    assert traced.value == near(value)
    rows = traced.verify(nodes=list(effects))
    assert {row.id: (row.direct_effect, row.estimated_effect, row.verified_effect) for row in rows} == {
        node: tuple(near(effect) for effect in found) for node, found in effects.items()
    }


@pytest.mark.parametrize("step", TRACES, ids=":".join)
def test_traces_add_up(run: Run, step: tuple[str, str]) -> None:
    value, _ = TRACES[step]
    accounting = run.trace(step[0], through=step[1]).accounting()
    assert accounting.difference == near(0)
    assert accounting.terms["constant"] == near(0)
    # A product of two things that both count to first order is counted twice.
    assert accounting.terms.get("remainder", 0) == near(-value if step[1] == "both" else 0)


def test_a_trace_of_a_trace(run: Run) -> None:
    # What attn.0.0@1 copied of a is half of the query: 1/2 · SCORE, through its value at 0, all of it a's embedding.
    copied = run.trace("attn.1.0@1<-0", through="q").trace("attn.0.0@1<-0", through="v")
    assert copied.value == near(SCORE / 2)
    (row,) = copied.verify(nodes=["embed@0"])
    assert (row.direct_effect, row.estimated_effect, row.verified_effect) == (near(SCORE / 2),) * 3
