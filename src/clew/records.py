"""What results are made of: frozen records, lists of them, and the tokens that every part of Clew speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import pandas

R = TypeVar("R", bound="Record")

# Named here, so that describing the HTTP API loads no model code.
ExampleKind = Literal["top", "bottom", "band", "random"]
Through = Literal["in", "gate", "up", "q", "k", "v"]


_PLAIN = frozenset((float, int, str, bool, type(None)))


def plain(value: Any) -> Any:
    """The JSON-ready form of a record, or of lists and dicts of them."""
    if type(value) in _PLAIN:  # most of what there is: asked first, since pages are made of thousands
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


class Record:
    """A frozen record; `to_dict()` gives what JSON shows."""

    def to_dict(self) -> dict[str, Any]:
        return plain(self)


class Records(list[R]):
    """A list of records of one kind."""

    def to_dict(self) -> list[dict[str, Any]]:
        return [record.to_dict() for record in self]

    def to_pandas(self) -> pandas.DataFrame:
        """One row a record. Raises ImportError when pandas is not installed."""
        import pandas

        return pandas.DataFrame(self.to_dict())

    def __repr__(self) -> str:
        if not self:
            return "[]"
        names = [field.name for field in fields(self[0])]  # type: ignore[arg-type]
        rows = [names, *([_cell(getattr(record, name)) for name in names] for record in self)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(names))]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


class Batch(Records[R]):
    """Some records of a longer measurement; `total` is how many there will be in all."""

    def __init__(self, records: Iterable[R], total: int) -> None:
        super().__init__(records)
        self.total = total


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:+.3g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Token(Record):
    """A token of the prompt."""

    position: int
    id: int
    text: str


@dataclass(frozen=True)
class VocabToken(Record):
    """A token of the vocabulary, named as a target or distractor."""

    id: int
    text: str


@dataclass(frozen=True)
class TokenCheck(Record):
    """Whether a text can name a token: it must be exactly one token.

    `warning` is empty when all is well; `fixes` are texts that are one token and probably meant,
    such as the same word with its leading space.
    """

    text: str
    tokens: Sequence[VocabToken]
    ok: bool
    warning: str
    fixes: Sequence[str]


@dataclass(frozen=True)
class TokenScore(Record):
    """A vocabulary token and how much a component or node pushes it (logits) or is excited by it."""

    id: int
    text: str
    score: float
