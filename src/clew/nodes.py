"""Node ids: parse, print, order.

One grammar, in Python, on the command line, in JSON and in URLs; layers, heads, neurons, latents and
positions count from 0:

    attn.L.H@P  attn.L.H@P<-S  neuron.L.N@P  latent.SITE.L.J@P  embed@P  error.SITE.L@P
    bias.attn.L  bias.mlp.L  bias.resid.L  bias.final_norm  bias.unembed  direct

A component is the same without its position: `attn.L.H`, `neuron.L.N`, `latent.SITE.L.J`; a site is `SITE.L`.
bias.resid.L is the constant of an autoencoder of the residual stream. `parse(str(node)) == node` for every node.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import BadNode, BadSite

Kind = Literal["embed", "attn", "neuron", "latent", "error", "bias", "direct"]
KINDS: tuple[Kind, ...] = ("embed", "attn", "neuron", "latent", "error", "bias", "direct")
SITES = ("mlp_act", "mlp_out", "attn_act", "attn_out", "resid")
READ_SITES = (*SITES, "mlp_in")
BIAS_PARTS = ("attn", "mlp", "resid", "final_norm", "unembed")

_N = r"(0|[1-9][0-9]{0,8})"
_SITE = "(" + "|".join(SITES) + ")"
_FORMS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("attn", re.compile(rf"attn\.{_N}\.{_N}(?:@{_N}(?:<-{_N})?)?", re.ASCII)),
    ("neuron", re.compile(rf"neuron\.{_N}\.{_N}(?:@{_N})?", re.ASCII)),
    ("latent", re.compile(rf"latent\.{_SITE}\.{_N}\.{_N}(?:@{_N})?", re.ASCII)),
    ("embed", re.compile(rf"embed@{_N}", re.ASCII)),
    ("error", re.compile(rf"error\.{_SITE}\.{_N}@{_N}", re.ASCII)),
    ("bias", re.compile(rf"bias\.(attn|mlp|resid)\.{_N}|bias\.(final_norm|unembed)", re.ASCII)),
    ("direct", re.compile(r"direct", re.ASCII)),
)


@dataclass(frozen=True, slots=True)
class Node:
    """One node, or one component when `position` is None and the kind has positions.

    `part` is the site of a latent or error, or the part of a bias; `index` the head, neuron or latent;
    `source` the position an attention node is read from, None for the whole head.
    """

    kind: Kind
    layer: int | None = None
    index: int | None = None
    position: int | None = None
    source: int | None = None
    part: str | None = None

    def __str__(self) -> str:
        at = "" if self.position is None else f"@{self.position}"
        match self.kind:
            case "attn":
                read = "" if self.source is None else f"<-{self.source}"
                return f"attn.{self.layer}.{self.index}{at}{read}"
            case "neuron":
                return f"neuron.{self.layer}.{self.index}{at}"
            case "latent":
                return f"latent.{self.part}.{self.layer}.{self.index}{at}"
            case "embed":
                return f"embed{at}"
            case "error":
                return f"error.{self.part}.{self.layer}{at}"
            case "bias":
                return f"bias.{self.part}" + ("" if self.layer is None else f".{self.layer}")
            case "direct":
                return "direct"

    @property
    def site(self) -> Site:
        """The site of a latent or an error."""
        assert self.part is not None and self.layer is not None
        return Site(self.part, self.layer)

    @property
    def component(self) -> Node:
        """The component this node is a run of (itself, for kinds that have none)."""
        if self.kind not in ("attn", "neuron", "latent"):
            return self
        return Node(self.kind, self.layer, self.index, part=self.part)

    @property
    def order(self) -> tuple[int, int, int, int, int, str]:
        """A sort key: upstream first (embedding, then layer by layer, attention before MLP)."""
        late = self.layer is None and self.kind in ("bias", "direct")
        layer = 10**9 if late else -1 if self.layer is None else self.layer
        return (
            layer,
            KINDS.index(self.kind),
            -1 if self.index is None else self.index,
            -1 if self.position is None else self.position,
            -1 if self.source is None else self.source,
            self.part or "",
        )


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A tensor that an autoencoder reads, with one vector a token.

    `mlp_act` is what an MLP's output projection is given, `mlp_out` what the MLP adds to the residual stream (after
    any post-norm); `attn_act` and `attn_out` are the same of attention, `resid` is the stream after layer `layer`, and
    `mlp_in` what the MLP is given: a site to read only, for transcoders.
    """

    name: str
    layer: int

    def __str__(self) -> str:
        return f"{self.name}.{self.layer}"


_SITE_FORM = re.compile(rf"({'|'.join(READ_SITES)})\.{_N}", re.ASCII)


def parse_site(text: str) -> Site:
    """The site that `text` names, such as mlp_out.10. Raises BadSite."""
    match = _SITE_FORM.fullmatch(text)
    if match is None:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise BadSite(f"{shown!r} is not a site.", f"Write SITE.LAYER; SITE is one of {', '.join(READ_SITES)}.")
    return Site(match[1], int(match[2]))


def parse(text: str) -> Node:
    """The node or component that `text` names.

    Raises BadNode when it is not in the grammar, or reads from a later position than its own.
    """
    for kind, form in _FORMS:
        match = form.fullmatch(text)
        if match:
            return _build(kind, match.groups(), text)
    shown = text if len(text) <= 60 else text[:57] + "..."
    raise BadNode(
        f"{shown!r} is not a node id.",
        "Write attn.L.H@P, attn.L.H@P<-S, neuron.L.N@P, embed@P or bias.attn.L, counting from 0.",
    )


def _build(kind: Kind, groups: tuple[str | None, ...], text: str) -> Node:
    def number(i: int) -> int | None:
        digits = groups[i]
        return None if digits is None else int(digits)

    match kind:
        case "attn":
            node = Node("attn", number(0), number(1), number(2), number(3))
            if node.source is not None and node.position is not None and node.source > node.position:
                raise BadNode(
                    f"{text!r} reads from a later token than its own.",
                    f"A causal model at position {node.position} reads positions 0 to {node.position}.",
                )
            return node
        case "neuron":
            return Node("neuron", number(0), number(1), number(2))
        case "latent":
            return Node("latent", number(1), number(2), number(3), part=groups[0])
        case "embed":
            return Node("embed", position=number(0))
        case "error":
            return Node("error", number(1), position=number(2), part=groups[0])
        case "bias":
            return Node("bias", number(1), part=groups[0] or groups[2])
        case "direct":
            return Node("direct")
