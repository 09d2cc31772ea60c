"""How heads read the stream and what they can write, on a random tiny model of every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clew.models.anatomy import HeadInput
from clew.models.attention import watching

from ..families import CONFIGS, ids, subject_of, tiny_hf


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@torch.no_grad()
def test_queries_keys_and_values_are_those_of_the_forward_pass(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_hf(family)
    subject = subject_of(model)
    # Rotary embedding is the one thing in the way that is no module of the layer.
    modeling = __import__(type(model).__module__, fromlist=["_"])
    if hasattr(modeling, "apply_rotary_pos_emb"):
        monkeypatch.setattr(modeling, "apply_rotary_pos_emb", lambda q, k, *args, **kwargs: (q, k))
    read: dict[int, Tensor] = {}
    seen: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    class Watcher:
        def attention(
            self, layer: int, query: Tensor, key: Tensor, value: Tensor, pattern: Tensor, mixed: Tensor, scaling: float
        ) -> None:
            seen[layer] = query[0], key[0], value[0]

    def keep(layer: int) -> Any:
        def hook(module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            read[layer] = (args[0] if args else kwargs["hidden_states"])[0]

        return hook

    def pass_on(module: object, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return args[0]

    for layer in subject.anatomy.layers:
        layer.attn.register_forward_pre_hook(keep(layer.index), with_kwargs=True)
        for norm in (layer.q_norm_module, layer.k_norm_module):
            if norm is not None:
                norm.register_forward_hook(pass_on)
    with watching(Watcher()):
        model(ids()[None])

    def recomputed(head: HeadInput, x: Tensor) -> Tensor:
        found = torch.einsum("td,hkd->htk", x, head.weight)
        return found if head.bias is None else found + head.bias[:, None]

    for layer in subject.anatomy.layers:
        for head, expected in zip((layer.query, layer.key, layer.value), seen[layer.index], strict=True):
            assert expected.abs().max() > 0.1
            torch.testing.assert_close(recomputed(head, read[layer.index]), expected, atol=1e-5, rtol=1e-5)


def test_a_head_s_whitened_rows_are_an_orthonormal_basis_of_what_it_writes(family: str) -> None:
    for layer in subject_of(tiny_hf(family)).anatomy.layers:
        out = layer.head_out() if layer.attn_post_norm is None else layer.head_out() * layer.attn_post_norm.gain
        basis = layer.head_whitening @ out
        eye = torch.eye(basis.shape[1]).expand(len(basis), -1, -1)
        torch.testing.assert_close(basis @ basis.mT, eye, atol=1e-4, rtol=0)
        torch.testing.assert_close(out @ basis.mT @ basis, out, atol=1e-4, rtol=0)


def test_a_head_of_less_than_full_rank_has_a_smaller_basis() -> None:
    layer = subject_of(tiny_hf("llama")).anatomy.layers[0]
    width = layer.head_out().shape[1]
    weight = layer.attn_out.by_input
    weight[1] = 2 * weight[0]
    weight[width : 2 * width] = 0
    basis = layer.head_whitening @ layer.head_out()
    assert (basis.norm(dim=-1) > 0.5).sum(-1).tolist()[:3] == [width - 1, 0, width]
    torch.testing.assert_close(basis[0].square().sum(), torch.tensor(width - 1.0), atol=1e-4, rtol=0)
    assert not basis[1].any()
