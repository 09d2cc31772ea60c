"""Node ids: one grammar, parse and print inverse to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import BadNode
from clew.nodes import BIAS_PARTS, KINDS, SITES, Node, parse

numbers = st.integers(0, 999_999_999)


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """Any node or component of the grammar."""
    kind = draw(st.sampled_from(KINDS))
    layer, index, position = draw(numbers), draw(numbers), draw(numbers)
    match kind:
        case "attn":
            if draw(st.booleans()):
                return Node("attn", layer, index)
            source = draw(st.none() | st.integers(0, position))
            return Node("attn", layer, index, position, source)
        case "neuron":
            return Node("neuron", layer, index, draw(st.none() | numbers))
        case "latent":
            return Node("latent", layer, index, draw(st.none() | numbers), part=draw(st.sampled_from(SITES)))
        case "embed":
            return Node("embed", position=position)
        case "error":
            return Node("error", layer, position=position, part=draw(st.sampled_from(SITES)))
        case "bias":
            part = draw(st.sampled_from(BIAS_PARTS))
            return Node("bias", layer if part in ("attn", "mlp", "resid") else None, part=part)
        case "direct":
            return Node("direct")


@given(nodes())
def test_parse_undoes_print(node: Node) -> None:
    assert parse(str(node)) == node


@given(st.text())
def test_any_text_is_a_node_that_prints_the_same_or_a_clear_error(text: str) -> None:
    try:
        node = parse(text)
    except BadNode:
        return
    assert str(node) == text


@given(nodes(), nodes())
def test_order_tells_different_nodes_apart(one: Node, other: Node) -> None:
    assert (one.order == other.order) == (one == other)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("attn.23.3@13", Node("attn", 23, 3, 13)),
        ("attn.23.3@13<-1", Node("attn", 23, 3, 13, 1)),
        ("attn.0.0@0<-0", Node("attn", 0, 0, 0, 0)),
        ("neuron.29.1535@7", Node("neuron", 29, 1535, 7)),
        ("latent.mlp_out.10.117", Node("latent", 10, 117, part="mlp_out")),
        ("embed@0", Node("embed", position=0)),
        ("error.resid.3@4", Node("error", 3, position=4, part="resid")),
        ("bias.mlp.11", Node("bias", 11, part="mlp")),
        ("bias.final_norm", Node("bias", part="final_norm")),
        ("direct", Node("direct")),
    ],
)
def test_examples_of_the_grammar(text: str, node: Node) -> None:
    assert parse(text) == node


@pytest.mark.parametrize(
    "text",
    ["", "attn.1", "attn.1.2@", "attn.01.2@3", "attn.1.2@3<-4", "attn.1.2<-3", "attn.-1.2@3", "neuron.1.2@3<-1",
     "embed", "bias.attn", "bias.final_norm.1", "latent.mlp.1.2@3", "error.resid.1", "attn.1.2@3 ", "ATTN.1.2@3",
     "attn.1.٢@3", "direct@1", "attn.1.2@9999999999"],
)  # fmt: skip
def test_what_is_not_a_node(text: str) -> None:
    with pytest.raises(BadNode, match=r"node id|later token"):
        parse(text)


def test_upstream_comes_first() -> None:
    ids = ["embed@3", "attn.0.1@2", "neuron.0.5@1", "attn.1.0@0", "bias.unembed"]
    assert [str(n) for n in sorted(map(parse, reversed(ids)), key=lambda n: n.order)] == ids
