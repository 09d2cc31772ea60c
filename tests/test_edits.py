"""The grammar of edits: what parses, what it prints, what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.edits import OPS, VALUED, Edit, Place, PlaceKind, edit_of, parse_edit, parse_place
from clew.errors import BadEdit
from clew.nodes import SITES, parse

number = st.integers(0, 999_999_999)
some = st.none() | st.lists(number, min_size=1, max_size=4).map(lambda found: tuple(sorted(set(found))))


@st.composite
def places(draw: st.DrawFn) -> Place:
    kinds: list[PlaceKind] = ["embed", "attn", "neuron", "resid", "latent", "error"]
    kind = draw(st.sampled_from(kinds))
    layer = None if kind == "embed" else draw(number)
    index = draw(st.none() | number) if kind in ("attn", "neuron", "latent") else None
    positions = draw(some)
    sources = draw(some) if kind == "attn" else None
    if positions and sources and max(sources) > max(positions):
        sources = None
    part = draw(st.sampled_from(SITES)) if kind in ("latent", "error") else None
    return Place(kind, layer, index, positions, sources, part)


@st.composite
def edits(draw: st.DrawFn) -> Edit | None:
    op = draw(st.sampled_from(OPS))
    value = draw(st.floats(allow_nan=False, allow_infinity=False)) if op in VALUED else None
    try:
        return edit_of(op, draw(places()), value)
    except BadEdit:
        return None


@given(places())
def test_a_place_reads_as_it_prints(place: Place) -> None:
    assert parse_place(str(place)) == place


@given(edits())
def test_an_edit_reads_as_it_prints(edit: Edit | None) -> None:
    if edit is not None:
        assert parse_edit(str(edit)) == edit


@given(st.text())
def test_any_text_parses_or_is_refused_in_a_sentence(text: str) -> None:
    for read in (parse_edit, parse_place):
        refusals: list[BadEdit] = []
        try:
            read(text)
        except BadEdit as error:
            refusals.append(error)
        assert all(error.hint and len(error.message) < 200 for error in refusals)


@pytest.mark.parametrize(
    "node", ["embed@3", "attn.1.2@5", "attn.1.2@5<-3", "neuron.0.7@2", "latent.mlp_out.1.2@3", "error.resid.0@1"]
)
def test_every_node_that_can_be_edited_is_a_place(node: str) -> None:
    assert str(Place.of(parse(node))) == node
    assert parse_place(node) == Place.of(parse(node))


@pytest.mark.parametrize("node", ["bias.attn.1", "bias.resid.1", "direct"])
def test_other_nodes_are_not(node: str) -> None:
    with pytest.raises(BadEdit, match="cannot be changed"):
        Place.of(parse(node))


def test_positions_are_put_in_order() -> None:
    assert str(parse_edit("zero:attn.1.*@5,3,5<-2,1")) == "zero:attn.1.*@3,5<-1,2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("attn.1.2@3", "is not an edit"),
        ("erase:attn.1.2", "is not an edit"),
        ("zero:attn.1", "is not a place"),
        ("zero:bias.attn.1", "is not a place"),
        ("zero:attn.1.2@3<-4", "later token"),
        ("scale:attn.1.2", "needs a value"),
        ("zero:attn.1.2=3", "takes no value"),
        ("scale:attn.1.2=", "no number"),
        ("scale:attn.1.2=nan", "no number"),
        ("scale:attn.1.2=inf", "no number"),
        ("cut:attn.1.2@3", "takes an entry"),
        ("mean:attn.1.2@3<-1", "there is no mean"),
        ("patch:attn.1.2@3<-1", "there is no patch"),
        ("set:embed@2=1", "a vector"),
        ("set:neuron.1.*=1", "many components"),
        ("steer:resid.1=1", "no one direction"),
        ("steer:attn.1.*=1", "no one direction"),
        ("zero:attn.01.2", "is not a place"),
        ("zero:attn.1.2@-1", "is not a place"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadEdit, match=says):
        parse_edit(text)


def test_values_keep_their_precision() -> None:
    assert parse_edit(f"scale:embed={math.pi!r}").value == math.pi
    assert str(parse_edit("scale:embed=2.0")) == "scale:embed=2"
