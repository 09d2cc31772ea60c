"""Autoencoders attached to a model, by the block of components that their latents are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import UsageError
from ..models.subject import SubjectModel
from ..nodes import Node
from ..sae.autoencoder import Autoencoder, check_fits
from ..sae.formats.loading import Given, opened
from .observation import Autoencoders, Block


def block_of(autoencoder: Autoencoder) -> Block:
    """The latents are named after the site that they write."""
    return Node("latent", autoencoder.writes.layer, part=autoencoder.writes.name)


def device_of(subject: SubjectModel, autoencoder: Autoencoder) -> torch.device:
    """Where an autoencoder meets what it reads."""
    return subject.anatomy.layers[autoencoder.reads.layer].device


def own(model: object, given: Sequence[Given] | None) -> Sequence[Given]:
    """The autoencoders that were given, or without any those attached to the model, if it has some."""
    return getattr(model, "autoencoders", ()) if given is None else given


def attached(subject: SubjectModel, given: Sequence[Given]) -> Autoencoders:
    """The autoencoders, on the model's device, in the order of their blocks.

    Raises UsageError when two write the same site, WrongAutoencoder or BadSite for one that is not of this model, and
    what opening them raises.
    """
    found: dict[Block, Autoencoder] = {}
    for autoencoder in opened(given):
        check_fits(autoencoder, subject.anatomy, subject.name)
        block = block_of(autoencoder)
        if block in found:
            raise UsageError(
                f"{found[block].name} and {autoencoder.name} both write {autoencoder.writes}, and their latents would "
                "have the same names.",
                "Attach one of them.",
            )
        found[block] = autoencoder.to(device_of(subject, autoencoder))
    return {block: found[block] for block in sorted(found, key=lambda block: (block.layer, block.part))}
