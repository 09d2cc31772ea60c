"""What a language model answered, as words for a component: cleaned of what it says around them, or why it is none."""

from __future__ import annotations

import re

from ..llm.client import Answer
from ..records import Failure
from .questions import Question

LONGEST = 400  # characters of an explanation

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_MARKS = re.compile(r"^(?:[-*•#>]+\s+|\d+[.)]\s+)")
_LABEL = re.compile(r"^[*_]*(?:explanation|answer|it fires on|the head)[*_]*\s*:[*_]*\s*", re.IGNORECASE)
_WHO = r"(?:(?:this|the)\s+(?:neuron|component|latent|feature|unit)|it)\s+"
_FIRES = (
    r"(?:\w+ly\s+)?(?:fires|activates|responds|reacts|is\s+(?:most\s+)?active|is\s+activated)(?:\s+(?:most|\w+ly))*\s+"
)
_OPENING = re.compile(
    rf"^(?:{_WHO}{_FIRES}(?:(?:on|to|for|at|by|in response to)\s+|(?=when|if|in|after|before|within|inside))"
    rf"|(?:fires|activates|responds)\s+(?:(?:most|\w+ly)\s+)?(?:on|to)\s+)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^(?:i['’]?m\s+(?:sorry|unable)|i\s+(?:cannot|can['’]t|am\s+unable)|as\s+an\s+ai\b|sorry,)", re.IGNORECASE
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "`": "`"}
_SHORT = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|mr|mrs|ms|dr)$", re.IGNORECASE)


def words_of(answer: Answer, question: Question) -> str | Failure:
    """The first sentence of an answer, without labels, quotes or "this neuron fires on"."""
    text = said(answer)
    if isinstance(text, Failure):
        return text
    line, ended = _first_line(text)
    refused = refusal(line)
    if refused is not None:
        return refused
    sentence, whole = _first_sentence(_unquoted(_LABEL.sub("", _MARKS.sub("", line))))
    words = _unquoted(_OPENING.sub("", sentence)).rstrip(" ,;:")
    if not any(character.isalpha() for character in words):
        return Failure("malformed", "The answer has no words.")
    if "\t" in words or repeats(words, question):
        return Failure("malformed", "The answer repeats what was asked.")
    if answer.finish == "length" and not (ended or whole):
        return Failure("truncated", f"The answer was not at its end after {question.max_tokens} tokens.")
    if len(words) > LONGEST:
        return Failure("malformed", f"The answer has a sentence of {len(words):,} characters.")
    return words


def said(answer: Answer) -> str | Failure:
    """What an answer says, without what a model thinks aloud before it."""
    text = _THOUGHT.sub("", answer.text).strip()
    if re.match(r"<think>", text, re.IGNORECASE) or (not text and answer.finish == "length"):
        return Failure("truncated", "The answer ended before the model was done thinking.")
    if not text:
        return Failure("malformed", "The answer is empty.")
    return text


def refusal(text: str) -> Failure | None:
    """A failure where a text refuses to answer."""
    return Failure("refused", f"It would not answer: {text[:LONGEST]}") if _REFUSAL.match(text) else None


def repeats(words: str, question: Question) -> bool:
    """Whether words are a line of what was asked: an answered example, or four words or more of anything else."""
    plain = _plain(words)
    if any(plain == _plain(answer) for _, answer in question.shots):
        return True
    asked = _plain("\n".join([question.task, question.asked, question.shown, *(shown for shown, _ in question.shots)]))
    return len(plain.split()) >= 4 and plain in asked


def _first_line(text: str) -> tuple[str, bool]:
    """The first line that is no announcement of the next, and whether others follow."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    while len(lines) > 1 and lines[0].endswith(":"):
        del lines[0]
    return lines[0], len(lines) > 1 or text.endswith("\n")


def _first_sentence(line: str) -> tuple[str, bool]:
    """A line's first sentence without its full stop, and whether it came to an end. Quoted tokens are no ends."""
    quoted = ""
    for at, character in enumerate(line):
        if quoted:
            quoted = "" if character == quoted else quoted
        elif character in '"“«`':
            quoted = _QUOTES[character]
        elif character in ".!?" and line[at + 1 : at + 2] in ("", " ") and not _SHORT.search(line[:at]):
            after = line[at + 1 :].strip()
            if not after or not after[0].islower():
                return line[:at].strip() if character == "." else line[: at + 1].strip(), True
    return line.strip(), False


def _unquoted(text: str) -> str:
    """A text without the quotes or stars around all of it."""
    text = text.strip()
    while len(text) > 1 and (text[0] in _QUOTES or text[0] in "*_"):
        close = _QUOTES.get(text[0], text[0])
        inner = text[1:-1]
        # Two quoted tokens begin and end with quotes that are no pair.
        if text[-1] != close or close in inner.strip(close) or text[0] in inner.strip(text[0]):
            break
        text = inner.strip()
    return text


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
