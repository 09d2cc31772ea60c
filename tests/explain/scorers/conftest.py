"""Components of tiny models, for what runs them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from clew.atlas import Atlas, collect
from clew.atlas.components import Components
from clew.debug import Model
from clew.explain.evidence import Evidence
from clew.nodes import parse

from ...atlas.dictionaries import random_autoencoder
from .case import LENGTH, PIECES, WINDOW, Case, Made, sample_of


@pytest.fixture(scope="session")
def made(tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A case of a family: a neuron, or a latent of a random autoencoder; the atlas is collected once a family."""
    atlases: dict[str, Atlas] = {}

    def make(family: str = "llama", component: str = "neuron.1.7", reads: str | None = None, **kind: Any) -> Case:
        model, node = tiny(family), parse(component)
        if family not in atlases:
            atlases[family] = collect(
                model, corpus, out=tmp_path_factory.mktemp("atlases") / family, tokens=10 * LENGTH, context=LENGTH,
                window=WINDOW, sites=["neuron"],
            )  # fmt: skip
        one = None
        if node.kind == "latent":
            site = f"{node.part}.{node.layer}"
            one = random_autoencoder(model.subject.anatomy, reads or site, None if reads is None else site, **kind)
        components = Components(model, atlases[family], [] if one is None else [one])
        case = Case(components, node, Evidence(node, 1.0, ()), one)
        samples = tuple(sample_of(case, *piece) for piece in PIECES)
        maximum = max(float(sample.activations.max()) for sample in samples if sample.split == "explain")
        return replace(case, evidence=Evidence(node, max(maximum, 0.1), samples))

    return make
