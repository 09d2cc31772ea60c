"""Components whose meaning is known: synthetic activations over real text, and an oracle that knows every meaning.

The text is Python's documentation and the source of some of its modules, in the tokens of the default model. A meaning
is a rule from tokens to strengths in [0, 1] that looks back only, as a causal model does, and has words for it. A
planted component fires by one, with an amplitude of its own and a little noise; beside its right words stand words that
nearly say it (a part of it, or more than it) and words that are wrong.
"""

from __future__ import annotations

import inspect
import keyword
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from random import Random

import numpy as np
from jaxtyping import Float64, Int64

from clew import settings
from clew.explain.evidence import Evidence, Sample
from clew.explain.records import Cost, Failure, Method
from clew.explain.roles import Estimate, Simulation
from clew.models.subject import SubjectModel
from clew.models.tape import Stop

from .synthetic import SyntheticAtlas

Strengths = Float64[np.ndarray, " t"]
Rule = Callable[[Sequence[str]], Strengths]

MODULES = ("argparse", "textwrap", "http.cookiejar", "statistics", "ipaddress", "locale", "uuid", "urllib.request")
CONTEXTS, LENGTH = 480, 128


@dataclass(frozen=True)
class Meaning:
    """Words, and what they mean."""

    words: str
    rule: Rule


@dataclass(frozen=True)
class Planted:
    """A component that fires by its `right` meaning."""

    name: str
    right: Meaning
    near: Meaning
    wrong: Meaning


# Rules


def token(test: Callable[[str], float]) -> Rule:
    """What the token alone decides."""
    return lambda tokens: np.array([float(test(one)) for one in tokens])


def after(test: Callable[[str], float]) -> Rule:
    """What the token before decides."""
    return lambda tokens: np.array([0.0, *(float(test(one)) for one in tokens[:-1])])


def both(first: Rule, second: Rule) -> Rule:
    return lambda tokens: first(tokens) * second(tokens)


def lately(share: Callable[[Sequence[str]], float], reach: int) -> Rule:
    """What the last tokens decide, the token itself among them."""
    return lambda tokens: np.array([share(tokens[max(0, at + 1 - reach) : at + 1]) for at in range(len(tokens))])


def inside(opens: Callable[[str], bool], closes: Callable[[str], bool], reach: int) -> Rule:
    """From the token after one that opens to the one before one that closes, `reach` tokens at most."""

    def rule(tokens: Sequence[str]) -> Strengths:
        left, found = 0, []
        for one in tokens:
            left = 0 if closes(one) else max(0, left - 1)
            found.append(float(left > 0))
            if opens(one):
                left = reach + 1
        return np.array(found)

    return rule


def in_line(strength: Callable[[int], float]) -> Rule:
    """What the number of tokens since the line break decides; 0 for breaks, and where none was seen."""

    def rule(tokens: Sequence[str]) -> Strengths:
        since, found = None, []
        for one in tokens:
            since = 0 if is_newline(one) else None if since is None else since + 1
            found.append(strength(since) if since else 0.0)
        return np.array(found)

    return rule


def seen(reach: int) -> Rule:
    """Whether a word of three letters or more stood among the last tokens already."""

    def rule(tokens: Sequence[str]) -> Strengths:
        words = [one if is_word(one) and len(one.strip()) > 2 else "" for one in tokens]
        return np.array([float(bool(one) and one in words[max(0, at - reach) : at]) for at, one in enumerate(words)])

    return rule


def among(*words: str) -> Callable[[str], bool]:
    """Whether a token is one of some words, with a space before it or without."""
    return lambda one: one.strip() in words


def has(characters: str) -> Callable[[str], bool]:
    return lambda one: any(character in characters for character in one)


def is_word(one: str) -> bool:
    return one.strip().isalpha()


def is_number(one: str) -> bool:
    return one.strip().isdigit()


def is_capital(one: str) -> bool:
    return one.strip()[:1].isupper()


def is_all_capitals(one: str) -> bool:
    return len(one.strip()) > 1 and is_word(one) and one.isupper()


def is_newline(one: str) -> bool:
    return "\n" in one


def indent(one: str) -> int:
    """How far a line is indented; 0 for a token that begins none."""
    return len(one.rpartition("\n")[2]) if "\n" in one and not one.strip() else 0


def is_sign(one: str) -> bool:
    return one.strip() in ("=", "==", "+", "-", "*", "<", ">", "+=", "-=", "<=", ">=", "!=")


def begins_word(one: str) -> bool:
    return is_word(one) and one[:1] == " "


