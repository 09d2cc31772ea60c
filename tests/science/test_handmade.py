"""Effects known on paper: the weights are in handmade.py, the arithmetic is here, in fractions and roots.

The prompt of `copier` is " a b", positions 0 and 1; D = logit(" yes") − logit(" no") at 1. Worked out:

    embeddings    a = (2, 0, 0, 0)   b = (0, 2, 0, 0)   both of RMS 1, so the first norm leaves them as they are
    attn.0.0      scores at 1: with a  ln 3 · 2 / √4 = ln 3,  with itself 0;  so A = 3/4, 1/4
                  values a → 2 in dimension 0, b → 2 in 1;  W_O: 0 → 2·dimension 2, 1 → 12·dimension 3
                  writes at 1: 3/4·2·2 = 3 in dimension 2 (from a) and 1/4·2·12 = 6 in 3 (from b);  at 0: 4 in 2
    middle of 0   at 0: (2, 0, 4, 0)   at 1: (0, 2, 3, 6), RMS √(49/4) = 7/2, normed (0, 4/7, 6/7, 12/7)
    neuron.0.0    at 1: gate 7/16·4/7 + 7/24·6/7 = 1/4 + 1/4 = 1/2,  up 7/8·4/7 + 7/24·12/7 = 1/2 + 1/2 = 1
                  activation relu(1/2)·1 = 1/2, write 21/2·1/2 = 21/4 in dimension 0.  At 0 up reads nothing: 0
    neuron.0.1    gate −(dimension 2) < 0 everywhere: never fires
    after layer 0 at 0: (2, 0, 4, 0), RMS √5   at 1: (21/4, 2, 3, 6), RMS √(441/16 + 49)/2 = 35/8
    attn.1.0      normed at 1 (6/5, 16/35, 24/35, 48/35); its norm's gain doubles dimension 2
                  query 35/32·16/35 + 2·35/96·24/35 = 1/2 + 1/2 = 1
                  keys 1/2·n₀ + 2·1/4·n₂: at 0 (1 + 2)/√5 = 3/√5, at 1 3/5 + 12/35 = 33/35;  scores: half of that
                  values n₀: 2/√5 and 6/5;  writes 2·Σ A·value in dimension 1
    final norm    gain (1, 2, 1, 1), reading (1/8, 1/4, 1/4, −1/8): D = c·x/RMS(x) with c = (1/8, 1/2, 1/4, −1/8)

Comparisons are to 1e-6: numbers are kept below 2, where float32 rounds by at most 1.2e-7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch

import clew
from clew.debug import Model, Run

from . import handmade

TOLERANCE = 1e-6
ROOT5 = math.sqrt(5)
READING = (1 / 8, 1 / 2, 1 / 4, -1 / 8)  # the final norm's gain times W_U[yes] − W_U[no]

Vector = Sequence[float]


def dot(x: Vector, y: Vector) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def rms(x: Vector) -> float:
    return math.sqrt(dot(x, x) / len(x))


def normed(x: Vector) -> list[float]:
    scale = rms(x)
    return [a / scale if scale else 0.0 for a in x]


@dataclass(frozen=True)
class Worked:
    """The copier worked through by hand with some node dialled down: each dial is 1 as is and 0 ablated.

    `here` and `there`: the part that attn.0.0@1 reads from b and from a. `before`: attn.0.0@0.
    """

    a: float = 1
    b: float = 1
    there: float = 1
    here: float = 1
    before: float = 1
    fired: float = 1
    read_a: float = 1
    read_b: float = 1

    @property
    def copied(self) -> tuple[float, float]:
        """What attn.0.0@1 writes in dimensions 2 and 3: its scores are ln 3 and 0, and with a or b gone 0 and 0."""
        weight = 3 / 4 if self.a and self.b else 1 / 2
        return 4 * weight * self.a * self.there, 24 * (1 - weight) * self.b * self.here

    @property
    def middle(self) -> list[float]:
        """The stream at 1 where the MLP of layer 0 reads it."""
        return [0, 2 * self.b, *self.copied]

    def gate(self, n: Vector) -> float:
        return 7 / 16 * n[1] + 7 / 24 * n[2]

    def up(self, n: Vector) -> float:
        return 7 / 8 * n[1] + 7 / 24 * n[3]

    @property
    def after(self) -> list[float]:
        """The stream at 1 after layer 0. No gate here ever closes: they are sums of what is not negative."""
        n = normed(self.middle)
        return [21 / 2 * self.gate(n) * self.up(n) * self.fired, *self.middle[1:]]

    @property
    def after_0(self) -> list[float]:
        """The stream at 0 after layer 0; attn.0.0@0 writes 4 there, its neurons write nothing."""
        return [2 * self.a, 0, 4 * self.a * self.before, 0]

    @property
    def moved(self) -> float:
        """attn.1.0@1: what it writes in dimension 1."""
        n, n0 = normed(self.after), normed(self.after_0)
        query = 35 / 32 * n[1] + 35 / 48 * n[2]
        scores = [query * (m[0] + m[2]) / 4 for m in (n0, n)]
        total = sum(math.exp(score) for score in scores)
        weights = [math.exp(score) / total for score in scores]
        return 2 * (weights[0] * n0[0] * self.read_a + weights[1] * n[0] * self.read_b)

    @property
    def end(self) -> list[float]:
        x = self.after
        return [x[0], x[1] + self.moved, x[2], x[3]]

    @property
    def d(self) -> float:
        return dot(READING, self.end) / rms(self.end)


CLEAN = Worked()
# The pattern of attn.1.0 at 1: scores 3/(2√5) with a and 33/70 with itself.
ON_A = 1 / (1 + math.exp(33 / 70 - 3 / (2 * ROOT5)))
ON_B = 1 - ON_A
MOVED = 2 * (ON_A * 2 / ROOT5 + ON_B * 6 / 5)
END = (21 / 4, 2 + MOVED, 3, 6)
D = dot(READING, END) / rms(END)
# ∂D/∂x of D = c·x/RMS(x), with RMS² = x·x/4, is c/RMS − D·x/(4·RMS²).
GRADIENT = [c / rms(END) - D * x / (4 * rms(END) ** 2) for c, x in zip(READING, END, strict=True)]

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


def norm_slope(n: Vector, scale: float, along: Vector) -> list[float]:
    """How RMSNorm's output moves as its input moves along a vector: (w − n (n·w)/4)/RMS, n the output."""
    return [(w - a * dot(n, along) / 4) / scale for a, w in zip(n, along, strict=True)]


def neuron_slope(along: Vector) -> float:
    """How the activation of neuron.0.0@1 moves: gate 1/2 and up 1, d(gate·up) = d gate·1 + 1/2·d up."""
    m = norm_slope((0, 4 / 7, 6 / 7, 12 / 7), 7 / 2, along)
    return (7 / 16 * m[1] + 7 / 24 * m[2]) + (7 / 8 * m[1] + 7 / 24 * m[3]) / 2


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


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are quicker on one thread, many times so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def copier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return clew.load(str(handmade.copier(tmp_path_factory.mktemp("copier"))))


@pytest.fixture
def run(copier: Model) -> Run:
    return copier.debug("a b", " yes", " no")


def near(value: float) -> object:
    return pytest.approx(value, abs=TOLERANCE, rel=0)


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


def test_edits(run: Run) -> None:
    assert run.ablate("neuron.0.0@1").value == near(Worked(fired=0).d)
    assert run.scale("neuron.0.0@1", 2).value == near(Worked(fired=2).d)
    assert run.ablate(["neuron.0.0@1", "attn.0.0@1<-0"]).value == near(Worked(fired=0, there=0).d)
    assert run.cut("attn.0.0@1<-0").value == near(Worked(there=0, here=4).d)


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
