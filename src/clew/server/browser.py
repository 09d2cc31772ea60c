"""Components as HTTP asks about them, and the atlas that is open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..errors import Busy, ClewError
from .answers import encode
from .events import event
from .jobs import Stop
from .schemas.atlas import CollectRequest, Paged, PromptSearch, PushSearch, TokenSearch

if TYPE_CHECKING:
    from ..atlas import Components
    from ..debug import Model


class Browser:
    """The components of one model, with the atlas in `folder` if there is one.

    `components` is replaced when a collection ends; whoever has the old one goes on reading the old atlas. `collecting`
    is held while there is a collection.
    """

    def __init__(self, model: Model, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self.collecting = Lock()
        self._problem: str | None = None
        self.components = self._open()

    def status(self) -> dict[str, Any]:
        """The open atlas, or what is wrong with the one that is there."""
        atlas = self.components.atlas
        info = None if atlas is None else atlas.info().to_dict()
        return {"atlas": info, "problem": self._problem, "collecting": self.collecting.locked()}

    def search_prompt(self, asked: PromptSearch, stop: Stop) -> bytes:
        """One page of what fires on a prompt, as JSON."""
        found = self.components.search_prompt(
            asked.prompt, asked.position, asked.bos, sort=asked.sort, stop=stop, **_page(asked)
        )
        tokens = self._model.tokens(asked.prompt, asked.bos).to_dict()
        return encode({"tokens": tokens, "total": found.total, "rows": found.to_dict()})

    def search_token(self, asked: TokenSearch) -> bytes:
        """One page of what has its top examples on a token, as JSON."""
        found = self.components.search_token(asked.token, sort=asked.sort, **_page(asked))
        return encode({"total": found.total, "rows": found.to_dict()})

    def search_pushed(self, asked: PushSearch) -> bytes:
        """One page of what pushes a token, as JSON."""
        found = self.components.search_pushed(asked.token, sort=asked.sort, **_page(asked))
        return encode({"total": found.total, "rows": found.to_dict()})

    def collect(self, asked: CollectRequest, stop: Stop) -> Iterator[bytes]:
        """The events of a collection. Raises Busy while there is one."""
        from ..atlas import collecting

        if not self.collecting.acquire(blocking=False):
            raise Busy("An atlas is being collected already.", "Wait until it is done, or cancel it.")
        try:
            for progress in collecting(
                self._model, tokens=asked.tokens, seed=asked.seed, out=self._folder, replace=asked.replace, stop=stop
            ):
                yield event("progress", encode(progress.to_dict()))
            self.components = self._open()
        finally:
            self.collecting.release()
        atlas = self.components.atlas
        assert atlas is not None
        yield event("done", encode({"atlas": atlas.info().to_dict()}))

    def _open(self) -> Components:
        from ..atlas import Atlas, Components

        atlas, self._problem = None, None
        if (self._folder / "atlas.json").exists():
            try:
                atlas = Atlas.open(self._folder)
                return Components(self._model, atlas)
            except ClewError as error:
                self._problem = str(error)
        return Components(self._model)


def _page(asked: Paged) -> dict[str, Any]:
    return {
        "kinds": asked.kinds,
        "layers": asked.layers,
        "max_density": asked.max_density,
        "ascending": asked.ascending,
        "offset": asked.offset,
        "limit": asked.limit,
    }
