"""Measures against computations that keep everything, and against what they must say of perfection and of nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from clew.debug import Model
from clew.models.sites import read_sites, width
from clew.nodes import Site, parse_site
from clew.sae.autoencoder import Autoencoder
from clew.sae.evaluate import ce_recovered
from clew.sae.splicing import losses

Tiny = Callable[[str], Model]


def perfect(site: Site, d: int) -> Autoencoder:
    """x̂ = x: a latent for either sign of every number."""
    eye = torch.eye(d)
    both = torch.cat((eye, -eye), 1)
    return Autoencoder(site, site, "relu", both, torch.zeros(2 * d), both.T, torch.zeros(d))


def constant(site: Site, value: torch.Tensor) -> Autoencoder:
    """x̂ is the same whatever x is."""
    d = len(value)
    return Autoencoder(site, site, "relu", torch.zeros(d, 3), torch.zeros(3), torch.ones(3, d), value)


def drawn(site: Site, d: int, n: int, seed: int = 0) -> Autoencoder:
    """Random weights, about half of the latents firing."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(d, n, generator=draw) / d**0.5
    return Autoencoder(site, site, "relu", w, torch.full((n,), -0.2), w.T.contiguous(), torch.zeros(d))


def contexts(model: Model, n: int = 3, length: int = 12) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(2, len(model.tokenizer), (n, length), generator=draw)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
@pytest.mark.parametrize("name", ["mlp_act.1", "mlp_out.1", "attn_act.2", "attn_out.0", "resid.1", "resid.2"])
def test_losses_are_those_of_a_model_with_plain_hooks(tiny: Tiny, family: str, name: str) -> None:
    model = tiny(family)
    subject, site, ids, first = model.subject, parse_site(name), contexts(model), 2
    d = width(subject.anatomy, site)
    autoencoder = drawn(site, d, 3 * d)
    mean = torch.linspace(-1, 1, d)
    found = losses(subject, autoencoder, ids, first, mean)

    def logs(fill: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
        layer = subject.anatomy.layers[site.layer]

        def replaced(x: torch.Tensor) -> torch.Tensor:
            assert fill is not None
            return torch.cat((x[:, :first], fill(x[:, first:])), 1)

        def before(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (replaced(args[0]), *args[1:])

        def after(module: nn.Module, args: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> object:
            if isinstance(output, tuple):
                return (replaced(output[0]), *output[1:])
            return replaced(output)

        handle = None
        if fill is not None:
            handle = {
                "mlp_act": lambda: layer.mlp_out_module.register_forward_pre_hook(before),
                "attn_act": lambda: layer.attn_out_module.register_forward_pre_hook(before),
                "mlp_out": lambda: (layer.mlp_post_module or layer.mlp_out_module).register_forward_hook(after),
                "attn_out": lambda: (layer.attn_post_module or layer.attn_out_module).register_forward_hook(after),
                "resid": lambda: layer.block.register_forward_hook(after),
            }[site.name]()
        with torch.no_grad():
            logits = subject.hf(input_ids=ids, use_cache=False).logits
        if handle is not None:
            handle.remove()
        return logits.double().log_softmax(-1)[:, first:-1]

    following = ids[:, first + 1 :, None]
    fills = {
        "clean": None,
        "spliced": autoencoder,
        "zero": torch.zeros_like,
        "mean": lambda x: mean.expand_as(x),
    }
    for kind, fill in fills.items():
        expected = -logs(fill).gather(2, following)[..., 0]
        torch.testing.assert_close(found[kind], expected, rtol=1e-4, atol=1e-4)
    clean, spliced = logs(None), logs(autoencoder)
    torch.testing.assert_close(found["kl"], (clean.exp() * (clean - spliced)).sum(-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp_out.10", "resid.10"])
def test_perfection_recovers_everything_and_zero_nothing(smollm2: Model, name: str) -> None:
    subject, site = smollm2.subject, parse_site(name)
    ids = torch.tensor([subject.encode("The cat sat on the mat, and then it went out of the house to look.")])
    d = width(subject.anatomy, site)
    assert ce_recovered(subject, perfect(site, d), ids) == pytest.approx(1, abs=1e-5)
    assert ce_recovered(subject, constant(site, torch.zeros(d)), ids) == 0
    found = losses(subject, perfect(site, d), ids, 1)
    assert float(found["kl"].abs().max()) < 1e-6
    (x,) = read_sites(subject.anatomy, [site], ids).values()
    mean = x[:, 1:].mean((0, 1))
    found = losses(subject, constant(site, mean), ids, 1, mean)
    assert torch.equal(found["spliced"], found["mean"])
