"""What weights say of components, against every pair of them multiplied out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from clew.atlas import relations
from clew.atlas.records import Relation
from clew.atlas.relations import largest_singular, push, pushed_tokens, weights
from clew.models.anatomy import Anatomy, Layer
from clew.models.subject import SubjectModel
from clew.nodes import Node, parse

from ..families import CONFIGS, VOCAB, subject_of, tiny_hf

Key = tuple[str, str | None]


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models have no tokenizer: a token's text is its number. All scores and relations are listed."""
    monkeypatch.setattr(SubjectModel, "text", lambda self, token: str(token))
    monkeypatch.setattr("clew.models.vocabulary.PUSHED", VOCAB)
    monkeypatch.setattr(relations, "RELATED", 10_000)


def components(anatomy: Anatomy) -> list[Node]:
    found: list[Node] = []
    for layer in anatomy.layers:
        found += [Node("attn", layer.index, head) for head in range(layer.n_heads)]
        found += [Node("neuron", layer.index, neuron) for neuron in range(layer.n_neurons)]
    return found


def space(anatomy: Anatomy, node: Node) -> Tensor:
    """Orthonormal rows that span what a component writes, by singular value decomposition."""
    assert node.layer is not None and node.index is not None
    layer = anatomy.layers[node.layer]
    if node.kind == "neuron":
        module, post, rows = layer.mlp_out_module, layer.mlp_post_norm, slice(node.index, node.index + 1)
    else:
        width = layer.value.width
        rows = slice(node.index * width, (node.index + 1) * width)
        module, post = layer.attn_out_module, layer.attn_post_norm
    weight = linear(module)[rows] * (1 if post is None else post.gain)
    return weight / weight.norm() if len(weight) == 1 else torch.linalg.svd(weight, full_matrices=False).Vh


