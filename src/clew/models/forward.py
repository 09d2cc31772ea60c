"""A forward pass that goes no further than it has to."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from .anatomy import Anatomy, Depth


class Reached(Exception):
    """Ends a pass; never leaves the function that began it."""


def forward(anatomy: Anatomy, ids: Int[Tensor, " t"], depth: Depth | None = None) -> Float[Tensor, "t d"]:
    """The residual stream at `depth` (default: before the final norm); nothing after it is computed.

    Hooks set before the call run first, so that the stream is what they leave.
    """
    return forward_batch(anatomy, ids[None], depth)[0]


def forward_batch(anatomy: Anatomy, ids: Int[Tensor, "b t"], depth: Depth | None = None) -> Float[Tensor, "b t d"]:
    """The same for several prompts of one length."""
    depth = anatomy.end if depth is None else depth
    kept: list[Tensor] = []

    def reach(module: nn.Module, args: tuple[Any, ...]) -> None:
        kept.append(args[0])
        raise Reached

    handle = _module_at(anatomy, depth).register_forward_pre_hook(reach)
    try:
        anatomy.base(input_ids=ids, use_cache=False)
    except Reached:
        return kept[0]
    finally:
        handle.remove()
    raise AssertionError("a causal LM passes through its own layers")


def _module_at(anatomy: Anatomy, depth: Depth) -> nn.Module:
    """The module that is given the stream at `depth`."""
    if depth.layer == len(anatomy.layers):
        return anatomy.final_norm_module
    layer = anatomy.layers[depth.layer]
    if not depth.mid:
        return layer.block
    return layer.mlp if layer.mlp_norm_module is None else layer.mlp_norm_module
