"""Records that OpenAI published of neurons and heads, one JSON document each, checked field by field.

The schema is that of `NeuronRecord` (Bills et al. 2023, "Language models can explain neurons in language models"; for
heads the Transformer Debugger, 2024):

    neuron_id                         {layer_index, neuron_index} (once named layer and idx); of a head its number
    most_positive_activation_records  [record]
    random_sample                     [record]
    random_sample_by_quantile         [[record]], lowest quantile first, or null
    quantile_boundaries               activations between these, or null; an open end is null or left out
    mean, variance, skewness, kurtosis  a number, or null
    record                            {tokens: [string], activations: [number]}

A neuron's record has an activation a token; a head's has one a pair of tokens, the lower triangle row by row, and its
moments are over pairs. Every object may say its `dataclass_name`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float32

from ..errors import BadRecord
from .plan import MAX_CONTEXT

MOMENTS = ("mean", "variance", "skewness", "kurtosis")
_LISTS = ("most_positive_activation_records", "random_sample")
_QUANTILES = ("random_sample_by_quantile", "quantile_boundaries")
_FIELDS = {"neuron_id", *_LISTS, *_QUANTILES, *MOMENTS}
_RENAMED = {"layer": "layer_index", "idx": "neuron_index"}  # of older records
_TAG = "dataclass_name"
_MOST_BANDS = 127  # bands are numbered in 8 bits


@dataclass(frozen=True)
class Piece:
    """A text in tokens, and what a component does on each: n is the number of tokens, of a head of pairs of them."""

    tokens: Sequence[str]
    values: Float32[np.ndarray, " n"]


@dataclass(frozen=True)
class Quantile:
    """Random pieces whose largest activation lies in [low, high); None: open, or not said."""

    low: float | None
    high: float | None
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Published:
    """What a record says; `quantiles` highest first, `moments` by name. `unread` names fields that are not read."""

    top: Sequence[Piece]
    random: Sequence[Piece]
    quantiles: Sequence[Quantile]
    moments: dict[str, float | None]
    unread: set[str] = field(default_factory=set)


class _Wrong(ValueError):
    """What is wrong with a record, to follow the name of its file."""


def read_record(content: bytes, name: str, layer: int, index: int, *, pairs: bool) -> Published:
    """The record of component `index` of a layer; `name` is its file's, `pairs` whether it is a head's.

    Raises BadRecord, naming the file and what is wrong.
    """
    try:
        return _record(content, layer, index, pairs)
    except _Wrong as error:
        raise BadRecord(f"{name} {error}.", "Get that file again, or leave it out: what is missing is told.") from error


def _record(content: bytes, layer: int, index: int, pairs: bool) -> Published:
    try:
        document = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        if isinstance(error, _Wrong):
            raise
        raise _Wrong(f"is not whole JSON ({error})" if content else "is empty") from error
    unread: set[str] = set()
    found = _object(document, None, _FIELDS, unread)
    _check_id(found["neuron_id"], layer, index, unread)
    top, random = (_pieces(found[name], name, pairs, unread) for name in _LISTS)
    return Published(
        top=top,
        random=random,
        quantiles=_quantiles(found, pairs, unread),
        moments={name: None if found[name] is None else _number(found[name], name) for name in MOMENTS},
        unread=unread,
    )


def _object(value: Any, what: str | None, names: set[str], unread: set[str]) -> dict[str, Any]:
    """An object with all of `names`; other fields go to `unread`. `what` it is, None for the whole record."""
    if not isinstance(value, dict):
        raise _Wrong("is not an object" if what is None else f"has a {what} that is not an object")
    found = {str(name): item for name, item in value.items()}
    missing = sorted(names - found.keys())
    if missing:
        raise _Wrong(f"lacks {', '.join(missing)}" if what is None else f"has a {what} without {', '.join(missing)}")
    unread |= found.keys() - names - {_TAG}
    return found


def _check_id(value: Any, layer: int, index: int, unread: set[str]) -> None:
    if isinstance(value, dict):
        value = {_RENAMED.get(name, name): item for name, item in value.items()}
    found = _object(value, "neuron_id", {"layer_index", "neuron_index"}, unread)
    given = str(found["layer_index"]), str(found["neuron_index"])  # older records hold the layer as a string
    if given != (str(layer), str(index)):
        raise _Wrong(f"is of component {given[1]} of layer {given[0]}, and its name says {index} of layer {layer}")


def _pieces(value: Any, name: str, pairs: bool, unread: set[str]) -> list[Piece]:
    if not isinstance(value, list):
        raise _Wrong(f"has a {name} that is not a list")
    if len(value) > MAX_CONTEXT:
        raise _Wrong(f"has {len(value):,} records in {name}, over {MAX_CONTEXT:,}")
    return [_piece(item, f"{name}[{number}]", pairs, unread) for number, item in enumerate(value)]


def _piece(value: Any, name: str, pairs: bool, unread: set[str]) -> Piece:
    found = _object(value, name, {"tokens", "activations"}, unread)
    tokens, activations = found["tokens"], found["activations"]
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise _Wrong(f"has tokens in {name} that are not texts")
    if not isinstance(activations, list) or not all(type(number) in (int, float) for number in activations):
        raise _Wrong(f"has activations in {name} that are not numbers")
    if not 0 < len(tokens) <= MAX_CONTEXT:
        raise _Wrong(f"has {len(tokens):,} tokens in {name}: 1 to {MAX_CONTEXT:,} can be read")
    expected = len(tokens) * (len(tokens) + 1) // 2 if pairs else len(tokens)
    if len(activations) != expected:
        of = f"{expected:,} pairs of {len(tokens):,}" if pairs else f"{expected:,}"
        raise _Wrong(f"has {len(activations):,} activations in {name} for {of} tokens")
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError as error:
        raise _Wrong(f"has half a character (a lone surrogate) in the tokens of {name}") from error
    try:
        with np.errstate(over="ignore"):
            values = np.array(activations, np.float64).astype(np.float32)
    except OverflowError as error:
        raise _Wrong(f"has an activation in {name} that is too large for any number") from error
    if not np.isfinite(values).all():
        raise _Wrong(f"has an activation in {name} that is too large for a 32-bit number")
    return Piece(tokens, values)


def _quantiles(found: dict[str, Any], pairs: bool, unread: set[str]) -> list[Quantile]:
    samples, boundaries = (found[name] for name in _QUANTILES)
    if samples is None:
        return []
    name = _QUANTILES[0]
    if not isinstance(samples, list) or len(samples) > _MOST_BANDS:
        raise _Wrong(f"has a {name} that is not a list of up to {_MOST_BANDS} lists")
    pieces = [_pieces(sample, f"{name}[{number}]", pairs, unread) for number, sample in enumerate(samples)]
    ends = _ends(boundaries, len(pieces))
    return [Quantile(low, high, sample) for low, high, sample in zip(ends, ends[1:], pieces, strict=False)][::-1]


def _ends(boundaries: Any, n: int) -> list[float | None]:
    """The n+1 ends of n quantiles, of which the records give all or the inner ones."""
    name = _QUANTILES[1]
    if boundaries is None:
        return [None] * (n + 1)
    if not isinstance(boundaries, list) or len(boundaries) not in (max(n - 1, 0), n + 1):
        raise _Wrong(f"has a {name} that does not fit its {n} quantiles")
    ends = [None if end is None else _number(end, name) for end in boundaries]
    ends = ends if len(ends) == n + 1 else [None, *ends, None]
    inner = [end for end in ends[1:-1] if end is not None]
    given = [end for end in ends if end is not None]
    if len(inner) != max(n - 1, 0) or given != sorted(given):
        raise _Wrong(f"has a {name} that does not rise from one quantile to the next")
    return ends


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float):
        raise _Wrong(f"has a {name} that is not a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise _Wrong(f"has a {name} that is too large for a number") from error
    if not np.isfinite(number):
        raise _Wrong(f"has a {name} that is too large for a number")
    return number


def _no_number(text: str) -> NoReturn:
    raise _Wrong(f"holds {text} where a number belongs")
