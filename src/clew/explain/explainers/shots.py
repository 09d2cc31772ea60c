"""What explanations look like, for a language model to go by: made-up components on sentences written for this.

A sentence is written with the activation after each token that has one: "The ferry{7} left". Of heads one pair is
marked, as in what language models are shown: "The **baker** [[closed]] her shop". Each shows another kind of meaning:
what a word is, what stands before it, where in a structure it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ... import settings
from ...nodes import Node
from ..evidence import Evidence, Sample
from ..records import SampleKind

_TOKEN = re.compile(r"( ?(?:\[\[|\*\*)?(?:\w+|[^\w\s])(?:\*\*|\]\])?)(?:\{(\d+)\})?")


@dataclass(frozen=True)
class Shot:
    """A component's words and the texts that they are found from; `near` are those in which it hardly fires."""

    words: str
    texts: tuple[str, ...]
    near: tuple[str, ...]

    @property
    def evidence(self) -> Evidence:
        """The same as evidence of a neuron."""
        return _evidence(Node("neuron", 0, 0), [*map(_activations, self.texts)], [*map(_activations, self.near)])


@dataclass(frozen=True)
class PairShot(Shot):
    """The same of a head: each of `texts` and `near` has one marked pair, and {n} after its reader its strength."""

    @property
    def evidence(self) -> Evidence:
        """The same as evidence of a head."""
        return _evidence(Node("attn", 0, 0), [*map(_pair, self.texts)], [*map(_pair, self.near)])


SHOTS = (
    Shot(
        "words for boats and other small vessels",
        (
            "The old ferry{7} left at noon and two trawlers{10} followed it out of the bay.",
            "He sold his canoe{9} to buy a bicycle, and missed the river ever after.",
            "They slept on a barge{8} below the bridge.",
        ),
        (
            "The night train{1} left at noon and two buses followed it.",
            "She swam out of the bay and along the river.",
        ),
    ),
    Shot(
        "numbers right after a currency sign",
        (
            "Tickets cost $12{9} at the door and $9{10} before May 3.",
            "The repair came to €480{8}, which 2 of us paid.",
        ),
        (
            "On May 12 the 9 of us bought 480 tickets.",
            "Nobody knows how many dollars{1} they paid at the door.",
        ),
    ),
    Shot(
        "words inside brackets, most on the first of them",
        (
            "The mill (built{10} by{6} monks{5}) stands beside the road.",
            "Her brother (a{9} baker{7}) and his wife moved south.",
        ),
        (
            "The mill was built by monks; it stands beside the road.",
            "Her brother, a baker, moved south (",
        ),
    ),
)

PAIR_SHOTS = (
    PairShot(
        "verbs attend to the subject of their clause",
        (
            "The **baker** who lives next door [[closed]]{10} her shop in June.",
            "My **cousins**, as far as I know, never [[learned]]{8} to swim.",
        ),
        ("In June the **shop** was closed and [[dark]]{2}.",),
    ),
    PairShot(
        "a closing bracket attends to the one that opened it",
        (
            "The mill **(**built by monks[[)]]{10} stands beside the road.",
            "Three of them **(**all from the south[[)]]{9} stayed.",
        ),
        ("Three of them, all **from** the south[[,]]{1} stayed.",),
    ),
)


_Read = tuple[list[str], list[float], tuple[int, int] | None]
"""Tokens, an activation for each, and of a head the reader and the source."""


def _evidence(component: Node, shown: list[_Read], near: list[_Read]) -> Evidence:
    samples = [_sample("top", number, read) for number, read in enumerate(shown)]
    samples += [_sample("near_miss", number, read) for number, read in enumerate(near, len(shown))]
    return Evidence(component, float(settings.SCALE), tuple(samples))


def _sample(kind: SampleKind, number: int, read: _Read) -> Sample:
    tokens, activations, pair = read
    pairs = None
    if pair is not None:
        pairs = np.zeros((len(tokens), len(tokens)))
        pairs[pair] = activations[pair[0]]
    return Sample(kind, "explain", number, 0, tuple(tokens), tuple(range(len(tokens))), np.array(activations), 0, pairs)


def _activations(text: str) -> _Read:
    found = _TOKEN.findall(text)
    return [token for token, _ in found], [float(level or 0) for _, level in found], None


def _pair(text: str) -> _Read:
    tokens, activations, _ = _activations(text)
    reader = next(at for at, token in enumerate(tokens) if "[[" in token)
    source = next(at for at, token in enumerate(tokens) if "**" in token)
    return [re.sub(r"\[\[|\]\]|\*\*", "", token) for token in tokens], activations, (reader, source)
