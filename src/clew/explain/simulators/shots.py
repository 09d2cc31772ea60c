"""What a simulation looks like, for a language model to go by: made-up components on sentences written for this.

Written as those of the explainer are (explainers/shots.py), and others than those: a model that explains and simulates
is not to meet its own examples again. `near` are texts in which the component hardly fires.
"""

from __future__ import annotations

from ..explainers.shots import Shot

SHOTS = (
    Shot(
        "kitchen tools and things to cook with",
        (
            "My aunt keeps one iron skillet{9} and a wooden spoon{8} by the stove{6}, and needs no more.",
            "The ladle{10} hung above the door.",
        ),
        ("My aunt keeps one old horse and a wooden cart by the gate, and needs no more.",),
    ),
    Shot(
        'the word after "not"',
        (
            "It was not late{10} yet, but they did not want{9} to wait for him.",
            "Why not ask{8} her?",
        ),
        ("It was late already, and they never wanted to wait for him.",),
    ),
    Shot(
        "years, and dates in general",
        (
            "The bridge was opened in 1907{10}, and closed on 3{6} March{7} 1988{9} after a flood.",
            "By 1650{9} nobody lived there.",
        ),
        ("The bridge has 1907 rivets, and carries 88 trucks an hour.",),
    ),
)
