"""The tables that explanations, scores and answers are kept in, for SQLite and for PostgreSQL.

What is missing of a subject is an empty text, since two nulls are not equal to a unique index. Numbers of explanations
are never used twice: a page's address holds one.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
)

VERSION = 1  # raised when tables change

metadata = MetaData()

Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER keys alone


def clean(text: str) -> str:
    """What no database takes, a NUL or half a character, becomes U+FFFD."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Words(TypeDecorator[str]):
    """Text that others wrote, cleaned."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


version = Table("clew_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

subjects = Table(
    "subjects",
    metadata,
    Column("id", Number, primary_key=True),
    Column("model", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("autoencoder", Text, nullable=False),
    UniqueConstraint("model", "fingerprint", "autoencoder"),
)

explanations = Table(
    "explanations",
    metadata,
    Column("id", Number, primary_key=True),
    # Of all that makes an explanation what it is: the same words of the same origin are kept once.
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("subject", Number, ForeignKey("subjects.id"), nullable=False),
    Column("component", String(100), nullable=False),
    # As `component` says, for filters and sums.
    Column("kind", String(10), nullable=False),
    Column("layer", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("text", Words, nullable=False),
    Column("llm", Words, nullable=False),
    Column("variant", String(20), nullable=False),
    Column("prompt", Words, nullable=False),
    Column("atlas", Words),
    Column("seed", BigInteger, nullable=False),
    Column("chosen", Boolean, nullable=False),
    Column("cost", JSON, nullable=False),
    Column("validation", Double),
    Column("parent", Number, ForeignKey("explanations.id", ondelete="SET NULL"), index=True),
    Column("node", Words),
    Column("question", Words),
    Column("cited", JSON, nullable=False),
    Column("density", Double),
    Column("created", String(30), nullable=False),
    # The last simulation score on the test split (of a head: of pairs), for sorting and filters.
    Column("headline", Double),
    Index("explanations_of_component", "subject", "component"),
    # All that an overview reads, so that it need not read the words.
    Index("explanations_by_llm", "llm", "variant", "chosen", "subject", "component", "kind", "layer", "density", "id"),
    sqlite_autoincrement=True,
)

scores = Table(
    "scores",
    metadata,
    Column("id", Number, primary_key=True),
    Column("explanation", Number, ForeignKey("explanations.id", ondelete="CASCADE"), nullable=False),
    Column("scorer", String(20), nullable=False),
    Column("split", String(20), nullable=False),
    Column("llm", Words, nullable=False),
    Column("method", String(20)),
    Column("prompt", Words, nullable=False),
    Column("value", Double),
    Column("low", Double),
    Column("high", Double),
    Column("tokens", BigInteger, nullable=False),
    Column("texts", JSON, nullable=False),
    Column("failures", JSON, nullable=False),
    Column("failed", Boolean, nullable=False),  # there are no answers but failures
    Column("measures", JSON, nullable=False),
    Column("baselines", JSON, nullable=False),
    Column("table", Double),  # the baseline of that name, for sums
    Column("cost", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("created", String(30), nullable=False),
    Index(
        "scores_of_explanation", "explanation", "scorer", "llm", "split", "id", "value", "table", "failed"
    ),  # likewise
    Index("scores_by_value", "scorer", "llm", "split", "value"),
    sqlite_autoincrement=True,
)

# Apart from the scores: read for one score at a time, and far larger than all else.
strips = Table(
    "strips",
    metadata,
    Column("score", Number, ForeignKey("scores.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),  # JSON, compressed by zlib
)

problems = Table(
    "problems",
    metadata,
    Column("id", Number, primary_key=True),
    Column(
        "digest", LargeBinary(32), nullable=False, unique=True
    ),  # the same problem is kept once, as of its last time
    Column("subject", Number, ForeignKey("subjects.id"), nullable=False),
    Column("component", String(100), nullable=False),
    Column("llm", Words, nullable=False),
    Column("stage", String(20), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("message", Words, nullable=False),
    Column("created", String(30), nullable=False),
    Index("problems_of_component", "subject", "component"),
)

vectors = Table(
    "vectors",
    metadata,
    Column(
        "explanation", Number, ForeignKey("explanations.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    Column("model", String(1000), primary_key=True),  # the embedding model's reference
    Column("content", LargeBinary, nullable=False),  # float32, little-endian, of length 1
)

# What language models answered, so that nothing is asked twice.
answers = Table(
    "answers",
    metadata,
    Column("key", LargeBinary(32), primary_key=True),  # SHA-256 of who was asked, and of all that was asked
    Column("reference", Words, nullable=False),
    Column("content", LargeBinary, nullable=False),  # JSON, compressed by zlib
    Column("created", String(30), nullable=False),
)

# What an endpoint was found to have.
dialects = Table(
    "dialects",
    metadata,
    Column("reference", String(1000), primary_key=True),
    Column("content", JSON, nullable=False),
    Column("created", String(30), nullable=False),
)

# Full text of chosen explanations. FTS5 keeps no second copy of the words: it must be told of those that go.
_FTS = (
    "CREATE VIRTUAL TABLE explanations_words USING fts5(text, content='explanations', content_rowid='id', "
    "tokenize='porter unicode61 remove_diacritics 2')",
    "CREATE TRIGGER explanations_words_in AFTER INSERT ON explanations WHEN new.chosen BEGIN "
    "INSERT INTO explanations_words (rowid, text) VALUES (new.id, new.text); END",
    "CREATE TRIGGER explanations_words_out AFTER DELETE ON explanations WHEN old.chosen BEGIN "
    "INSERT INTO explanations_words (explanations_words, rowid, text) VALUES ('delete', old.id, old.text); END",
    # Words never change, and what is chosen stays so.
    "CREATE TRIGGER explanations_words_chosen AFTER UPDATE OF chosen ON explanations "
    "WHEN new.chosen AND NOT old.chosen BEGIN "
    "INSERT INTO explanations_words (rowid, text) VALUES (new.id, new.text); END",
)
for _statement in _FTS:
    event.listen(explanations, "after_create", DDL(_statement).execute_if(dialect="sqlite"))
event.listen(
    explanations,
    "after_create",
    DDL(
        "CREATE INDEX explanations_words ON explanations USING gin (to_tsvector('english', text)) WHERE chosen"
    ).execute_if(dialect="postgresql"),
)
