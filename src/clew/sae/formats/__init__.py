"""Everyone's autoencoders, read into one form; ours written so that others read them."""

from .loading import load, load_all
from .saelens import save

__all__ = ["load", "load_all", "save"]
