"""What a node pushes and what excites it, against transformers' own modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clew.debug.answer import answer
from clew.debug.case import Case
from clew.debug.detail import detail
from clew.debug.direction import reading
from clew.debug.ranking import Selection
from clew.debug.records import NodeDetail
from clew.debug.scalar import Final
from clew.models import attention
from clew.models.subject import SubjectModel
from clew.models.vocabulary import neuron_on_embeddings
from clew.nodes import Node, parse

from .. import reference
from ..families import CONFIGS, VOCAB, ids, subject_of, tiny_hf

POSITION = 7
QK_NORMED = {"qwen3", "gemma3_text", "olmo2"}


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models have no tokenizer: a token's text is its number. All scores are listed, not the first ten."""
    monkeypatch.setattr(SubjectModel, "text", lambda self, token: str(token))
    monkeypatch.setattr("clew.models.vocabulary.PUSHED", VOCAB)


def look_at(subject: SubjectModel, node: Node) -> NodeDetail:
    look = reading(subject.anatomy, [3], [7])
    case = Case(subject, ids(), POSITION)
    selection = Selection(top=0, wanted=frozenset([node]))
    result = answer(case, Final(subject.anatomy, look, POSITION), selection)
    (row,) = result.nodes
    assert result.final_scale is not None
    return detail(case, node, row, result.final_scale)


@pytest.mark.parametrize("name", ["embed@4", "attn.1.2@7", "attn.2.1@6<-3", "neuron.0.5@7", "neuron.2.11@2"])
def test_pushed_tokens_are_the_change_of_the_logits_with_the_norm_held(family: str, name: str) -> None:
    node = parse(name)
    found = look_at(subject_of(tiny_hf(family)), node)
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    anatomy = subject_of(plain).anatomy
    lost = reference.write(plain, anatomy, ids(), node)
    assert node.position is not None
    expected = reference.held_logits(plain, anatomy, ids(), node.position, lost)
    assert [t.id for t in found.up] == [t.id for t in reversed(found.down)]
    scores = torch.tensor([t.score for t in sorted(found.up, key=lambda token: token.id)])
    torch.testing.assert_close(scores, expected - expected.mean(), atol=1e-4, rtol=1e-4)


def test_bias_pushes_are_those_of_the_constant_itself() -> None:
    subject = subject_of(tiny_hf("gpt2"))
    anatomy = subject.anatomy
    for name in ("bias.attn.1", "bias.mlp.2", "bias.final_norm"):
        node = parse(name)
        found = look_at(subject, node)
        scores = {token.id: token.score for token in found.up}
        assert scores[3] - scores[7] == pytest.approx(found.node.direct_effect, abs=1e-4)
    assert anatomy.final_norm.bias is not None


def test_exciting_tokens_of_a_neuron_are_its_activations_on_bare_embeddings(family: str) -> None:
    model = tiny_hf(family)
    subject = subject_of(model)
    layer = subject.anatomy.layers[1]
    norm = {"gpt2": "ln_2", "gpt_neox": "post_attention_layernorm", "olmo2": None}.get(
        model.config.model_type,
        "pre_feedforward_layernorm" if layer.mlp_post_norm is not None else "post_attention_layernorm",
    )
    seen: list[Tensor] = []
    hook = layer.mlp_out_module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        stream = subject.anatomy.embed(torch.arange(VOCAB))
        layer.block.get_submodule("mlp")(stream if norm is None else layer.block.get_submodule(norm)(stream))
        hook.remove()
        for neuron in (0, 17):
            found = neuron_on_embeddings(subject.anatomy, layer, neuron)
            torch.testing.assert_close(found, seen[0][:, neuron], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["attn.1.2@7<-4", "attn.0.3@6<-5"])
@pytest.mark.parametrize("family", sorted(set(CONFIGS) - QK_NORMED))
def test_exciting_tokens_of_a_head_are_its_scores_on_bare_embeddings(family: str, name: str) -> None:
    node = parse(name)
    model = tiny_hf(family)
    subject = subject_of(model)
    found = {excitation.through: excitation for excitation in look_at(subject, node).excited_by}
    for through, at in (("query", node.position), ("key", node.source)):
        scores = torch.tensor([score_with(subject, node, through, at, token) for token in (3, 40, 88)])
        listed = {token.id: token.score for token in found[through].tokens}
        ours = torch.tensor([listed[token] for token in (3, 40, 88)])
        torch.testing.assert_close(ours - ours[0], scores - scores[0], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(QK_NORMED))
def test_a_norm_on_queries_and_keys_is_linearised(family: str) -> None:
    node = parse("attn.1.2@7<-4")
    subject = subject_of(tiny_hf(family))
    found = {excitation.through: excitation for excitation in look_at(subject, node).excited_by}
    step = 1e-2
    for through, at in (("query", node.position), ("key", node.source)):
        base = score_with(subject, node, through, at, None)
        listed = {token.id: token.score for token in found[through].tokens}
        change = [(score_with(subject, node, through, at, token, step) - base) / step for token in (3, 40)]
        assert listed[3] - listed[40] == pytest.approx(change[0] - change[1], abs=0.05, rel=0.05)


def test_a_whole_head_is_shown_where_it_attends_most() -> None:
    subject = subject_of(tiny_hf("llama"))
    (query, key) = look_at(subject, parse("attn.1.2@7")).excited_by
    assert (query.through, key.through) == ("query", "key")
    assert query.position == key.position == 7
    with torch.no_grad():
        pattern = tiny_hf("llama", implementation="eager")(ids()[None], output_attentions=True).attentions[1]
    assert query.source == key.source == int(pattern[0, 2, 7].argmax())


@torch.no_grad()
def score_with(
    subject: SubjectModel, node: Node, through: str, at: int | None, token: int | None, step: float | None = None
) -> float:
    """The attention score when the projection's input at one position is a token's normed embedding (or moves
    towards it by `step`), everything before the projection as it was."""
    assert node.layer is not None
    assert node.index is not None
    assert node.position is not None
    assert node.source is not None
    layer = subject.anatomy.layers[node.layer]
    names = {"gpt2": "ln_1", "olmo2": None}
    norm = names.get(subject.hf.config.model_type, "input_layernorm")
    seen: dict[str, Any] = {}

    class Watcher:
        def attention(
            self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
        ) -> None:
            if layer == node.layer:
                seen.update(query=query[0], key=key[0], scaling=scaling)

    def replace(
        module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        read = args[0] if args else kwargs["hidden_states"]
        if token is None:
            return args, kwargs
        bare = subject.anatomy.embed(torch.tensor([token]))
        bare = bare if norm is None else layer.block.get_submodule(norm)(bare)
        changed = read.clone()
        changed[0, at] = bare[0] if step is None else changed[0, at] + step * bare[0]
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

    hook = layer.attn.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        with attention.watching(Watcher()):
            subject.anatomy.base(input_ids=ids()[None], use_cache=False)
    finally:
        hook.remove()
    group = node.index // (seen["query"].shape[0] // seen["key"].shape[0])
    return float(seen["query"][node.index, node.position] @ seen["key"][group, node.source] * seen["scaling"])
