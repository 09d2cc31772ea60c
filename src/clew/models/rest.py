"""The rest of a pass: a batch of prompts that is run once, and from a layer on as often as something is changed there.

Replays (models/replay.py) follow a change at one token of one prompt; here every token of many prompts may change, and
what comes before the changed layer is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import Cancelled
from .anatomy import Anatomy
from .forward import forward_batch
from .interventions import Interventions
from .tape import Stop


@dataclass
class Rest:
    """A batch of prompts as the model runs it: the stream before layer `start`, what the layers from there on are
    called with besides, and the stream after the final norm, `normed`."""

    anatomy: Anatomy
    start: int
    stream: Float[Tensor, "b t d"] = field(init=False)
    normed: Float[Tensor, "b t d"] = field(init=False)
    _calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list, init=False)

    @classmethod
    def of(cls, anatomy: Anatomy, ids: Int[Tensor, "b t"], start: int, stop: Stop | None = None) -> Rest:
        """Run the batch, unedited. The caller holds the subject's lock. Raises Cancelled."""
        rest = cls(anatomy, start)
        with torch.no_grad(), ExitStack() as stack:
            for layer in anatomy.layers:
                handle = layer.block.register_forward_pre_hook(rest._keep(layer.index, stop), with_kwargs=True)
                stack.callback(handle.remove)
            end = forward_batch(anatomy, ids)
            rest.normed = anatomy.final_norm_module(end)
        if start == len(anatomy.layers):
            rest.stream = end
        return rest

    @torch.no_grad()
    def again(self, edits: Interventions, stop: Stop | None = None) -> Float[Tensor, "b t d"]:
        """The stream after the final norm under edits, none of which may be before layer `start`.

        The caller holds the subject's lock. Raises Cancelled.
        """
        stream = self.stream
        with edits.hooks():
            for layer, (args, kwargs) in zip(self.anatomy.layers[self.start :], self._calls, strict=True):
                _check(stop)
                made = layer.block(stream, *args, **kwargs)
                stream = made[0] if isinstance(made, tuple) else made
            return self.anatomy.final_norm_module(stream)

    def _keep(self, layer: int, stop: Stop | None) -> Callable[..., None]:
        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            _check(stop)
            if layer == self.start:
                self.stream = args[0]
            if layer >= self.start:
                self._calls.append((args[1:], kwargs))

        return keep


def _check(stop: Stop | None) -> None:
    if stop is not None and stop():
        raise Cancelled("It was cancelled before it was done.")
