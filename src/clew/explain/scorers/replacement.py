"""A component's activation replaced while the model runs: what the causal scorers change, and in which texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from ...atlas.components import Components
from ...models.interventions import Change, Interventions, SiteChange
from ...nodes import Node
from ...sae.autoencoder import Autoencoder
from ..evidence import Sample

Put = Callable[[Float[Tensor, "b r 1"], Int[Tensor, " r"]], Float[Tensor, "b r 1"]]
"""Is given the activations at some positions, and gives those to put in their place."""


def refused(components: Components, component: Node) -> str | None:
    """Why a component's activation cannot be replaced in these texts, in a sentence; None when it can."""
    if component.kind == "attn":
        return f"{component} is a head: it writes another vector at every token, and no one number can take its place."
    if component.kind == "latent" and _autoencoder(components, component) is None:
        return f"The autoencoder of {component} is not attached, so its latents cannot be replaced."
    if components.atlas is not None and components.atlas.info().imported is not None:
        return "The atlas was imported, and its texts are in tokens of its own, which the model cannot be run on."
    return None


def first_layer(components: Components, component: Node) -> int:
    """The layer from which on a pass has to be run again."""
    assert component.layer is not None
    autoencoder = _autoencoder(components, component)
    if autoencoder is None:
        return component.layer
    # A transcoder's latents are read before they are written.
    return min(autoencoder.reads.layer, autoencoder.writes.layer)


def replacing(components: Components, component: Node, length: int, put: Put) -> Interventions:
    """The edit that puts what `put` says in the place of an activation, in prompts of `length` tokens.

    A latent's new value is written through its decoder row; what the autoencoder failed to reconstruct stays.
    """
    assert component.layer is not None and component.index is not None
    made = Interventions(components.subject.anatomy, length)
    change = Change(slice(component.index, component.index + 1), None, None, put)
    autoencoder = _autoencoder(components, component)
    if autoencoder is None:
        made.neurons[component.layer].append(change)
    else:
        made.sites[autoencoder.writes] = SiteChange(autoencoder, latents=[change])
    return made


def contexts_of(components: Components, samples: Sequence[Sample]) -> Int64[np.ndarray, "samples t"]:
    """The contexts that samples were cut out of: what stands before a piece decides what the model does in it.

    Raises BadAtlas or BadCorpus.
    """
    atlas = components.atlas
    assert atlas is not None
    end = max(sample.start + len(sample.ids) for sample in samples)
    return np.stack([atlas.contexts.tokens(sample.context)[:end] for sample in samples]).astype(np.int64)


def as_tensor(components: Components, ids: Int64[np.ndarray, "b t"]) -> Int[Tensor, "b t"]:
    """Token ids on the model's device."""
    return torch.from_numpy(ids).to(components.subject.device)


def _autoencoder(components: Components, component: Node) -> Autoencoder | None:
    return components.autoencoders.get(replace(component, index=None)) if component.kind == "latent" else None
