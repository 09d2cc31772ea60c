"""Text, and text as tokens: where it comes from, in which order, in pieces of which length."""

from .contexts import Contexts, read_contexts
from .documents import Corpus
from .parts import Part, parted
from .texts import corpus_of

__all__ = ["Contexts", "Corpus", "Part", "corpus_of", "parted", "read_contexts"]
