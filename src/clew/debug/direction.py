"""The direction of interest: which tokens against which, at which position.

D = mean logit(targets) − mean logit(distractors), before any soft-cap. Without distractors the second term is the
mean logit over the vocabulary, so that D does not move when every logit does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import BadDirection, NotOneToken
from ..models.anatomy import Anatomy
from ..models.subject import SubjectModel
from ..records import VocabToken
from ..settings import MAX_TOKEN_CHARS, MAX_TOKENS_PER_SIDE
from .records import TokenCheck


@dataclass(frozen=True)
class Reading:
    """How D is read off the stream after the final norm: D = h·vector + bias."""

    targets: tuple[int, ...]
    distractors: tuple[int, ...]
    vector: Float[Tensor, " d"]
    bias: float

    def value(self, logits: Float[Tensor, " v"]) -> float:
        """D from logits (before the soft-cap), the one way that uses no decomposition."""
        logits = logits.cpu().double()  # mps has no float64
        against = logits[list(self.distractors)] if self.distractors else logits
        return float(logits[list(self.targets)].mean() - against.mean())


def reading(anatomy: Anatomy, targets: Sequence[int], distractors: Sequence[int]) -> Reading:
    """Raises BadDirection when targets and distractors are the same set, so that D is zero by definition."""
    if set(targets) == set(distractors):
        raise BadDirection(
            "Targets and distractors are the same tokens, so there is no difference to explain.",
            "Name a distractor that differs from the target.",
        )
    device = anatomy.unembed.weight.device
    vector, bias = anatomy.unembedding(torch.tensor(list(targets), device=device))
    if distractors:
        against, against_bias = anatomy.unembedding(torch.tensor(list(distractors), device=device))
    else:
        against, against_bias = anatomy.unembed_mean
    return Reading(tuple(targets), tuple(distractors), vector - against, bias - against_bias)


def token_ids(subject: SubjectModel, named: Sequence[str | int], side: str) -> list[int]:
    """The one token each text or id is, duplicates dropped. Raises NotOneToken, BadDirection (too many) or BadText."""
    if len(named) > MAX_TOKENS_PER_SIDE:
        raise BadDirection(f"{len(named)} {side}s are more than {MAX_TOKENS_PER_SIDE}.", "Name fewer.")
    return list(dict.fromkeys(_one_token(subject, token, side) for token in named))


def check_token(subject: SubjectModel, text: str) -> TokenCheck:
    """Whether `text` is one token, and what was probably meant. Raises BadText or NotOneToken (far too long)."""
    if len(text) > MAX_TOKEN_CHARS:
        raise NotOneToken(
            f"A token field takes at most {MAX_TOKEN_CHARS} characters; this one has {len(text):,}.", "Type one token."
        )
    ids = pieces(subject, text)
    tokens = [VocabToken(i, subject.text(i)) for i in ids]
    if "\ufffd" in text:
        # The replacement character is how a part of a character is shown; its own token is hardly ever meant.
        warning = (
            "The sign \ufffd stands for part of a character, which no text can name. In Python, name its token's id."
        )
        return TokenCheck(text, tokens, False, warning, [])
    bare = text.strip()
    spaced = " " + bare
    fixes = [
        other for other in dict.fromkeys((spaced, bare)) if bare and other != text and len(pieces(subject, other)) == 1
    ]
    if len(ids) == 1:
        # A word that starts mid-sentence carries its space: "Mary" and " Mary" are different tokens.
        lost = bool(bare) and text == bare and bare[0].isalpha() and spaced in fixes
        warning = "This token has no leading space, so it would continue the word before it." if lost else ""
        return TokenCheck(text, tokens, True, warning, [spaced] if lost else [])
    if not ids:
        return TokenCheck(text, tokens, False, "Type a token.", [])
    first = tokens[0].text
    if not fixes and first.strip() and "\ufffd" not in first and len(pieces(subject, first)) == 1:
        fixes = [first]
    shown = " + ".join(repr(token.text) for token in tokens[:6]) + (" + …" if len(tokens) > 6 else "")
    return TokenCheck(text, tokens, False, f"This is {len(ids)} tokens to the model: {shown}.", fixes)


def pieces(subject: SubjectModel, text: str) -> list[int]:
    """The tokens a text is in the middle of a prompt: no start token, no space put before it."""
    ids = subject.encode(text, special=False)
    if len(ids) != 1:
        piece = subject.tokenizer.convert_tokens_to_ids(text.replace(" ", "\u2581"))
        if isinstance(piece, int) and subject.text(piece) == text:
            return [piece]
    return ids


def _one_token(subject: SubjectModel, token: str | int, side: str) -> int:
    if isinstance(token, int):
        size = len(subject.anatomy.unembed.weight)
        if not 0 <= token < size:
            raise NotOneToken(f"The {side} {token} is not the id of a token.", f"Ids run from 0 to {size - 1:,}.")
        return token
    check = check_token(subject, token)
    if not check.ok:
        fix = f" Did you mean {check.fixes[0]!r}?" if check.fixes else ""
        raise NotOneToken(f"The {side} {token!r} is not one token. {check.warning}", f"Name a single token.{fix}")
    return check.tokens[0].id
