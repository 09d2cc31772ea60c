"""The same work on a Ray cluster: the only package that imports ray."""

from .pool import RayPool

__all__ = ["RayPool"]
