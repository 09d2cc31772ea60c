"""The components of a model, with what an atlas knows of them: the questions that their pages ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import settings
from ..errors import BadNode, PositionOutOfRange, UsageError, WrongAtlas
from ..models.inventory import check_there
from ..models.subject import HasSubject, SubjectModel
from ..models.tape import Stop
from ..models.vocabulary import one_token
from ..nodes import Node, parse
from ..records import Batch, Records
from . import reading, relations
from .attached import Given, attached, own
from .latents import Latents
from .observation import Autoencoders
from .plan import KINDS, autoencoder_of, block_of, in_order, site_of
from .records import (
    AtlasAutoencoder,
    Card,
    CoFiring,
    Component,
    ExampleKind,
    Firing,
    OnPrompt,
    Pairs,
    PushMatch,
    TokenMatch,
    Weights,
)
from .search import Paging, Population, blocks_of, check_kinds, known, no_atlas

if TYPE_CHECKING:
    from .atlas import Atlas

KEPT = 256  # components whose weights were asked about


class Components:
    """Every head and neuron of a model, and the latents of `autoencoders`: Autoencoders or what opens them, by default
    those attached to the model.

    A component is named by its id, such as "neuron.5.200", "attn.23.3" or "latent.mlp_out.10.117". With an `atlas` (of
    this model, and of these autoencoders where it has latents of theirs, else WrongAtlas), what they do over its
    corpus; without one, what weights and a prompt can tell. Of latents whose autoencoder is not attached there is what
    the atlas knows. Every method that takes an id raises BadNode for one that is not there.
    """

    def __init__(
        self,
        model: HasSubject | SubjectModel,
        atlas: Atlas | None = None,
        autoencoders: Sequence[Given] | None = None,
    ) -> None:
        self.subject = model if isinstance(model, SubjectModel) else model.subject
        self.atlas = atlas
        self.autoencoders: Autoencoders = attached(self.subject, own(model, autoencoders))
        self._known = {site_of(block): autoencoder_of(one) for block, one in self.autoencoders.items()}
        self._latents = [Latents(self.subject.anatomy, one) for one in self.autoencoders.values()]
        if atlas is not None:
            atlas.check(self.subject)
            for site, there in atlas.autoencoders.items():
                given = self._known.setdefault(site, there)
                if given.fingerprint != there.fingerprint:
                    raise WrongAtlas(
                        f"The atlas {atlas.folder.name} has the latents of another autoencoder at {there.writes}, "
                        f"{there.name}, than {given.name}.",
                        f"Attach that one, collect an atlas with {given.name}, or name another with --atlas.",
                    )
        self._weights = lru_cache(KEPT)(self._weigh)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process: model and atlas as their places, autoencoders as they are."""
        return Components, (self.subject, self.atlas, [one.to("cpu") for one in self.autoencoders.values()])

    @property
    def latents(self) -> Mapping[str, AtlasAutoencoder]:
        """The autoencoders whose latents are components here, by block: attached, or known to the atlas."""
        return self._known

    def named(self, component: str | Node) -> Node:
        """The component of this id. Raises BadNode for one that is not there, or for a node at one token."""
        node = parse(component) if isinstance(component, str) else component
        if node.kind in KINDS and node.position is not None:
            raise BadNode(f"{node} is a component at one token.", f"Write {node.component}.")
        if node.kind not in KINDS:
            raise BadNode(
                f"{node} is not a component.", "Write attn.L.H, neuron.L.N or latent.SITE.L.J, counting from 0."
            )
        latents = {block_of(site).site: known.latents for site, known in self._known.items()}
        check_there(self.subject.anatomy, node, latents)
        return node

    def component(self, component: str | Node) -> Component:
        """What the atlas holds of a component, and its neighbours of the same kind. Raises BadAtlas."""
        node = self.named(component)
        found = Component.unknown(node) if self.atlas is None else self.atlas.component(node)
        return replace(
            found,
            previous=self._beside(node, -1),
            next=self._beside(node, 1),
            autoencoder=self._known.get(site_of(node)),
        )

    def card(self, component: str | Node) -> Card:
        """A component in short: how often and strongly it fires, its best example, the tokens it pushes up."""
        node = self.named(component)
        assert node.index is not None
        pushed = None
        if self._missing(node) is None:
            pushed = relations.pushed_tokens(self.subject, node, self._mean(node), self._latents)
        up = [] if pushed is None else pushed.up
        summary = None if self.atlas is None else self.atlas.summary(node)
        if self.atlas is None or summary is None:
            return Card(str(node), None, None, None, up)
        density, maximum = known(summary.density[node.index]), known(summary.maximum[node.index])
        return Card(str(node), density, maximum, self.atlas.best(node), up)

    def weights(self, component: str | Node) -> Weights:
        """What a component's weights say: tokens it pushes and is excited by, and components tied to it."""
        return self._weights(self.named(component))

    def pairs(self, component: str | Node, kind: ExampleKind, rank: int, band: int | None = None) -> Pairs:
        """The values of all pairs of tokens of one example of a head. Raises BadNode, NoAtlas or BadAtlas."""
        node = self.named(component)
        if node.kind != "attn":
            raise BadNode(f"{node} is not a head, so it has no pairs of tokens.", "Write attn.L.H.")
        return self._atlas("An example").pairs(node, kind, rank, band)

    def cofiring(self, component: str | Node) -> Records[CoFiring]:
        """Components with top examples at the very tokens where this one has its own. Raises NoAtlas or BadAtlas."""
        node = self.named(component)
        return self._atlas("What fires together").cofiring(node)

    def on_prompt(self, component: str | Node, prompt: str, bos: bool = False, *, stop: Stop | None = None) -> OnPrompt:
        """What a component does on every token of a prompt; `bos` puts the model's start token first.

        Raises EmptyPrompt, PromptTooLong, BadText, NotFinite or Cancelled; UsageError for a latent whose autoencoder is
        not attached.
        """
        node = self.named(component)
        missing = self._missing(node)
        if missing is not None:
            raise UsageError(missing, "Only its statistics and examples are known.")
        ids = self.subject.encode_prompt(prompt, bos)
        return reading.on_prompt(self.subject, ids, node, self.atlas, self.autoencoders, stop)

    def search_prompt(
        self,
        prompt: str,
        position: int | None = None,
        bos: bool = False,
        *,
        sort: str = "z",
        kinds: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        max_density: float | None = None,
        ascending: bool = False,
        offset: int = 0,
        limit: int = settings.FOUND,
        stop: Stop | None = None,
    ) -> Batch[Firing]:
        """Which components fire on a text: at one token, or each at its own strongest.

        The strongest is not among the first tokens that atlases skip (one, unless the atlas says otherwise): models put
        huge activations there whatever the text. Sorted by z, activation, ratio, density or strong; without an atlas
        only by activation. `max_density` bounds `strong`. `total` of the page is how many there are in all.
        Raises EmptyPrompt, PromptTooLong, BadText, PositionOutOfRange, UsageError, NoAtlas, NotFinite or Cancelled.
        """
        paging = Paging(sort, max_density, ascending, offset, limit)
        paging.check(("z", "activation", "ratio", "density", "strong"), ("activation",), self.atlas)
        subject, anatomy = self.subject, self.subject.anatomy
        blocks = blocks_of(anatomy, kinds, layers, self.autoencoders)
        ids = subject.encode_prompt(prompt, bos)
        if position is not None and not 0 <= position < len(ids):
            raise PositionOutOfRange(
                f"Position {position} is not in this prompt of {len(ids)} tokens.",
                f"Positions run from 0 to {len(ids) - 1}.",
            )
        skip = settings.SKIPPED if self.atlas is None else self.atlas.info().skip
        found = reading.firings(subject, ids, blocks, position, skip, self.autoencoders, stop)
        activation = np.concatenate([*(peaks.activation for peaks in found), np.empty(0)])
        at = np.concatenate([*(peaks.position for peaks in found), np.empty(0, int)])
        among = Population.of(anatomy, blocks, self.atlas, self.autoencoders)
        # Nothing varies, or nothing is above zero: then there is no such number.
        z = (activation - among.mean) / np.where(among.deviation > 0, among.deviation, np.nan)
        ratio = activation / np.where(among.maximum > 0, among.maximum, np.nan)
        keys = {"z": z, "activation": activation, "ratio": ratio, "density": among.density, "strong": among.strong}
        rows, total = paging.page(keys[sort], among.strong)
        return Batch(
            (
                Firing(
                    id=among.name(row),
                    position=int(at[row]),
                    activation=float(activation[row]),
                    z=known(z[row]),
                    ratio=known(ratio[row]),
                    density=known(among.density[row]),
                    strong=known(among.strong[row]),
                )
                for row in rows
            ),
            total,
        )

    def search_token(
        self,
        token: str,
        *,
        sort: str = "share",
        kinds: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        max_density: float | None = None,
        ascending: bool = False,
        offset: int = 0,
        limit: int = settings.FOUND,
    ) -> Batch[TokenMatch]:
        """Which components have top examples on a token; sorted by share, examples, activation, density or strong.

        Raises NoAtlas, NotOneToken, BadText, BadAtlas or UsageError.
        """
        paging = Paging(sort, max_density, ascending, offset, limit)
        atlas = self._atlas("A search by token")
        paging.check(("share", "examples", "activation", "density", "strong"), (), atlas)
        check_kinds(kinds)
        wanted = one_token(self.subject, token, "token")
        found = atlas.on_token(atlas.ids_of(wanted, self.subject.text(wanted)), kinds, layers)
        found.sort(key=lambda match: parse(match.id).order)
        keys = np.array([_number(getattr(match, sort)) for match in found])
        rows, total = paging.page(keys, np.array([_number(match.strong) for match in found]))
        return Batch((found[row] for row in rows), total)

    def search_pushed(
        self,
        token: str,
        *,
        sort: str = "push",
        kinds: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        max_density: float | None = None,
        ascending: bool = False,
        offset: int = 0,
        limit: int = settings.FOUND,
    ) -> Batch[PushMatch]:
        """Which components push an output token; sorted by push, density or strong, of which an atlas knows the latter.

        Raises NotOneToken, BadText, NoAtlas or UsageError.
        """
        paging = Paging(sort, max_density, ascending, offset, limit)
        paging.check(("push", "density", "strong"), ("push",), self.atlas)
        anatomy = self.subject.anatomy
        blocks = blocks_of(anatomy, kinds, layers, self.autoencoders)
        wanted = one_token(self.subject, token, "token")
        pushes = [relations.push(anatomy, wanted, block, self._latents).cpu().double().numpy() for block in blocks]
        push = np.concatenate([*pushes, np.empty(0)])
        among = Population.of(anatomy, blocks, self.atlas, self.autoencoders)
        rows, total = paging.page({"push": push, "density": among.density, "strong": among.strong}[sort], among.strong)
        return Batch(
            (
                PushMatch(among.name(row), float(push[row]), known(among.density[row]), known(among.strong[row]))
                for row in rows
            ),
            total,
        )

    def _weigh(self, node: Node) -> Weights:
        missing = self._missing(node)
        if missing is not None:
            return Weights(str(node), None, None, None, [], [], [], missing)
        return relations.weights(self.subject, node, self._mean(node), self._latents)

    def _missing(self, node: Node) -> str | None:
        """What has to be attached for the weights of a component to be known, if anything does."""
        if node.kind != "latent" or replace(node, index=None) in self.autoencoders:
            return None
        known = self._known[site_of(node)]
        return f"Its weights are those of the autoencoder {known.name}, which is not attached: give it with --sae."

    def _beside(self, node: Node, step: int) -> str | None:
        """The next or previous component of the same kind, across layers and sites; None at the ends of the model."""
        assert node.index is not None
        anatomy = self.subject.anatomy
        if node.kind == "latent":
            sizes = {block_of(site): self._known[site].latents for site in in_order(self._known)}
        else:
            width = anatomy.n_heads if node.kind == "attn" else anatomy.n_neurons
            sizes = {Node(node.kind, layer.index): width for layer in anatomy.layers}
        blocks, own = list(sizes), replace(node, index=None)
        index = node.index + step
        if 0 <= index < sizes[own]:
            return str(replace(own, index=index))
        at = blocks.index(own) + step
        if not 0 <= at < len(blocks):
            return None
        return str(replace(blocks[at], index=0 if step > 0 else sizes[blocks[at]] - 1))

    def _mean(self, node: Node) -> Float[Tensor, " dh"] | None:
        """A head's mean z over the corpus, where the atlas has it."""
        assert node.layer is not None
        mean = None if self.atlas is None or node.kind != "attn" else self.atlas.head_mean(node.layer)
        return None if mean is None else torch.tensor(mean[node.index], device=self.subject.device)

    def _atlas(self, what: str) -> Atlas:
        if self.atlas is None:
            raise no_atlas(what)
        return self.atlas


def _number(value: float | None) -> float:
    return np.nan if value is None else value