def word_share(tokens: Sequence[str]) -> float:
    """How much of the last tokens is words after a space; 0 up to a half."""
    return max(0.0, 2 * sum(map(begins_word, tokens)) / max(4, len(tokens)) - 1)


def mark_share(tokens: Sequence[str]) -> float:
    """How much of the last tokens is marks; 0 up to a half."""
    return max(0.0, 2 * sum(not any(map(str.isalnum, one)) for one in tokens) / max(4, len(tokens)) - 1)


ARTICLES, MODALS = ("the", "a", "an"), ("can", "may", "must", "should", "will", "would", "could", "might")
PREPOSITIONS = ("of", "in", "to", "on", "for", "with", "by", "from", "at")
CONTROL = ("if", "elif", "else", "for", "while", "try", "except", "return")
after_word = after(is_word)
first_in_line = in_line(lambda at: at == 1)

MEANINGS: Mapping[str, Meaning] = {
    name: Meaning(words, rule)
    for name, words, rule in [
        ("digits", "digits", token(is_number)),
        ("signed", "digits right after a sign such as = or +", both(token(is_number), after(is_sign))),
        (
            "more digits",
            "the second digit of a number, and those that follow",
            both(token(is_number), after(is_number)),
        ),
        (
            "punctuation",
            "punctuation marks of any kind",
            token(lambda one: bool(one.strip()) and not set(one.strip()) - set(string.punctuation)),
        ),
        ("commas", "commas", token(has(","))),
        ("comma alone", "commas that follow a word", both(token(among(",")), after_word)),
        ("newlines", "line breaks", token(is_newline)),
        (
            "indents",
            "line breaks with indentation, the deeper the stronger",
            token(lambda one: min(1.0, indent(one) / 12)),
        ),
        ("capitals", "words and names that begin with a capital letter", token(is_capital)),
        ("all capitals", "words in capital letters throughout", token(is_all_capitals)),
        ("the", "the word 'the'", token(among("the"))),
        ("articles", "the articles 'the', 'a' and 'an'", token(among(*ARTICLES))),
        ("negations", "negations: not, no, never, None", token(among("not", "no", "never", "None", "cannot"))),
        ("not", "the word 'not'", token(among("not"))),
        ("keywords", "keywords of Python", token(lambda one: one.strip() in keyword.kwlist)),
        ("control", "keywords of Python that steer what is run next", token(among(*CONTROL))),
        ("opening", "opening brackets", token(has("([{"))),
        ("closing", "closing brackets", token(has(")]}"))),
        ("brackets", "brackets of any kind, opening or closing", token(has("()[]{}"))),
        ("quotes", "quotation marks", token(has("\"'"))),
        ("double quotes", "double quotation marks", token(has('"'))),
        ("pieces", "pieces of words after the first one", both(token(lambda one: one.isalpha()), after_word)),
        (
            "long pieces",
            "pieces of words after the first one, of four letters or more",
            both(token(lambda one: one.isalpha() and len(one) > 3), after_word),
        ),
        ("ing", "words that end in -ing", token(lambda one: is_word(one) and one.endswith("ing"))),
        ("ing or ed", "words that end in -ing or -ed", token(lambda one: is_word(one) and one.endswith(("ing", "ed")))),
        ("ion", "words that end in -ion", token(lambda one: is_word(one) and one.endswith("ion"))),
        ("ends in n", "words that end in the letter n", token(lambda one: is_word(one) and one.endswith("n"))),
        ("line starts", "the first token of a line", first_in_line),
        (
            "keyword line starts",
            "keywords of Python that begin a line",
            both(first_in_line, token(lambda one: one.strip() in keyword.kwlist)),
        ),
        ("after colon", "the token after a colon", after(lambda one: one.endswith(":"))),
        ("after colon or comma", "the token after a colon or a comma", after(lambda one: one.endswith((":", ",")))),
        ("after the", "the word after 'the'", after(among("the"))),
        ("after article", "the word after an article", after(among(*ARTICLES))),
        ("after def", "the name of a function that is defined, after 'def'", after(among("def"))),
        ("after def or class", "names of functions and classes where they are defined", after(among("def", "class"))),
        ("after import", "the token after 'import'", after(among("import"))),
        ("after import words", "the token after 'import', 'from' or 'as'", after(among("import", "from", "as"))),
        ("in brackets", "what is inside brackets", inside(has("([{"), has(")]}\n"), 6)),
        ("after opening", "the first token inside brackets", after(has("([{"))),
        ("in comments", "comments, from # to the end of the line", inside(has("#"), is_newline, 14)),
        ("after hash", "the first words of a comment", inside(has("#"), is_newline, 3)),
        ("repeated", "words that occurred a few tokens before", seen(6)),
        ("repeated soon", "words that occurred two or three tokens before", seen(3)),
        ("prose", "English prose, not code: words after words", lately(word_share, 6)),
        ("small words", "prepositions and articles", token(among(*ARTICLES, *PREPOSITIONS))),
        ("marks", "code with many marks and few names", lately(mark_share, 6)),
        (
            "long words",
            "long words, the longer the stronger",
            token(lambda one: max(0.0, min(1.0, (len(one.strip()) - 5) / 5)) if is_word(one) else 0),
        ),
        ("very long words", "words of ten letters or more", token(lambda one: is_word(one) and len(one.strip()) > 9)),
        ("escapes", "what follows a backslash", after(lambda one: one.endswith("\\"))),
        (
            "backslashes",
            "backslashes and what follows them",
            lambda tokens: np.maximum(after(has("\\"))(tokens), token(has("\\"))(tokens)),
        ),
        (
            "addresses",
            "addresses of web pages",
            inside(lambda one: one.strip() in ("http", "https"), lambda one: one[:1] in " \n>'\"", 16),
        ),
        ("slashes", "slashes", token(has("/"))),
        ("self", "the name 'self'", token(among("self"))),
        ("first self", "the name 'self' right after a bracket", both(token(among("self")), after(has("(")))),
        ("attributes", "names after a dot", both(token(is_word), after(lambda one: one.endswith(".")))),
        (
            "after mark",
            "words right after a mark of any kind, without a space",
            both(token(str.isalpha), after(lambda one: bool(one.strip()) and not one[-1].isalnum())),
        ),
        ("operators", "operators such as =, + or <", token(is_sign)),
        ("equals", "equals signs", token(among("="))),
        ("underscores", "underscores in names", token(has("_"))),
        ("double underscores", "double underscores", token(lambda one: "__" in one)),
        ("line position", "the beginning of a line, weaker with every token", in_line(lambda at: 0.75 ** (at - 1))),
        ("second in line", "the second token of a line", in_line(lambda at: at == 2)),
        ("line beginnings", "the first five tokens of a line", in_line(lambda at: at < 6)),
        ("prepositions", "prepositions", token(among(*PREPOSITIONS))),
        ("of and to", "the words 'of' and 'to'", token(among("of", "to"))),
        ("constants", "the constants True, False and None", token(among("True", "False", "None"))),
        ("none", "the constant None", token(among("None"))),
        ("modals", "modal verbs such as can, must and should", token(among(*MODALS))),
        ("can", "the verb 'can'", token(among("can"))),
        ("letters", "single letters", token(lambda one: len(one.strip()) == 1 and is_word(one))),
        (
            "alone letters",
            "single letters after a space",
            token(lambda one: len(one) == 2 and is_word(one.strip()) and one[0] == " "),
        ),
        (
            "after digit",
            "what stands right after a number",
            both(token(lambda one: not is_number(one)), after(is_number)),
        ),
        (
            "mark after digit",
            "punctuation right after a number",
            both(token(lambda one: not any(map(str.isalnum, one))), after(is_number)),
        ),
        ("connectives", "the words 'and', 'or' and 'but'", token(among("and", "or", "but"))),
        (
            "connecting",
            "small words that connect or point: and, or, but, the, a, this",
            token(among("and", "or", "but", "this", *ARTICLES)),
        ),
        ("to be", "forms of the verb 'to be'", token(among("is", "are", "was", "be", "been", "were"))),
        ("is", "the word 'is'", token(among("is"))),
        (
            "errors",
            "errors and exceptions, and the raising of them",
            token(lambda one: "Error" in one or one.strip() in ("raise", "Exception", "except", "error")),
        ),
        ("raise", "the keyword 'raise'", token(among("raise"))),
        ("after capital", "what follows a word that begins with a capital letter", after(is_capital)),
        (
            "piece after capital",
            "the rest of a word that begins with a capital letter",
            both(token(lambda one: one.isalpha()), after(is_capital)),
        ),
    ]
}

