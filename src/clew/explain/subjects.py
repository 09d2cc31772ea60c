"""Whose components explanations are of: the same name means another thing in another model or autoencoder."""

from __future__ import annotations

from functools import cached_property

from ..atlas.components import Components
from ..atlas.plan import model_of, site_of
from ..atlas.records import AtlasModel
from ..nodes import Node
from .records import Subject


class Subjects:
    """The subjects of some components: the model, and of a latent its autoencoder too."""

    def __init__(self, components: Components) -> None:
        self._components = components

    def of(self, component: Node) -> Subject:
        """Whose a component is."""
        known = self._components.latents.get(site_of(component)) if component.kind == "latent" else None
        return Subject(self._model.name, self._model.fingerprint, None if known is None else known.fingerprint)

    @cached_property
    def _model(self) -> AtlasModel:
        # Its fingerprint takes all of the weights.
        return model_of(self._components.subject)


def subject_of(components: Components, component: Node) -> Subject:
    """Whose one component is."""
    return Subjects(components).of(component)
