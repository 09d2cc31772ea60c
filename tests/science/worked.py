"""The copier of handmade.py worked out on paper, in fractions and roots.

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
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

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


def norm_slope(n: Vector, scale: float, along: Vector) -> list[float]:
    """How RMSNorm's output moves as its input moves along a vector: (w − n (n·w)/4)/RMS, n the output."""
    return [(w - a * dot(n, along) / 4) / scale for a, w in zip(n, along, strict=True)]


def neuron_slope(along: Vector) -> float:
    """How the activation of neuron.0.0@1 moves: gate 1/2 and up 1, d(gate·up) = d gate·1 + 1/2·d up."""
    m = norm_slope((0, 4 / 7, 6 / 7, 12 / 7), 7 / 2, along)
    return (7 / 16 * m[1] + 7 / 24 * m[2]) + (7 / 8 * m[1] + 7 / 24 * m[3]) / 2


TOLERANCE = 1e-6  # numbers are kept below 2, where float32 rounds by at most 1.2e-7


def near(value: float) -> object:
    return pytest.approx(value, abs=TOLERANCE, rel=0)