_TRIPLES = [
    ("digits", "more digits", "the"), ("signed", "digits", "articles"), ("punctuation", "commas", "after the"),
    ("commas", "comma alone", "self"), ("newlines", "indents", "articles"), ("indents", "newlines", "digits"),
    ("capitals", "all capitals", "commas"), ("all capitals", "capitals", "newlines"), ("the", "articles", "digits"),
    ("negations", "not", "digits"), ("keywords", "control", "digits"), ("opening", "brackets", "ing"),
    ("closing", "brackets", "the"), ("quotes", "double quotes", "modals"), ("pieces", "long pieces", "errors"),
    ("ing", "ing or ed", "digits"), ("ion", "ends in n", "digits"), ("line starts", "keyword line starts", "to be"),
    ("after colon", "after colon or comma", "modals"), ("after the", "after article", "underscores"),
    ("after def", "after def or class", "commas"), ("after import", "after import words", "self"),
    ("in brackets", "after opening", "negations"), ("in comments", "after hash", "self"),
    ("repeated", "repeated soon", "commas"), ("prose", "small words", "all capitals"), ("marks", "punctuation", "ion"),
    ("long words", "very long words", "the"), ("escapes", "backslashes", "modals"), ("addresses", "slashes", "the"),
    ("self", "first self", "the"), ("attributes", "after mark", "prepositions"), ("operators", "equals", "ing"),
    ("underscores", "double underscores", "modals"), ("line position", "line starts", "ion"),
    ("second in line", "line beginnings", "all capitals"), ("prepositions", "of and to", "digits"),
    ("constants", "none", "commas"), ("modals", "can", "digits"), ("letters", "alone letters", "modals"),
    ("after digit", "mark after digit", "modals"), ("connectives", "connecting", "digits"), ("to be", "is", "commas"),
    ("errors", "raise", "commas"), ("after capital", "piece after capital", "modals"),
]  # fmt: skip

