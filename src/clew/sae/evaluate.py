"""What an autoencoder is worth, by several measures (docs/judging.md)."""

from __future__ import annotations

from .splicing import ce_recovered

__all__ = ["ce_recovered"]
