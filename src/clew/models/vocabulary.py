"""The vocabulary at both ends of a model: what a vector in the stream pushes, what a token's embedding excites, and
which texts are one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import NotOneToken
from ..records import TokenCheck, TokenScore, VocabToken
from ..settings import MAX_TOKEN_CHARS, PUSHED
from .anatomy import Anatomy, Layer, Norm
from .subject import SubjectModel


@dataclass(frozen=True)
class Ends:
    """The tokens with the largest and with the smallest scores, the most extreme first."""

    up: Sequence[TokenScore]
    down: Sequence[TokenScore]


def ends(subject: SubjectModel, scores: Float[Tensor, " v"]) -> Ends:
    """The two ends of a score over the vocabulary."""
    k = min(PUSHED, len(scores))

    def tokens(signed: Tensor, sign: float) -> list[TokenScore]:
        best = signed.topk(k)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [TokenScore(i, subject.text(i), sign * value) for i, value in pairs]

    return Ends(tokens(scores, 1.0), tokens(-scores, -1.0))


def pushes(anatomy: Anatomy, normed: Float[Tensor, " d"]) -> Float[Tensor, " v"]:
    """What a vector after the final norm adds to every logit before any soft-cap, less the vocabulary's mean."""
    logits = anatomy.unembed.weight.float() @ normed
    return logits - logits.mean()


def through_final_norm(anatomy: Anatomy, write: Float[Tensor, " d"], scale: Tensor | float) -> Float[Tensor, " d"]:
    """A write after the final norm, whose scale 1/σ is held."""
    norm = anatomy.final_norm
    return norm.gain * norm.centre(write) * scale


def read_embeddings(anatomy: Anatomy, norm: Norm | None, directions: Float[Tensor, "k d"]) -> Float[Tensor, "v k"]:
    """norm(E_t)·direction for every token t of the vocabulary, position embeddings left out."""
    embeddings = anatomy.embed_weight.float()
    if norm is None:
        return embeddings @ directions.T * anatomy.embed_scale
    scale = (anatomy.embed_spread[norm.kind] + norm.eps).rsqrt() * anatomy.embed_scale
    found = embeddings @ norm.pull(directions).T * scale[:, None]
    return found if norm.bias is None else found + directions @ norm.bias


def neuron_on_embeddings(anatomy: Anatomy, layer: Layer, neuron: int) -> Float[Tensor, " v"]:
    """The neuron's activation if the residual stream held one token's embedding and nothing else, for every token.

    Position embeddings are left out; the norm before the MLP takes its scale from the embedding itself.
    """
    inputs = layer.neuron_inputs.values()
    directions = torch.stack([weight[neuron].float() for weight, _ in inputs])
    found = read_embeddings(anatomy, layer.mlp_norm, directions)
    found = found + torch.stack([found.new_zeros(()) if bias is None else bias[neuron].float() for _, bias in inputs])
    return layer.act(found[:, 0]) * found[:, 1] if layer.gate is not None else layer.act(found[:, 0])


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


def one_token(subject: SubjectModel, token: str | int, side: str) -> int:
    """The id of the token that a text or id names; `side` says what it is named as. Raises NotOneToken or BadText."""
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
