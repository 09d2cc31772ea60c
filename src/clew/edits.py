"""Edits of a forward pass: parse, print.

One grammar, in Python, on the command line, in JSON and in URLs:

    OP:PLACE  or  OP:PLACE=VALUE

    zero   to 0; of a pair, its attention weight, the row left as it is
    mean   to its mean over the prompt's other positions
    patch  to its value on the second prompt, at the aligned position
    scale  times VALUE
    set    a neuron's or latent's activation, a head's ‖z‖ or a pair's weight becomes VALUE
    steer  VALUE times the unit direction of its write is added
    cut    pairs only: the weight becomes 0 and the rest of its row is scaled to sum to 1 again

    PLACE  embed  attn.L.H  attn.L.*  neuron.L.N  neuron.L.*  resid.L    at every position
           PLACE@P  PLACE@P,P,…                                         at some
           attn.L.H@P<-S  attn.L.H<-S,S,…                               entries of its attention pattern
           latent.SITE.L.J  latent.SITE.L.*  error.SITE.L               of the autoencoder attached at SITE.L

`*` is every head, neuron or latent of the layer; resid.L is the residual stream after layer L.
`parse_edit(str(edit)) == edit` for every edit, and every node id of an embedding, head, pair, neuron, latent or error
is a place.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import BadEdit
from .nodes import SITES, Node, Site

Op = Literal["zero", "mean", "patch", "scale", "set", "steer", "cut"]
OPS: tuple[Op, ...] = get_args(Op)
VALUED: tuple[Op, ...] = ("scale", "set", "steer")

PlaceKind = Literal["embed", "attn", "neuron", "resid", "latent", "error"]

_N = r"(?:0|[1-9][0-9]{0,8})"
_LIST = rf"{_N}(?:,{_N})*"
_PLACE = re.compile(
    rf"(?P<embed>embed)(?:@(?P<p1>{_LIST}))?"
    rf"|attn\.(?P<attn>{_N})\.(?P<head>{_N}|\*)(?:@(?P<p2>{_LIST}))?(?:<-(?P<source>{_LIST}))?"
    rf"|neuron\.(?P<neuron>{_N})\.(?P<index>{_N}|\*)(?:@(?P<p3>{_LIST}))?"
    rf"|resid\.(?P<resid>{_N})(?:@(?P<p4>{_LIST}))?"
    rf"|latent\.(?P<part>{'|'.join(SITES)})\.(?P<latent>{_N})\.(?P<one>{_N}|\*)(?:@(?P<p5>{_LIST}))?"
    rf"|error\.(?P<of>{'|'.join(SITES)})\.(?P<error>{_N})(?:@(?P<p6>{_LIST}))?",
    re.ASCII,
)
_PLACES = (
    "Places are embed@P, attn.L.H@P, attn.L.H@P<-S, attn.L.*, neuron.L.N@P, neuron.L.*, resid.L@P, latent.SITE.L.J@P "
    "and error.SITE.L@P."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an edit is made. `index` None is every head, neuron or latent, `positions` None every position.

    `sources` makes it entries of attention patterns; `part` is the site of a latent or error.
    """

    kind: PlaceKind
    layer: int | None = None
    index: int | None = None
    positions: tuple[int, ...] | None = None
    sources: tuple[int, ...] | None = None
    part: str | None = None

    def __str__(self) -> str:
        at = "" if self.positions is None else "@" + ",".join(map(str, self.positions))
        match self.kind:
            case "embed":
                return f"embed{at}"
            case "resid":
                return f"resid.{self.layer}{at}"
            case "latent":
                return f"latent.{self.part}.{self.layer}.{'*' if self.index is None else self.index}{at}"
            case "error":
                return f"error.{self.part}.{self.layer}{at}"
            case _:
                index = "*" if self.index is None else self.index
                read = "" if self.sources is None else "<-" + ",".join(map(str, self.sources))
                return f"{self.kind}.{self.layer}.{index}{at}{read}"

    @property
    def site(self) -> Site:
        """The site of a latent or error."""
        assert self.part is not None and self.layer is not None
        return Site(self.part, self.layer)

    @property
    def position(self) -> int:
        """The one position of a place that has just one."""
        assert self.positions is not None and len(self.positions) == 1
        return self.positions[0]

    @classmethod
    def of(cls, node: Node) -> Place:
        """The place where a node is. Raises BadEdit for a kind of node that has none, such as a bias."""
        if node.kind not in ("embed", "attn", "neuron", "latent", "error"):
            raise BadEdit(f"{node} cannot be changed: it is not written at a position of its own.", _PLACES)
        positions = None if node.position is None else (node.position,)
        sources = None if node.source is None else (node.source,)
        return cls(node.kind, node.layer, node.index, positions, sources, node.part)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the forward pass. `value` is there for the ops in VALUED and only for them."""

    op: Op
    place: Place
    value: float | None = None

    def __str__(self) -> str:
        value = "" if self.value is None else "=" + repr(self.value).removesuffix(".0")
        return f"{self.op}:{self.place}{value}"


def parse_place(text: str) -> Place:
    """The place that `text` names. Raises BadEdit."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise BadEdit(f"{_shown(text)} is not a place in the model.", _PLACES)
    found = match.groupdict()
    positions = _numbers(next((found[f"p{i}"] for i in range(1, 7) if found[f"p{i}"]), None))
    if found["embed"]:
        return Place("embed", positions=positions)
    if found["resid"] is not None:
        return Place("resid", int(found["resid"]), positions=positions)
    if found["latent"] is not None:
        return Place("latent", int(found["latent"]), _index(found["one"]), positions, part=found["part"])
    if found["error"] is not None:
        return Place("error", int(found["error"]), positions=positions, part=found["of"])
    if found["neuron"] is not None:
        return Place("neuron", int(found["neuron"]), _index(found["index"]), positions)
    sources = _numbers(found["source"])
    if positions and sources and max(sources) > max(positions):
        raise BadEdit(
            f"{_shown(text)} reads from a later token than its own.",
            f"A causal model at position {max(positions)} reads positions 0 to {max(positions)}.",
        )
    return Place("attn", int(found["attn"]), _index(found["head"]), positions, sources)


