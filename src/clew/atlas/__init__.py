"""A corpus taken apart: what every component of a model does over it."""

from .atlas import Atlas
from .collect import collect, collecting
from .components import Components
from .estimate import planned

__all__ = ["Atlas", "Components", "collect", "collecting", "planned"]
