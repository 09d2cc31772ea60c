"""Whose components explanations are of: the same name means another thing in another model or autoencoder."""

from __future__ import annotations

from ..atlas.components import Components
from ..atlas.plan import model_of, site_of
from ..nodes import Node
from .records import Subject


def subject_of(components: Components, node: Node) -> Subject:
    """The model that a component is of, and of a latent the autoencoder."""
    model = model_of(components.subject)
    known = components.latents.get(site_of(node)) if node.kind == "latent" else None
    return Subject(model.name, model.fingerprint, None if known is None else known.fingerprint)
