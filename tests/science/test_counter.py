"""Effects and a trace through LayerNorms and biases, known on paper: the weights are in handmade.py."""

from __future__ import annotations

import math

import pytest

import clew
from clew.debug import Run

from . import handmade
from .worked import Vector, dot, near

pytestmark = pytest.mark.usefixtures("one_thread")

# The counter, " a b" again, D = logit(" yes") − logit(" no"):
#
#     embeddings   at 0 (1, −1, 1, −1), at 1 (1, 1, −3/2, −1/2) + position (0, 0, 1/2, −1/2) = (1, 1, −1, −1)
#                  both of mean 0 and variance 1: LayerNorm leaves them as they are
#     attn.0.0     no queries, no keys: weights 1/2. Values n₀ + n₁/2: 1/2 from a, 3/2 from b, written to dimension 0;
#                  its bias adds (0, 0, 1, −2)
#     middle       (1 + 1, 1, −1 + 1, −1 − 2) = (2, 1, 0, −3), mean 0, variance (4 + 1 + 9)/4 = 7/2
#     neuron       gain (2, 1, 1, 1), shift 1/2 in dimension 1, weights (1/4, 1/2, 0, −1/4), bias 1/8:
#                  S = (2·2/4 + 1/2 + 3/4)/√(7/2) + 1/4 + 1/8;  it writes 2·S to dimension 1, the MLP's bias 1/2 to 2
#     final norm   gain (1, 2, 1, 1), shift 1/4 in dimension 0; reading (1/4, 1/4, 0, −1/4)
HALF7 = math.sqrt(7 / 2)
S = 9 / 4 / HALF7 + 3 / 8
FINAL = (2, 1 + 2 * S, 1 / 2, -3)
MEAN = (1 / 2 + 2 * S) / 4
SPREAD = math.sqrt(dot(FINAL, FINAL) / 4 - MEAN**2)


def by_final(write: Vector) -> float:
    """Direct effect: write · centre(gain ⊙ reading)/σ, with gain ⊙ reading = (1/4, 1/2, 0, −1/4) of mean 1/8."""
    return dot(write, (1 / 8, 3 / 8, -1 / 8, -3 / 8)) / SPREAD


def by_neuron(write: Vector) -> float:
    """On S: gain ⊙ weights = (1/2, 1/2, 0, −1/4) of mean 3/16."""
    return dot(write, (5 / 16, 5 / 16, -3 / 16, -7 / 16)) / HALF7


COUNTED = {
    "embed@1": (1, 1, -1, -1),
    "attn.0.0@1": (1, 0, 0, 0),
    "attn.0.0@1<-0": (1 / 4, 0, 0, 0),
    "attn.0.0@1<-1": (3 / 4, 0, 0, 0),
    "bias.attn.0": (0, 0, 1, -2),
}


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Run:
    model = clew.load(str(handmade.counter(tmp_path_factory.mktemp("counter"))))
    return model.debug("a b", " yes", " no")


def test_direct_effects_through_a_layer_norm(counter: Run) -> None:
    writes = {**COUNTED, "neuron.0.0@1": (0, 2 * S, 0, 0), "bias.mlp.0": (0, 0, 1 / 2, 0)}
    for node, write in writes.items():
        assert counter.node(node).node.direct_effect == near(by_final(write)), node
    assert counter.node("bias.final_norm").node.direct_effect == near(1 / 16)
    whole = sum(by_final(writes[node]) for node in writes if "<-" not in node) + 1 / 16
    assert counter.direction.value == near(whole)
    assert counter.accounting().difference == near(0)


def test_tracing_a_plain_neuron(counter: Run) -> None:
    traced = counter.trace("neuron.0.0@1", through="in")
    assert traced.value == near(S)
    assert counter.node("neuron.0.0@1").node.activation == near(S)
    for node, write in COUNTED.items():
        assert traced.node(node).node.direct_effect == near(by_neuron(write)), node
    accounting = traced.accounting()
    assert accounting.terms["constant"] == near(1 / 4 + 1 / 8)
    assert accounting.terms["bias"] == near(by_neuron(COUNTED["bias.attn.0"]))
    assert accounting.difference == near(0)
    # An embedding scaled is the same after the first norm, so to first order it does not reach S through the head.
    effects = {
        "attn.0.0@1": ((1, 0, 0, 0),) * 3,
        "attn.0.0@1<-0": ((1 / 4, 0, 0, 0),) * 3,
        "embed@0": ((0, 0, 0, 0), (0, 0, 0, 0), (1 / 4, 0, 0, 0)),
        "embed@1": ((1, 1, -1, -1), (1, 1, -1, -1), (1 + 3 / 4, 1, -1, -1)),
    }
    rows = traced.verify(nodes=list(effects))
    assert {row.id: (row.direct_effect, row.estimated_effect, row.verified_effect) for row in rows} == {
        node: tuple(near(by_neuron(write)) for write in writes) for node, writes in effects.items()
    }
