"""Names of hooks and modules, and the sites that they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clew.debug import Model
from clew.errors import BadSite
from clew.models.sites import read_sites
from clew.nodes import READ_SITES, Site, parse_site
from clew.sae.formats.names import hook_of, site_of, sites_of

LAYERS = st.integers(0, 10**9 - 1)


@given(st.sampled_from(READ_SITES), LAYERS)
def test_a_site_is_the_site_of_its_hook(name: str, layer: int) -> None:
    assert site_of(hook_of(Site(name, layer))) == Site(name, layer)


@given(st.text() | st.from_regex(r"(blocks|layers|h)\.[0-9]{1,12}(\.[a-z_.0-9]{0,30})?", fullmatch=True))
def test_any_text_is_a_site_or_refused_by_name(text: str) -> None:
    for function in (site_of, sites_of):
        try:
            function(text)
        except BadSite as error:
            told = error.message
        else:
            continue
        assert told.startswith(repr(text if len(text) <= 80 else text[:77] + "..."))


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("blocks.5.hook_resid_pre", "resid.4"),
        ("blocks.5.hook_resid_post", "resid.5"),
        ("blocks.5.hook_mlp_out", "mlp_out.5"),
        ("blocks.5.mlp.hook_post", "mlp_act.5"),
        ("blocks.0.attn.hook_z", "attn_act.0"),
        ("blocks.11.hook_attn_out", "attn_out.11"),
        ("blocks.11.mlp.hook_in", "mlp_in.11"),
        ("blocks.3.hook_out", "resid.3"),
        ("layers.5", "resid.5"),
        ("model.layers.5", "resid.5"),
        ("layers.5.mlp", "mlp_out.5"),
        ("model.layers.5.mlp", "mlp_out.5"),
        ("model.layers.5.mlp.down_proj", "mlp_out.5"),
        ("model.layers.5.self_attn", "attn_out.5"),
        ("transformer.h.5", "resid.5"),
        ("transformer.h.5.mlp", "mlp_out.5"),
        ("h.5.mlp.act", "mlp_act.5"),
        ("h.5.attn", "attn_out.5"),
        ("gpt_neox.layers.5.attention", "attn_out.5"),
        ("gpt_neox.layers.5.mlp.dense_4h_to_h", "mlp_out.5"),
    ],
)
def test_names_of_others(name: str, site: str) -> None:
    assert site_of(name) == parse_site(site)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("blocks.0.hook_resid_pre", "embedding"),
        ("blocks.4.hook_resid_mid", "between attention and MLP"),
        ("blocks.4.hook_mlp_in", "in front of the MLP's norm"),
        ("blocks.4.ln2.hook_normalized", "before its weight"),
        ("blocks.4.attn.hook_q", "no name that Clew knows"),
        ("layers.4.mlp.act_fn", "the gate alone"),
        ("embed_tokens", "in no layer"),
        ("hook_embed", "in no layer"),
        ("layers.x.mlp", "in no layer"),
        ("layers.04.mlp", "in no layer"),
    ],
)
def test_what_has_no_site_is_refused(name: str, why: str) -> None:
    with pytest.raises(BadSite, match=why) as told:
        site_of(name)
    assert name in told.value.message


def test_transcoders_of_modules() -> None:
    assert sites_of("layers.5.mlp") == (Site("mlp_in", 5), Site("mlp_out", 5))
    assert sites_of("model.layers.5") == (Site("resid", 4), Site("resid", 5))
    for name in ("layers.0", "layers.3.self_attn"):
        with pytest.raises(BadSite):
            sites_of(name)


def test_a_module_whose_output_is_normed_before_it_is_added_is_no_site() -> None:
    for model in ("google/gemma-2-2b", "google/gemma-3-1b-it", "allenai/OLMo-2-1124-7B"):
        with pytest.raises(BadSite, match="norms it"):
            site_of("model.layers.5.mlp", model)
        assert site_of("model.layers.5", model) == Site("resid", 5)
        assert site_of("blocks.5.hook_mlp_out", model) == Site("mlp_out", 5)
    assert site_of("model.layers.5.mlp", "google/gemma-2b") == Site("mlp_out", 5)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llama-biased", "meta-llama/Llama-3.2-1B"),
        ("gpt2", "gpt2"),
        ("gpt_neox", "EleutherAI/pythia-70m"),
        ("qwen3", "Qwen/Qwen3-0.6B"),
        ("gemma", "google/gemma-2b"),
        ("gemma2", "google/gemma-2-2b"),
        ("gemma3_text", "google/gemma-3-1b-it"),
        ("olmo2", "allenai/OLMo-2-0425-1B"),
        ("phi3", "microsoft/Phi-3-mini-4k-instruct"),
    ],
)
def test_of_all_modules_of_a_model_those_that_are_sites_give_their_values(
    tiny: Callable[[str], Model], family: str, name: str
) -> None:
    subject = tiny(family).subject
    given: dict[str, torch.Tensor] = {}
    handles = []

    def keep(path: str) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            given[path] = output[0] if isinstance(output, tuple) else output

        return hook

    for path, module in subject.hf.named_modules():
        handles.append(module.register_forward_hook(keep(path)))
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        subject.hf(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    found: set[str] = set()
    for path, value in given.items():
        try:
            site = site_of(path, name)
        except BadSite:
            continue
        torch.testing.assert_close(value, read_sites(subject.anatomy, [site], ids)[site], rtol=1e-4, atol=1e-4)
        found.add(site.name)
    normed = family in ("gemma2", "gemma3_text", "olmo2")
    ungated = family in ("gpt2", "gpt_neox")
    assert found == {"resid"} | (set() if normed else {"mlp_out", "attn_out"}) | ({"mlp_act"} if ungated else set())
