"""Components as HTTP asks about them, and the atlas that is open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..errors import Busy, ClewError
from .answers import encode
from .events import event
from .jobs import Stop
from .schemas.atlas import CollectRequest, Paged, PromptSearch, PushSearch, TokenSearch

if TYPE_CHECKING:
    from ..atlas import Atlas, Components
    from ..debug import Model
    from ..sae import Autoencoder
    from .attached import Attached

_KEPT = 4  # sets of autoencoders whose components are kept


class Browser:
    """The components of one model, with the atlas in `folder` if there is one, and the latents of some of `attached`.

    The atlas is replaced when a collection ends; whoever has the old one goes on reading it. `collecting` is held while
    there is a collection.
    """

    def __init__(self, model: Model, folder: Path, attached: Attached) -> None:
        self._model, self._folder, self._attached = model, folder, attached
        self.collecting = Lock()
        self._problem: str | None = None
        self._lock = Lock()
        self._made: OrderedDict[tuple[Autoencoder, ...], Components] = OrderedDict()
        self._chosen: tuple[Autoencoder, ...] | None = None
        self._atlas = self._open()

    def components(self, names: Sequence[str] | None = None) -> Components:
        """Heads, neurons and the latents of the autoencoders of these names; None: of those that the server was given.

        Raises what `Attached.named` raises, and UsageError when two of them write the same site.
        """
        autoencoders = self._given() if names is None else self._attached.named(list(dict.fromkeys(names)))
        with self._lock:
            if autoencoders not in self._made:
                self._made[autoencoders] = self._of(autoencoders)
            self._made.move_to_end(autoencoders)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
            return self._made[autoencoders]

    def status(self) -> dict[str, Any]:
        """The open atlas, or what is wrong with the one that is there."""
        info = None if self._atlas is None else self._atlas.info().to_dict()
        return {"atlas": info, "problem": self._problem, "collecting": self.collecting.locked()}

    def search_prompt(self, asked: PromptSearch, stop: Stop) -> bytes:
        """One page of what fires on a prompt, as JSON."""
        found = self.components(asked.autoencoders).search_prompt(
            asked.prompt, asked.position, asked.bos, sort=asked.sort, stop=stop, **_page(asked)
        )
        tokens = self._model.tokens(asked.prompt, asked.bos).to_dict()
        return encode({"tokens": tokens, "total": found.total, "rows": found.to_dict()})

    def search_token(self, asked: TokenSearch) -> bytes:
        """One page of what has its top examples on a token, as JSON."""
        found = self.components(asked.autoencoders).search_token(asked.token, sort=asked.sort, **_page(asked))
        return encode({"total": found.total, "rows": found.to_dict()})

    def search_pushed(self, asked: PushSearch) -> bytes:
        """One page of what pushes a token, as JSON."""
        found = self.components(asked.autoencoders).search_pushed(asked.token, sort=asked.sort, **_page(asked))
        return encode({"total": found.total, "rows": found.to_dict()})

    def collect(self, asked: CollectRequest, stop: Stop) -> Iterator[bytes]:
        """The events of a collection. Raises Busy while there is one."""
        from ..atlas import collecting

        if not self.collecting.acquire(blocking=False):
            raise Busy("An atlas is being collected already.", "Wait until it is done, or cancel it.")
        try:
            autoencoders = list(self.components(asked.autoencoders).autoencoders.values())
            for progress in collecting(
                self._model, tokens=asked.tokens, seed=asked.seed, autoencoders=autoencoders, out=self._folder,
                replace=asked.replace, stop=stop,
            ):  # fmt: skip
                yield event("progress", encode(progress.to_dict()))
            with self._lock:
                self._atlas, self._chosen = self._open(), None
                self._made.clear()
        finally:
            self.collecting.release()
        assert self._atlas is not None
        yield event("done", encode({"atlas": self._atlas.info().to_dict()}))

    def _open(self) -> Atlas | None:
        """The atlas that is there, if it is one of this model."""
        from ..atlas import Atlas

        self._problem = None
        if (self._folder / "atlas.json").exists():
            try:
                atlas = Atlas.open(self._folder)
                atlas.check(self._model.subject)
                return atlas
            except ClewError as error:
                self._problem = str(error)
        return None

    def _given(self) -> tuple[Autoencoder, ...]:
        """Of the autoencoders that the server was given one a site: that of the atlas, else the first."""
        from ..atlas.plan import weights_of

        if self._chosen is not None:
            return self._chosen
        known = {} if self._atlas is None else {one.writes: one for one in self._atlas.autoencoders.values()}
        chosen: dict[str, Autoencoder] = {}
        for autoencoder in self._attached.given:
            site = str(autoencoder.writes)
            there = known.get(site)
            if site not in chosen or (there is not None and weights_of(autoencoder) == there.fingerprint):
                chosen[site] = autoencoder
        self._chosen = tuple(chosen.values())
        return self._chosen

    def _of(self, autoencoders: Sequence[Autoencoder]) -> Components:
        """Components with the atlas, but for latents that it has of another autoencoder of a site."""
        from ..atlas import Components
        from ..atlas.plan import weights_of

        atlas = self._atlas
        if atlas is not None:
            known = atlas.autoencoders
            sites = {f"latent.{one.writes}": one for one in autoencoders}
            foreign = [site for site in known.keys() & sites if weights_of(sites[site]) != known[site].fingerprint]
            atlas = atlas.without(foreign) if foreign else atlas
        return Components(self._model, atlas, autoencoders)


def _page(asked: Paged) -> dict[str, Any]:
    return {
        "kinds": asked.kinds,
        "layers": asked.layers,
        "max_density": asked.max_density,
        "ascending": asked.ascending,
        "offset": asked.offset,
        "limit": asked.limit,
    }
