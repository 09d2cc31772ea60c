"""Recipes that the tests of training share."""

from __future__ import annotations

from dataclasses import replace

from clew.nodes import Site
from clew.sae.recipe import Recipe

SITE, LATER = Site("mlp_out", 1), Site("mlp_out", 2)


def recipes(latents: int = 16, k: int = 3) -> dict[str, Recipe]:
    """One of every kind, by what it is called: as an autoencoder, and as a transcoder with a skip term."""
    base = Recipe(SITE, latents, k=k, learning_rate=1e-2, bandwidth=0.1, nested=(0.25, 0.5, 1.0))
    plain = {
        "relu-2023": replace(base, architecture="relu", sparsity=0.3),
        "relu-2024": replace(base, architecture="relu", loss="2024", sparsity=0.3),
        "topk": base,
        "batchtopk": replace(base, architecture="batchtopk"),
        "matryoshka": replace(base, architecture="matryoshka"),
        "jumprelu": replace(base, architecture="jumprelu", sparsity=0.02),
    }
    transcoders = {f"{name}-transcoder": replace(recipe, writes=LATER, skip=True) for name, recipe in plain.items()}
    return {name: recipe.checked() for name, recipe in (plain | transcoders).items()}