def parse_edit(text: str) -> Edit:
    """The edit that `text` says. Raises BadEdit."""
    op, colon, rest = text.partition(":")
    known: Op | None = next((known for known in OPS if known == op), None)
    if known is None or not colon:
        raise BadEdit(
            f"{_shown(text)} is not an edit.", f"Write OP:PLACE or OP:PLACE=VALUE; OP is one of {', '.join(OPS)}."
        )
    where, equals, number = rest.partition("=")
    return edit_of(known, parse_place(where), _value(number, text) if equals else None)


def edit_of(op: Op, place: Place, value: float | None = None) -> Edit:
    """A checked edit. Raises BadEdit where op, place and value do not go together."""
    edit = Edit(op, place, value)
    if op in VALUED and value is None:
        raise BadEdit(f"{op} needs a value.", f"Write {op}:{place}=2.")
    if op not in VALUED and value is not None:
        raise BadEdit(f"{op} takes no value.", f"Write {op}:{place}, or set:{place}=…")
    if op == "cut" and place.sources is None:
        raise BadEdit(
            f"cut takes an entry of an attention pattern, not {place}.", f"Write cut:attn.L.H@P<-S, or zero:{place}."
        )
    if place.sources is not None and op in ("mean", "patch", "steer"):
        raise BadEdit(
            f"{place} is entries of an attention pattern: there is no {op} of them, only zero, cut, scale and set.",
            "Edit the whole head instead.",
        )
    if place.kind in ("embed", "resid", "error") and op == "set":
        raise BadEdit(f"{place} is a vector, which no one number can set.", "Scale it, steer it or zero it.")
    if op == "steer" and (place.kind == "resid" or (place.index is None and place.kind != "embed")):
        raise BadEdit(f"{place} has no one direction to steer in.", "Name a head, neuron, latent or embedding.")
    if op == "set" and place.index is None:
        raise BadEdit(f"{place} is many components, which no one number can set.", "Name one, or scale them.")
    return edit


def _value(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadEdit(f"{_shown(whole)} has no number after its =.", "Write scale:attn.L.H@P=2.")
    return value


def _index(text: str) -> int | None:
    return None if text == "*" else int(text)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(sorted({int(part) for part in text.split(",")}))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
