"""Components as HTTP asks about them, and the atlas that is open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..errors import Busy, ClewError, NoAtlas
from .answers import encode
from .cluster import Cluster
from .events import event
from .jobs import Stop
from .remembered import Remembered
from .schemas.atlas import CollectRequest, Paged, PromptSearch, PushSearch, TokenSearch

if TYPE_CHECKING:
    from ..atlas import Atlas, Components
    from ..debug import Model
    from ..sae import Autoencoder
    from .attached import Attached

_KEPT = 4  # sets of autoencoders whose components are kept


class Browser:
    """The components of one model, with the atlas in `folder` if there is one, and the latents of some of `attached`.

    The atlas is opened anew when another one lies there, whoever collected it; whoever has the old one goes on reading
    it. `collecting` is held while the server collects one, on the cluster `place` where it names one.
    """

    def __init__(self, model: Model, folder: Path, attached: Attached, place: Cluster) -> None:
        from ..atlas.store import MANIFEST

        self._model, self._folder, self._attached, self._place = model, folder, attached, place
        self.collecting = Lock()
        self._opened = Remembered(MANIFEST, self._open)
        self._lock = Lock()
        self._atlas: Atlas | None = None
        self._made: OrderedDict[tuple[Autoencoder, ...], Components] = OrderedDict()
        self._chosen: tuple[Autoencoder, ...] | None = None
        self._look()

    def components(self, names: Sequence[str] | None = None) -> Components:
        """Heads, neurons and the latents of the autoencoders of these names; None: of those that the server was given.

        Raises what `Attached.named` raises, and UsageError when two of them write the same site.
        """
        named = None if names is None else self._attached.named(list(dict.fromkeys(names)))
        with self._lock:
            self._look()
            autoencoders = self._given() if named is None else named
            if autoencoders not in self._made:
                self._made[autoencoders] = self._of(autoencoders)
            self._made.move_to_end(autoencoders)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
            return self._made[autoencoders]

    def status(self) -> dict[str, Any]:
        """The open atlas, or what is wrong with the one that is there."""
        atlas, problem = self._opened.of(self._folder)
        info = None if atlas is None else atlas.info().to_dict()
        return {"atlas": info, "problem": problem, "collecting": self.collecting.locked()}

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
        """The events of a collection. Raises Busy while there is one, and what the pool and `collecting` raise."""
        from ..atlas import collecting

        if not self.collecting.acquire(blocking=False):
            raise Busy("An atlas is being collected already.", "Wait until it is done, or cancel it.")
        try:
            autoencoders = list(self.components(asked.autoencoders).autoencoders.values())
            with self._place.pool(f"collect {self._model.name}") as pool:
                for progress in collecting(
                    self._model, tokens=asked.tokens, seed=asked.seed, autoencoders=autoencoders, out=self._folder,
                    replace=asked.replace, stop=stop, pool=pool,
                ):  # fmt: skip
                    yield event("progress", encode(progress.to_dict()))
        finally:
            self.collecting.release()
        atlas, _ = self._opened.of(self._folder)
        assert atlas is not None
        yield event("done", encode({"atlas": atlas.info().to_dict()}))

    def _look(self) -> None:
        """Take the atlas that lies there now; what was made of another is let go."""
        atlas, _ = self._opened.of(self._folder)
        if atlas is not self._atlas:
            self._atlas, self._chosen = atlas, None
            self._made.clear()

    def _open(self, folder: Path) -> tuple[Atlas | None, str | None]:
        """The atlas in a folder, if it is one of this model; or what is wrong with it."""
        from ..atlas import Atlas

        try:
            atlas = Atlas.open(folder)
            atlas.check(self._model.subject)
        except NoAtlas:
            return None, None
        except ClewError as error:
            return None, str(error)
        return atlas, None

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
