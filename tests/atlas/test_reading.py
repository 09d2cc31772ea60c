"""What components do on a prompt, against transformers' own forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clew.atlas.heads import pair_values, write_norms
from clew.atlas.reading import firings, on_prompt, share_below
from clew.atlas.records import Histogram
from clew.errors import Cancelled, NotFinite
from clew.models.attention import watching
from clew.models.subject import SubjectModel
from clew.nodes import Node, parse

from .. import reference
from ..families import CONFIGS, PROMPT, ids, subject_of, tiny_hf

BLOCKS = [block for layer in range(3) for block in (Node("attn", layer), Node("neuron", layer))]


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models have no tokenizer: a token's text is its number."""
    monkeypatch.setattr(SubjectModel, "text", lambda self, token: str(token))


@pytest.mark.parametrize("head", ["attn.0.3", "attn.2.1"])
def test_a_head_s_values_are_the_norms_of_what_it_writes(family: str, head: str) -> None:
    found = on_prompt(subject_of(tiny_hf(family)), ids(), parse(head))
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    anatomy = subject_of(plain).anatomy
    assert found.pairs is not None and found.pattern is not None and found.writes is not None
    assert found.attended is not None
    with torch.no_grad():
        attentions = tiny_hf(family, implementation="eager")(ids()[None], output_attentions=True).attentions
    node = parse(head)
    assert node.layer is not None
    for p in (0, 5, len(PROMPT) - 1):
        vectors = [reference.write(plain, anatomy, ids(), parse(f"{head}@{p}<-{s}")) for s in range(p + 1)]
        norms = torch.stack(vectors).norm(dim=1)
        torch.testing.assert_close(torch.tensor(found.pairs[p]), norms, atol=1e-4, rtol=1e-4)
        whole = reference.write(plain, anatomy, ids(), parse(f"{head}@{p}"))
        assert found.writes[p] == pytest.approx(float(whole.norm()), abs=1e-4, rel=1e-4)
        torch.testing.assert_close(sum(vectors), whole, atol=1e-4, rtol=1e-4)
        assert found.activations[p] == max(found.pairs[p])
        assert found.attended[p] == max(row[p] for row in found.pairs[p:])
        row = attentions[node.layer][0, node.index, p, : p + 1]
        torch.testing.assert_close(torch.tensor(found.pattern[p]), row, atol=1e-5, rtol=0)
    assert [len(row) for row in found.pairs] == [len(row) for row in found.pattern] == list(range(1, len(PROMPT) + 1))
    assert [token.id for token in found.tokens] == PROMPT
    assert max(found.writes) > 0.1
    assert found.z is None and found.below is None


def test_a_neuron_s_activation_is_what_its_layer_computes(family: str) -> None:
    model = tiny_hf(family, implementation="eager")
    seen: list[Tensor] = []
    layer = subject_of(model).anatomy.layers[1]
    layer.mlp_out_module.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    with torch.no_grad():
        model(ids()[None])
    found = on_prompt(subject_of(tiny_hf(family)), ids(), Node("neuron", 1, 7))
    torch.testing.assert_close(torch.tensor(found.activations), seen[0][:, 7], atol=1e-4, rtol=1e-4)
    assert found.attended is None and found.writes is None and found.pattern is None and found.pairs is None