PLANTED = tuple(Planted(right, MEANINGS[right], MEANINGS[near], MEANINGS[wrong]) for right, near, wrong in _TRIPLES)


class Oracle:
    """A simulator that knows what the words of every meaning mean, and says whole numbers, as a language model does."""

    reference = "oracle"
    method: Method = "lookup"
    prompt = "oracle-1"

    def __init__(self) -> None:
        self._rules = {meaning.words: meaning.rule for meaning in MEANINGS.values()}

    def levels(self, words: str, tokens: Sequence[str]) -> Int64[np.ndarray, " t"]:
        """How strongly each token would excite it, from 0 to 10."""
        return np.round(settings.SCALE * self._rules[words](tokens)).astype(np.int64)

    def simulate(
        self, words: str, samples: Sequence[Sample], stop: Stop | None = None
    ) -> tuple[list[Simulation | Failure], Cost]:
        return [Simulation(self.levels(words, one.tokens).astype(np.float64)) for one in samples], Cost()

    def estimate(self, words: str, samples: Sequence[Sample]) -> Estimate:
        return Estimate()


@dataclass(frozen=True)
class Garden:
    """All planted components over one text; one is neuron.0.NUMBER, by its number in PLANTED."""

    atlas: SyntheticAtlas

    @classmethod
    def of(cls, subject: SubjectModel, seed: int = 0) -> Garden:
        """The same for a seed; `subject` lends its tokenizer."""
        ids = _text(subject, seed)
        vocabulary = {number: subject.text(number) for number in np.unique(ids).tolist()}
        words = [vocabulary.get(number, "") for number in range(max(vocabulary) + 1)]
        rows = [[words[number] for number in row] for row in ids.tolist()]
        activations = {}
        for number, planted in enumerate(PLANTED):
            draw = np.random.default_rng([seed, number])
            strength = np.stack([planted.right.rule(row) for row in rows])
            noise = 1 + 0.05 * draw.normal(size=strength.shape)
            faint = 0.01 * np.abs(draw.normal(size=strength.shape))
            activations[number] = draw.uniform(0.5, 8) * (strength * noise + faint)
        return cls(SyntheticAtlas(words, ids, activations, seed=seed))

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """What an explainer and scorers would be given of each."""
        found = [self.atlas.evidence(number) for number in range(len(PLANTED))]
        assert all(isinstance(one, Evidence) for one in found)
        return tuple(one for one in found if isinstance(one, Evidence))


def _text(subject: SubjectModel, seed: int) -> Int64[np.ndarray, "contexts tokens"]:
    """Documentation and source code in contexts of their own, in random order."""
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    texts = [*topics.values(), *(inspect.getsource(import_module(name)) for name in MODULES)]
    rows: list[list[int]] = []
    for text in texts:
        ids = subject.encode(text, special=False)
        rows += [ids[at : at + LENGTH] for at in range(0, len(ids) - LENGTH, LENGTH)]
    return np.array(Random(seed).sample(rows, CONTEXTS), np.int64)
