"""What specs name: every component that is meant, once, in the model's order, and nothing that is not there."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.atlas.components import Components
from clew.debug import Model
from clew.errors import BadNode
from clew.explain.selection import selected
from clew.nodes import Node, parse

from ..atlas.dictionaries import random_autoencoder

LAYERS, HEADS, NEURONS, LATENTS = 3, 4, 40, 12


@pytest.fixture(scope="module")
def components(model: Model) -> Components:
    anatomy = model.subject.anatomy
    return Components(model, None, [random_autoencoder(anatomy, site, n=LATENTS) for site in ("resid.1", "mlp_out.1")])


def names(components: Components, *specs: str) -> list[str]:
    return [str(node) for node in selected(specs, components)]


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("neuron.2.17", ["neuron.2.17"]),
        ("neuron.2.38-39", ["neuron.2.38", "neuron.2.39"]),
        ("neuron.*.3", ["neuron.0.3", "neuron.1.3", "neuron.2.3"]),
        ("neuron.0-1.0-1", ["neuron.0.0", "neuron.0.1", "neuron.1.0", "neuron.1.1"]),
        ("attn.*.*", [f"attn.{layer}.{head}" for layer, head in product(range(LAYERS), range(HEADS))]),
        ("latent.mlp_out.1.*", [f"latent.mlp_out.1.{j}" for j in range(LATENTS)]),
        ("latent.*.*.2", ["latent.mlp_out.1.2", "latent.resid.1.2"]),
        ("latent.resid.0-2.11", ["latent.resid.1.11"]),
        ("neuron.1.2, attn.1.0,attn.0.1", ["attn.0.1", "attn.1.0", "neuron.1.2"]),
        ("neuron.1.5,neuron.1.*,neuron.1.5-6", [f"neuron.1.{j}" for j in range(NEURONS)]),
    ],
)
def test_a_spec_names_components(components: Components, spec: str, named: list[str]) -> None:
    assert names(components, spec) == named


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "names no components"),
        ("neuron", "names no components"),
        ("neuron.5", "names no components"),
        ("neuron.1.2@3", "names no components"),
        ("neuron.1.-2", "names no components"),
        ("neuron.1.02", "names no components"),
        ("neuron.1.1-*", "names no components"),
        ("embed", "names no components"),
        ("latent.1.2", "names no components"),
        ("attn.mlp_out.1.2", "names no components"),
        ("neuron.1.٣", "names no components"),
        ("neuron.1.2,", "names no components"),
        ("neuron.3.0", "neuron.3.0 goes beyond what there is: the model has 3 layers"),
        ("neuron.0-3.0", "the model has 3 layers"),
        ("neuron.1.30-40", "neuron.1 has 40 neurons"),
        ("attn.1.4", "attn.1 has 4 heads"),
        ("latent.resid.1.12", "latent.resid.1 has 12 latents"),
        ("latent.resid.2.0", "No autoencoder is attached where latent"),
        ("latent.attn_out.*.0", "No autoencoder is attached where latent"),
        ("neuron.1.9-3", "ends before it begins: 9-3"),
        ("neuron.1.0," * 30 + "x" * 99, "names no components"),
    ],
)
def test_what_is_not_there_is_refused(components: Components, spec: str, why: str) -> None:
    with pytest.raises(BadNode, match=re.escape(why)) as caught:
        selected([spec], components)
    assert caught.value.hint
    assert len(caught.value.message) < 120


def test_nothing_is_refused(components: Components) -> None:
    with pytest.raises(BadNode, match="No component is named"):
        selected([], components)


EVERY = [
    *(f"attn.{layer}.{head}" for layer, head in product(range(LAYERS), range(HEADS))),
    *(f"neuron.{layer}.{j}" for layer, j in product(range(LAYERS), range(NEURONS))),
    *(f"latent.{site}.1.{j}" for site, j in product(("mlp_out", "resid"), range(LATENTS))),
]


def numbers(size: int) -> st.SearchStrategy[tuple[str, set[int]]]:
    """A part of a spec, and what it stands for."""
    ends = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).map(sorted)
    return st.one_of(
        st.just(("*", set(range(size)))),
        st.integers(0, size - 1).map(lambda one: (str(one), {one})),
        ends.map(lambda two: (f"{two[0]}-{two[1]}", set(range(two[0], two[1] + 1)))),
    )


def of_kind(kind: str, size: int) -> st.SearchStrategy[tuple[str, set[str]]]:
    return st.builds(
        lambda layers, indexes: (
            f"{kind}.{layers[0]}.{indexes[0]}",
            {f"{kind}.{layer}.{index}" for layer, index in product(layers[1], indexes[1])},
        ),
        numbers(LAYERS),
        numbers(size),
    )


@given(st.lists(st.one_of(of_kind("attn", HEADS), of_kind("neuron", NEURONS)), min_size=1, max_size=5))
def test_any_specs_name_their_union_in_order(components: Components, specs: list[tuple[str, set[str]]]) -> None:
    found = selected([",".join(text for text, _ in specs)], components)
    assert {str(node) for node in found} == set().union(*(named for _, named in specs))
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=lambda node: node.order)
    assert found == selected([text for text, _ in reversed(specs)], components)


@given(st.sets(st.sampled_from(EVERY), min_size=1))
def test_ids_name_themselves(components: Components, ids: set[str]) -> None:
    def order(node: Node) -> tuple[int, int, str, int]:
        assert node.layer is not None and node.index is not None
        return node.layer, ("attn", "neuron", "latent").index(node.kind), node.part or "", node.index

    assert selected(sorted(ids), components) == sorted(map(parse, ids), key=order)


@given(st.text(st.sampled_from("atnlmeuro_*.-0123456789,@ "), max_size=30))
def test_any_text_is_named_or_refused(components: Components, text: str) -> None:
    try:
        found = selected([text], components)
    except BadNode as error:
        found, hint = [], error.hint
    else:
        hint = "none needed"
    assert hint
    assert {str(node) for node in found} <= set(EVERY)