def test_what_fires_is_what_each_component_does(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    anywhere = firings(subject, ids(), BLOCKS, skip=1)
    here = firings(subject, ids(), BLOCKS, position=3)
    assert [peaks.block for peaks in anywhere] == BLOCKS
    for best, at in zip(anywhere, here, strict=True):
        width = 4 if best.block.kind == "attn" else subject.anatomy.n_neurons
        assert len(best.activation) == len(at.activation) == width
        assert set(at.position.tolist()) == {3}
        for index in range(0, width, 3):
            alone = on_prompt(subject, ids(), Node(best.block.kind, best.block.layer, index))
            values = alone.activations if alone.writes is None else alone.writes
            assert at.activation[index] == pytest.approx(values[3], abs=1e-5, rel=1e-5)
            assert best.activation[index] == pytest.approx(max(values[1:]), abs=1e-5, rel=1e-5)
            assert best.position[index] == values.index(max(values[1:]), 1)


def test_tokens_are_skipped_only_where_there_are_others() -> None:
    subject = subject_of(tiny_hf("llama"))
    (alone,) = firings(subject, ids([5]), [Node("neuron", 1)], skip=1)
    assert set(alone.position.tolist()) == {0}
    (all_of_them,) = firings(subject, ids(), [Node("neuron", 1)], skip=0)
    (but_one,) = firings(subject, ids(), [Node("neuron", 1)], skip=1)
    assert (all_of_them.position == 0).any()
    assert (but_one.position > 0).all()


def test_nothing_after_the_last_layer_asked_for_is_computed() -> None:
    subject = subject_of(tiny_hf("llama"))

    def fail(module: object, args: object) -> None:
        raise AssertionError("this layer was not asked for")

    subject.anatomy.layers[2].attn.register_forward_pre_hook(fail)
    assert len(firings(subject, ids(), [Node("attn", 1), Node("neuron", 0)])) == 2
    assert on_prompt(subject, ids(), Node("neuron", 1, 0)).activations
    assert firings(subject, ids(), []) == []
    with pytest.raises(AssertionError, match="not asked for"):
        firings(subject, ids(), [Node("attn", 2)])


@pytest.mark.parametrize("part", ["attn_out", "mlp_out"])
def test_numbers_that_are_not_finite_are_no_answer(part: str) -> None:
    subject = subject_of(tiny_hf("llama"))
    getattr(subject.anatomy.layers[0], part).by_input[0, 0] = float("nan")
    for node in (Node("attn", 1, 0), Node("neuron", 1, 0)):
        with pytest.raises(NotFinite, match="NaN"):
            firings(subject, ids(), [block for block in BLOCKS if block == Node(node.kind, 1)])
        with pytest.raises(NotFinite, match="NaN"):
            on_prompt(subject, ids(), node)


def test_a_stop_ends_the_pass_and_leaves_nothing_behind() -> None:
    subject = subject_of(tiny_hf("gemma2"))
    (before,) = firings(subject, ids(), [Node("attn", 2)])
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    with pytest.raises(Cancelled):
        firings(subject, ids(), BLOCKS, stop=stop)
    assert len(asked) == 2
    assert not subject.lock.locked()
    assert not any(module._forward_pre_hooks for module in subject.hf.modules())
    (after,) = firings(subject, ids(), [Node("attn", 2)])
    assert (after.activation == before.activation).all()


def test_several_prompts_at_once_have_the_values_of_each(family: str) -> None:
    subject = subject_of(tiny_hf(family))
    layer = subject.anatomy.layers[1]
    prompts = torch.tensor([PROMPT, PROMPT[::-1]])
    scale = torch.rand(2, len(PROMPT), 1) + 0.5
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    class Watcher:
        def attention(
            self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
        ) -> None:
            if layer == 1:
                seen.append((pattern, value, mixed))

    with torch.no_grad(), watching(Watcher()):
        subject.anatomy.base(input_ids=prompts, use_cache=False)
    ((pattern, value, mixed),) = seen
    pairs, writes = pair_values(layer, pattern, value, scale), write_norms(layer, mixed, scale)
    assert writes.shape == (2, len(PROMPT), 4)
    for i in range(2):
        one = slice(i, i + 1)
        plain = pair_values(layer, pattern[one], value[one])
        torch.testing.assert_close(pairs[one], plain * scale[one, None], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(writes[one], write_norms(layer, mixed[one]) * scale[one], atol=1e-5, rtol=1e-5)


def test_the_share_below_counts_whole_bins_and_part_of_its_own() -> None:
    histogram = Histogram(edges=[-1.0, 0.0, 1.0, 3.0], counts=[2, 0, 6])
    values = [-2.0, -1.0, -0.5, 0.0, 0.7, 1.0, 2.0, 3.0, 9.0]
    assert share_below(histogram, values) == pytest.approx([0, 0, 0.125, 0.25, 0.25, 0.25, 0.625, 1, 1])