def linear(module: nn.Module) -> Tensor:
    """What a linear module does to unit inputs, without its bias: [in, out]."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    n = weight.shape[1] if isinstance(module, nn.Linear) else weight.shape[0]
    return module(torch.eye(n)) - module(torch.zeros(1, n))


def reads(anatomy: Anatomy, node: Node) -> dict[str, Tensor]:
    """Rows that read the stream, the norm in front with its scale at 1."""
    assert node.layer is not None and node.index is not None
    layer = anatomy.layers[node.layer]
    if node.kind == "attn":
        group = node.index * layer.key.n_heads // layer.n_heads
        rows = {"q": layer.query.weight[node.index], "k": layer.key.weight[group], "v": layer.value.weight[group]}
        return {how: row @ normed(layer, "attn") for how, row in rows.items()}
    up, gate = linear(layer.up.module).T, None if layer.gate is None else linear(layer.gate.module).T
    if gate is None:
        rows = {"in": up}
    elif layer.fused_gate:
        rows = {"gate": up[: layer.n_neurons], "up": up[layer.n_neurons :]}
    else:
        rows = {"gate": gate, "up": up}
    return {how: row[node.index][None] @ normed(layer, "mlp") for how, row in rows.items()}


def normed(layer: Layer, block: str) -> Tensor:
    """The matrix of the norm before a block without its bias, its scale at 1."""
    norm = layer.attn_norm if block == "attn" else layer.mlp_norm
    if norm is None:
        return torch.eye(layer.attn_out.by_input.shape[1])
    d = len(norm.gain)
    centre = torch.eye(d) - (1 / d if norm.kind == "layer" else 0)
    return torch.diag(norm.gain) @ centre


def precedes(anatomy: Anatomy, writer: Node, reader: Node) -> bool:
    assert writer.layer is not None and reader.layer is not None
    if writer.layer != reader.layer:
        return writer.layer < reader.layer
    return (writer.kind, reader.kind) == ("attn", "neuron") and not anatomy.layers[writer.layer].parallel


def strength(rows: Tensor, basis: Tensor) -> float:
    """The largest ‖R w‖ over writes of length 1; with its sign from neuron to neuron."""
    product = rows @ basis.T
    return float(product) if product.numel() == 1 else float(torch.linalg.matrix_norm(product, ord=2))


def listed(found: list[Relation] | tuple[Relation, ...]) -> dict[Key, float]:
    result: dict[Key, float] = {(relation.id, relation.through): relation.weight for relation in found}
    assert len(result) == len(found)
    return result


@pytest.mark.parametrize("name", ["neuron.1.7", "neuron.0.3", "attn.1.2", "attn.2.0"])
def test_relations_are_those_of_every_pair_multiplied_out(
    family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, own = subject_of(tiny_hf(family)), parse(name)
    anatomy = subject.anatomy
    basis, mine = space(anatomy, own), reads(anatomy, own)
    fed_by: dict[Key, float] = {}
    feeds: dict[Key, float] = {}
    alike: dict[Key, float] = {}
    for other in components(anatomy):
        if other == own:
            continue
        theirs = space(anatomy, other)
        if precedes(anatomy, other, own):
            fed_by |= {(str(other), how): strength(rows, theirs) for how, rows in mine.items()}
        if precedes(anatomy, own, other):
            feeds |= {(str(other), how): strength(rows, basis) for how, rows in reads(anatomy, other).items()}
        cosines = basis @ theirs.T
        one = cosines.numel() == 1
        alike[str(other), None] = float(cosines if one else torch.linalg.svdvals(cosines).square().mean().sqrt())
    found = weights(subject, own)
    for got, expected in ((found.fed_by, fed_by), (found.feeds, feeds), (found.alike, alike)):
        sizes = listed(list(got))
        assert sizes == pytest.approx(expected, abs=2e-5, rel=1e-4)
        assert [abs(x) for x in sizes.values()] == sorted((abs(x) for x in sizes.values()), reverse=True)

    monkeypatch.setattr(relations, "RELATED", 4)
    short = weights(subject, own)
    for got, whole in ((short.fed_by, found.fed_by), (short.feeds, found.feeds), (short.alike, found.alike)):
        for kind in ("attn", "neuron"):
            best = [relation for relation in whole if relation.id.startswith(kind)][:4]
            cut = [relation.weight for relation in got if relation.id.startswith(kind)]
            assert cut == pytest.approx([relation.weight for relation in best], rel=1e-5)


def test_singular_values_that_are_not_among_the_largest_are_bounded_from_below() -> None:
    torch.manual_seed(0)
    products = torch.randn(300, 6, 9) * torch.rand(300, 1, 1) * 1e-6
    exact = torch.linalg.svdvals(products)[:, 0]
    found = largest_singular(products, 5)
    best = exact.topk(5)
    torch.testing.assert_close(found[best.indices], best.values, rtol=1e-5, atol=0)
    assert (found <= exact * (1 + 1e-5)).all()
    assert found.topk(5).indices.tolist() == best.indices.tolist()
    assert (found < exact * 0.99).any()  # else nothing was spared
    assert not largest_singular(torch.zeros(3, 2, 2), 2).any()


def test_a_neuron_pushes_what_its_write_of_length_1_adds_to_the_logits(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    anatomy = subject.anatomy
    for node in (Node("neuron", 0, 3), Node("neuron", 2, 11)):
        assert node.layer is not None and node.index is not None
        scores = pushed_scores(anatomy, space(anatomy, node)[0])
        pushed = pushed_tokens(subject, node)
        assert pushed is not None
        for end, sign in ((pushed.up, 1), (pushed.down, -1)):
            assert [token.score for token in end] == sorted((token.score for token in end), key=lambda x: -sign * x)
            assert [token.score for token in end] == pytest.approx([float(scores[t.id]) for t in end], abs=1e-5)
        assert float(push(anatomy, 7, Node("neuron", node.layer))[node.index]) == pytest.approx(
            float(scores[7]), abs=1e-5
        )
        assert push(anatomy, 7, Node("neuron", node.layer)).shape == (anatomy.n_neurons,)


def test_a_head_pushes_a_token_as_much_as_its_best_write_of_length_1(family: str) -> None:
    anatomy = subject_of(tiny_hf(family)).anatomy
    torch.manual_seed(0)
    for node in (Node("attn", 0, 3), Node("attn", 2, 1)):
        basis = space(anatomy, node)
        each = torch.stack([pushed_scores(anatomy, row)[7] for row in basis])
        best = each / each.norm() @ basis
        found = float(push(anatomy, 7, Node("attn", node.layer))[node.index or 0])
        assert float(pushed_scores(anatomy, best)[7]) == pytest.approx(found, abs=1e-5)
        others = torch.nn.functional.normalize(torch.randn(200, len(basis)), dim=1) @ basis
        assert max(float(pushed_scores(anatomy, other)[7]) for other in others) < found


def test_a_head_pushes_tokens_by_its_mean_write_if_that_is_known(family: str) -> None:
    subject, node = subject_of(tiny_hf(family)), Node("attn", 1, 2)
    layer = subject.anatomy.layers[1]
    assert pushed_tokens(subject, node) is None
    assert weights(subject, node).up is None
    torch.manual_seed(0)
    mean = torch.randn(layer.value.width)
    assert pushed_tokens(subject, node, torch.zeros_like(mean)) is None
    width = layer.value.width
    write = mean @ linear(layer.attn_out_module)[2 * width : 3 * width]
    write = write * (1 if layer.attn_post_norm is None else layer.attn_post_norm.gain)
    scores = pushed_scores(subject.anatomy, write / write.norm())
    up = weights(subject, node, mean).up
    assert up is not None
    assert [token.score for token in up] == pytest.approx(scores.sort(descending=True).values.tolist(), abs=1e-5)


def test_tokens_excite_a_head_by_what_it_would_write_about_them(family: str) -> None:
    subject, node = subject_of(tiny_hf(family)), Node("attn", 1, 2)
    layer, group = subject.anatomy.layers[1], 2 * subject.anatomy.layers[1].value.n_heads // 4
    stream = subject.anatomy.embed(torch.arange(VOCAB))
    read = stream if layer.attn_norm_module is None else layer.attn_norm_module(stream)
    value = read @ layer.value.weight[group].T
    value = value if layer.value.bias is None else value + layer.value.bias[group]
    width = layer.value.width
    write = value @ linear(layer.attn_out_module)[2 * width : 3 * width]
    write = write * (1 if layer.attn_post_norm is None else layer.attn_post_norm.gain)
    found = weights(subject, node).excited_by or ()
    expected = write.norm(dim=1)
    assert [token.score for token in found] == pytest.approx([float(expected[t.id]) for t in found], rel=1e-4)
    assert len(found) == VOCAB


def pushed_scores(anatomy: Anatomy, write: Tensor) -> Tensor:
    """The logits of a write after the final norm's gain, its scale at 1, less their mean."""
    norm = anatomy.final_norm
    centred = write - write.mean() if isinstance(anatomy.final_norm_module, nn.LayerNorm) else write
    logits = anatomy.unembed.weight @ (norm.gain * centred)
    return logits - logits.mean()


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "phi3", "gemma2"])
def test_half_precision_weights_are_read_in_full(family: str) -> None:
    half = tiny_hf(family).bfloat16()
    whole = tiny_hf(family)
    whole.load_state_dict(half.state_dict())
    for name in ("neuron.1.7", "attn.1.2"):
        found, expected = (weights(subject_of(model), parse(name)) for model in (half, whole))
        for got, want in (
            (found.fed_by, expected.fed_by),
            (found.feeds, expected.feeds),
            (found.alike, expected.alike),
        ):
            assert listed(list(got)) == pytest.approx(listed(list(want)), abs=1e-5, rel=1e-5)
        scores = [{token.id: token.score for token in one.excited_by or ()} for one in (found, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4, rel=1e-4)
    found, expected = (push(subject_of(model).anatomy, 7, Node("neuron", 1)) for model in (half, whole))
    assert torch.allclose(found, expected, atol=1e-5)
